import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keyguard_jupyter.errors import LedgerUnavailable
from keyguard_jupyter.ledger import book
from keyguard_jupyter.ledger.book import Amount, Book, NoRoom, Stale, Unopened
from keyguard_jupyter.ledger.calls import CHARGED_IN_FULL
from keyguard_jupyter.money import LARGEST

from .ledgers import Ledger, make_call, make_limit, paid

ADA = make_limit(1000)
TEAM = make_limit(5000, scope="group", name="team")


class Lock:
    """Somebody who has the database's write lock."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)

    def take(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def give(self) -> None:
        self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()


@pytest.fixture
def lock(path: Path) -> Iterator[Lock]:
    with closing(Lock(path)) as lock:
        yield lock


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """Let the book wait for a fifth of a second only; return how long in all it may take then."""
    monkeypatch.setattr(book, "BUSY_SECONDS", 0.2)
    return 2.0


async def test_a_hold_takes_the_worst_case_from_every_limit(ledger: Ledger) -> None:
    """While a call is in flight, its worst case is held in each of its limits, and nothing is spent."""
    left = await ledger.hold(make_call(300), ADA, TEAM)
    assert left == 700
    assert ledger.balance(ADA) == ledger.balance(TEAM) == (0, 300)


async def test_a_settlement_gives_back_what_was_not_used(ledger: Ledger) -> None:
    """The hold ends and the cost is spent, in each limit; one row tells of the call."""
    call = make_call(300)
    await ledger.hold(call, ADA, TEAM)
    ledger.book.mark_sent(call.id)
    assert await ledger.book.settle(call, paid(120, input=10, cached=4, output=7, reasoning=5))
    assert ledger.balance(ADA) == ledger.balance(TEAM) == (120, 0)
    row = ledger.rows(
        "SELECT id, cost, held, input_tokens, cached_tokens, output_tokens, reasoning_tokens, groups FROM usage"
    )
    assert row == [(call.id, 120, 300, 14, 4, 7, 5, '["team"]')]
    assert ledger.rows("SELECT * FROM holds") == []


async def test_a_void_leaves_no_trace(ledger: Ledger) -> None:
    """A call that reached no provider costs nothing, and no report shows it."""
    call = make_call(300)
    await ledger.hold(call, ADA, TEAM)
    assert await ledger.book.void(call.id)
    assert ledger.balance(ADA) == ledger.balance(TEAM) == (0, 0)
    assert ledger.rows("SELECT * FROM usage") == ledger.rows("SELECT * FROM holds") == []


async def test_a_limit_may_be_used_to_the_last_nano_dollar(ledger: Ledger) -> None:
    """What fits exactly is granted, and one more is refused with what is spent, held and left."""
    first = make_call(400)
    await ledger.hold(first, ADA)
    assert await ledger.hold(make_call(600), ADA) == 0
    with pytest.raises(NoRoom) as caught:
        await ledger.hold(make_call(1), ADA)
    assert (caught.value.limit, caught.value.spent, caught.value.held, caught.value.left) == (ADA, 0, 1000, 1000)
    await ledger.book.settle(first, paid(400))
    with pytest.raises(NoRoom) as caught:
        await ledger.hold(make_call(1), ADA)
    assert (caught.value.spent, caught.value.held, caught.value.left) == (400, 600, 600)


async def test_a_call_that_costs_nothing_fits_a_full_limit(ledger: Ledger) -> None:
    """Free models may be used when the money is spent, and with a limit of nothing."""
    none = make_limit(0)
    assert await ledger.hold(make_call(0), none) == 0
    with pytest.raises(NoRoom):
        await ledger.hold(make_call(1), none)


async def test_a_limit_below_what_is_spent_grants_nothing(ledger: Ledger) -> None:
    """A limit that is lowered below its spending refuses; raised again, it knows what was spent."""
    call = make_call(500)
    await ledger.hold(call, ADA)
    await ledger.book.settle(call, paid(500))
    with pytest.raises(NoRoom) as caught:
        await ledger.hold(make_call(1), replace(ADA, amount=400))
    assert caught.value.left == -100
    assert await ledger.hold(make_call(1), replace(ADA, amount=600)) == 99


async def test_a_call_without_limits_is_still_recorded(ledger: Ledger) -> None:
    """Where nothing limits a call, it is held and settled all the same."""
    call = make_call(300)
    assert await ledger.hold(call) is None
    assert await ledger.book.settle(call, paid(120))
    assert ledger.rows("SELECT cost FROM usage") == [(120,)]


async def test_largest_amounts_are_exact(ledger: Ledger) -> None:
    """The largest amount of money that can be written is counted to the nano-dollar."""
    vast, call = make_limit(LARGEST), make_call(LARGEST - 1)
    assert await ledger.hold(call, vast) == 1
    await ledger.book.settle(call, paid(LARGEST - 1))
    assert ledger.balance(vast) == (LARGEST - 1, 0)


@pytest.mark.parametrize("full", [0, 1, 2])
async def test_all_limits_or_none(ledger: Ledger, full: int) -> None:
    """If one of a call's limits has no room, whichever it is, nothing is written to any."""
    limits = [ADA, TEAM, make_limit(9000, scope="project", name="course")]
    limits[full] = replace(limits[full], amount=99)
    ledger.open(*limits)
    before = ledger.contents()
    with pytest.raises(NoRoom) as caught:
        await ledger.hold(make_call(100), *limits, make_limit(5, "requests", window="minute"))
    assert caught.value.limit == limits[full]
    assert ledger.contents() == before


