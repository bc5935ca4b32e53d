"""What a provider's refusal means for the caller, and for the money."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.providers import ProviderSpec
from ..errors import BadRequest, NotFound, ProviderFailed, Refused, TooMany
from .frames import parse_data

MESSAGE_MOST = 1000
RETRY_SECONDS = 5
_CALLERS_FAULT = {400, 404, 413, 415, 422}
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_FOR_CALLERS = re.compile(
    r"(?<![A-Za-z0-9])(?:org-|proj_|user-|acct_|req_)[A-Za-z0-9]{8,}"  # the account
    r"|(?<![A-Za-z0-9])sk-[\w*.…-]{6,}"  # keys, also with a few characters left to tell them apart by
    r"|[\w.-]*\*{3,}[\w.*-]*"
    r"|(?<![\w/:])/(?!v1/)(?:[\w.@+-]+/){2,}[\w.@+-]*"  # files of the server
)
_HAS_ERROR = re.compile(rb'"error"\s*:\s*[^n\s]|"type"\s*:\s*"error"')


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
    if 200 <= status < 300:
        return Failure(_failed(spec, f"{status}, which is no answer to this call", charged=True), charged=True)
    if status >= 502 and error is None:
        # A page of some gateway on the way: the provider itself may well have worked.
        return Failure(_failed(spec, f"{status}, from a gateway on the way", charged=True), charged=True)
    if status in {401, 403}:
        return Failure(_failed(spec, f"{status}: it does not accept the gateway's key. Tell your host"))
    return Failure(_failed(spec, str(status), retry_after=_retry_after(headers) if status >= 500 else None))


def clean(message: object) -> str:
    """Return what a provider says, without what is the host's business."""
    return _NOT_FOR_CALLERS.sub("[removed]", str(message)[:MESSAGE_MOST])


def clean_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, or an event of a stream, with clean words where it speaks of an error."""
    if answer.get("error"):
        answer = {**answer, "error": _clean_error(answer["error"])}
    if answer.get("type") == "error" and "message" in answer:
        answer = {**answer, "message": clean(answer["message"])}
    if isinstance(answer.get("response"), dict):
        answer = {**answer, "response": clean_answer(answer["response"])}
    return answer


def clean_frame(frame: bytes) -> bytes:
    """Return a frame of a stream, with clean words where it speaks of an error."""
    if not _HAS_ERROR.search(frame) or (data := parse_data(frame)) is None:
        return frame
    others = [line for line in frame.split(b"\n") if line and not line.startswith(b"data:")]
    return b"\n".join([*others, b"data: " + json.dumps(clean_answer(data)).encode(), b"", b""])


def _clean_error(error: object) -> object:
    if not isinstance(error, dict):
        return clean(error)
    kept = {name: error.get(name) for name in ("type", "param", "code")}
    known = {name: clean(value) if isinstance(value, str) else None for name, value in kept.items()}
    return {"message": clean(error.get("message", "")), **known}


def _error_of(raw: bytes) -> dict[str, Any] | None:
    """Return the error object; servers write ``error`` or ``detail``."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    error = document.get("error", document.get("detail", document))
    return error if isinstance(error, dict) else {"message": str(error)}


def _callers_fault(status: int, error: Mapping[str, Any], spec: ProviderSpec) -> Refused:
    message = f"{spec.name}: {clean(error.get('message', 'refused'))}"
    code, param = error.get("code"), error.get("param")
    kind = NotFound if status == 404 else BadRequest
    return kind(
        message,
        code=code if isinstance(code, str) and _CODE.fullmatch(code) and clean(code) == code else "invalid_request",
        param=clean(param)[:100] if isinstance(param, str) else None,
    )


def _too_many(spec: ProviderSpec, headers: Mapping[str, str]) -> Refused:
    message = f"The provider {spec.name} is receiving too many requests from everybody together. Try again shortly."
    return TooMany(message, code="rate_limit_exceeded", retry_after=_retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> int:
    given = headers.get("Retry-After", "")
    return int(given) if re.fullmatch(r"[0-9]{1,5}", given) else RETRY_SECONDS


def _failed(spec: ProviderSpec, what: str, *, charged: bool = False, retry_after: int | None = None) -> Refused:
    money = "What was held for the call is charged." if charged else "Nothing was charged."
    message = f"The provider {spec.name} answered {what}. {money}"
    return ProviderFailed(message, code="provider_error", retry_after=retry_after)
