"""``%keyguard models`` and ``%keyguard explain``."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from keyguard_jupyter.notebook.quotas import Clock
from keyguard_jupyter.notebook.rights import explanation, models

CLOCK = Clock(datetime(2026, 11, 27, 10, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def answer(make_limit: Make, make_pool: Make) -> dict[str, Any]:
    """Return an answer to ``GET /api/explain``."""
    return {
        "model": "gpt-4.1",
        "allowed": True,
        "code": None,
        "reason": "gpt-4.1 is for members of team, and you are one.",
        "rule": "projects.default.models.gpt-4.1",
        "steps": [
            {
                "scope": "project",
                "name": "default",
                "pattern": "gpt-4.1",
                "access": "members",
                "rule": "projects.default.models.gpt-4.1",
                "effect": "decides",
            },
            {
                "scope": "key",
                "name": "01a2",
                "pattern": None,
                "access": None,
                "rule": "keys.01a2",
                "effect": "says nothing",
            },
        ],
        "limits": [make_limit(), make_pool()],
        "price": {"input_usd_per_1m": "2.00", "output_usd_per_1m": "8.00", "version": "2026-11-20", "free": False},
        "worst_case_usd": "0.034768",
    }


def test_models_are_listed_with_prices(make_me: Make) -> None:
    """Every model is there, by name, with what a million tokens cost; what has no output price shows a dash."""
    assert models(make_me()).text == (
        "Models you may use, prices per 1M tokens (table of 2026-11-20)\n"
        "  model                   provider  input  output\n"
        "  gpt-4.1                 openai    $2.00   $8.00\n"
        "  gpt-4.1-mini            openai    $0.40   $1.60\n"
        "  qwen3-32b               openai     free    free\n"
        "  text-embedding-3-small  openai    $0.02       -"
    )
    assert "gpt-4.1-mini</td>" in models(make_me()).html


def test_no_models(make_me: Make) -> None:
    """Who may call nothing is told so."""
    assert models(make_me(models=[])).text == "No model is allowed to you now."


def test_explanation_shows_the_chain(answer: dict[str, Any]) -> None:
    """Verdict, reason, rule, steps, limits and price, in this order; a pool without its amount."""
    assert explanation(answer, CLOCK).text == (
        "gpt-4.1: allowed\n"
        "  gpt-4.1 is for members of team, and you are one.\n"
        "  Rule: projects.default.models.gpt-4.1\n"
        "Who says what, from wide to narrow\n"
        "  scope            pattern  says     effect        rule\n"
        "  project default  gpt-4.1  members  decides       projects.default.models.gpt-4.1\n"
        "  this key         -        -        says nothing  keys.01a2\n"
        "What a call counts against\n"
        "  person ada: this week, all models, $5.00, resets Tue 1 Dec 09:00 CET\n"
        "  group team: this month, gpt-4*, resets Tue 1 Dec 01:00 CET\n"
        "Price per 1M tokens: input $2.00, output $8.00 (table of 2026-11-20)\n"
        "A call with 1000 input tokens and no output cap of its own costs at most $0.0348"
    )


def test_refusal_is_said_first(answer: dict[str, Any]) -> None:
    """A model that is not allowed says so in its first line, in text and HTML, and counts against nothing."""
    shown = explanation({**answer, "model": "o3", "allowed": False, "code": "model_not_allowed"}, CLOCK)
    assert shown.text.startswith("o3: not allowed\n")
    assert "o3: not allowed" in shown.html
    assert "counts against" not in shown.text


@pytest.mark.parametrize(
    ("price", "expected"),
    [(None, "It has no price here, so it cannot be called."), ({"free": True}, "It is free here.")],
)
def test_models_without_a_bill(answer: dict[str, Any], price: object, expected: str) -> None:
    """An unpriced model can't be called, a free one costs nothing: both are said."""
    bare = {**answer, "price": price, "steps": [], "limits": [], "worst_case_usd": None}
    assert explanation(bare, CLOCK).text.endswith(f"models.gpt-4.1\n{expected}")