async def test_the_tightest_limit_is_told(ledger: Ledger) -> None:
    """A hold returns the smallest rest of the limits in dollars; others do not count."""
    rates = [make_limit(amount, unit) for unit, amount in (("requests", 2), ("tokens", 1000), ("concurrent", 3))]
    assert await ledger.hold(make_call(100), TEAM, ADA, *rates) == 900
    assert await ledger.hold(make_call(100), *rates) is None


async def test_a_counter_in_dollars_must_be_opened_first(ledger: Ledger) -> None:
    """A limit without a counter may have a history: the book refuses to guess, and writes nothing."""
    ledger.open(TEAM)
    before = ledger.contents()
    with pytest.raises(Unopened) as caught:
        await ledger.book.hold(make_call(), [Amount(TEAM, 100), Amount(ADA, 100)], ledger.book.revision())
    assert caught.value.limit == ADA
    assert ledger.contents() == before


async def test_a_decision_on_an_old_policy_holds_nothing(ledger: Ledger) -> None:
    """When policy or keys changed since the decision, it has to be taken again."""
    ledger.open(ADA)
    before, revision = ledger.contents(), ledger.book.revision()
    ledger.report(lambda db: db.exec_driver_sql("UPDATE state SET value = value + 1"))
    with pytest.raises(Stale):
        await ledger.book.hold(make_call(), [Amount(ADA, 100)], revision)
    assert ledger.contents() == before
    assert ledger.book.revision() == revision + 1
    await ledger.book.hold(make_call(), [Amount(ADA, 100)], revision + 1)


@pytest.mark.parametrize("first", ["settle", "void"])
@pytest.mark.parametrize("second", ["settle", "void"])
async def test_a_call_ends_once(ledger: Ledger, first: str, second: str) -> None:
    """Whoever ends a call first, ends it: a second settlement or void changes nothing, and says so."""
    call = make_call(300)
    ends: dict[str, Callable[[], asyncio.Future[bool]]] = {
        "settle": lambda: asyncio.ensure_future(ledger.book.settle(call, paid(120))),
        "void": lambda: asyncio.ensure_future(ledger.book.void(call.id)),
    }
    await ledger.hold(call, ADA)
    assert await ends[first]()
    after = ledger.contents()
    assert not await ends[second]()
    assert ledger.contents() == after


