import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from keyguard_jupyter.core.limits import Limit
from keyguard_jupyter.core.people import Caller
from keyguard_jupyter.core.policy import Budget, Group, Project, Settings, limits_for
from keyguard_jupyter.ledger.book import Amount
from keyguard_jupyter.ledger.calls import Call
from keyguard_jupyter.ledger.counters import balances
from keyguard_jupyter.ledger.recovery import forget_ended_counters

from .ledgers import NOW, Ledger, make_call, make_limit, ms, paid

SCOPES = {"project": "course", "group": "team", "person": "ada", "key": "key-1"}
WINDOWS = ("lifetime", "day", "week", "month", "until")
ZONE = "America/St_Johns"  # half an hour off, with summer time
UNTIL = NOW + timedelta(days=30)


async def spend(ledger: Ledger, cost: int, *limits: Limit, **call: Any) -> None:
    """Make a call that comes to something."""
    made = make_call(cost, **call)
    await ledger.hold(made, *limits)
    await ledger.book.settle(made, paid(cost))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("window", WINDOWS)
async def test_a_new_limit_knows_its_history(ledger: Ledger, scope: str, window: str) -> None:
    """A limit that is set today counts what was spent within its scope, models and window, and nothing else."""
    limit = make_limit(10_000, scope=scope, name=SCOPES[scope], window=window, pattern="gpt-4*", zone=ZONE, until=UNTIL)
    start = NOW - timedelta(days=400) if limit.starts_at is None else limit.starts_at
    await spend(ledger, 1, at=ms(start))
    await spend(ledger, 2, at=ms(NOW))
    await spend(ledger, 1000, at=ms(NOW), model="o3")
    await spend(ledger, 1000, at=ms(NOW), project="another")
    if limit.starts_at is not None:
        assert limit.resets_at is not None
        await spend(ledger, 4, at=ms(limit.resets_at) - 1)
        await spend(ledger, 1000, at=ms(start) - 1)
        await spend(ledger, 1000, at=ms(limit.resets_at))
    other = {"project": {}, "group": {"groups": ("teams",)}, "person": {"person": "bob"}, "key": {"key_id": "key-2"}}
    await spend(ledger, 8, at=ms(NOW), **other[scope])
    expected = 3 + (4 if limit.starts_at is not None else 0) + (8 if scope == "project" else 0)
    assert ledger.balance(limit) == (expected, 0), "computed for a report"
    ledger.open(limit)
    assert ledger.counter(limit) == (expected, 0), "computed for a hold"


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("window", WINDOWS)
async def test_a_new_limit_counts_calls_in_flight(ledger: Ledger, scope: str, window: str) -> None:
    """Calls that are in flight when a limit is set are held and settled in it, if they fall under it."""
    limit = make_limit(1000, scope=scope, name=SCOPES[scope], window=window, pattern="gpt-4*", until=UNTIL)
    falling = make_call(100)
    voided = make_call(30)
    others = [make_call(7, model="o3"), make_call(7, project="another")]
    if limit.resets_at is not None and window != "until":
        others.append(make_call(7, at=ms(limit.resets_at)))
    for call in (falling, voided, *others):
        await ledger.hold(call)
    ledger.open(limit)
    assert ledger.counter(limit) == (0, 130)
    await ledger.book.void(voided.id)
    for call in (falling, *others):
        await ledger.book.settle(call, paid(5))
    assert ledger.counter(limit) == (5, 0)


async def test_a_report_counts_calls_in_flight(ledger: Ledger) -> None:
    """What a report says is held under a limit includes calls in flight, whether or not its counter is open yet."""
    limit = make_limit(1000)
    await ledger.hold(make_call(100))
    before = ledger.contents()
    (balance,) = ledger.balances([limit])
    assert ledger.contents() == before, "to look writes nothing"
    assert (balance.spent, balance.held, balance.left) == (0, 100, 900)


async def test_what_is_left_is_never_negative(ledger: Ledger) -> None:
    """A limit that was lowered below its spending has nothing left."""
    limit = make_limit(1000)
    await spend(ledger, 600, limit)
    (balance,) = ledger.balances([replace(limit, amount=500)])
    assert balance.left == 0


async def test_a_counter_is_opened_once(ledger: Ledger) -> None:
    """To open a counter that is open changes nothing, with calls in flight too."""
    limit, call = make_limit(1000), make_call(100)
    await ledger.hold(call, limit)
    before = ledger.contents()
    ledger.open(limit)
    assert ledger.contents() == before


