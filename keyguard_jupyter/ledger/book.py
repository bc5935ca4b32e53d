"""Hold, mark as sent, settle, void: the ten statements that every call costs, in the driver's own SQL.

For every limit, at every instant: ``spent + held <= limit``, in any number of processes on one file. Each operation is
one transaction under SQLite's write lock; a limit's room is checked by the statement that takes it.

The statements run on the event loop: a transaction takes some tens of microseconds, less than handing it to a thread.
What may take long does not happen here: commits do not wait for the disk (:mod:`.disk` does, once for all that are
waiting, before anything is sent), and a busy lock is waited for without blocking. So a ``kill -9`` loses nothing, and
after a power cut every hold is there; whether it was sent may be unknown then, and it is charged (:mod:`.recovery`).
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.limits import Limit
from ..errors import KeyguardError, LedgerUnavailable
from .calls import INSERT_USAGE, Call, Settlement, usage_row
from .disk import Disk

BUSY_SECONDS = 5.0
_TAKE = "UPDATE counters SET held = held + ?1 WHERE id = ?2 AND spent + held + ?1 <= ?3 RETURNING spent + held"
_LOOK = "SELECT spent, held FROM counters WHERE id = ?"
_OPEN = "INSERT INTO counters (id, spent, held, ends) VALUES (?, 0, 0, ?) ON CONFLICT DO NOTHING"
_HOLD = "INSERT INTO holds (id, process, sent, amounts, call) VALUES (?, ?, 0, ?, ?)"
_SENT = "UPDATE holds SET sent = 1 WHERE id = ?"
_END = "DELETE FROM holds WHERE id = ? RETURNING amounts, sent, call"
_GIVE = "UPDATE counters SET held = held - ?, spent = spent + ? WHERE id = ?"
_REVISION = "SELECT value FROM state WHERE name = 'revision'"


class NoRoom(KeyguardError):
    """Raised when a limit has no room for a hold; nothing was written."""

    def __init__(self, limit: Limit, spent: int, held: int) -> None:
        super().__init__(f"{limit.rule}: {spent} spent and {held} held of {limit.amount}")
        self.limit = limit
        self.spent = spent
        self.held = held

    @property
    def left(self) -> int:
        """What would be left if the calls in flight cost nothing."""
        return self.limit.amount - self.spent


class Unopened(KeyguardError):
    """Raised when a limit's counter has to be computed from history first; nothing was written."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit.counter)
        self.limit = limit


class Stale(KeyguardError):
    """Raised when policy or keys changed since the decision was taken; nothing was written."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What a call takes from one limit while it is in flight."""

    limit: Limit
    amount: int


class Book:
    """The hot part of the ledger: one connection, used from one event loop.

    Args:
        path: the database file, migrated already.
        process: the id under which this process's holds are found if it dies.

    Raises:
        LedgerUnavailable: (all operations) the database did not answer; nothing was written.
    """

    def __init__(self, path: Path, process: str) -> None:
        self.process = process
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=64)
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")  # the disk's thread does it
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"The ledger did not open: {error}") from error
        self._disk = Disk(path)

    async def close(self) -> None:
        """Close the connection; what was committed is on disk then."""
        await self._disk.close()
        self._db.close()

    def revision(self) -> int:
        """Return the number that grows with every change of policy or keys."""
        try:
            return int(self._db.execute(_REVISION).fetchone()[0])
        except (sqlite3.Error, TypeError) as error:
            raise LedgerUnavailable(f"The ledger did not answer: {error}") from error

    async def hold(self, call: Call, amounts: Sequence[Amount], revision: int) -> int | None:
        """Hold money (and other limited things) for a call, durably.

        Args:
            call: the call, with its worst case.
            amounts: what to take from which limit, in an order that is the same for all calls.
            revision: the revision on which the decision was taken.

        Returns:
            The smallest rest, in nano-dollars, of the limits in dollars, this hold counted; None without any.

        Raises:
            NoRoom: a limit has no room.
            Unopened: a limit's counter does not exist yet.
            Stale: something changed since ``revision``.
        """
        rests = []
        async with self._transaction() as db:
            if int(db.execute(_REVISION).fetchone()[0]) != revision:
                raise Stale
            for taken in amounts:
                rest = _take(db, taken)
                if taken.limit.unit == "usd":
                    rests.append(rest)
            rows = [(taken.limit.counter, taken.limit.unit, taken.amount) for taken in amounts]
            db.execute(_HOLD, (call.id, self.process, json.dumps(rows, separators=(",", ":")), call.dumps()))
        await self._disk.flush()
        return min(rests, default=None)

    async def mark_sent(self, call_id: str) -> None:
        """Record that the next thing that happens is the first byte to the provider."""
        async with self._transaction() as db:
            db.execute(_SENT, (call_id,))

    async def settle(self, call: Call, end: Settlement) -> bool:
        """Release the hold and record what the call came to; once, whoever comes first.

        Returns:
            Whether the hold was still open.
        """
        async with self._transaction() as db:
            row = db.execute(_END, (call.id,)).fetchone()
            if row is None:
                return False
            spent = {"usd": end.cost, "requests": 1, "tokens": end.usage.total, "concurrent": 0}
            for counter, unit, amount in json.loads(row[0]):
                db.execute(_GIVE, (amount, spent[unit], counter))
            db.execute(INSERT_USAGE, usage_row(call, end))
        return True

    async def void(self, call_id: str) -> bool:
        """Release the hold of a call that cost nothing because it never reached a provider.

        Returns:
            Whether the hold was still open.
        """
        async with self._transaction() as db:
            row = db.execute(_END, (call_id,)).fetchone()
            if row is None:
                return False
            for counter, _unit, amount in json.loads(row[0]):
                db.execute(_GIVE, (amount, 0, counter))
        return True

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[sqlite3.Connection]:
        await self._begin()
        try:
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise LedgerUnavailable(f"The ledger did not answer: {error}") from error
        except BaseException:
            self._roll_back()
            raise

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + BUSY_SECONDS, 0.0002
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                    raise LedgerUnavailable(f"The ledger did not answer: {error}") from error
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"The ledger did not answer: {error}") from error
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")


def _take(db: sqlite3.Connection, taken: Amount) -> int:
    limit = taken.limit
    row = db.execute(_TAKE, (taken.amount, limit.counter, limit.amount)).fetchone()
    if row is None:
        found = db.execute(_LOOK, (limit.counter,)).fetchone()
        if found is None and limit.unit == "usd":
            raise Unopened(limit)
        if found is None:
            # Counts per minute, and of calls in flight, have no history to start from.
            ends = None if limit.resets_at is None else int(limit.resets_at.timestamp() * 1000)
            db.execute(_OPEN, (limit.counter, ends))
            row = db.execute(_TAKE, (taken.amount, limit.counter, limit.amount)).fetchone()
            found = (0, 0)
        if row is None:
            raise NoRoom(limit, *found)
    return limit.amount - int(row[0])