async def test_of_two_ends_at_once_one_counts(ledger: Ledger, open_another: Callable[[], Ledger]) -> None:
    """Settlements that meet, in one process or in two, end the call once."""
    another, call = open_another(), make_call(300)
    await ledger.hold(call, ADA)
    done = await asyncio.gather(
        ledger.book.settle(call, paid(120)),
        ledger.book.settle(call, paid(120)),
        another.book.settle(call, paid(120)),
        ledger.book.void(call.id),
    )
    assert sorted(done) == [False, False, False, True]
    (spent, held), rows = ledger.balance(ADA), ledger.rows("SELECT cost FROM usage")
    assert held == 0
    assert (spent, rows) in [(120, [(120,)]), (0, [])]


async def test_a_call_that_was_never_held_cannot_be_settled(ledger: Ledger) -> None:
    """Without a hold there is nothing to charge."""
    ledger.open(ADA)
    before = ledger.contents()
    assert not await ledger.book.settle(make_call(), paid(50))
    assert not await ledger.book.void(make_call().id)
    assert ledger.contents() == before


async def test_the_same_call_is_not_held_twice(ledger: Ledger) -> None:
    """A second hold of one call is refused, and neither it nor its neighbours in the same moment leave traces of it."""
    call, neighbours = make_call(100), [make_call(100) for _ in range(3)]
    await ledger.hold(call, ADA)
    found = await asyncio.gather(
        ledger.hold(neighbours[0], ADA),
        ledger.hold(call, ADA),
        ledger.hold(neighbours[1], ADA),
        ledger.hold(neighbours[2], ADA),
        return_exceptions=True,
    )
    assert isinstance(found[1], LedgerUnavailable)
    assert [found[0], found[2], found[3]] == [800, 700, 600]
    assert ledger.balance(ADA) == (0, 400)


async def test_requests_are_counted_when_they_start(ledger: Ledger) -> None:
    """A request counts in its minute however it ends, unless it never went out."""
    limit = make_limit(2, "requests", window="minute")
    first, second = make_call(), make_call()
    await ledger.hold(first, limit)
    await ledger.book.settle(first, paid(0))
    await ledger.hold(second, limit)
    with pytest.raises(NoRoom):
        await ledger.hold(make_call(), limit)
    await ledger.book.void(second.id)
    await ledger.hold(make_call(), limit)
    assert ledger.counter(limit) == (1, 1)


async def test_tokens_are_counted_as_used(ledger: Ledger) -> None:
    """Of the tokens held, those that the provider reports are spent, in and out."""
    limit, call = make_limit(1000, "tokens", window="minute"), make_call()
    await ledger.hold(call, Amount(limit, 600))
    assert ledger.counter(limit) == (0, 600)
    await ledger.book.settle(call, paid(5, input=100, cached=20, output=30))
    assert ledger.counter(limit) == (150, 0)


@pytest.mark.parametrize("outcome", CHARGED_IN_FULL)
async def test_tokens_of_an_unknown_use_are_all_counted(ledger: Ledger, outcome: str) -> None:
    """Without a usage that can be believed, all tokens that were held count as used."""
    limit, call = make_limit(1000, "tokens", window="minute"), make_call()
    await ledger.hold(call, Amount(limit, 600))
    await ledger.book.settle(call, paid(call.held, outcome))
    assert ledger.counter(limit) == (600, 0)


@pytest.mark.parametrize("outcome", ["ok", *CHARGED_IN_FULL])
async def test_calls_at_once_are_counted_while_they_last(ledger: Ledger, outcome: str) -> None:
    """A limit on calls in flight has room again as soon as one of them ends, however it ends."""
    limit, calls = make_limit(2, "concurrent"), [make_call() for _ in range(3)]
    await ledger.hold(calls[0], limit)
    await ledger.hold(calls[1], limit)
    with pytest.raises(NoRoom):
        await ledger.hold(calls[2], limit)
    await ledger.book.settle(calls[0], paid(50, outcome))
    await ledger.hold(calls[2], limit)
    await ledger.book.void(calls[1].id)
    assert ledger.counter(limit) == (0, 1)


