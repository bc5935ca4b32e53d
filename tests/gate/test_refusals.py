"""What a person reads when a limit is full."""

from datetime import UTC, datetime

import pytest

from keyguard_jupyter.core.limits import Limit
from keyguard_jupyter.gate.refusals import explain_full, explain_rate
from keyguard_jupyter.ledger.book import NoRoom
from keyguard_jupyter.money import parse

RESET = datetime(2026, 11, 29, 23, tzinfo=UTC)


def full(spent: str, amount: str, *, scope: str = "person", window: str = "week", unit: str = "usd") -> NoRoom:
    """Make a limit without room."""
    size = parse(amount) if unit == "usd" else int(amount)
    resets = None if window == "lifetime" else RESET
    limit = Limit("default", scope, "ada", unit, "*", window, size, None, resets, "projects.default.people.ada")
    return NoRoom(limit, parse(spent), 0)


def test_four_facts_are_told() -> None:
    """What was refused, used and limit, when it resets in the course's time zone, and whom to ask."""
    said = explain_full(full("5.00", "5.00"), contact="grace@example.org", zone="Europe/Berlin")
    assert said == (
        "Your weekly limit does not cover this call: $5.00 of $5.00 used. It resets Mon 30 Nov 2026 00:00 CET. "
        "Ask grace@example.org for more."
    )


def test_a_small_limit_does_not_seem_used_up() -> None:
    """Of a limit below a dollar, what was spent is told to a hundredth of a cent, rounded up."""
    assert "$0.0951 of $0.10 used" in explain_full(full("0.09501", "0.10"))


@pytest.mark.parametrize("scope", ["group", "project"])
def test_a_pools_figures_are_not_told(scope: str) -> None:
    """What others spent from a pool is theirs: only its state is told."""
    said = explain_full(full("39.99", "40.00", scope=scope))
    assert "nearly used up" in said
    assert "39.99" not in said
    assert "40.00" not in said


@pytest.mark.parametrize(
    ("window", "amount", "words"),
    [
        ("lifetime", "5.00", "It does not reset by itself."),
        ("until", "5.00", "It ends Sun 29 Nov 2026 23:00 UTC."),
        ("until", "0", "It ended Sun 29 Nov 2026 23:00 UTC."),
    ],
)
def test_the_end_of_a_limit_is_told(window: str, amount: str, words: str) -> None:
    """A limit that does not come back says so, and one with an end names it."""
    assert words in explain_full(full("0.00", amount, window=window))


def test_rates_are_told_in_their_unit() -> None:
    """A rate names its number and its unit."""
    assert "60 requests per minute" in explain_rate(full("0", "60", window="minute", unit="requests"))
    assert "9000 tokens per minute" in explain_rate(full("0", "9000", window="minute", unit="tokens"))
