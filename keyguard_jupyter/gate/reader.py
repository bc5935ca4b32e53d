"""The caller's side of a stream, which goes on without a caller who has gone away."""

import asyncio
from collections.abc import Awaitable, Mapping

from aiohttp import web

READER_SECONDS = 60.0
"""How long a caller may leave a full stream unread before it counts as gone; the stream is read to its end anyway."""


class Reader:
    """Who reads a stream.

    Args:
        request: the call.
        headers: of the answer.
    """

    def __init__(self, request: web.Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self.response = web.StreamResponse(headers=headers)
        self._gone = False

    @property
    def outcome(self) -> str:
        """How the call ended, seen from here."""
        return "client_gone" if self._gone else "ok"

    async def start(self) -> None:
        """Send the headers."""
        try:
            await self.response.prepare(self._request)
        except ConnectionError:
            self._gone = True

    async def write(self, data: bytes) -> None:
        """Send a part of the stream, unless nobody reads any more."""
        if not self._gone:
            await self._patiently(self.response.write(data))

    async def finish(self) -> None:
        """End the stream."""
        if not self._gone:
            await self._patiently(self.response.write_eof())

    async def _patiently(self, writing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(READER_SECONDS):
                await writing
        except (ConnectionError, TimeoutError):
            self._gone = True
            if self._request.transport is not None:
                self._request.transport.abort()