async def test_a_minute_is_counted_apart_from_the_next(ledger: Ledger) -> None:
    """Each window has a counter of its own, and a call is settled in the one that it was held in."""
    this = make_limit(1, "requests", window="minute")
    following = replace(this, starts_at=this.resets_at, resets_at=None)
    call = make_call()
    await ledger.hold(call, this)
    await ledger.hold(make_call(), following)
    await ledger.book.settle(call, paid(0))
    assert (ledger.counter(this), ledger.counter(following)) == ((1, 0), (0, 1))


async def test_many_at_once_never_take_too_much(ledger: Ledger) -> None:
    """Of a hundred calls in one moment exactly those are granted that have room."""
    found = await asyncio.gather(*(ledger.hold(make_call(30), ADA, TEAM) for _ in range(100)), return_exceptions=True)
    assert [left for left in found if isinstance(left, int)] == [1000 - 30 * count for count in range(1, 34)]
    assert sum(isinstance(left, NoRoom) for left in found) == 67
    assert ledger.balance(ADA) == ledger.balance(TEAM) == (0, 990)


async def test_two_books_share_one_ledger(ledger: Ledger, open_another: Callable[[], Ledger]) -> None:
    """What one process holds, another sees; either may end the other's calls."""
    another, call = open_another(), make_call(700)
    await ledger.hold(call, ADA)
    with pytest.raises(NoRoom):
        await another.hold(make_call(301), ADA)
    assert await another.book.settle(call, paid(10))
    assert not await ledger.book.settle(call, paid(700))
    assert await another.hold(make_call(990), ADA) == 0


async def test_two_books_at_once_never_take_too_much(ledger: Ledger, open_another: Callable[[], Ledger]) -> None:
    """Two processes that take turns within one moment grant exactly what there is."""
    another = open_another()
    ledgers = [ledger, another] * 40
    found = await asyncio.gather(*(one.hold(make_call(30), ADA) for one in ledgers), return_exceptions=True)
    assert sum(isinstance(left, int) for left in found) == 33
    assert ledger.balance(ADA) == (0, 990)


async def test_a_lock_that_is_soon_given_back_is_waited_for(ledger: Ledger, lock: Lock) -> None:
    """While others write, a call waits, and the loop serves everybody else meanwhile."""
    ledger.open(ADA)
    lock.take()
    waiting = asyncio.ensure_future(ledger.hold(make_call(100), ADA))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    lock.give()
    assert await waiting == 900


async def test_a_locked_ledger_refuses_in_time(ledger: Ledger, lock: Lock, short: float) -> None:
    """When the lock does not come back, holds are refused within the busy time, and nothing is written by them."""
    ledger.open(ADA)
    before = ledger.contents()
    lock.take()
    calls = (ledger.hold(make_call(100), ADA) for _ in range(3))
    async with asyncio.timeout(short):
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in found] == [LedgerUnavailable] * 3
    lock.give()
    assert await ledger.hold(make_call(1), ADA) == 999
    assert [len(rows) for rows in ledger.contents()] == [len(before[0]), len(before[1]) + 1, 0]


async def test_an_end_that_cannot_be_written_is_written_later(ledger: Ledger, lock: Lock, short: float) -> None:
    """A settlement or a void that the lock kept out says so, and is done before whatever comes after."""
    ended, dropped = make_call(100), make_call(200)
    await ledger.hold(ended, ADA)
    await ledger.hold(dropped, ADA)
    lock.take()
    async with asyncio.timeout(short):
        found = await asyncio.gather(
            ledger.book.settle(ended, paid(40)), ledger.book.void(dropped.id), return_exceptions=True
        )
    assert [type(error) for error in found] == [LedgerUnavailable] * 2
    lock.give()
    assert await ledger.hold(make_call(960), ADA) == 0
    assert ledger.balance(ADA) == (40, 960)
    assert not await ledger.book.settle(ended, paid(40))
    assert ledger.rows("SELECT cost FROM usage") == [(40,)]


