"""Reading a request body strictly: one plain JSON object, every key once."""

import json
import re
from array import array
from itertools import accumulate
from typing import Any, NoReturn

from ..errors import BadRequest

DEPTH_MOST = 64
SHOWN_MOST = 100
"""How much of a name that a caller chose is repeated in a refusal."""
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")


def parse_body(raw: bytes) -> dict[str, Any]:
    """Parse a request body.

    Two readers may understand a sloppy document differently (which of two equal keys counts? what is ``NaN``?), and a
    guard that understands another thing than the provider guards nothing. So whatever is not plain is refused, and what
    is sent on is written anew.

    Raises:
        BadRequest: not UTF-8, not JSON, not an object, a key twice, NaN or infinite numbers, nested too deep, or a
            string with half a surrogate pair.
    """
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MOST and _depth(raw) > DEPTH_MOST:
        raise _invalid(f"The body is nested deeper than {DEPTH_MOST} levels.")
    try:
        body = _decode(raw.decode())
    except UnicodeDecodeError:
        raise _invalid("The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise _invalid("The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise _invalid("The body must be a JSON object.")
    if b"\\u" in raw:
        write_body(body)  # only an escape can stand for what is no character
    return body


def write_body(body: dict[str, Any]) -> bytes:
    """Write the body that the provider gets.

    Raises:
        BadRequest: a string that is not Unicode text (half a surrogate pair).
    """
    try:
        return _encode(body).encode()
    except (UnicodeEncodeError, ValueError):
        raise _invalid("The body contains characters that are not Unicode text.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))[:SHOWN_MOST]  # type: ignore[func-returns-value]
        raise BadRequest(f"The field {twice!r} occurs twice.", code="invalid_request", param=twice)
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise _invalid(f"{constant} is not a JSON number.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _invalid(f"The number {text[:40]} is out of range.")
    return number


def _depth(raw: bytes) -> int:
    """Return how deep a document is nested; counted in C, for callers may send megabytes of brackets."""
    brackets = _STRINGS.sub(b"", raw).translate(_STEPS, _OTHERS)
    return max(accumulate(array("b", brackets)), default=0)


# Made once: the library makes a new one for every call with options.
_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _invalid(message: str) -> BadRequest:
    return BadRequest(message, code="invalid_request")
