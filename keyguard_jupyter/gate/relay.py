"""Passing a held call to its provider and the answer back; whatever happens, the hold is resolved."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from ..core.people import Caller
from ..errors import KeyguardError, LedgerUnavailable, ProviderFailed, ProviderTimedOut, Refused, Unavailable
from ..ledger.book import Book
from ..ledger.calls import Settlement
from ..money import usd
from .ask import Ask
from .failures import failure_of
from .frames import Frames
from .meter import Meter
from .parse import write_body
from .priced import Priced
from .providers import Provider, Unsent
from .reserve import Held, Waiting

log = logging.getLogger("keyguard.relay")

ANSWER_BYTES_MOST = 64 * 1024 * 1024
READER_SECONDS = 60.0
"""How long a caller may leave a full stream unread before it counts as gone; the stream is read to its end anyway."""
_BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError)


@dataclass(slots=True)
class Relay:
    """One held call on its way."""

    book: Book
    waiting: Waiting
    provider: Provider
    priced: Priced | None
    caller: Caller
    ask: Ask
    held: Held
    _began: float = 0.0
    _resolved: bool = False

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Send the call and answer the caller.

        Raises:
            Refused: the provider, or the ledger, failed.
        """
        self._began = time.monotonic()
        meter = Meter(self.ask.endpoint, self.priced, self.held.call)
        try:
            return await self._run(request, meter)
        except Refused:
            raise
        except _BROKEN as error:
            raise self._broken(error) from None
        finally:
            # Nobody knows what the provider did with a call that broke off: it is charged as held.
            if not self._resolved:
                await self._settle(meter.settlement(self._elapsed(), "interrupted"))

    async def _run(self, request: web.Request, meter: Meter) -> web.StreamResponse:
        body = self.provider.body_for(self.ask.endpoint, self.ask.body, self.held.cap, self.caller)
        try:
            raw = write_body(body)
            self.book.mark_sent(self.held.call.id)
        except KeyguardError as error:
            await self._void()
            if isinstance(error, LedgerUnavailable):
                raise Unavailable("The ledger does not answer. Nothing was sent.", code="ledger_unavailable") from error
            raise
        try:
            answer = await self.provider.send(self.ask.endpoint, self.ask.model, raw)
        except Unsent:
            await self._void()
            raise
        async with answer:
            if answer.status != 200:
                return await self._fail(answer)
            if self.ask.stream and answer.content_type == "text/event-stream":
                return await self._stream(request, answer, meter)
            return await self._whole(answer, meter)

    # --- whole answers ------------------------------------------------------------------------------------------

    async def _whole(self, answer: aiohttp.ClientResponse, meter: Meter) -> web.Response:
        raw = self.provider.redact(await _read(answer))
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004  (like invalid JSON)
        meter.read_answer(document)
        end = meter.settlement(self._elapsed())
        await self._settle(end)
        headers = self._headers()
        headers["x-keyguard-cost-usd"] = usd(end.cost)
        if self.held.left is not None:
            headers["x-keyguard-remaining-usd"] = usd(max(0, self.held.left + self.held.call.held - end.cost))
        return web.Response(body=raw, content_type="application/json", headers=headers)

    async def _fail(self, answer: aiohttp.ClientResponse) -> web.Response:
        raw = self.provider.redact(await _read(answer))
        failure = failure_of(answer.status, answer.headers, raw, self.provider.spec)
        if not failure.charged:
            outcome = f"provider_{answer.status}"
            await self._settle(Settlement(cost=0, outcome=outcome, duration_ms=self._elapsed()))
        elif failure.input_only and self.priced is not None:
            cost = min(self.priced.worst(self.ask.input_tokens, 0), self.held.call.held)
            await self._settle(Settlement(cost=cost, outcome="content_filter", duration_ms=self._elapsed()))
        raise failure.refusal

    # --- streams ------------------------------------------------------------------------------------------------

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse, meter: Meter) -> web.StreamResponse:
        reader = _Reader(request, self._stream_headers())
        frames = Frames()
        try:
            await reader.start()
            async for chunk in answer.content.iter_any():
                await self._pass_on(frames.feed(chunk), meter, reader)
            if rest := frames.end():
                await self._pass_on([rest + b"\n\n"], meter, reader)
        except _BROKEN as error:
            log.warning("call %s: the provider's stream broke off: %s", self.held.call.id, type(error).__name__)
            await self._settle(meter.settlement(self._elapsed(), "interrupted"))
            await reader.write(_error_frame(self._broken(error)))
        else:
            await self._settle(meter.settlement(self._elapsed(), reader.outcome))
        await reader.finish()
        return reader.response

    async def _pass_on(self, arrived: list[bytes], meter: Meter, reader: "_Reader") -> None:
        passed = []
        for frame in arrived:
            last, only_usage = meter.read_frame(frame)
            if last:
                # The caller may look at its balance as soon as it sees the end.
                await self._settle(meter.settlement(self._elapsed(), reader.outcome))
            if not only_usage or self.ask.wants_usage:
                passed.append(frame)
        if passed:
            await reader.write(self.provider.redact(b"".join(passed)))

    # --- the ledger ---------------------------------------------------------------------------------------------

    async def _settle(self, end: Settlement) -> None:
        if self._resolved:
            return
        self._resolved = True
        try:
            await self.book.settle(self.held.call, end)
        except LedgerUnavailable as error:
            # The hold stays, marked as sent: it is charged in full when the ledger answers again.
            log.error("call %s could not be settled, and stays held: %s", self.held.call.id, error)
        if end.outcome in {"overrun", "invalid_usage", "no_usage"}:
            log.warning("call %s of %s: %s", self.held.call.id, self.held.call.model, end.outcome)
        self.waiting.release()

    async def _void(self) -> None:
        self._resolved = True
        await self.book.void(self.held.call.id)
        self.waiting.release()

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._began) * 1000)

    # --- headers and errors -------------------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        headers = {"x-keyguard-request-id": self.held.call.id}
        if self.held.shortened and self.held.cap is not None:
            headers["x-keyguard-max-output-tokens"] = str(self.held.cap)
        return headers

    def _stream_headers(self) -> dict[str, str]:
        headers = self._headers()
        headers |= {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        if self.held.left is not None:
            headers["x-keyguard-remaining-usd"] = usd(max(0, self.held.left))
        return headers

    def _broken(self, error: BaseException) -> ProviderFailed:
        name = self.provider.spec.name
        if isinstance(error, TimeoutError):
            return ProviderTimedOut(
                f"The provider {name} was silent for too long. What was held for the call is charged.",
                code="provider_timeout",
            )
        return ProviderFailed(
            f"The provider {name} broke off, or answered with something that is no answer. What was held for the call "
            "is charged.",
            code="provider_error",
        )


class _Reader:
    """The caller's side of a stream: goes on without a caller who has gone away."""

    def __init__(self, request: web.Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self.response = web.StreamResponse(headers=headers)
        self._gone = False

    @property
    def outcome(self) -> str:
        """How the call ended, seen from here."""
        return "client_gone" if self._gone else "ok"

    async def start(self) -> None:
        try:
            await self.response.prepare(self._request)
        except ConnectionError:
            self._gone = True

    async def write(self, data: bytes) -> None:
        if self._gone:
            return
        try:
            async with asyncio.timeout(READER_SECONDS):
                await self.response.write(data)
        except (ConnectionError, TimeoutError):
            self._gone = True
            if self._request.transport is not None:
                self._request.transport.abort()

    async def finish(self) -> None:
        if not self._gone:
            try:
                await self.response.write_eof()
            except ConnectionError:
                self._gone = True


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    if answer.content_length is not None and answer.content_length <= ANSWER_BYTES_MOST:
        return await answer.read()
    raw = bytearray()
    async for chunk in answer.content.iter_any():
        raw += chunk
        if len(raw) > ANSWER_BYTES_MOST:
            raise ValueError("the provider's answer is too large")
    return bytes(raw)


def _error_frame(refusal: Refused) -> bytes:
    body: dict[str, Any] = refusal.body()
    return b"data: " + json.dumps(body).encode() + b"\n\n"
