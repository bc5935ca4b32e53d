"""``%%keyguard cost``, the report."""

from collections.abc import Callable
from typing import Any

from keyguard_jupyter.notebook.cost import cost, tally

Make = Callable[..., dict[str, Any]]


def test_report_adds_up_by_model(make_me: Make, make_row: Make) -> None:
    """Calls, tokens and cost stand per model, the dearest first, below their sum; then what is left."""
    rows = [make_row(), make_row(id="u2"), make_row(id="u3", model="gpt-4.1", input_tokens=1200, cost_usd="0.0123")]
    assert cost(rows, make_me()).text == (
        "This cell: 3 calls, 1,224 tokens in, 90 out, $0.0125\n"
        "  model         calls  tokens in  tokens out     cost\n"
        "  gpt-4.1           1      1,200          30  $0.0123\n"
        "  gpt-4.1-mini      2         24          60  $0.0002\n"
        "Now: $1.79 left (this week, all models)"
    )


def test_sums_are_exact(make_row: Make) -> None:
    """Costs are added as integers before they are rounded."""
    rows = [make_row(cost_usd="0.000000001") for _ in range(1000)]
    assert [t.cost for t in tally(rows)] == [1000]


def test_one_call(make_me: Make, make_row: Make) -> None:
    """One call is one call."""
    assert cost([make_row()], make_me()).text.startswith("This cell: 1 call, 12 tokens in, 30 out, $0.0001\n")


def test_no_calls(make_me: Make) -> None:
    """A cell without charged calls says so, and what is left."""
    assert cost([], make_me()).text == (
        "No call of this cell reached a model.\nNow: $1.79 left (this week, all models)"
    )


def test_calls_under_way_are_not_forgotten(make_me: Make, make_row: Make) -> None:
    """Where calls still run, the report says that their cost is missing."""
    shown = cost([make_row()], make_me(), settled=False)
    assert "Calls are still under way; they are not counted above." in shown.text
    assert "Calls are still under way" in shown.html


def test_the_limit_that_is_left_is_named_only_if_ones_own(make_me: Make, make_limit: Make) -> None:
    """What is left by a shared pool, or without a limit, is not blamed on one's own; a limit on some models neither."""
    own = [make_limit(), make_limit(pattern="gpt-4*", remaining_usd="0.01")]
    assert cost([], make_me(limits=own)).text.endswith("Now: $1.79 left (this week, all models)")
    assert cost([], make_me(remaining_usd="0.50")).text.endswith("Now: $0.50 left")
    assert cost([], make_me(remaining_usd=None, limits=[])).text.endswith("Now: no spending limit")
