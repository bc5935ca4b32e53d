"""Steering a provider that runs in a process of its own: what the tests script, hold and read, over HTTP."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from .script import Script

if TYPE_CHECKING:
    from .provider import Provider

PREFIX = "/_control/"


async def steer(provider: "Provider", method: str, path: str, body: bytes) -> web.Response:
    """Do what a request under ``/_control`` says.

    ``GET requests[?since=N]`` and ``DELETE requests``: the calls received, after number N.
    ``POST script`` with one script or a list, ``DELETE script``.
    ``POST hold`` with ``{"after": "headers" | "usage" | K}`` and ``POST release`` with ``{"count": N | null}``.
    ``GET state[?received=N&held=N&finished=N&gone=N&dropped=N&open=N&seconds=S]``: the counts, once they are reached,
    or 408 when they are not in time.
    """
    verb, _, query = path.removeprefix(PREFIX).partition("?")
    try:
        document = json.loads(body) if body.strip() else {}
        answer = await _steer(provider, f"{method} {verb}", document, dict(parse_qsl(query)))
    except TimeoutError as error:
        return web.json_response({"error": str(error), **provider.counts}, status=408)
    except (ValueError, TypeError) as error:
        return web.json_response({"error": str(error)}, status=400)
    if answer is None:
        return web.json_response({"error": f"nothing to {method} at {path}"}, status=404)
    return web.json_response(answer)


async def _steer(provider: "Provider", order: str, document: Any, query: dict[str, str]) -> dict[str, Any] | None:
    if order == "GET requests":
        since = int(query.get("since", 0))
        return {"requests": [one.describe() for one in provider.requests if one.number > since]}
    if order == "DELETE requests":
        provider.clear()
    elif order == "POST script":
        for one in [document] if isinstance(document, Mapping) else document:
            provider.script(Script.read(one))
    elif order == "DELETE script":
        provider.forget()
    elif order == "POST hold":
        provider.hold(document.get("after", "headers"))
    elif order == "POST release":
        provider.release(document.get("count"))
    elif order == "GET state":
        seconds = float(query.pop("seconds", 10))
        await provider.until(seconds=seconds, **{name: int(value) for name, value in query.items()})
    else:
        return None
    return provider.counts
