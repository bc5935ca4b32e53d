from collections import defaultdict
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from keyguard_jupyter.ledger.calls import Call, Settlement, make_call_id
from keyguard_jupyter.ledger.statement import GROUPINGS, SUMS, Range, rows, spent, sums

from .ledgers import NOW, Ledger, make_call, ms, paid

HOUR = timedelta(hours=1)
# person, groups, key, model, notebook, project, hours after noon of a Monday, cost, input, cached, output, reasoning
HISTORY: tuple[tuple[Any, ...], ...] = (
    ("ada", ("team", "tutors"), "k1", "gpt-4.1", "a.ipynb", "course", 0, 100, 10, 4, 7, 2),
    ("ada", ("team",), "k1", "gpt-4.1", "b.ipynb", "course", 11.99, 30, 1, 0, 2, 0),
    ("ada", ("team",), "k2", "o3", None, "course", 12, 500, 3, 3, 3, 3),
    ("bob", (), "k3", "o3", None, "course", 12.5, 7, 20, 0, 1, 0),
    ("bob", ("team",), "k3", "gpt-4.1", "a.ipynb", "course", -13, 11, 5, 5, 0, 0),
    ("ada", ("team",), "k4", "gpt-4.1", "a.ipynb", "other", 1, 1000, 2, 1, 1, 1),
    ("eve", ("tutors",), "k5", "free", "a.ipynb", "course", 3, 0, 8, 0, 9, 0),
)


def ended(entry: tuple[Any, ...]) -> tuple[Call, Settlement]:
    person, groups, key, model, notebook, project, hours, cost, new, cached, output, reasoning = entry
    call = make_call(
        cost + 5,
        person=person,
        groups=groups,
        key_id=key,
        model=model,
        notebook=notebook,
        project=project,
        at=ms(NOW + hours * HOUR),
    )
    return call, paid(cost, input=new, cached=cached, output=output, reasoning=reasoning)


@pytest.fixture
async def spending(ledger: Ledger) -> Ledger:
    """Return a ledger with a history."""
    for entry in HISTORY:
        call, end = ended(entry)
        await ledger.hold(call)
        await ledger.book.settle(call, end)
    await ledger.hold(make_call(10_000))  # in flight: no report counts it
    return ledger


def expected(by: tuple[str, ...], covered: Range) -> dict[tuple[Any, ...], dict[str, int]]:
    """Work the sums out by hand."""
    totals: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for entry in HISTORY:
        person, groups, key, model, notebook, project, hours, cost, new, cached, output, reasoning = entry
        at = NOW + hours * HOUR
        wanted = ((covered.project, project), (covered.person, person), (covered.key_id, key))
        if any(value not in (None, its) for value, its in wanted):
            continue
        if not (covered.since or 0) <= ms(at) < (covered.until or 10**18):
            continue
        one = {"project": project, "person": person, "model": model, "notebook": notebook, "key": key}
        one["day"] = at.date().isoformat()
        for group in (groups or (None,)) if "group" in by else (None,):
            names = {**one, "group": group}
            total = totals[tuple(names[name] for name in by)]
            parts = (1, new + cached, cached, output, reasoning, cost)
            for name, part in zip(SUMS, parts, strict=True):
                total[name] += part
    return dict(totals)


RANGES = {
    "all": Range(),
    "project": Range(project="course"),
    "person": Range(project="course", person="ada"),
    "key": Range(key_id="k1"),
    "since": Range(since=ms(NOW)),
    "until": Range(until=ms(NOW + 12 * HOUR)),
    "day": Range(since=ms(NOW - 12 * HOUR), until=ms(NOW + 12 * HOUR)),
    "nothing": Range(person="nobody"),
}


