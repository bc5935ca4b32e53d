"""The state of limits: computed from history when first needed, and read for people to see."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ..core.limits import Limit
from ..core.matching import matches
from .calls import Call
from .schema import counters, holds, usage


@dataclass(frozen=True, slots=True)
class Balance:
    """How far a limit is used.

    Args:
        spent: in the limit's unit (nano-dollars, or a count).
        held: by calls in flight.
    """

    limit: Limit
    spent: int
    held: int

    @property
    def left(self) -> int:
        """What another call may still take; never negative."""
        return max(0, self.limit.amount - self.spent - self.held)


def open_counter(db: Connection, limit: Limit) -> None:
    """Start the counter of a limit in dollars from what was spent and is held already.

    A limit that is set today over a person with a history counts that history. Calls in flight are entered in the
    counter too, so that their settlement finds it.
    """
    if db.execute(select(counters.c.id).where(counters.c.id == limit.counter)).first():
        return
    held = 0
    for call_id, call, amounts, listed in _in_flight(db, limit):
        held += call.held if listed is None else listed
        if listed is None:
            amounts.append([limit.counter, "usd", call.held])
            db.execute(holds.update().where(holds.c.id == call_id).values(amounts=json.dumps(amounts)))
    ends = None if limit.resets_at is None or limit.window == "until" else _ms(limit.resets_at)
    db.execute(insert(counters).values(id=limit.counter, spent=_spent_before(db, limit), held=held, ends=ends))


def balances(db: Connection, limits: Iterable[Limit]) -> list[Balance]:
    """Return the state of limits in dollars; those never used yet are computed from history, without writing."""
    wanted = list(limits)
    ids = [limit.counter for limit in wanted]
    known = {row.id: row for row in db.execute(select(counters).where(counters.c.id.in_(ids)))}
    found = []
    for limit in wanted:
        row = known.get(limit.counter)
        if row:
            found.append(Balance(limit, row.spent, row.held))
        else:
            held = sum(call.held if listed is None else listed for _, call, _, listed in _in_flight(db, limit))
            found.append(Balance(limit, _spent_before(db, limit), held))
    return found


def _in_flight(db: Connection, limit: Limit) -> Iterator[tuple[str, Call, list[Any], int | None]]:
    """Yield the calls in flight that count against a limit.

    Each with its id, what it took from which counter, and what it took from this one: None if it does not list it yet.
    """
    for row in db.execute(select(holds)).all():
        call, amounts = Call.loads(row.call), json.loads(row.amounts)
        listed = [amount for counter, _unit, amount in amounts if counter == limit.counter]
        if listed or _counts(limit, call):
            yield row.id, call, amounts, sum(listed) if listed else None


def _spent_before(db: Connection, limit: Limit) -> int:
    columns = usage.c
    query = (
        select(columns.groups, columns.model, func.sum(columns.cost))
        .where(columns.project == limit.project)
        .group_by(columns.groups, columns.model)
    )
    if limit.scope == "person":
        query = query.where(columns.person == limit.name)
    elif limit.scope == "key":
        query = query.where(columns.key_id == limit.name)
    if limit.starts_at is not None:
        query = query.where(columns.at >= _ms(limit.starts_at))
    if limit.resets_at is not None and limit.window != "until":
        query = query.where(columns.at < _ms(limit.resets_at))
    return sum(
        int(cost)
        for groups, model, cost in db.execute(query)
        if matches(limit.pattern, model) and (limit.scope != "group" or limit.name in json.loads(groups))
    )


def _counts(limit: Limit, call: Call) -> bool:
    """Tell whether a call in flight falls under a limit."""
    if call.project != limit.project or not matches(limit.pattern, call.model):
        return False
    if limit.starts_at is not None and call.at < _ms(limit.starts_at):
        return False
    if limit.resets_at is not None and limit.window != "until" and call.at >= _ms(limit.resets_at):
        return False
    if limit.scope == "group":
        return limit.name in call.groups
    return {"project": call.project, "person": call.person, "key": call.key_id}[limit.scope] == limit.name


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
