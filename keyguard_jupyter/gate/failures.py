"""What a provider's refusal means for the caller, and for the money."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.providers import ProviderSpec
from ..errors import BadRequest, NotFound, ProviderFailed, Refused, TooMany

MESSAGE_MOST = 1000
RETRY_SECONDS = 5
_CALLERS_FAULT = {400, 404, 413, 415, 422}


@dataclass(frozen=True, slots=True)
class Failure:
    """A provider's refusal.

    Args:
        refusal: what the caller is told.
        charged: whether the provider may bill for the call.
        input_only: whether, if so, only its input.
    """

    refusal: Refused
    charged: bool = False
    input_only: bool = False


def failure_of(status: int, headers: Mapping[str, str], raw: bytes, spec: ProviderSpec) -> Failure:
    """Read a provider's answer that is not 200.

    The provider's text is passed on only where the caller can do something about it; what it says about the key and the
    account is the host's business.

    Args:
        raw: the body, without the key.
    """
    error = _error_of(raw)
    if status == 429:
        return Failure(_too_many(spec, headers))
    if status in _CALLERS_FAULT and error is not None:
        filtered = spec.kind == "azure" and status == 400 and error.get("code") == "content_filter"
        return Failure(_callers_fault(status, error, spec), charged=filtered, input_only=filtered)
    if status in {502, 503, 504} and error is None:
        # A page of some gateway on the way: the provider itself may well have worked.
        return Failure(_failed(spec, f"{status}, from a gateway on the way", charged=True), charged=True)
    if status in {401, 403}:
        return Failure(_failed(spec, f"{status}: it does not accept the gateway's key. Tell your host"))
    return Failure(_failed(spec, str(status)))


def _error_of(raw: bytes) -> dict[str, Any] | None:
    """Return the error object; servers write ``error`` or ``detail``."""
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    error = document.get("error", document.get("detail", document))
    return error if isinstance(error, dict) else {"message": str(error)}


def _callers_fault(status: int, error: Mapping[str, Any], spec: ProviderSpec) -> Refused:
    message = f"{spec.name}: {str(error.get('message', 'refused'))[:MESSAGE_MOST]}"
    code = error.get("code") if isinstance(error.get("code"), str) else "invalid_request"
    param = error.get("param") if isinstance(error.get("param"), str) else None
    kind = NotFound if status == 404 else BadRequest
    return kind(message, code=str(code)[:100], param=param)


def _too_many(spec: ProviderSpec, headers: Mapping[str, str]) -> Refused:
    given = headers.get("Retry-After", "")
    seconds = int(given) if given.isdigit() and len(given) < 6 else RETRY_SECONDS
    message = f"The provider {spec.name} is receiving too many requests from everybody together. Try again shortly."
    return TooMany(message, code="rate_limit_exceeded", retry_after=seconds)


def _failed(spec: ProviderSpec, what: str, *, charged: bool = False) -> Refused:
    money = "What was held for the call is charged." if charged else "Nothing was charged."
    return ProviderFailed(f"The provider {spec.name} answered {what}. {money}", code="provider_error")
