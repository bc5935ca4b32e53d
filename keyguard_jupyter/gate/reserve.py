"""Holding the money of a call: the whole worst case, a shorter answer, a short wait, or a refusal."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..core.limits import Limit
from ..errors import OverBudget, TooMany
from ..ledger.book import Amount, Book, NoRoom, Unopened
from ..ledger.calls import Call
from .ask import Ask
from .priced import Priced
from .refusals import explain_full, explain_rate

LOOK_SECONDS = 0.25
"""How often a waiting call looks whether another process released something."""
RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Held:
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


class Waiting:
    """Calls that wait for what others hold: in order of arrival, limit by limit."""

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Tell those who wait that something was released."""
        self._released.set()
        self._released = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, counter: str) -> AsyncIterator[None]:
        """Wait until all who came before are through."""
        self._users[counter] += 1
        try:
            async with self._turns.setdefault(counter, asyncio.Lock()):
                yield
        finally:
            self._users[counter] -= 1
            if not self._users[counter]:
                del self._users[counter], self._turns[counter]

    async def look_again(self) -> None:
        """Return when something may have been released."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._released.wait()


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
    ) -> None:
        self._book = book
        self._waiting = waiting
        self._open_counter = open_counter
        self._ask = ask
        self._priced = priced
        self._limits = limits
        self._first_cap = first_cap
        self._floor = floor if first_cap is None else min(floor, first_cap)
        self._contact = contact

    async def make(self, call: Call, revision: int, deadline: float, gone: Callable[[], bool]) -> Held:
        """Hold the money.

        Args:
            revision: of the policy on which the limits were decided.
            deadline: on the event loop's clock; how long to wait for what others hold.
            gone: tells whether the caller went away.

        Raises:
            OverBudget: a limit has no room, even for a short answer.
            TooMany: a rate is used up, or others held the money until the deadline.
            Stale: the policy changed meanwhile.
            LedgerUnavailable: the database did not answer.
        """
        full = await self._try(call, revision)
        if isinstance(full, Held):
            return full
        while True:  # one turn per limit that is full because of others
            counter = full.limit.counter
            async with self._waiting.turn(counter):
                while full.limit.counter == counter:
                    if asyncio.get_running_loop().time() > deadline or gone():
                        raise TooMany(explain_full(full, waited=True), code="rate_limit_exceeded", retry_after=2)
                    await self._waiting.look_again()
                    full = await self._try(call, revision)
                    if isinstance(full, Held):
                        return full

    async def _try(self, call: Call, revision: int) -> "Held | NoRoom":
        """Hold, with a shorter answer if need be; return what is full if waiting may help."""
        cap = self._first_cap
        while True:
            worst = self._worst(cap)
            try:
                left = await self._hold(call.holding(worst), cap, revision)
            except NoRoom as full:
                shorter = self._shorter(full, cap)
                if shorter == cap:
                    return full
                cap = shorter
            else:
                shortened = cap is not None and cap != self._ask.named_cap
                return Held(call.holding(worst), cap, shortened, left)

    async def _hold(self, call: Call, cap: int | None, revision: int) -> int | None:
        tokens = self._tokens(cap)
        sizes = {"usd": call.held, "requests": 1, "tokens": tokens, "concurrent": 1}
        amounts = [Amount(limit, sizes[limit.unit]) for limit in self._limits]
        while True:
            try:
                return await self._book.hold(call, amounts, revision)
            except Unopened as unopened:
                await self._open_counter(unopened.limit)

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
        raise OverBudget(explain_full(full, contact=self._contact), code="budget_exceeded")

    def _refuse_rate(self, full: NoRoom) -> None:
        seconds = RETRY_SECONDS
        if full.limit.resets_at is not None:
            seconds = int((full.limit.resets_at - datetime.now(UTC)).total_seconds()) + 1
        raise TooMany(explain_rate(full), code="rate_limit_exceeded", retry_after=seconds)

    def _worst(self, cap: int | None) -> int:
        return self._priced.worst(self._ask.input_tokens, (cap or 0) * self._ask.answers)

    def _tokens(self, cap: int | None) -> int:
        return self._ask.input_tokens + (cap or 0) * self._ask.answers
