"""Sending an answer as it was planned: whole, slowly, or not to the end."""

import asyncio
import itertools
import socket
import struct
from collections import deque
from collections.abc import Iterator

from aiohttp import web

from .pace import Pace
from .plan import BEFORE_HEADERS, HEADERS, Plan, draw_up
from .record import Received, Record
from .said import Answer
from .script import PLAIN, Place, Script


class Barrier:
    """Where calls wait until a test lets them go on."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self._waiting: deque[asyncio.Event] = deque()

    async def wait(self) -> None:
        """Wait to be released."""
        event = asyncio.Event()
        self._waiting.append(event)
        try:
            await event.wait()
        finally:
            if event in self._waiting:
                self._waiting.remove(event)

    def release(self, count: int | None = None) -> None:
        """Let calls go on: so many, the longest waiting first; or all of them, and those to come."""
        if count is None:
            self.place = None
            count = len(self._waiting)
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft().set()


class Sender:
    """Sends answers, and notes how far it got.

    Args:
        record: where the calls are noted.
        pace: how fast, or None for at once.
        barrier: where calls may be held.
    """

    def __init__(self, record: Record, pace: Pace | None, barrier: Barrier) -> None:
        self._record = record
        self._pace = pace
        self._barrier = barrier

    async def send(
        self, request: web.BaseRequest, received: Received, answer: Answer, script: Script
    ) -> web.StreamResponse:
        """Send an answer, whatever the script does to it.

        Returns:
            the response; when a script dropped the connection before the headers, one that leads nowhere.
        """
        if answer.frames is None and script is PLAIN and self._barrier.place is None:
            return await self._send_plainly(received, answer)
        plan = draw_up(answer, script, self._barrier.place)
        if await self._stop(plan, BEFORE_HEADERS, request, received, script):
            return web.Response()
        if script.delay:
            await asyncio.sleep(script.delay)
        if answer.frames is None:
            await self._wait_for_whole(answer)
        received.status = answer.status
        response = web.StreamResponse(status=answer.status, headers=plan.headers)
        await response.prepare(request)
        pauses = self._pauses(answer, script)
        for position, write in enumerate(plan.writes):
            if await self._stop(plan, position, request, received, script):
                return response
            if pauses is not None and write.paced:
                await asyncio.sleep(sum(itertools.islice(pauses, write.paced)))
            await response.write(write.block)
            received.chunks += 1
        if not await self._stop(plan, len(plan.writes), request, received, script):
            received.finished = True
            await response.write_eof()
        return response

    async def _send_plainly(self, received: Received, answer: Answer) -> web.Response:
        await self._wait_for_whole(answer)
        received.status, received.chunks, received.finished = answer.status, 1, True
        headers = {**HEADERS, "Content-Type": answer.media}
        return web.Response(status=answer.status, body=answer.payload, headers=headers)

    async def _wait_for_whole(self, answer: Answer) -> None:
        if self._pace is not None and answer.status == 200:
            await asyncio.sleep(self._pace.whole(answer.seed, answer.tokens))

    def _pauses(self, answer: Answer, script: Script) -> Iterator[float] | None:
        if script.pause is not None:
            return itertools.repeat(script.pause)
        return None if self._pace is None else self._pace.pauses(answer.seed)

    async def _stop(
        self, plan: Plan, position: int, request: web.BaseRequest, received: Received, script: Script
    ) -> bool:
        """Do what is planned before a write; tell whether the connection was closed there."""
        if position == plan.hold:
            self._record.hold(received, True)
            try:
                await self._barrier.wait()
            finally:
                self._record.hold(received, False)
        if position == plan.stall:
            await asyncio.Event().wait()
        if position != plan.drop:
            return False
        received.dropped = True
        _hang_up(request, script.reset)
        return True


def _hang_up(request: web.BaseRequest, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    # Lingering for no time makes the kernel answer with a reset instead of an orderly close.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
