"""Which processes write to the ledger, and what becomes of the calls of one that died.

Each process holds a lock on a file of its own beside the database. The system drops the lock when the process ends,
however it ends, so a lock that can be had belongs to a dead one.
"""

import contextlib
import fcntl
import json
import os
import secrets
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, text

from .calls import Call, Settlement, make_call_id, usage_row
from .database import Database
from .schema import counters, holds, processes, usage


def boot_id() -> str:
    """Return a name for the time since the machine started; a random one where the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown-" + secrets.token_hex(8)


class Presence:
    """This process, as others see it: alive as long as it holds its lock.

    Args:
        database: the ledger.
    """

    def __init__(self, database: Database) -> None:
        self.id = make_call_id()
        self._path = _lock_path(database, self.id)
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._database = database
        database.change(lambda db: db.execute(insert(processes).values(id=self.id, boot=boot_id())))

    def leave(self) -> None:
        """Sign off. Calls that could not be settled stay, for whoever recovers them."""
        mine = select(holds.c.id).where(holds.c.process == self.id).exists()
        self._database.change(lambda db: db.execute(delete(processes).where(processes.c.id == self.id, ~mine)))
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._file)


def recover(database: Database, myself: str) -> tuple[int, int]:
    """Resolve the calls that dead processes left: what was sent is charged in full, the rest is released.

    After a restart of the machine nobody knows which holds were sent, so all are charged.

    Args:
        myself: the id of this process.

    Returns:
        How many were charged, and how many released.
    """
    boot = boot_id()
    charged = released = 0
    for process, its_boot in database.change(lambda db: db.execute(select(processes.c.id, processes.c.boot)).all()):
        if process == myself:
            continue
        lock = _try_lock(_lock_path(database, process))
        if lock is None and its_boot == boot and _lock_path(database, process).exists():
            continue
        resolve = partial(_resolve, process=process, everything_was_sent=its_boot != boot)
        its_charged, its_released = database.change(resolve)
        charged, released = charged + its_charged, released + its_released
        _lock_path(database, process).unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)
    return charged, released


def _resolve(db: Connection, process: str, *, everything_was_sent: bool) -> tuple[int, int]:
    charged = released = 0
    for row in db.execute(select(holds).where(holds.c.process == process)).all():
        if row.sent or everything_was_sent:
            _charge_in_full(db, Call.loads(row.call), json.loads(row.amounts))
            charged += 1
        else:
            for counter, _unit, amount in json.loads(row.amounts):
                _give(db, counter, amount, spent=0)
            released += 1
    db.execute(delete(holds).where(holds.c.process == process))
    db.execute(delete(processes).where(processes.c.id == process))
    return charged, released


def _charge_in_full(db: Connection, call: Call, amounts: list[tuple[str, str, int]]) -> None:
    for counter, unit, amount in amounts:
        _give(db, counter, amount, spent=0 if unit == "concurrent" else amount)
    names = [column.name for column in usage.columns if column.name != "seq"]
    row = usage_row(call, Settlement(cost=call.held, outcome="expired"))
    db.execute(insert(usage).values(dict(zip(names, row, strict=True))))


def _give(db: Connection, counter: str, amount: int, *, spent: int) -> None:
    columns = counters.c
    change = {"held": columns.held - amount, "spent": columns.spent + spent}
    db.execute(counters.update().where(columns.id == counter).values(change))


def _lock_path(database: Database, process: str) -> Path:
    return database.path.with_name(f"{database.path.name}-process-{process}")


def _try_lock(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def forget_ended_counters(db: Connection, before: int) -> None:
    """Delete counters of windows that ended before a time (milliseconds); usage keeps what they counted."""
    db.execute(text("DELETE FROM counters WHERE ends IS NOT NULL AND ends < :before AND held = 0"), {"before": before})
