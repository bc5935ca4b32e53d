"""Reading a request's body off the wire, within bounds."""

import asyncio
from typing import TypeVar

from aiohttp import web

from ..errors import BadRequest, TooLarge, WrongMediaType

T = TypeVar("T", bytes, bytearray)

BODY_SECONDS = 60.0
"""How long a body may take to arrive."""


async def read_body(request: web.Request, most: int) -> bytes:
    """Read the whole body of a JSON request.

    Args:
        most: bytes.

    Raises:
        WrongMediaType: not JSON, or compressed.
        TooLarge: more than ``most`` bytes.
        BadRequest: it did not arrive in time.
    """
    if request.content_type != "application/json":
        raise WrongMediaType("Send the request as application/json.", code="invalid_request")
    if any(name.lower() != "identity" for name in request.headers.getall("Content-Encoding", [])):
        raise WrongMediaType("Compressed requests are not read.", code="invalid_request")
    if (request.content_length or 0) > most:
        raise _too_large(most)
    raw = bytearray()
    try:
        if request.content.is_eof():  # most bodies arrive with their headers: no clock, no copies
            return _bounded(request.content.read_nowait(), most)
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                raw += chunk
                _bounded(raw, most)
    except TimeoutError:
        raise BadRequest("The request's body did not arrive in time.", code="invalid_request") from None
    except web.RequestPayloadError:
        raise BadRequest("The request's body is not valid HTTP.", code="invalid_request") from None
    return bytes(raw)


def _bounded(raw: T, most: int) -> T:
    if len(raw) > most:
        raise _too_large(most)
    return raw


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The request is larger than {most:,} bytes.", code="invalid_request")
