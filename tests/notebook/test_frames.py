"""``%keyguard usage``, the frame."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from keyguard_jupyter.notebook.frames import CATEGORIES, COLUMNS, COUNTS, build_frame, read_rows

Make = Callable[..., dict[str, Any]]


def assert_types(frame: pd.DataFrame) -> None:
    assert tuple(frame.columns) == COLUMNS
    assert str(frame["at"].dt.tz) == "UTC"
    assert {name: str(frame[name].dtype) for name in CATEGORIES} == dict.fromkeys(CATEGORIES, "category")
    assert {name: str(frame[name].dtype) for name in COUNTS} == dict.fromkeys(COUNTS, "Int64")
    assert (frame["stream"].dtype, frame["cost_usd"].dtype) == ("boolean", "object")
    assert not [name for name in frame if "float" in str(frame[name].dtype)]


def test_columns_and_types(make_row: Make) -> None:
    """Times are UTC, names are categories, counts are integers, money is Decimal, and nothing is a float."""
    frame = build_frame([make_row(), make_row(id="u2", notebook=None, duration_ms=None, model_answered=None)])
    assert_types(frame)
    assert frame["at"][0] == datetime(2026, 11, 27, 9, 59, 58, 120_000, tzinfo=UTC)
    assert frame["cost_usd"][0] == Decimal("0.0000528")
    assert frame["duration_ms"].isna().tolist() == [False, True]


def test_empty_frame_has_the_same_types() -> None:
    """Who has not called anything yet can still write their analysis."""
    assert_types(build_frame([]))


def test_sums_are_exact(make_row: Make) -> None:
    """A student's group-by adds up to the last nano-dollar."""
    frame = build_frame([make_row(model=model, cost_usd="0.1") for model in ("a", "b", "a", "a")])
    by_model = frame.groupby("model", observed=True)["cost_usd"].sum()
    assert by_model.to_dict() == {"a": Decimal("0.3"), "b": Decimal("0.1")}
    assert frame.groupby("model", observed=True)["cost_nano"].sum()["a"] == 300_000_000


def test_rows_without_pandas_carry_the_same(make_row: Make) -> None:
    """Plain rows have the columns and values of the frame; what a newer gateway adds is left out."""
    (row,) = read_rows([make_row(novelty=1)])
    assert tuple(row) == COLUMNS
    assert (row["at"].tzinfo, row["cost_usd"], row["cost_nano"]) == (UTC, Decimal("0.0000528"), 52_800)
