"""Holding the money of a call: the whole worst case, a shorter answer, a short wait, or a refusal."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from ..core.limits import Limit
from ..errors import BadRequest, OverBudget, TooMany
from ..ledger.book import Amount, Book, NoRoom, Stale, Unopened
from ..ledger.calls import Call
from ..money import LARGEST
from .ask import Ask
from .priced import Priced
from .refusals import explain_full, explain_rate

LOOK_SECONDS = 0.25
"""How often a waiting call looks whether another process released something."""
RETRY_SECONDS = 2
OPENINGS_MOST = 100
"""How many limits of one call may have to be computed from history first."""


class Held(NamedTuple):
    """A call whose money is held.

    Args:
        cap: the output cap per answer to send, in tokens; None for a route without output.
        shortened: whether Keyguard set the cap, or lowered it.
        left: what the tightest limit has left, in nano-dollars, this hold counted; None without a limit.
    """

    call: Call
    cap: int | None
    shortened: bool
    left: int | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call waits for what others hold.

    Args:
        deadline: on the event loop's clock.
        until: when the limits on which it was decided may be others.
        gone: tells whether the caller went away.
    """

    deadline: float
    until: datetime
    gone: Callable[[], bool]

    def check(self) -> None:
        """Stop waiting, if that is of no more use.

        Raises:
            TimeoutError: it took too long.
            Stale: the limits may be others now.
            ConnectionError: nobody waits for the answer.
        """
        if self.gone():
            raise ConnectionResetError("the caller went away")
        if asyncio.get_running_loop().time() > self.deadline:
            raise TimeoutError
        if datetime.now(UTC) >= self.until:
            raise Stale


class Waiting:
    """Calls that wait for what others hold: in order of arrival, limit by limit.

    A call that fits at once does not wait: else one call that wants the rest of a pool would stop a whole course.
    """

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()
        self.released = asyncio.Event()
        """Set at the next release; to be taken before looking, or the release may happen in between."""

    def release(self) -> None:
        """Tell those who wait that something was released."""
        self.released.set()
        self.released = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, counter: str, deadline: float) -> AsyncIterator[None]:
        """Wait until all who came before are through.

        Raises:
            TimeoutError: that took too long.
        """
        lock = self._turns.setdefault(counter, asyncio.Lock())
        self._users[counter] += 1
        try:
            async with asyncio.timeout_at(deadline):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[counter] -= 1
            if not self._users[counter]:
                del self._users[counter], self._turns[counter]


