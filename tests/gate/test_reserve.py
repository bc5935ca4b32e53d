"""Holding money: whole, shortened, after a wait in line, or not at all. Against a real ledger."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.errors import BadRequest, OverBudget, TooMany
from keyguard_jupyter.gate.ask import read_ask
from keyguard_jupyter.gate.priced import Priced
from keyguard_jupyter.gate.reserve import Held
from keyguard_jupyter.ledger.book import Stale
from keyguard_jupyter.ledger.calls import Settlement
from keyguard_jupyter.ledger.counters import balances
from tests.support.bench import ROUTES, SPEC, Bench, ask_for, limit, set_up


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Make a ledger."""
    async with set_up(tmp_path) as made:
        yield made


async def reached(state: Callable[[], bool]) -> None:
    """Let the loop run until it is so."""
    async with asyncio.timeout(10):
        while not state():
            await asyncio.sleep(0)


def worst(cap: int) -> int:
    """Return what the usual call holds."""
    ask, priced = ask_for(max_tokens=cap)
    return priced.worst(ask.input_tokens, cap)


# --- whole, shortened, refused --------------------------------------------------------------------------------------


async def test_the_worst_case_is_held(bench: Bench) -> None:
    """A call that fits holds exactly its worst case, under every limit, and knows what the tightest has left."""
    wide, narrow = limit(10**9), limit(2 * 10**6, pattern="gpt-4.1*")
    found = await bench.hold([wide, narrow])
    assert (found.call.held, found.cap, found.shortened, found.left) == (worst(100), 100, False, 2 * 10**6 - worst(100))
    assert await bench.held(wide) == await bench.held(narrow) == worst(100)
    await bench.settle(found, 5)
    assert await bench.held(wide, narrow) == 0


async def test_an_answer_is_shortened_to_what_is_left(bench: Bench) -> None:
    """A cap that does not fit is lowered to the largest one that does, and no further."""
    room = limit(worst(60))
    found = await bench.hold([room])
    assert (found.cap, found.shortened, found.call.held) == (60, True, worst(60))
    assert found.left == 0


async def test_an_answer_is_shortened_for_its_choices_together(bench: Bench) -> None:
    """With several answers, the cap of each is lowered alike."""
    ask = ask_for(max_tokens=100, n=4)
    whole = ask[1].worst(ask[0].input_tokens, 4 * 50)
    assert (await bench.hold([limit(whole)], ask=ask)).cap == 50


async def test_an_answer_is_not_shortened_below_the_floor(bench: Bench) -> None:
    """Less than the floor is refused, with what is used, whom to ask, and no invitation to try again."""
    found = await bench.hold([limit(worst(16))])
    assert found.cap == 16
    with pytest.raises(OverBudget) as refused:
        await bench.hold([limit(worst(15), name="bob")])
    assert refused.value.headers() == {"x-should-retry": "false"}
    assert "grace@example.org" in refused.value.message
    assert "does not reset by itself" in refused.value.message


async def test_a_small_cap_of_the_callers_own_is_its_floor(bench: Bench) -> None:
    """Who asks for five tokens gets five or none."""
    assert (await bench.hold([limit(worst(5))], cap=5)).cap == 5
    with pytest.raises(OverBudget):
        await bench.hold([limit(worst(4), name="bob")], cap=5)


async def test_a_response_is_not_shortened_below_what_the_provider_takes(bench: Bench) -> None:
    """The route for responses takes no cap under sixteen, whatever floor the host has chosen."""
    bench.floor = 1
    ask = ask_for("responses", max_output_tokens=100)
    with pytest.raises(OverBudget):
        await bench.hold([limit(ask[1].worst(ask[0].input_tokens, 15))], ask=ask)
    assert (await bench.hold([limit(ask[1].worst(ask[0].input_tokens, 16), name="bob")], ask=ask)).cap == 16


async def test_what_has_no_output_is_held_or_refused(bench: Bench) -> None:
    """Embeddings cannot be shortened."""
    ask = ask_for("embeddings", "text-embedding-3-small")
    need = ask[1].worst(ask[0].input_tokens, 0)
    assert (await bench.hold([limit(need)], cap=None, ask=ask)).cap is None
    with pytest.raises(OverBudget):
        await bench.hold([limit(need - 1, name="bob")], cap=None, ask=ask)


