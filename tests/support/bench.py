"""A ledger in the test's own loop, and calls that want to hold something."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.limits import Limit
from keyguard_jupyter.core.people import Caller
from keyguard_jupyter.core.providers import read_providers
from keyguard_jupyter.gate.ask import Ask, read_ask
from keyguard_jupyter.gate.endpoints import ENDPOINTS
from keyguard_jupyter.gate.priced import Priced
from keyguard_jupyter.gate.reserve import Held, Patience, Reservation, Waiting
from keyguard_jupyter.ledger.book import Book
from keyguard_jupyter.ledger.calls import Call, Settlement, make_call_id, now_ms
from keyguard_jupyter.ledger.counters import balances, open_counter
from keyguard_jupyter.ledger.database import Database
from keyguard_jupyter.ledger.presence import Presence

ROUTES = {endpoint.name: endpoint for endpoint in ENDPOINTS}
SPEC = read_providers({"openai": "env:X"})["openai"]
TABLE = prices.load()
WHO = Caller("default", "ada", (), "k", "abcde", "personal")
FAR = datetime.now(UTC) + timedelta(days=1)


def limit(amount: int, *, unit: str = "usd", pattern: str = "*", name: str = "ada", scope: str = "person") -> Limit:
    """Make a limit."""
    window = "minute" if unit in {"requests", "tokens"} else "lifetime"
    bounds = (FAR - timedelta(days=1), FAR) if window == "minute" else (None, None)
    return Limit("default", scope, name, unit, pattern, window, amount, *bounds, "rule")


def ask_for(route: str = "chat", model: str = "gpt-4.1-mini", **fields: Any) -> tuple[Ask, Priced]:
    """Read a request."""
    base: dict[str, Any] = {
        "chat": {"messages": [{"role": "user", "content": "hello"}]},
        "responses": {"input": "hello"},
        "embeddings": {"input": "hello"},
        "completions": {"prompt": "hello"},
    }[route]
    priced = Priced.find(TABLE, SPEC, model)
    return read_ask(ROUTES[route], {"model": model, **base, **fields}, SPEC, priced.price, 8), priced


@dataclass
class Bench:
    """A ledger, and calls that want to hold something."""

    database: Database
    book: Book
    waiting: Waiting = field(default_factory=Waiting)
    floor: int = 16

    async def hold(
        self,
        limits: list[Limit],
        *,
        cap: int | None = 100,
        seconds: float = 5.0,
        until: datetime = FAR,
        gone: Callable[[], bool] = lambda: False,
        ask: tuple[Ask, Priced] | None = None,
    ) -> Held:
        """Try to hold what a call needs."""
        asked, priced = ask or ask_for(max_tokens=cap)
        reservation = Reservation(
            self.book,
            self.waiting,
            self.open,
            asked,
            priced,
            sorted(limits, key=lambda one: one.counter),
            first_cap=cap,
            floor=self.floor,
            contact="grace@example.org",
        )
        known = {"id": make_call_id(), "at": now_ms(), "endpoint": "chat", "provider": "p", "model": asked.model}

        def describe(held: int) -> Call:
            return Call.of(WHO, **known, stream=False, price_version="v", held=held)

        patience = Patience(asyncio.get_running_loop().time() + seconds, until, gone)
        return await reservation.make(describe, self.book.revision(), patience)

    async def open(self, one: Limit) -> None:
        """Start a counter."""
        await self.database.write(lambda db: open_counter(db, one))

    async def settle(self, held: Held, cost: int | None = None) -> None:
        """End a call, and tell those who wait."""
        await self.book.settle(held.call, Settlement(cost=held.call.held if cost is None else cost, outcome="ok"))
        self.waiting.release()

    async def held(self, *limits: Limit) -> int:
        """Return what is held under limits."""
        return sum(balance.held for balance in await self.database.read(lambda db: balances(db, limits)))

    def in_line(self) -> int:
        """Return how many calls stand in line."""
        return sum(self.waiting._users.values())


@asynccontextmanager
async def set_up(folder: Path) -> AsyncIterator[Bench]:
    """Make a ledger in a folder."""
    database = Database(f"sqlite:///{folder / 'ledger.sqlite'}")
    presence = Presence(database)
    book = Book(database.path, presence)
    try:
        yield Bench(database, book)
    finally:
        await book.close()
        presence.leave()
        database.close()
