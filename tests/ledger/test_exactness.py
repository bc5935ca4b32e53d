import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from keyguard_jupyter.core.limits import Limit
from keyguard_jupyter.core.matching import matches
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.ledger.book import Amount, NoRoom
from keyguard_jupyter.ledger.calls import CHARGED_IN_FULL, Call, Settlement

from .ledgers import Ledger, look, make_call, make_limit
from .processes import Worker

PEOPLE = ("ada", "bob")
MODELS = ("gpt-4.1", "o3")
GROUPS = ((), ("team",), ("team", "tutors"))
PROCESSES = st.sampled_from((0, 1))
_numbers = itertools.count()


@dataclass
class Account:
    """The model of one limit."""

    limit: Limit
    spent: int = 0
    held: int = 0

    def takes(self, call: Call) -> bool:
        owners = {"project": (call.project,), "group": call.groups, "person": (call.person,), "key": (call.key_id,)}
        return self.limit.name in owners[self.limit.scope] and matches(self.limit.pattern, call.model)


@dataclass
class Flight:
    """The model of one call in flight."""

    call: Call
    taken: list[tuple[Account, int]]
    process: int
    sent: bool = False
    ended: bool = False


class Machine(RuleBasedStateMachine):
    """Two gateways on one ledger, and a model that any child can follow: what is spent, and what is held."""

    flights = Bundle("flights")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.runner = asyncio.Runner()
        self.project = f"course-{next(_numbers)}"
        self.cost = 0
        self.open: list[Flight] = []
        self.ledgers = [self.run(self.start()) for _ in range(2)]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def start(self) -> Ledger:
        return Ledger(self.path)

    async def try_to_hold(self, process: int, call: Call, amounts: list[Amount]) -> tuple[Limit | None, int | None]:
        try:
            return None, await self.ledgers[process].hold(call, *amounts)
        except NoRoom as full:
            return full.limit, None

    @initialize(amounts=st.lists(st.integers(0, 300), min_size=5, max_size=5), rate=st.integers(1, 12))
    def set_limits(self, amounts: list[int], rate: int) -> None:
        wanted = [
            make_limit(amounts[0], project=self.project, scope="project", name=self.project),
            make_limit(amounts[1], project=self.project, scope="group", name="team", window="month", pattern="gpt-*"),
            make_limit(amounts[2], project=self.project, scope="group", name="tutors"),
            make_limit(amounts[3], project=self.project, window="week"),
            make_limit(amounts[4], project=self.project, name="bob", window="day", pattern="o3"),
            make_limit(rate, "requests", project=self.project, window="minute"),
            make_limit(rate * 40, "tokens", project=self.project, scope="group", name="team", window="minute"),
            make_limit(rate // 2, "concurrent", project=self.project, scope="project", name=self.project),
        ]
        self.accounts = [Account(limit) for limit in wanted]

    @rule(
        target=flights,
        process=PROCESSES,
        person=st.sampled_from(PEOPLE),
        groups=st.sampled_from(GROUPS),
        model=st.sampled_from(MODELS),
        held=st.integers(0, 120),
        tokens=st.integers(1, 50),
    )
    def hold(self, process: int, person: str, groups: tuple[str, ...], model: str, held: int, tokens: int) -> Any:
        """A call is held exactly when each of its limits has room."""
        call = make_call(held, project=self.project, person=person, groups=groups, model=model)
        sizes = {"usd": held, "requests": 1, "tokens": tokens, "concurrent": 1}
        taken = [(one, sizes[one.limit.unit]) for one in self.accounts if one.takes(call)]
        rests = [(one.limit, one.limit.amount - one.spent - one.held - size) for one, size in taken]
        amounts = [Amount(one.limit, size) for one, size in taken]
        full, left = self.run(self.try_to_hold(process, call, amounts))
        if full is not None:
            assert next(rest for limit, rest in rests if limit == full) < 0
            return multiple()
        assert all(rest >= 0 for _, rest in rests)
        assert left == min((rest for limit, rest in rests if limit.unit == "usd"), default=None)
        for one, size in taken:
            one.held += size
        flight = Flight(call, taken, process)
        self.open.append(flight)
        return flight

    @rule(flight=flights)
    def send(self, flight: Flight) -> None:
        """A call is sent by the process that held it, once."""
        if not flight.ended and not flight.sent:
            self.ledgers[flight.process].book.mark_sent(flight.call.id)
            flight.sent = True

    @rule(
        flight=flights,
        process=PROCESSES,
        part=st.integers(0, 4),
        tokens=st.integers(0, 60),
        outcome=st.sampled_from(("ok", "provider_error", *CHARGED_IN_FULL)),
    )
    def settle(self, flight: Flight, process: int, part: int, tokens: int, outcome: str) -> None:
        """The first to settle ends the call at its cost; whoever comes later changes nothing."""
        unknown = outcome in CHARGED_IN_FULL
        cost = flight.call.held if unknown else flight.call.held * part // 4
        end = Settlement(cost, outcome, Usage(input=tokens))
        done = self.run(self.ledgers[process].book.settle(flight.call, end))
        assert done == (not flight.ended)
        if done:
            self.charge(flight, cost, None if unknown else tokens)

    @rule(flight=consumes(flights), process=PROCESSES)
    def void(self, flight: Flight, process: int) -> None:
        """A call that is voided leaves nothing."""
        assert self.run(self.ledgers[process].book.void(flight.call.id)) == (not flight.ended)
        if not flight.ended:
            self.release(flight)

    @rule(number=st.integers(0, 7), amount=st.integers(0, 400))
    def change_a_limit(self, number: int, amount: int) -> None:
        """A limit may be raised or lowered at any time, also below what is spent."""
        account = self.accounts[number]
        account.limit = replace(account.limit, amount=amount)

    @rule()
    def forget_the_counters(self) -> None:
        """Counters of dollars may be forgotten at any time: the policy changed."""
        self.ledgers[0].report(
            lambda db: db.execute(text("DELETE FROM counters WHERE id LIKE :like"), {"like": f"{self.project}|%|usd|%"})
        )

    @precondition(lambda self: self.open)
    @rule(process=PROCESSES)
    def kill(self, process: int) -> None:
        """A process dies: what it had sent is charged in full, what it had not is released."""
        mine = [flight for flight in self.open if flight.process == process]
        self.run(self.ledgers[process].die())
        self.ledgers[process] = self.run(self.start())
        sent = [flight for flight in mine if flight.sent]
        assert self.ledgers[1 - process].recover() == (len(sent), len(mine) - len(sent))
        for flight in mine:
            if flight.sent:
                self.charge(flight, flight.call.held, None)
            else:
                self.release(flight)

    @invariant()
    def counters_are_exact(self) -> None:
        """What stands in the ledger is what the model says; of dollars, only where a counter is open."""
        found = {name: (spent, held) for name, spent, held in look(self.path, "SELECT id, spent, held FROM counters")}
        for account in getattr(self, "accounts", ()):
            counter, expected = account.limit.counter, (account.spent, account.held)
            absent = None if account.limit.unit == "usd" else (0, 0)
            assert found.get(counter, absent) in (None, expected), account
        mine = "SELECT count(*), coalesce(sum(cost), 0) FROM usage WHERE project = ?"
        assert look(self.path, mine, self.project)[0][1] == self.cost
        held = {name for (name,) in look(self.path, "SELECT id FROM holds")}
        assert held == {flight.call.id for flight in self.open}

    def charge(self, flight: Flight, cost: int, tokens: int | None) -> None:
        for account, size in flight.taken:
            spent = {"usd": cost, "requests": 1, "tokens": size if tokens is None else tokens, "concurrent": 0}
            account.spent += spent[account.limit.unit]
        self.cost += cost
        self.release(flight)

    def release(self, flight: Flight) -> None:
        for account, size in flight.taken:
            account.held -= size
        flight.ended = True
        self.open.remove(flight)

    def teardown(self) -> None:
        """In the end every limit knows its state, also those that were never used; then everything ends."""
        dollars = [account for account in getattr(self, "accounts", ()) if account.limit.unit == "usd"]
        for account in dollars:
            self.ledgers[0].open(account.limit)
        found = [self.ledgers[0].counter(account.limit) for account in dollars]
        for flight in self.open:
            self.run(self.ledgers[0].book.void(flight.call.id))
        for ledger in self.ledgers:
            self.run(ledger.close())
        self.runner.close()
        assert found == [(account.spent, account.held) for account in dollars]


def test_the_ledger_does_what_a_child_would_reckon(path: Path) -> None:
    """Whatever two gateways do, in whatever order, the ledger agrees with a simple model after every step."""
    run_state_machine_as_test(
        lambda: Machine(path),
        settings=settings(
            max_examples=40, stateful_step_count=30, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
        ),
    )


# --- real processes at once -----------------------------------------------------------------------------------------

POOL, SHARE = 4_000, 1_800
VIOLATIONS = "CREATE TABLE violations (counter TEXT, spent INTEGER, held INTEGER)"
WATCH = f"""
CREATE TRIGGER watch AFTER UPDATE ON counters
WHEN new.spent + new.held > CASE
    WHEN new.id LIKE '%|concurrent|%' THEN 4 WHEN new.id LIKE '%|project|%' THEN {POOL} ELSE {SHARE} END
BEGIN INSERT INTO violations VALUES (new.id, new.spent, new.held); END
"""


@pytest.fixture
def watched(path: Path) -> Path:
    """Return a ledger whose database itself writes down every instant at which a limit was exceeded."""
    look(path, VIOLATIONS)
    look(path, WATCH)
    return path


@pytest.fixture
def busy(watched: Path, start: Callable[[], Worker]) -> list[Worker]:
    """Return four processes that are in the middle of many calls."""
    workers = [start() for _ in range(4)]
    for worker in workers:
        worker.do("open")
    for seed, worker in enumerate(workers):
        worker.tell("hammer", seed, 80, POOL, SHARE)
    for worker in workers:
        assert worker.hear() == "under way"
    return workers


def test_many_processes_never_exceed_a_limit(watched: Path, busy: list[Worker]) -> None:
    """Four processes that make calls at once never exceed a limit, at any instant, and the totals are exact."""
    came = [worker.hear() for worker in busy]
    for worker in busy:
        worker.do("close")
    settled, cost = sum(one["settled"] for one in came), sum(one["cost"] for one in came)
    assert look(watched, "SELECT * FROM violations") == []
    assert look(watched, "SELECT count(*), sum(cost) FROM usage") == [(settled, cost)]
    assert look(watched, "SELECT spent, held FROM counters WHERE id LIKE '%|project|%|usd|%'") == [(cost, 0)]
    assert look(watched, "SELECT sum(spent), sum(held) FROM counters WHERE id LIKE '%|person|%'") == [(cost, 0)]
    assert look(watched, "SELECT DISTINCT held FROM counters") == [(0,)]
    assert look(watched, "SELECT * FROM holds") == look(watched, "SELECT * FROM processes") == []
    assert sum(one["voided"] for one in came) > 0
    assert sum(one["refused"] for one in came) > 0, "the limits were never reached: this proves nothing"
    assert settled + sum(one["voided"] + one["refused"] for one in came) == 4 * 3 * 80


def test_killing_processes_at_work_loses_nothing(watched: Path, busy: list[Worker]) -> None:
    """Of four processes two are killed in the middle of their work: what they left is resolved, and all adds up."""
    for worker in busy[2:]:
        worker.kill()
    for worker in busy[:2]:
        worker.hear()

    async def recover() -> None:
        async with Ledger(watched) as ledger:
            ledger.recover()

    asyncio.run(recover())
    for worker in busy[:2]:
        worker.do("close")
    ((cost,),) = look(watched, "SELECT sum(cost) FROM usage")
    assert look(watched, "SELECT * FROM violations") == []
    assert look(watched, "SELECT * FROM holds") == look(watched, "SELECT * FROM processes") == []
    assert look(watched, "SELECT spent, held FROM counters WHERE id LIKE '%|project|%|usd|%'") == [(cost, 0)]
    assert look(watched, "SELECT sum(spent), sum(held) FROM counters WHERE id LIKE '%|person|%'") == [(cost, 0)]
    assert look(watched, "SELECT id, count(*) FROM usage GROUP BY id HAVING count(*) > 1") == []