async def test_rates_refuse_at_once_and_say_when(bench: Bench) -> None:
    """Requests and tokens per minute do not make anybody wait: the next minute does."""
    requests = limit(1, unit="requests")
    await bench.hold([requests])
    with pytest.raises(TooMany) as refused:
        await bench.hold([requests], seconds=60)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 60
    with pytest.raises(TooMany, match="tokens per minute"):
        await bench.hold([limit(10, unit="tokens")])


async def test_tokens_per_minute_shorten_answers(bench: Bench) -> None:
    """A limit of tokens lowers the cap as a limit of money does."""
    ask, _ = ask_for(max_tokens=100)
    found = await bench.hold([limit(ask.input_tokens + 40, unit="tokens")])
    assert (found.cap, found.shortened) == (40, True)


async def test_what_cannot_be_counted_is_refused(bench: Bench) -> None:
    """A worst case beyond what the ledger can count does not reach it."""
    table = prices.load({"openai/dear": {"input": "1000000", "output": "1000000"}})
    priced = Priced.find(table, SPEC, "dear")
    body = {"model": "dear", "prompt": ["x"] * 2048, "max_tokens": 10_000_000, "n": 8}
    ask = read_ask(ROUTES["completions"], body, SPEC, priced.price, 8)
    with pytest.raises(BadRequest):
        await bench.hold([], cap=10_000_000, ask=(ask, priced))


async def test_a_limit_over_a_history_counts_it(bench: Bench) -> None:
    """A counter that does not exist yet is computed from what was spent and is held already."""
    await bench.settle(await bench.hold([]))
    running = await bench.hold([])
    new = limit(3 * worst(100))
    found = await bench.hold([new])
    assert found.left == 0
    assert await bench.held(new) == 2 * worst(100)
    await bench.settle(running, 0)
    assert await bench.held(new) == worst(100)


# --- waiting --------------------------------------------------------------------------------------------------------


async def test_who_fits_but_for_others_waits_and_is_served_in_order(bench: Bench) -> None:
    """Calls wait for what others hold, and get it in the order in which they came."""
    room = limit(worst(100))
    running = await bench.hold([room])
    served: list[int] = []

    async def one(number: int) -> None:
        held = await bench.hold([room])
        served.append(number)
        await bench.settle(held, 0)

    tasks = []
    for number in range(8):
        tasks.append(asyncio.create_task(one(number)))
        await reached(lambda number=number: bench.in_line() == number + 1)  # type: ignore[misc]
    assert served == []
    await bench.settle(running, 0)
    await asyncio.gather(*tasks)
    assert served == list(range(8))
    assert bench.waiting._turns == {}


