"""What can go wrong, as one tree.

::

    KeyguardError                     anything raised on purpose
    ├── ConfigurationError            a setting that cannot be used; names the setting and the fix
    ├── MoneyError                    an amount that is not one
    ├── PolicyError                   a policy that cannot be applied; ``path`` names the field
    ├── PriceError                    a price table or an override that is malformed
    ├── Unpriced                      a model without a price
    ├── UsageError                    a usage report that is impossible
    ├── LedgerUnavailable             the database did not answer; nothing was spent
    ├── GatewayError                  a client could not reach the gateway, or was refused; ``code`` and ``status``
    └── Refused                       an answer to a caller, with ``status`` and ``code``:
        ├── Unauthorized              401 invalid_api_key | key_expired | key_revoked
        ├── OverBudget                402 budget_exceeded
        ├── Forbidden                 403 model_not_allowed | model_blocked | paused | outside_hours | …
        ├── NotFound                  404 unknown_url | model_not_found | not_found
        ├── BadRequest                400 invalid_request | unknown_parameter | model_unpriced | …; 413, 415
        ├── TooMany                   429 rate_limit_exceeded
        ├── ProviderFailed            502 provider_error | 504 provider_timeout
        └── Unavailable               503 ledger_unavailable
"""

from typing import ClassVar


class KeyguardError(Exception):
    """Base of everything that Keyguard raises on purpose."""


class ConfigurationError(KeyguardError):
    """Raised when a setting cannot be used; the message names the setting and what to write instead."""


class MoneyError(KeyguardError, ValueError):
    """Raised when an amount is not a decimal string within range."""


class PolicyError(KeyguardError, ValueError):
    """Raised when a policy cannot be applied; ``path`` names the field, as in ``projects.default.people.ada``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class PriceError(KeyguardError, ValueError):
    """Raised when a price table or an override is malformed; nothing of it is used."""


class Unpriced(KeyguardError, LookupError):
    """Raised when a model has no price and is not marked free."""


class UsageError(KeyguardError, ValueError):
    """Raised when a provider's usage report contradicts itself."""


class LedgerUnavailable(KeyguardError):
    """Raised when the database did not answer in time; nothing was written."""


class GatewayError(KeyguardError):
    """Raised by clients when the gateway cannot be reached (``status`` 0) or refuses (its ``status`` and ``code``)."""

    def __init__(self, message: str, *, status: int = 0, code: str = "unreachable") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Refused(KeyguardError):
    """An answer to a caller that is not success.

    Args:
        message: one or two sentences for the person: what was refused, why, and what to do.
        code: stable, for programs; documented in the reference.
        param: the field of the request that is to blame, if one is.
        retry_after: seconds after which the same call may succeed; None tells the SDK not to retry.
    """

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "invalid_request_error"

    def __init__(self, message: str, *, code: str, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, object]:
        """Return the answer in OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the headers that tell an SDK whether to try again."""
        if self.retry_after is None:
            return {"x-should-retry": "false"}
        return {"x-should-retry": "true", "retry-after": str(max(1, self.retry_after))}


class Unauthorized(Refused):
    """Raised when the key is missing, unknown, expired or revoked."""

    status = 401
    kind = "authentication_error"


class OverBudget(Refused):
    """Raised when a limit has no room left for the call."""

    status = 402
    kind = "insufficient_quota"


class Forbidden(Refused):
    """Raised when the policy says no."""

    status = 403
    kind = "permission_error"


class NotFound(Refused):
    """Raised for a route or an object that the caller does not have."""

    status = 404


class BadRequest(Refused):
    """Raised for a request that is malformed, or asks for what is not on offer."""


class TooLarge(BadRequest):
    """Raised when the body is larger than the gateway reads."""

    status = 413


class WrongMediaType(BadRequest):
    """Raised when the body is not plain JSON."""

    status = 415


class TooMany(Refused):
    """Raised when a rate or concurrency limit is reached; passes by itself."""

    status = 429
    kind = "rate_limit_error"


class ProviderFailed(Refused):
    """Raised when the provider answered with a failure of its own, or with nothing that can be understood."""

    status = 502
    kind = "api_error"


class ProviderTimedOut(ProviderFailed):
    """Raised when the provider did not answer in time."""

    status = 504


class Unavailable(Refused):
    """Raised when the ledger cannot answer: the call is refused and nothing is sent."""

    status = 503
    kind = "api_error"
