"""Hold, mark as sent, settle, void: the statements that every call costs, in the driver's own SQL.

For every limit, at every instant: ``spent + held <= limit``, in any number of processes on one file. Everything happens
under SQLite's write lock: what has room is looked at, and taken, by one transaction.

The statements run on the event loop: they take some tens of microseconds, less than handing them to a thread. What
may take long does not happen here: a commit does not wait for the disk (:mod:`.disk`), and a busy lock is waited for
without blocking. What is asked for while the loop works on other things goes into one transaction together.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..core.limits import Limit
from ..errors import KeyguardError, LedgerUnavailable
from .calls import CHARGED_IN_FULL, INSERT_USAGE, Call, Settlement, usage_row
from .disk import Disk
from .presence import Presence

log = logging.getLogger("keyguard.ledger")

BUSY_SECONDS = 5.0
"""How long to wait for others who write, before a hold is refused."""
BUSY_PAUSE_SECONDS = 0.001
LATER_SECONDS = 0.25
BATCH_MOST = 32
"""Operations in one transaction: so many keep the event loop for a few milliseconds at most."""

_LOOK = "SELECT id, spent, held FROM counters WHERE id IN ({})"
_TAKE = "UPDATE counters SET held = held + ? WHERE id = ?"
_GIVE = "UPDATE counters SET held = held - ?, spent = spent + ? WHERE id = ?"
_OPEN = "INSERT INTO counters (id, spent, held, ends) VALUES (?, 0, 0, ?)"
_HOLD = "INSERT INTO holds (id, process, amounts, call) VALUES (?, ?, ?, ?)"
_FIND = "SELECT amounts FROM holds WHERE id = ?"
_END = "DELETE FROM holds WHERE id = ?"
_REVISION = "SELECT value FROM state WHERE name = 'revision'"

_encode = json.JSONEncoder(separators=(",", ":")).encode


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


class Amount(NamedTuple):
    """What a call takes from one limit while it is in flight."""

    limit: Limit
    amount: int


Work = Callable[[sqlite3.Connection, int], Any]
"""What is done within a transaction, given the revision. It raises a KeyguardError before it writes, or not at all."""


class _Job(NamedTuple):
    work: Work
    answer: "asyncio.Future[Any]"
    sure: bool


class Book:
    """The hot part of the ledger: one connection, used from one event loop.

    Args:
        path: the database file, migrated already.
        presence: under whose id this process's holds are found if it dies.

    Raises:
        LedgerUnavailable: (all operations) the database did not answer; nothing was written.
    """

    def __init__(self, path: Path, presence: Presence) -> None:
        self._presence = presence
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=64)
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")  # the disk's thread does it
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"The ledger did not open: {error}") from error
        self._disk = Disk(path)
        self._jobs: deque[_Job] = deque()
        self._scheduled = False
        self._deadline: float | None = None

    async def close(self) -> None:
        """Close the connection; what was committed is on disk then."""
        with contextlib.suppress(LedgerUnavailable):
            await self._submit(lambda _db, _now: None)  # after everything that was asked for before
        self._jobs.clear()  # what could not be written is left to whoever recovers it
        await self._disk.close()
        self._db.close()

    def revision(self) -> int:
        """Return the number that grows with every change of policy or keys."""
        if self._disk.problem is not None:
            raise LedgerUnavailable(f"The ledger's disk did not answer: {self._disk.problem}")
        try:
            return int(self._db.execute(_REVISION).fetchone()[0])
        except (sqlite3.Error, TypeError) as error:
            raise _unavailable(error) from error

    async def hold(self, call: Call, amounts: Sequence[Amount], revision: int) -> int | None:
        """Hold money (and other limited things) for a call: from all limits, or from none.

        Args:
            call: the call, with its worst case.
            amounts: what to take from which limit.
            revision: the revision on which the decision was taken.

        Returns:
            The smallest rest, in nano-dollars, of the limits in dollars, this hold counted; None without any.

        Raises:
            NoRoom: a limit has no room.
            Unopened: a limit's counter does not exist yet.
            Stale: something changed since ``revision``.
        """
        taken = _encode([(taken.limit.counter, taken.limit.unit, taken.amount) for taken in amounts])
        row = (call.id, self._presence.id, taken, call.dumps())

        def work(db: sqlite3.Connection, now: int) -> int | None:
            if self._disk.problem is not None:
                raise LedgerUnavailable(f"The ledger's disk did not answer: {self._disk.problem}")
            if now != revision:
                raise Stale
            left = _take(db, amounts)
            db.execute(_HOLD, row)
            return left

        answer = self._submit(work)
        try:
            return await answer  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._submit(lambda db, _now: _release(db, call.id), sure=True)  # held, and nobody would ever know
            raise

    def mark_sent(self, call_id: str) -> None:
        """Record that the next thing that happens is the first byte to the provider."""
        try:
            self._presence.mark_sent(call_id)
        except OSError as error:
            raise _unavailable(error) from error

    async def settle(self, call: Call, end: Settlement) -> bool:
        """Release the hold and record what the call came to; once, whoever comes first.

        Returns:
            Whether the hold was still open.

        Raises:
            LedgerUnavailable: it is not written yet; it will be, as soon as that can be done.
        """
        row = usage_row(call, end)

        def work(db: sqlite3.Connection, _now: int) -> bool:
            found = db.execute(_FIND, (call.id,)).fetchone()
            if found is None:
                return False
            _give(db, found[0], end)
            db.execute(_END, (call.id,))
            db.execute(INSERT_USAGE, row)
            return True

        done = bool(await self._submit(work, sure=True))
        self._presence.forget(call.id)
        return done

    async def void(self, call_id: str) -> bool:
        """Release the hold of a call that cost nothing because it never reached a provider.

        Returns:
            Whether the hold was still open.
        """
        done = bool(await self._submit(lambda db, _now: _release(db, call_id), sure=True))
        self._presence.forget(call_id)
        return done

    # --- transactions -------------------------------------------------------------------------------------------

    def _submit(self, work: Work, *, sure: bool = False) -> "asyncio.Future[Any]":
        """Ask for a piece of work; what is sure is tried until it is done, whether or not somebody still waits."""
        job = _Job(work, asyncio.get_running_loop().create_future(), sure)
        self._jobs.append(job)
        self._schedule()
        return job.answer

    def _schedule(self, seconds: float = 0.0) -> None:
        if not self._scheduled and self._jobs:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            if seconds:
                loop.call_later(seconds, self._run)
            else:
                loop.call_soon(self._run)

    def _run(self) -> None:
        """Do what was asked for, in one transaction."""
        self._scheduled = False
        jobs = [self._jobs.popleft() for _ in range(min(BATCH_MOST, len(self._jobs)))]
        pause = 0.0
        try:
            self._transact(jobs)
        except sqlite3.OperationalError as error:
            pause = self._wait_or_fail(jobs, error)
        except Exception:  # noqa: BLE001  (one of them cannot be done; each is tried alone, to find out which)
            for job in jobs:
                self._do_alone(job)
        self._schedule(pause)

    def _transact(self, jobs: "list[_Job]") -> None:
        db = self._db
        done: list[tuple[asyncio.Future[Any], Any, KeyguardError | None]] = []
        db.execute("BEGIN IMMEDIATE")
        try:
            revision = int(db.execute(_REVISION).fetchone()[0])
            for job in jobs:
                if job.answer.cancelled() and not job.sure:
                    continue
                try:
                    done.append((job.answer, job.work(db, revision), None))
                except KeyguardError as error:
                    done.append((job.answer, None, error))
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                db.execute("ROLLBACK")
            raise
        self._deadline = None
        self._disk.touch()
        for answer, result, refusal in done:
            if answer.done():  # nobody waits for it any more
                continue
            if refusal is None:
                answer.set_result(result)
            else:
                answer.set_exception(refusal)

    def _wait_or_fail(self, jobs: "list[_Job]", error: sqlite3.OperationalError) -> float:
        """Return after how many seconds to try again, having given up on what waited for too long."""
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + BUSY_SECONDS
        self._jobs.extendleft(reversed(jobs))
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and now < self._deadline:
            return BUSY_PAUSE_SECONDS  # another process, or a change of the policy, has the lock
        waiting, self._jobs, self._deadline = list(self._jobs), deque(), None
        for job in waiting:
            self._fail(job, error)
            if job.sure:
                self._jobs.append(job)
        return LATER_SECONDS

    def _do_alone(self, job: "_Job") -> None:
        try:
            self._transact([job])
        except Exception as error:  # noqa: BLE001  (whatever it is, it must not stop the others)
            if job.sure:
                log.error("the end of a call cannot be written, and it stays held: %s", type(error).__name__)
            self._fail(job, error)

    def _fail(self, job: "_Job", error: Exception) -> None:
        if not job.answer.done():
            job.answer.set_exception(_unavailable(error))


@cache
def _look_at(count: int) -> str:
    return _LOOK.format(", ".join("?" * count))


def _take(db: sqlite3.Connection, amounts: Sequence[Amount]) -> int | None:
    ids = [taken.limit.counter for taken in amounts]
    found = {row[0]: row for row in db.execute(_look_at(len(ids)), ids)}
    rests, changes, new = [], [], []
    for taken in amounts:
        limit = taken.limit
        row = found.get(limit.counter)
        if row is None:
            if limit.unit == "usd":
                raise Unopened(limit)
            new.append(limit)  # counts per minute, and of calls in flight, have no history to start from
            row = (limit.counter, 0, 0)
        rest = limit.amount - row[1] - row[2] - taken.amount
        if rest < 0:
            raise NoRoom(limit, row[1], row[2])
        if limit.unit == "usd":
            rests.append(rest)
        changes.append((taken.amount, limit.counter))
    for limit in new:
        ends = None if limit.resets_at is None else int(limit.resets_at.timestamp() * 1000)
        db.execute(_OPEN, (limit.counter, ends))
    db.executemany(_TAKE, changes)
    return min(rests, default=None)


def _give(db: sqlite3.Connection, taken: str, end: Settlement) -> None:
    """Turn what a hold took into what the call came to."""
    unknown = end.outcome in CHARGED_IN_FULL
    changes = []
    for counter, unit, amount in json.loads(taken):
        tokens = amount if unknown else end.usage.total
        spent = {"usd": end.cost, "requests": amount, "tokens": tokens, "concurrent": 0}[unit]
        changes.append((amount, spent, counter))
    db.executemany(_GIVE, changes)


def _release(db: sqlite3.Connection, call_id: str) -> bool:
    found = db.execute(_FIND, (call_id,)).fetchone()
    if found is None:
        return False
    db.executemany(_GIVE, [(amount, 0, counter) for counter, _unit, amount in json.loads(found[0])])
    db.execute(_END, (call_id,))
    return True


def _unavailable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(f"The ledger did not answer: {error}")
