"""The life of a request: identify, read, decide, price, hold, relay (which meters and settles)."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from ..core.limits import Limit
from ..core.people import Caller
from ..core.policy import Project, standing
from ..core.prices import PriceTable
from ..errors import BadRequest, LedgerUnavailable, NotFound, Refused, Unavailable, Unpriced
from ..ledger.book import Book, Stale
from ..ledger.calls import Call, make_call_id
from ..ledger.counters import open_counter
from ..ledger.database import Database
from ..ledger.directory import Directory
from .ask import Ask, model_of, read_ask
from .body import read_body
from .endpoints import Endpoint
from .identify import Identity
from .parse import parse_body
from .priced import Priced
from .providers import Provider, Providers
from .relay import Relay
from .reserve import Held, Patience, Reservation, Waiting
from .rights import Plan, check_allowed, plan
from .suitable import check_suitable

T = TypeVar("T")

CHANGES_MOST = 20
"""How often the policy may change under a call, however long it waits, before it is told to try again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the host's configuration says about single calls.

    Args:
        default_cap: the output cap, in tokens, of a call that names none.
        floor: the cap below which an answer is not worth shortening to.
        wait_seconds: how long a call waits for money that others hold.
        body_bytes: the largest request.
        choices: the most alternatives (``n``) of one call.
    """

    default_cap: int = 4096
    floor: int = 16
    wait_seconds: float = 30.0
    body_bytes: int = 4 * 1024 * 1024
    choices: int = 8


class Prepared(NamedTuple):
    """A call that may be made, if there is money for it."""

    caller: Caller
    project: Project
    plan: Plan
    ask: Ask
    provider: Provider
    priced: Priced
    revision: int
    at: datetime


@dataclass(slots=True)
class Gate:
    """Everything that a request needs on its way."""

    database: Database
    book: Book
    directory: Directory
    providers: Providers
    prices: PriceTable
    bounds: Bounds
    waiting: Waiting = field(default_factory=Waiting)

    async def answer(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        """Answer a metered request.

        Raises:
            Refused: at any step; nothing is held then.
        """
        identity = Identity(self.directory, request.headers)
        await self._current(identity.find)
        raw = await read_body(request, self.bounds.body_bytes)  # only now: nothing of a stranger is read
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.bounds.wait_seconds
        for attempt in itertools.count():
            prepared = await self._current(lambda: self._prepare(identity, endpoint, parse_body(raw)))
            try:
                held = await self._hold(request, prepared, deadline)
            except Stale:
                if attempt > CHANGES_MOST and clock() > deadline:
                    break
                await self.freshen()
            else:
                return await self._relay(request, prepared, held)
        raise Unavailable("The policy keeps changing. Try again.", code="ledger_unavailable", retry_after=1)

    async def _current(self, decide: Callable[[], T]) -> T:
        """Decide on what is known here; a refusal counts only if nothing has changed meanwhile.

        Whatever is allowed is checked against changes by the hold itself, in its transaction.
        """
        while True:
            try:
                return decide()
            except Refused:
                if not await self.freshen():
                    raise

    async def freshen(self) -> bool:
        """Take over what changed in policy and keys, in whichever process.

        Returns:
            Whether anything did.

        Raises:
            Unavailable: the ledger does not answer.
        """
        try:
            if self.book.revision() == self.directory.revision:
                return False
            await self.directory.refresh()
        except LedgerUnavailable as error:
            raise _unavailable() from error
        return True

    async def open_counter(self, limit: Limit) -> None:
        """Compute the state of a limit from history."""
        await self.database.write(lambda db: open_counter(db, limit))

    def _prepare(self, identity: Identity, endpoint: Endpoint, body: dict[str, Any]) -> Prepared:
        """Identify, read, decide and price: all that needs no waiting."""
        now = datetime.now(UTC)
        caller, record, project = identity.find()
        model = model_of(endpoint, body)
        decided = plan(self.directory, project, caller, record, model, now)
        check_allowed(standing(project, caller, record.settings, now) if endpoint.free else decided.decision)
        provider = self.providers.moderator() if endpoint.free else self.providers.route(model)
        if provider is None:
            raise self._no_provider(endpoint, model)
        priced = self._price(endpoint, provider, model)
        check_suitable(endpoint, provider.spec, priced.price, model)
        ask = read_ask(endpoint, body, provider.spec, priced.price, self.bounds.choices)
        return Prepared(caller, project, decided, ask, provider, priced, self.directory.revision, now)

    async def _hold(self, request: web.Request, prepared: Prepared, deadline: float) -> Held:
        ask, decided = prepared.ask, prepared.plan
        reservation = Reservation(
            self.book,
            self.waiting,
            self.open_counter,
            ask,
            prepared.priced,
            self._limits(prepared),
            first_cap=self._first_cap(prepared),
            floor=self.bounds.floor,
            contact=prepared.project.contact,
            zone=prepared.project.timezone,
        )
        call_id, at = make_call_id(), int(prepared.at.timestamp() * 1000)

        def describe(held: int) -> Call:
            return Call.of(
                prepared.caller,
                id=call_id,
                at=at,
                endpoint=ask.endpoint.name,
                provider=prepared.provider.spec.name,
                model=ask.model,
                stream=ask.stream,
                price_version=self.prices.version,
                held=held,
            )

        try:
            patience = Patience(deadline, decided.until, gone=lambda: request.transport is None)
            return await reservation.make(describe, prepared.revision, patience)
        except LedgerUnavailable as error:
            raise _unavailable() from error

    async def _relay(self, request: web.Request, prepared: Prepared, held: Held) -> web.StreamResponse:
        relay = Relay(self.book, self.waiting, prepared.provider, prepared.priced, prepared.caller, prepared.ask, held)
        return await relay.run(request)

    def _limits(self, prepared: Prepared) -> Sequence[Limit]:
        """Return what the call takes from: what costs nothing needs no money, also where all of it is spent."""
        limits = prepared.plan.limits
        return [limit for limit in limits if limit.unit != "usd"] if prepared.priced.price.free else limits

    def _first_cap(self, prepared: Prepared) -> int | None:
        if not prepared.ask.endpoint.cap_fields:
            return None
        named = prepared.ask.named_cap
        caps = [self.bounds.default_cap if named is None else named, prepared.plan.output_cap]
        caps.append(prepared.priced.price.max_output)
        return min(cap for cap in caps if cap is not None)

    def _price(self, endpoint: Endpoint, provider: Provider, model: str) -> Priced:
        if endpoint.free:
            return Priced.nothing(self.prices, provider.spec, model)
        try:
            return Priced.find(self.prices, provider.spec, model)
        except Unpriced as error:
            raise BadRequest(str(error), code="model_unpriced", param="model") from None

    def _no_provider(self, endpoint: Endpoint, model: str) -> BadRequest | NotFound:
        if endpoint.free:
            return NotFound("No provider here moderates.", code="unknown_url")
        return BadRequest(self.providers.explain_missing(model), code="model_unpriced", param="model")


def _unavailable() -> Unavailable:
    return Unavailable("The ledger does not answer. Nothing was sent.", code="ledger_unavailable", retry_after=2)
