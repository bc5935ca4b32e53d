"""Passing a held call to its provider and the answer back; whatever happens, the hold is resolved."""

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from ..core.people import Caller
from ..errors import LedgerUnavailable, ProviderFailed, ProviderTimedOut, Refused, Unavailable
from ..ledger.book import Book
from ..ledger.calls import Settlement
from ..money import usd
from .ask import Ask
from .failures import clean_answer, clean_frame, failure_of
from .frames import Frames, data_of, parse_data
from .meter import Meter
from .parse import write_body
from .priced import Priced
from .providers import Provider, Unsent
from .reader import Reader
from .reserve import Held, Waiting

log = logging.getLogger("keyguard.relay")

ANSWER_BYTES_MOST = 64 * 1024 * 1024
ERROR_BYTES_MOST = 64 * 1024
END_SECONDS = 0.1
"""How long a provider may take to end a stream after its last frame; the connection is closed then."""
_BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError, RecursionError)


@dataclass(slots=True)
class Relay:
    """One held call on its way."""

    book: Book
    waiting: Waiting
    provider: Provider
    priced: Priced
    caller: Caller
    ask: Ask
    held: Held
    _began: float = 0.0
    _sent: bool = False
    _resolved: bool = False

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Send the call and answer the caller.

        Raises:
            Refused: the provider, or the ledger, failed.
            ConnectionError: the caller went away before anything was sent.
        """
        self._began = time.monotonic()
        meter = Meter(self.ask.endpoint, self.priced, self.held.call)
        try:
            return await self._run(request, meter)
        except _BROKEN as error:
            if not self._sent:
                raise
            raise self._broken(error) from None
        finally:
            if self._resolved:
                pass
            elif self._sent:
                # Nobody knows what the provider did with a call that broke off: it is charged as held.
                await self._settle(meter.settlement(self._elapsed(), "interrupted"))
            else:
                await self._void()

    async def _run(self, request: web.Request, meter: Meter) -> web.StreamResponse:
        body = self.provider.body_for(self.ask.endpoint, self.ask.body, self.held.cap, self.caller)
        raw = write_body(body)
        if request.transport is None:
            raise ConnectionResetError("the caller went away")
        self._mark_sent()
        try:
            answer = await self.provider.send(self.ask.endpoint, self.ask.model, raw)
        except Unsent:
            self._sent = False
            raise
        async with answer:
            if answer.status != 200:
                raise await self._fail(answer)
            if self.ask.stream and answer.content_type == "text/event-stream":
                return await self._stream(request, answer, meter)
            return await self._whole(answer, meter)

    # --- whole answers ------------------------------------------------------------------------------------------

    async def _whole(self, answer: aiohttp.ClientResponse, meter: Meter) -> web.Response:
        raw = self.provider.redact(await _read(answer, ANSWER_BYTES_MOST))
        if answer.content_type == "text/event-stream":
            _read_unasked(raw, meter)
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004  (like invalid JSON)
        meter.read_answer(document)
        if document.get("error"):
            if not meter.knows and "object" not in document:
                raise ValueError("the answer is an error")
            raw = json.dumps(clean_answer(document)).encode()
        end = meter.settlement(self._elapsed())
        await self._settle(end)
        headers = self._headers()
        headers["x-keyguard-cost-usd"] = usd(end.cost)
        if self.held.left is not None:
            headers["x-keyguard-remaining-usd"] = usd(max(0, self.held.left + self.held.call.held - end.cost))
        return web.Response(body=raw, content_type="application/json", headers=headers)

    async def _fail(self, answer: aiohttp.ClientResponse) -> Refused:
        """Settle a call that the provider refused, and return what the caller is told."""
        raw = b""
        with contextlib.suppress(*_BROKEN):  # the status says enough
            raw = self.provider.redact(await _read(answer, ERROR_BYTES_MOST))
        failure = failure_of(answer.status, answer.headers, raw, self.provider.spec)
        if not failure.charged:
            outcome = f"provider_{answer.status}"
            await self._settle(Settlement(cost=0, outcome=outcome, duration_ms=self._elapsed()))
        elif failure.input_only:
            cost = min(self.priced.worst(self.ask.input_tokens, 0), self.held.call.held)
            await self._settle(Settlement(cost=cost, outcome="content_filter", duration_ms=self._elapsed()))
        return failure.refusal

    # --- streams ------------------------------------------------------------------------------------------------

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse, meter: Meter) -> web.StreamResponse:
        reader = Reader(request, self._stream_headers())
        try:
            await reader.start()
            await self._pass_all(answer, meter, reader)
        except Exception as error:  # noqa: BLE001  (an answer that has begun cannot become another one)
            if not self._resolved:
                log.warning("call %s: the provider's stream broke off: %s", self.held.call.id, type(error).__name__)
                await self._settle(meter.settlement(self._elapsed(), "interrupted"))
                await reader.write(_error_frame(self._broken(error)))
        else:
            await self._settle(meter.settlement(self._elapsed(), reader.outcome))
        await reader.finish()
        return reader.response

    async def _pass_all(self, answer: aiohttp.ClientResponse, meter: Meter, reader: Reader) -> None:
        frames = Frames()
        async with asyncio.timeout(None) as patience:
            async for chunk in answer.content.iter_any():
                await self._pass_on(frames.feed(chunk), meter, reader)
                if self._resolved and patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + END_SECONDS)
        rest = frames.end()
        if parse_data(rest) is not None or data_of(rest).strip() == b"[DONE]":  # else it was cut off
            await self._pass_on([rest + b"\n\n"], meter, reader)

    async def _pass_on(self, arrived: list[bytes], meter: Meter, reader: Reader) -> None:
        passed = []
        for frame in arrived:
            plain = self.provider.redact(frame)
            last, only_usage = meter.read_frame(plain)
            if last and meter.knows:
                # The caller may look at its balance as soon as it sees the end.
                await self._settle(meter.settlement(self._elapsed(), reader.outcome))
            if not only_usage or self.ask.wants_usage:
                passed.append(clean_frame(plain))
        if passed:
            await reader.write(b"".join(passed))

    # --- the ledger ---------------------------------------------------------------------------------------------

    async def _settle(self, end: Settlement) -> None:
        if self._resolved:
            return
        self._resolved = True
        try:
            await self.book.settle(self.held.call, end)
        except LedgerUnavailable as error:
            # The hold stays until the ledger answers again, and the book writes what the call came to.
            log.error("call %s could not be settled yet, and stays held: %s", self.held.call.id, error)
        if end.outcome in {"overrun", "invalid_usage", "no_usage"}:
            log.warning("call %s of %s: %s", self.held.call.id, self.held.call.model, end.outcome)
        self.waiting.release()

    async def _void(self) -> None:
        if self._resolved:
            return
        self._resolved = True
        try:
            await self.book.void(self.held.call.id)
        except LedgerUnavailable as error:
            log.error("call %s could not be voided yet, and stays held: %s", self.held.call.id, error)
        self.waiting.release()

    def _mark_sent(self) -> None:
        try:
            self.book.mark_sent(self.held.call.id)
        except LedgerUnavailable as error:
            raise Unavailable("The ledger does not answer. Nothing was sent.", code="ledger_unavailable") from error
        self._sent = True

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


def _read_unasked(raw: bytes, meter: Meter) -> None:
    """Take the cost from a stream that nobody asked for, and that cannot be passed on."""
    frames = Frames()
    for frame in [*frames.feed(raw), frames.end()]:
        meter.read_frame(frame)


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    plain = "Content-Encoding" not in answer.headers
    if plain and answer.content_length is not None and answer.content_length <= most:
        return await answer.read()
    raw = bytearray()
    async for chunk in answer.content.iter_any():
        raw += chunk
        if len(raw) > most:
            raise ValueError("the provider's answer is too large")
    return bytes(raw)


def _error_frame(refusal: Refused) -> bytes:
    return b"data: " + json.dumps(refusal.body()).encode() + b"\n\n"