async def test_a_counter_may_be_forgotten_at_any_time(ledger: Ledger) -> None:
    """A counter that is deleted while calls are in flight is computed anew, and their settlement finds it."""
    limit, first, second = make_limit(1000), make_call(100), make_call(200)
    await ledger.hold(first, limit)
    await ledger.hold(second, limit)
    ledger.report(lambda db: db.execute(text("DELETE FROM counters")))
    await ledger.book.settle(first, paid(10))
    assert await ledger.hold(make_call(0), limit) == 790
    await ledger.book.settle(second, paid(20))
    assert ledger.counter(limit) == (30, 0)


async def test_a_pool_is_of_the_groups_at_the_time_of_the_call(ledger: Ledger) -> None:
    """Whoever changes groups takes no spending along: the old group's stays, the new group's does not grow."""
    team = make_limit(1000, scope="group", name="team")
    tutors = make_limit(1000, scope="group", name="tutors")
    await spend(ledger, 10, groups=("team",))
    await spend(ledger, 20, groups=("tutors",))
    await spend(ledger, 40, groups=("team", "tutors"))
    await spend(ledger, 80, groups=())
    assert ledger.balance(team) == (50, 0)
    assert ledger.balance(tutors) == (60, 0)
    ledger.open(team, tutors)
    assert (ledger.counter(team), ledger.counter(tutors)) == ((50, 0), (60, 0))


async def test_names_are_not_mixed_up(ledger: Ledger) -> None:
    """Whatever signs names hold, each limit counts what is its own."""
    names = ["a|b", "a%7Cb", "a", "A", "ä", "a b", '["a"]', 'a"', "*", "%", "_", "usd", "None"]
    limits = [make_limit(1000, name=name) for name in names]
    pools = [make_limit(1000, scope="group", name=name) for name in names]
    for number, (name, limit, pool) in enumerate(zip(names, limits, pools, strict=True)):
        await spend(ledger, number + 1, limit, pool, person=name, groups=(name,))
    expected = [(number + 1, 0) for number in range(len(names))]
    assert [ledger.counter(limit) for limit in limits] == [ledger.counter(pool) for pool in pools] == expected
    ledger.report(lambda db: db.execute(text("DELETE FROM counters")))
    assert [ledger.balance(limit) for limit in limits] == [ledger.balance(pool) for pool in pools] == expected


async def test_counters_of_ended_windows_are_forgotten(ledger: Ledger) -> None:
    """A counter goes when its window ended before a time and nothing is held in it; others stay."""
    ended, busy = make_limit(window="day"), make_limit(window="day", name="bob")
    kept = [make_limit(), make_limit(window="until", until=UNTIL), make_limit(unit="concurrent")]
    minute, month = make_limit(unit="requests", window="minute"), make_limit(window="month")
    await spend(ledger, 10, ended, *kept, minute, month)
    await ledger.hold(make_call(10, person="bob"), busy)
    assert ended.resets_at is not None
    end = ms(ended.resets_at)
    ledger.report(lambda db: forget_ended_counters(db, ms(NOW)))
    assert all(ledger.counter(limit) for limit in (ended, busy, *kept, minute, month))
    ledger.report(lambda db: forget_ended_counters(db, end + 1))
    assert ledger.counter(ended) is ledger.counter(minute) is None
    assert all(ledger.counter(limit) for limit in (busy, *kept, month))
    ledger.report(lambda db: forget_ended_counters(db, ms(UNTIL + timedelta(days=4000))))
    assert all(ledger.counter(limit) for limit in (busy, *kept))
    assert ledger.balance(ended) == (10, 0), "usage keeps what it counted"


# --- any history ----------------------------------------------------------------------------------------------------

PEOPLE = ("ada", "bob", "eve")
GROUPS = ("team", "tutors")
MODELS = ("gpt-4.1", "gpt-4.1-mini", "o3")
PLENTY = 10**9


def budgets() -> st.SearchStrategy[Budget]:
    """Return budgets with room for everything, in every window."""
    windows = st.sampled_from(WINDOWS)
    return windows.map(lambda window: Budget(PLENTY, until=UNTIL) if window == "until" else Budget(PLENTY, window))


