"""Reports: what was spent, by whom, on what."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from .schema import usage

GROUPINGS = ("project", "person", "group", "model", "notebook", "key", "day")
SUMS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost")


@dataclass(frozen=True, slots=True)
class Range:
    """Which usage a report covers. Times are milliseconds since 1970; ``until`` is not included."""

    project: str | None = None
    person: str | None = None
    key_id: str | None = None
    since: int | None = None
    until: int | None = None

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """Add this range's conditions to a query."""
        columns = usage.c
        for column, value in ((columns.project, self.project), (columns.person, self.person)):
            query = query if value is None else query.where(column == value)
        query = query if self.key_id is None else query.where(columns.key_id == self.key_id)
        query = query if self.since is None else query.where(columns.at >= self.since)
        return query if self.until is None else query.where(columns.at < self.until)


def rows(db: Connection, covered: Range, *, after: int = 0, most: int = 1000) -> list[dict[str, Any]]:
    """Return single usage rows in the order in which they were settled, those after a sequence number."""
    query = covered.narrow(select(usage)).where(usage.c.seq > after).order_by(usage.c.seq).limit(most)
    return [{**row, "groups": json.loads(row["groups"])} for row in db.execute(query).mappings()]


def spent(db: Connection, covered: Range) -> int:
    """Return what was spent in a range, in nano-dollars."""
    return int(db.execute(covered.narrow(select(func.coalesce(func.sum(usage.c.cost), 0)))).scalar_one())


def sums(db: Connection, covered: Range, by: Sequence[str]) -> list[dict[str, Any]]:
    """Return sums of usage by one or more of :data:`GROUPINGS`, the dearest first.

    A call of a person in two groups counts in both, so that the rows by group may add up to more than the total.
    ``day`` is the UTC day (``2026-11-23``).
    """
    columns = {
        "project": usage.c.project,
        "person": usage.c.person,
        "group": usage.c.groups,
        "model": usage.c.model,
        "notebook": usage.c.notebook,
        "key": usage.c.key_id,
        "day": func.strftime("%Y-%m-%d", usage.c.at / 1000, "unixepoch"),
    }
    chosen = [columns[name].label(f"by_{name}") for name in by]
    totals = [func.count().label("requests")]
    totals += [func.coalesce(func.sum(usage.c[name]), 0).label(name) for name in SUMS[1:]]
    query = covered.narrow(select(*chosen, *totals)).group_by(*chosen)
    found = db.execute(query).mappings()
    if "group" in by:
        return _dearest_first(_by_single_groups([dict(row) for row in found], by))
    return _dearest_first([{**{n: row[f"by_{n}"] for n in by}, **{n: row[n] for n in SUMS}} for row in found])


def _by_single_groups(found: list[dict[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    totals: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for row in found:
        for group in json.loads(row["by_group"]) or [None]:
            total = totals[tuple(group if name == "group" else row[f"by_{name}"] for name in by)]
            for name in SUMS:
                total[name] += row[name]
    return [{**dict(zip(by, names, strict=True)), **total} for names, total in totals.items()]


def _dearest_first(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: -row["cost"])
