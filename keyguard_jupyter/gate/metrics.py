"""Counts for Prometheus, with bounded labels."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

CODES = frozenset(
    {
        "invalid_api_key",
        "key_expired",
        "key_revoked",
        "budget_exceeded",
        "model_not_allowed",
        "model_blocked",
        "paused",
        "outside_hours",
        "tool_not_allowed",
        "forbidden",
        "unknown_url",
        "model_not_found",
        "not_found",
        "model_unpriced",
        "unknown_parameter",
        "invalid_request",
        "rate_limit_exceeded",
        "provider_error",
        "provider_timeout",
        "ledger_unavailable",
        "internal_error",
    }
)
"""Keyguard's own; the codes of providers are counted together."""


class Metrics:
    """The counts of one gateway process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.calls = Counter("keyguard_calls", "Calls by route", ["endpoint"], registry=self._registry)
        self.refusals = Counter("keyguard_refusals", "Refused calls by code", ["code"], registry=self._registry)
        self.in_flight = 0
        gauge = Gauge("keyguard_calls_in_flight", "Calls being answered", registry=self._registry)
        gauge.set_function(lambda: self.in_flight)

    def refused(self, code: str) -> None:
        """Count a refusal."""
        self.refusals.labels(code if code in CODES else "other").inc()

    def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self._registry)