async def test_no_release_is_missed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is released while a waiting call looks is seen, although nobody looks again by the clock."""
    monkeypatch.setattr("keyguard_jupyter.gate.reserve.LOOK_SECONDS", 3600.0)
    room = limit(worst(100))
    for _ in range(50):
        running = await bench.hold([room])
        waiting = asyncio.create_task(bench.hold([room]))
        for _ in range(next(STEPS)):
            await asyncio.sleep(0)
        await bench.settle(running, 0)
        async with asyncio.timeout(5):
            await bench.settle(await waiting, 0)


STEPS = itertools.cycle(range(12))


async def test_what_another_process_releases_is_seen(bench: Bench) -> None:
    """A release that nobody here hears of is found by looking now and then."""
    room = limit(worst(100))
    running = await bench.hold([room])
    waiting = asyncio.create_task(bench.hold([room]))
    await reached(lambda: bench.in_line() == 1)
    await bench.book.settle(running.call, Settlement(cost=0, outcome="ok"))  # and no word to those who wait
    assert (await waiting).cap == 100


async def test_waiting_ends_at_the_deadline(bench: Bench) -> None:
    """Who waits in vain is told to try again, at the head of the line and behind it; nothing is left behind."""
    room = limit(worst(100))
    running = await bench.hold([room])
    ends = await asyncio.gather(*(bench.hold([room], seconds=0.05) for _ in range(5)), return_exceptions=True)
    for end in ends:
        assert isinstance(end, TooMany)
        assert (end.code, end.retry_after) == ("rate_limit_exceeded", 2)
        assert "hold it" in end.message
    assert bench.waiting._turns == {}
    assert await bench.held(room) == running.call.held


async def test_who_leaves_does_not_keep_others_waiting(bench: Bench) -> None:
    """Cancelled at the head of the line, behind it, or gone: the others are served, and no lock is left."""
    room = limit(worst(100))
    running = await bench.hold([room])
    left = asyncio.Event()
    head = asyncio.create_task(bench.hold([room]))
    await reached(lambda: bench.in_line() == 1)
    behind = asyncio.create_task(bench.hold([room]))
    gone = asyncio.create_task(bench.hold([room], gone=left.is_set))
    last = asyncio.create_task(bench.hold([room]))
    await reached(lambda: bench.in_line() == 4)
    left.set()
    behind.cancel()
    head.cancel()
    await bench.settle(running, 0)
    assert (await last).cap == 100
    for task in (head, behind):
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(ConnectionResetError):
        await gone
    assert bench.waiting._turns == {}
    assert await bench.held(room) == worst(100)


async def test_cancelling_at_any_moment_holds_nothing(bench: Bench) -> None:
    """However far an attempt has come, cancelling it leaves no hold."""
    room = limit(10**9)
    for steps in range(12):
        attempt = asyncio.create_task(bench.hold([room]))
        for _ in range(steps):
            await asyncio.sleep(0)
        attempt.cancel()
        ended = (await asyncio.gather(attempt, return_exceptions=True))[0]
        if isinstance(ended, Held):
            await bench.settle(ended, 0)
    await bench.settle(await bench.hold([]), 0)  # after everything that was asked for before
    assert await bench.held(room) == 0


async def test_who_waits_gets_a_shorter_answer_when_that_is_all_there_is(bench: Bench) -> None:
    """When the others have spent what they held, the rest decides: shorter, or refused."""
    room = limit(2 * worst(100))
    first, second = await bench.hold([room]), await bench.hold([room])
    waiting = asyncio.create_task(bench.hold([room]))
    await reached(lambda: bench.in_line() == 1)
    await bench.settle(first)
    await bench.settle(second, worst(100) - worst(40) + 1)
    assert (await waiting).cap == 39
    with pytest.raises(OverBudget):
        await bench.hold([limit(worst(100)), limit(0, name="bob")])


async def test_one_line_is_left_for_another(bench: Bench) -> None:
    """When one limit has room again and the next one has not, the call waits for that one."""
    money, calls = limit(worst(100)), limit(1, unit="concurrent", name="bob")
    one, other = await bench.hold([money]), await bench.hold([calls])
    waiting = asyncio.create_task(bench.hold([money, calls]))
    await reached(lambda: bench.in_line() == 1)
    await bench.settle(one, 0)
    await asyncio.sleep(0)
    assert not waiting.done()
    await bench.settle(other, 0)
    assert (await waiting).cap == 100


async def test_a_window_that_ends_meanwhile_is_decided_anew(bench: Bench) -> None:
    """Who waits past the end of a window is not charged to the one that ended."""
    room = limit(worst(100))
    running = await bench.hold([room])
    with pytest.raises(Stale):
        await bench.hold([room], until=datetime.now(UTC) - timedelta(seconds=1))
    await bench.settle(running, 0)


async def test_a_crowd_never_exceeds_a_limit(bench: Bench) -> None:
    """Two hundred calls under three limits: at no moment more than there is, and all of it is used."""
    limits = [limit(10 * worst(100)), limit(7, unit="concurrent"), limit(10**9, scope="project", name="default")]
    most = 0

    async def one() -> int:
        nonlocal most
        held = await bench.hold(limits, seconds=60)
        for balance in await bench.database.read(lambda db: balances(db, limits)):
            assert balance.spent + balance.held <= balance.limit.amount
        most = max(most, await bench.held(limits[1]))
        await bench.settle(held)
        return held.call.held

    ends = await asyncio.gather(*(one() for _ in range(200)), return_exceptions=True)
    served = [end for end in ends if isinstance(end, int)]
    assert {type(end) for end in ends} == {int, OverBudget}
    assert sum(served) == limits[0].amount
    assert most <= 7
    assert await bench.held(*limits) == 0
    assert bench.waiting._turns == {}
