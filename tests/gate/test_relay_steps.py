"""A held call is resolved exactly once, at whichever step it ends."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from aiohttp import web

from keyguard_jupyter.core.people import Caller
from keyguard_jupyter.core.providers import read_providers
from keyguard_jupyter.demo.provider import Provider as StandIn
from keyguard_jupyter.errors import LedgerUnavailable, ProviderFailed, Unavailable
from keyguard_jupyter.gate.providers import Provider
from keyguard_jupyter.gate.relay import Relay
from keyguard_jupyter.ledger.book import Book
from tests.support.bench import WHO, Bench, ask_for, limit, set_up

ROOM = limit(10**9)


class Request:
    """As much of a request as matters before an answer: whether somebody is still there."""

    def __init__(self, *, gone: bool = False) -> None:
        self.transport = None if gone else object()


class Failing(Provider):
    """A provider whose body cannot be written."""

    def body_for(self, *_: Any) -> NoReturn:
        raise ZeroDivisionError


class Unmarkable(Book):
    """A ledger that cannot note that a call was sent."""

    def mark_sent(self, call_id: str) -> None:  # noqa: ARG002
        raise LedgerUnavailable("the disk is full")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Make a ledger."""
    async with set_up(tmp_path) as made:
        yield made


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    """Run a provider."""
    async with StandIn(key=None) as running:
        yield running


async def relayed(bench: Bench, url: str, kind: type[Provider] = Provider, **request: Any) -> Any:
    """Hold money for a call and relay it; return the answer, or what was raised."""
    ask, priced = ask_for(max_tokens=100)
    held = await bench.hold([ROOM])
    provider = kind(read_providers({"openai": {"base_url": url}})["openai"], "sk-some-key", 5)
    relay = Relay(bench.book, bench.waiting, provider, priced, cast("Caller", WHO), ask, held)
    try:
        return await relay.run(cast("web.Request", Request(**request)))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
        return error
    finally:
        await provider.close()


async def charges(bench: Bench) -> list[tuple[str, bool]]:
    """Return outcome, and whether all that was held was charged, of each call; nothing may be held."""
    assert await bench.held(ROOM) == 0

    def read() -> list[tuple[str, bool]]:
        with sqlite3.connect(bench.database.path) as db:
            rows = db.execute("SELECT outcome, cost, held FROM usage").fetchall()
            assert db.execute("SELECT * FROM holds").fetchall() == []
        db.close()
        return [(outcome, cost == held) for outcome, cost, held in rows]

    return await asyncio.to_thread(read)


async def test_an_answer_is_charged(bench: Bench, standin: StandIn) -> None:
    """The usual end: one answer, one charge."""
    answer = await relayed(bench, standin.url)
    assert answer.status == 200
    assert await charges(bench) == [("ok", False)]


async def test_who_is_gone_before_anything_was_sent_pays_nothing(bench: Bench, standin: StandIn) -> None:
    """A caller that left between hold and sending leaves nothing behind."""
    assert isinstance(await relayed(bench, standin.url, gone=True), ConnectionResetError)
    assert await charges(bench) == []
    assert standin.requests == []


async def test_a_fault_before_sending_costs_nothing(bench: Bench, standin: StandIn) -> None:
    """Whatever goes wrong here before the first byte is not the caller's to pay."""
    assert isinstance(await relayed(bench, standin.url, Failing), ZeroDivisionError)
    assert await charges(bench) == []
    assert standin.requests == []


async def test_what_cannot_be_marked_is_not_sent(tmp_path: Path, standin: StandIn) -> None:
    """If the ledger cannot note that a call is sent, it is not sent: 503, and the money is free again."""
    async with set_up(tmp_path) as bench:
        bench.book.__class__ = Unmarkable
        found = await relayed(bench, standin.url)
        assert isinstance(found, Unavailable)
        assert (found.status, found.code) == (503, "ledger_unavailable")
        assert await charges(bench) == []
    assert standin.requests == []


async def test_what_was_never_sent_costs_nothing(bench: Bench) -> None:
    """A connection that is refused releases the hold."""
    found = await relayed(bench, "http://127.0.0.1:1/v1")
    assert isinstance(found, ProviderFailed)
    assert await charges(bench) == []


@pytest.mark.parametrize("place", ["headers", "usage"])
async def test_a_call_that_is_cut_off_here_is_charged_in_full(bench: Bench, standin: StandIn, place: Any) -> None:
    """Cancelled while the provider works (the gateway ends), nobody knows what it bills: the hold is charged."""
    standin.hold(after=place)
    running = asyncio.create_task(relayed(bench, standin.url))
    await standin.until(held=1)
    running.cancel()
    assert isinstance(await running, asyncio.CancelledError)
    assert await charges(bench) == [("interrupted", True)]


async def test_cancelled_at_any_moment_it_is_resolved_once(bench: Bench, standin: StandIn) -> None:
    """However far a call has come when it is cut off: nothing stays held, and what was sent is charged."""
    for steps in range(40):
        running = asyncio.create_task(relayed(bench, standin.url))
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await standin.until(open=0)
    assert len(await charges(bench)) >= len([call for call in standin.requests if call.body])


async def test_an_answer_that_is_refused_is_settled_once(bench: Bench, standin: StandIn) -> None:
    """A provider's refusal costs nothing and is recorded; a second resolution finds nothing to resolve."""
    standin.script(status=400, body={"error": {"message": "no"}})
    await relayed(bench, standin.url)
    standin.script(status=503, body="<html>")
    await relayed(bench, standin.url)
    assert await charges(bench) == [("provider_400", False), ("interrupted", True)]
