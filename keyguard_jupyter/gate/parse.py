"""Reading a request body strictly: one plain JSON object, every key once."""

import json
from typing import Any, NoReturn

from ..errors import BadRequest

DEPTH_MOST = 64


def parse_body(raw: bytes) -> dict[str, Any]:
    """Parse a request body.

    Two readers may understand a sloppy document differently (which of two equal keys counts? what is ``NaN``?), and a
    guard that understands another thing than the provider guards nothing. So whatever is not plain is refused, and what
    is sent on is written anew.

    Raises:
        BadRequest: not UTF-8, not JSON, not an object, a key twice, NaN or infinite numbers, nested too deep.
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
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
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
    depth = deepest = 0
    inside = escaped = False
    for byte in raw:
        if escaped:
            escaped = False
        elif inside:
            escaped, inside = byte == 0x5C, byte != 0x22
        elif byte == 0x22:
            inside = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


# Made once: the library makes a new one for every call with options.
_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _invalid(message: str) -> BadRequest:
    return BadRequest(message, code="invalid_request")
