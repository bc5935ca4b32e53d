"""Counts for Prometheus, with bounded labels."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """The counts of one gateway process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.calls = Counter("keyguard_calls", "Calls by route", ["endpoint"], registry=self._registry)
        self.refusals = Counter("keyguard_refusals", "Refused calls by code", ["code"], registry=self._registry)
        self.in_flight = 0
        gauge = Gauge("keyguard_calls_in_flight", "Calls being answered", registry=self._registry)
        gauge.set_function(lambda: self.in_flight)

    def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self._registry)