@pytest.mark.parametrize("covered", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize(
    "by",
    [*((name,) for name in GROUPINGS), ("person", "model"), ("group", "model"), ("day", "group", "person"), GROUPINGS],
    ids="-".join,
)
async def test_sums_add_up(spending: Ledger, by: tuple[str, ...], covered: Range) -> None:
    """Every grouping of every range gives the sums of its calls, the dearest first; groups count a call each."""
    found = spending.report(lambda db: sums(db, covered, by))
    assert {tuple(row[name] for name in by): {name: row[name] for name in SUMS} for row in found} == expected(
        by, covered
    )
    assert len(found) == len(expected(by, covered))
    costs = [row["cost"] for row in found]
    assert costs == sorted(costs, reverse=True)
    assert all(list(row) == [*by, *SUMS] for row in found)


async def test_sums_without_a_grouping_are_the_total(spending: Ledger) -> None:
    """Summed by nothing, there is one row, also when there is nothing to sum."""
    (row,) = spending.report(lambda db: sums(db, Range(project="course"), ()))
    assert (row["requests"], row["cost"]) == (6, 648)
    (row,) = spending.report(lambda db: sums(db, Range(person="nobody"), ()))
    assert row == dict.fromkeys(SUMS, 0)


@pytest.mark.parametrize("covered", RANGES.values(), ids=RANGES)
async def test_what_was_spent_is_the_sum_of_the_rows(spending: Ledger, covered: Range) -> None:
    """The total of a range is the sum of its single rows."""
    found = spending.report(lambda db: rows(db, covered))
    assert spending.report(lambda db: spent(db, covered)) == sum(row["cost"] for row in found)
    assert len(found) == sum(total["requests"] for total in expected(("project",), covered).values())


async def test_a_row_tells_all_about_a_call(ledger: Ledger) -> None:
    """A row carries who called, what was asked, what was answered, what it took and what it cost."""
    call = make_call(500, kernel_id="kernel-1", notebook="a.ipynb", stream=True)
    end = paid(
        120,
        "interrupted",
        input=1,
        cached=2,
        cache_write=4,
        cache_write_12h=8,
        audio_input=16,
        cached_audio=32,
        image_input=64,
        output=128,
        audio_output=256,
        image_output=512,
        reasoning=100,
    )
    told = Settlement(120, "interrupted", end.usage, "gpt-4.1-2025-04-14", "flex", 1234)
    await ledger.hold(call)
    await ledger.book.settle(call, told)
    (row,) = ledger.report(lambda db: rows(db, Range()))
    for name in ("id", "at", "project", "person", "key_id", "key_suffix", "kernel_id", "notebook", "endpoint"):
        assert row[name] == getattr(call, name)
    for name in ("provider", "model", "held", "price_version"):
        assert row[name] == getattr(call, name)
    for name in ("model_answered", "tier", "cost", "outcome", "duration_ms"):
        assert row[name] == getattr(told, name)
    assert (row["groups"], row["stream"]) == (["team"], 1)
    tokens = {name: value for name, value in row.items() if name.endswith("_tokens")}
    assert tokens == {
        "input_tokens": 127,
        "cached_tokens": 34,
        "cache_write_tokens": 12,
        "audio_input_tokens": 48,
        "image_input_tokens": 64,
        "output_tokens": 896,
        "reasoning_tokens": 100,
        "audio_output_tokens": 256,
        "image_output_tokens": 512,
    }


@pytest.mark.parametrize("size", [1, 3, 4, 7, 100])
async def test_pages_join_without_a_gap(spending: Ledger, size: int) -> None:
    """Page by page, each after the last row of the one before, gives every row once, in the order of settlement."""
    covered, seen, after = Range(project="course"), [], 0
    while page := spending.report(partial(rows, covered=covered, after=after, most=size)):
        assert len(page) <= size
        assert page[0]["seq"] > after
        seen += page
        after = page[-1]["seq"]
    assert seen == spending.report(lambda db: rows(db, covered))
    assert [row["cost"] for row in seen] == [entry[7] for entry in HISTORY if entry[5] == "course"]


async def test_rows_that_arrive_are_after_those_seen(spending: Ledger) -> None:
    """A call that began earlier and ends later comes on a later page: who follows misses none."""
    last = spending.report(lambda db: rows(db, Range()))[-1]["seq"]
    old = make_call(5, id=make_call_id(), at=ms(NOW - 100 * HOUR))
    await spending.hold(old)
    assert spending.report(lambda db: rows(db, Range(), after=last)) == []
    await spending.book.settle(old, paid(5))
    assert [row["id"] for row in spending.report(lambda db: rows(db, Range(), after=last))] == [old.id]
