"""Ledgers as a gateway opens them, and short makers of what goes into them."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from keyguard_jupyter.core.limits import Limit, window_bounds
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.ledger.book import Amount, Book, Unopened
from keyguard_jupyter.ledger.calls import Call, Settlement, make_call_id
from keyguard_jupyter.ledger.counters import Balance, balances, open_counter
from keyguard_jupyter.ledger.database import Database
from keyguard_jupyter.ledger.presence import Presence
from keyguard_jupyter.ledger.recovery import recover

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


def ms(moment: datetime) -> int:
    """Return a moment in milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def make_limit(amount: int = 1000, unit: str = "usd", **other: Any) -> Limit:
    """Return a limit, by default of ada's dollars, for good; ``at`` is when its window is looked at."""
    at, until = other.pop("at", NOW), other.pop("until", None)
    zone = ZoneInfo(other.pop("zone", "UTC"))
    known = {"project": "course", "scope": "person", "name": "ada", "pattern": "*", "window": "lifetime", **other}
    starts_at, resets_at = window_bounds(known["window"], zone, at, until)
    return Limit(
        **known, unit=unit, amount=amount, starts_at=starts_at, resets_at=resets_at, rule=f"{known['scope']} {unit}"
    )


def make_call(held: int = 100, **other: Any) -> Call:
    """Return a call, by default one of ada's."""
    known: dict[str, Any] = {
        "id": make_call_id(),
        "at": ms(NOW),
        "project": "course",
        "person": "ada",
        "groups": ("team",),
        "key_id": "key-1",
        "key_suffix": "x7Q",
        "kernel_id": None,
        "notebook": None,
        "endpoint": "chat",
        "provider": "openai",
        "model": "gpt-4.1",
        "stream": False,
        "price_version": "2026-11-20",
    }
    return Call(held=held, **{**known, **other})


def paid(cost: int, outcome: str = "ok", **usage: int) -> Settlement:
    """Return what a call came to."""
    return Settlement(cost=cost, outcome=outcome, usage=Usage(**usage))


class Ledger:
    """What one gateway process has open on a ledger: the only place in these tests that puts the parts together.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Database(f"sqlite:///{path}")
        self.presence = Presence(self.database)
        self.book = Book(path, self.presence)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close everything, in the order in which a gateway does."""
        await self.book.close()
        self.presence.leave()
        self.database.close()

    async def die(self) -> None:
        """Stop without ending anything: what others see of a process that was killed is that its lock is free."""
        await self.book.close()
        os.close(self.presence._file)
        self.database.close()

    def open(self, *limits: Limit) -> None:
        """Open the counters of limits."""
        for limit in limits:
            self.database.change(lambda db, limit=limit: open_counter(db, limit))

    async def hold(self, call: Call, *limits: Limit | Amount) -> int | None:
        """Hold a call's money, and open the counters that were not: as the gateway does."""
        sizes = {"usd": call.held, "requests": 1, "tokens": call.held, "concurrent": 1}
        amounts = [limit if isinstance(limit, Amount) else Amount(limit, sizes[limit.unit]) for limit in limits]
        while True:
            try:
                return await self.book.hold(call, amounts, self.book.revision())
            except Unopened as unopened:
                self.open(unopened.limit)

    def balance(self, limit: Limit) -> tuple[int, int]:
        """Return what is spent and held of a limit in dollars."""
        found = self.balances([limit])[0]
        return found.spent, found.held

    def balances(self, limits: Iterable[Limit]) -> list[Balance]:
        """Return the balances of limits in dollars."""
        return self.report(lambda db: balances(db, limits))

    def counter(self, limit: Limit) -> tuple[int, int] | None:
        """Return what stands in the counter of a limit of any unit; None if it is not open."""
        found = self.rows("SELECT spent, held FROM counters WHERE id = ?", limit.counter)
        return found[0] if found else None

    def report(self, report: Callable[[Connection], Any]) -> Any:
        """Run a report."""
        return self.database.change(report)

    def rows(self, query: str, *values: object) -> list[Any]:
        """Return what is in the file, as anybody would see it."""
        return look(self.path, query, *values)

    def recover(self) -> tuple[int, int]:
        """Resolve what dead processes left."""
        return recover(self.database, self.presence.id)

    def contents(self) -> list[Any]:
        """Return all of the file that calls change."""
        return everything(self.path)


def look(path: Path, query: str, *values: object) -> list[Any]:
    """Run one statement on a connection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(query, values).fetchall()


def everything(path: Path) -> list[Any]:
    """Return all of a file that calls change."""
    tables: Sequence[str] = ("counters", "holds", "usage")
    return [look(path, f"SELECT * FROM {table} ORDER BY 1") for table in tables]