async def _soon(released: asyncio.Event) -> None:
    """Return when something was released, here or perhaps by another process."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            await released.wait()


class Reservation:
    """The attempt to hold what one call needs.

    Args:
        open_counter: computes the state of a limit from history.
        first_cap: the output cap per answer to begin with; None for a route without output.
        floor: the cap below which a shortened answer is of no use.
    """

    def __init__(
        self,
        book: Book,
        waiting: Waiting,
        open_counter: Callable[[Limit], Awaitable[None]],
        ask: Ask,
        priced: Priced,
        limits: Sequence[Limit],
        first_cap: int | None,
        floor: int,
        contact: str | None,
        zone: str = "UTC",
    ) -> None:
        self._book = book
        self._waiting = waiting
        self._open_counter = open_counter
        self._ask = ask
        self._priced = priced
        self._limits = limits
        self._first_cap = first_cap
        floor = max(floor, ask.endpoint.least_cap)
        self._floor = floor if first_cap is None else min(floor, first_cap)
        self._contact = contact
        self._zone = zone

    async def make(self, describe: Callable[[int], Call], revision: int, patience: Patience) -> Held:
        """Hold the money.

        Args:
            describe: makes the call from its worst case in nano-dollars.
            revision: of the policy on which the limits were decided.
            patience: how long to wait for what others hold.

        Raises:
            OverBudget: a limit has no room, even for a short answer.
            TooMany: a rate is used up, or others held the money until the deadline.
            Stale: the policy changed meanwhile, or a limit's window ended.
            LedgerUnavailable: the database did not answer.
            ConnectionError: the caller went away.
        """
        found = await self._try(describe, revision)
        while not isinstance(found, Held):  # one turn per limit that is full because of others
            full = found
            try:
                found = await self._wait(full.limit.counter, describe, revision, patience)
            except TimeoutError:
                message = explain_full(full, waited=True)
                raise TooMany(message, code="rate_limit_exceeded", retry_after=RETRY_SECONDS) from None
        return found

    async def _wait(
        self, counter: str, describe: Callable[[int], Call], revision: int, patience: Patience
    ) -> "Held | NoRoom":
        """Wait for room under one limit; return what is full if that is another one then."""
        async with self._waiting.turn(counter, patience.deadline):
            while True:
                patience.check()
                released = self._waiting.released
                found = await self._try(describe, revision)
                if isinstance(found, Held) or found.limit.counter != counter:
                    return found
                await _soon(released)

    async def _try(self, describe: Callable[[int], Call], revision: int) -> "Held | NoRoom":
        """Hold, with a shorter answer if need be; return what is full if waiting may help."""
        cap = self._first_cap
        while True:
            worst = self._worst(cap)
            if worst > LARGEST:
                raise BadRequest("The call could cost more than can be counted.", code="invalid_request")
            call = describe(worst)
            try:
                left = await self._hold(call, cap, revision)
            except NoRoom as full:
                shorter = self._shorter(full, cap)
                if shorter == cap:
                    return full
                cap = shorter
            else:
                shortened = cap is not None and cap != self._ask.named_cap
                return Held(call, cap, shortened, left)

    async def _hold(self, call: Call, cap: int | None, revision: int) -> int | None:
        tokens = self._tokens(cap)
        sizes = {"usd": call.held, "requests": 1, "tokens": tokens, "concurrent": 1}
        amounts = [Amount(limit, sizes[limit.unit]) for limit in self._limits]
        for _ in range(OPENINGS_MOST):
            try:
                return await self._book.hold(call, amounts, revision)
            except Unopened as unopened:
                await self._open_counter(unopened.limit)
        raise Stale

    def _shorter(self, full: NoRoom, cap: int | None) -> int | None:
        """Return the cap with which the call fits what others have not spent; the same cap if it fits already.

        Raises:
            OverBudget, TooMany: it does not fit, however short the answer.
        """
        unit, left = full.limit.unit, full.left
        if unit == "requests":
            self._refuse_rate(full)
        if unit == "concurrent":
            return cap
        need = self._worst(cap) if unit == "usd" else self._tokens(cap)
        if need <= left:
            return cap
        if cap is None:
            self._refuse(full)
        if unit == "usd":
            fitting = self._priced.affordable_output(self._ask.input_tokens, left, self._ask.answers)
        else:
            fitting = (left - self._ask.input_tokens) // self._ask.answers
        if fitting < self._floor:
            self._refuse(full)
        assert cap is None or fitting < cap
        return fitting

    def _refuse(self, full: NoRoom) -> None:
        if full.limit.unit != "usd":
            self._refuse_rate(full)
        raise OverBudget(explain_full(full, contact=self._contact, zone=self._zone), code="budget_exceeded")

    def _refuse_rate(self, full: NoRoom) -> None:
        seconds = RETRY_SECONDS
        if full.limit.resets_at is not None:
            seconds = int((full.limit.resets_at - datetime.now(UTC)).total_seconds()) + 1
        raise TooMany(explain_rate(full), code="rate_limit_exceeded", retry_after=seconds)

    def _worst(self, cap: int | None) -> int:
        return self._priced.worst(self._ask.input_tokens, (cap or 0) * self._ask.answers)

    def _tokens(self, cap: int | None) -> int:
        return self._ask.input_tokens + (cap or 0) * self._ask.answers