def scopes(**other: Any) -> st.SearchStrategy[Settings]:
    """Return what a scope may limit in dollars."""
    patterns = st.sampled_from(("gpt-*", "gpt-4.1", "*-mini", "o?"))
    return st.builds(
        Settings,
        total=st.none() | budgets(),
        model_limits=st.dictionaries(patterns, budgets(), max_size=2),
        **other,
    )


@dataclass(frozen=True)
class Event:
    """A call, and how it ends: at a cost, without any, or not yet."""

    person: str
    groups: tuple[str, ...]
    model: str
    hours: float
    held: int
    end: float | None

    def call(self, project: str) -> Call:
        return make_call(
            self.held,
            project=project,
            person=self.person,
            groups=self.groups,
            key_id=f"key-{self.person}",
            model=self.model,
            at=ms(NOW + timedelta(hours=self.hours)),
        )


EVENTS = st.builds(
    Event,
    person=st.sampled_from(PEOPLE),
    groups=st.lists(st.sampled_from(GROUPS), unique=True).map(tuple),
    model=st.sampled_from(MODELS),
    hours=st.floats(-24 * 40, 24 * 20).map(lambda hours: round(hours, 3)),
    held=st.integers(0, 1000),
    end=st.none() | st.just(-1.0) | st.floats(0, 1),
)
POLICIES = st.builds(
    Project,
    name=st.just(""),
    default=st.just("allow"),
    timezone=st.sampled_from(("UTC", ZONE, "Pacific/Apia")),
    settings=scopes(),
    groups=st.fixed_dictionaries({name: st.builds(Group, settings=scopes()) for name in GROUPS}),
    people=st.fixed_dictionaries({name: scopes() for name in PEOPLE}),
)
_numbers = itertools.count()


@pytest.fixture
def run(path: Path) -> Iterator[Callable[[Any], Any]]:
    """Return what runs a coroutine function on one ledger, again and again."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        async def open_ledger() -> Ledger:
            return Ledger(path)

        ledger = runner.run(open_ledger())
        stack.callback(lambda: runner.run(ledger.close()))
        yield lambda work: runner.run(work(ledger))


def dollars(ledger: Ledger, project: str) -> list[Any]:
    """Return all counters of a project."""
    return ledger.rows("SELECT * FROM counters WHERE id LIKE ? ORDER BY id", f"{project}|%|usd|%")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=POLICIES, key=scopes(), events=st.lists(EVENTS, max_size=15))
def test_what_is_computed_is_what_was_counted(
    run: Callable[[Any], Any], policy: Project, key: Settings, events: list[Event]
) -> None:
    """Counters that were kept call by call equal those computed from history, whatever the policy and the calls were.

    With calls in flight, and after those have been settled in the computed ones.
    """
    policy = replace(policy, name=f"course-{next(_numbers)}")

    async def work(ledger: Ledger) -> None:
        limits: dict[str, Limit] = {}
        flying = []
        for event in events:
            call = event.call(policy.name)
            caller = Caller(policy.name, event.person, event.groups, call.key_id, "x7Q", "personal")
            mine = limits_for(policy, caller, key, event.model, NOW + timedelta(hours=event.hours))
            limits |= {limit.counter: limit for limit in mine}
            ledger.open(*mine)
            await ledger.book.hold(call, [Amount(limit, call.held) for limit in mine], ledger.book.revision())
            if event.end is None:
                flying.append(call)
            elif event.end < 0:
                await ledger.book.void(call.id)
            else:
                await ledger.book.settle(call, paid(int(call.held * event.end)))
        kept = dollars(ledger, policy.name)
        computed = recompute(ledger, policy.name, limits)
        assert computed == kept
        for call in flying:
            await ledger.book.settle(call, paid(call.held // 2))
        kept = dollars(ledger, policy.name)
        assert recompute(ledger, policy.name, limits) == kept
        shown = ledger.report(
            lambda db: {one.limit.counter: (one.spent, one.held) for one in balances(db, limits.values())}
        )
        assert shown == {name: (spent, held) for name, spent, held, _ends in kept}

    run(work)


def recompute(ledger: Ledger, project: str, limits: dict[str, Limit]) -> list[Any]:
    """Forget a project's counters, open them anew and return them."""
    ledger.report(lambda db: db.execute(text("DELETE FROM counters")))
    ledger.open(*limits.values())
    return dollars(ledger, project)