async def test_whoever_goes_away_before_the_hold_holds_nothing(ledger: Ledger, lock: Lock) -> None:
    """A call that is cancelled while it waits for the lock is not held."""
    ledger.open(ADA)
    lock.take()
    waiting = asyncio.ensure_future(ledger.hold(make_call(100), ADA))
    await asyncio.sleep(0)
    waiting.cancel()
    lock.give()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await ledger.hold(make_call(1000), ADA) == 0


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_goes_away_leaves_nothing_held(ledger: Ledger, turns: int) -> None:
    """A call that is cancelled, however far its hold has come, is either answered or not held."""
    ledger.open(ADA)
    waiting = asyncio.ensure_future(ledger.hold(make_call(100), ADA))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    (found,) = await asyncio.gather(waiting, return_exceptions=True)
    await ledger.book.void(make_call().id)  # after everything that was asked for before
    assert ledger.balance(ADA) == (0, 100 if found == 900 else 0)


@pytest.mark.parametrize("turns", range(4))
async def test_a_settlement_is_done_though_nobody_waits(ledger: Ledger, turns: int) -> None:
    """To cancel who settles does not undo the settlement."""
    call = make_call(100)
    await ledger.hold(call, ADA)
    settling = asyncio.ensure_future(ledger.book.settle(call, paid(40)))
    await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    await ledger.book.void(make_call().id)
    assert ledger.balance(ADA) == (40, 0)


async def test_closing_waits_for_what_was_asked_for(path: Path) -> None:
    """What was asked for before a book was closed is in the ledger afterwards."""
    ledger = Ledger(path)
    ledger.open(ADA)
    call = make_call(100)
    await ledger.hold(call, ADA)
    settling = asyncio.ensure_future(ledger.book.settle(call, paid(40)))
    await asyncio.sleep(0)
    await ledger.close()
    assert await settling
    assert ledger.rows("SELECT cost FROM usage") == [(40,)]


async def test_a_closed_book_can_be_closed_while_locked(ledger: Ledger, lock: Lock, short: float) -> None:
    """A lock that does not come back does not keep a gateway from ending; what is unwritten stays to be recovered."""
    call = make_call(100)
    another = Book(ledger.path, ledger.presence)
    ledger.open(ADA)
    await another.hold(call, [Amount(ADA, 100)], another.revision())
    lock.take()
    settling = asyncio.ensure_future(another.settle(call, paid(40)))
    await asyncio.sleep(0)
    async with asyncio.timeout(2 * short):
        await another.close()
    with pytest.raises(LedgerUnavailable):
        await settling
    lock.give()
    assert ledger.balance(ADA) == (0, 100)


async def test_a_file_that_is_no_ledger_is_unavailable(ledger: Ledger, tmp_path: Path) -> None:
    """A database that has not the ledger's tables, or cannot be opened, does not answer."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerUnavailable):
        Book(tmp_path / "folder", ledger.presence)
    empty = Book(tmp_path / "empty.db", ledger.presence)
    try:
        with pytest.raises(LedgerUnavailable):
            empty.revision()
        with pytest.raises(LedgerUnavailable):
            await empty.hold(make_call(), [Amount(ADA, 100)], 1)
    finally:
        await empty.close()


async def test_an_end_that_cannot_be_counted_is_told(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """If the counters contradict a hold, its end is refused, the log says so, and other calls go on."""
    bobs = make_limit(1000, name="bob")
    broken, other = make_call(100), make_call(100, person="bob")
    await ledger.hold(broken, ADA)
    await ledger.hold(other, bobs)
    ledger.report(lambda db: db.exec_driver_sql("UPDATE counters SET held = 0 WHERE id = ?", (ADA.counter,)))
    with caplog.at_level(logging.ERROR):
        found = await asyncio.gather(
            ledger.book.settle(broken, paid(40)), ledger.book.settle(other, paid(40)), return_exceptions=True
        )
    assert isinstance(found[0], LedgerUnavailable)
    assert found[1] is True
    assert "cannot be written" in caplog.text
    assert ledger.balance(bobs) == (40, 0)
