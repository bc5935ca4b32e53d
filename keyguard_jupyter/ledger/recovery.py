"""What becomes of the calls of a process that died."""

import json
import os
from functools import partial

from sqlalchemy import Connection, delete, insert, select, text

from .calls import Call, Settlement, usage_row
from .database import Database
from .presence import boot_id, lock_path, sent_calls, try_lock
from .schema import counters, holds, processes, usage


def recover(database: Database, myself: str) -> tuple[int, int]:
    """Resolve the calls that dead processes left: what was sent is charged in full, the rest is released.

    After a restart of the machine, or without the process's file, nobody knows which holds were sent: all are charged.

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
        path = lock_path(database, process)
        lock = try_lock(path)
        if lock is None and path.exists():
            continue  # it lives
        sent = sent_calls(lock) if lock is not None and its_boot == boot else None
        counts = database.change(partial(_resolve, process=process, sent=sent))
        charged, released = charged + counts[0], released + counts[1]
        path.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)
    return charged, released


def forget_ended_counters(db: Connection, before: int) -> None:
    """Delete counters of windows that ended before a time (milliseconds); usage keeps what they counted."""
    db.execute(text("DELETE FROM counters WHERE ends IS NOT NULL AND ends < :before AND held = 0"), {"before": before})


def _resolve(db: Connection, process: str, sent: set[str] | None) -> tuple[int, int]:
    charged = released = 0
    for row in db.execute(select(holds).where(holds.c.process == process)).all():
        if sent is None or row.id in sent:
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
