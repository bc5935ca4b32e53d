"""Money is a whole number of nano-dollars, read and written without loss."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.errors import MoneyError
from keyguard_jupyter.money import CENT, LARGEST, NANO, parse, show_left, show_spent, usd

AMOUNTS = st.integers(min_value=0, max_value=LARGEST)


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        ("5.00", 5 * NANO),
        ("5", 5 * NANO),
        (5, 5 * NANO),
        (Decimal("0.3"), 300_000_000),
        ("0.000000001", 1),
        ("0", 0),
        (" 1.50 ", 1_500_000_000),
        ("+1", NANO),
        ("9000000000", LARGEST),
    ],
)
def test_dollars_are_read_exactly(amount, nano):
    """Strings, whole numbers and decimals, down to a nano-dollar."""
    assert parse(amount) == nano


@pytest.mark.parametrize(
    "amount",
    [
        0.3,
        5.0,
        True,
        None,
        [],
        "",
        " ",
        "five",
        "$5",
        "5,00",
        "1,000.00",
        "1_000",
        "\u0665",
        "NaN",
        "Infinity",
        "-0.01",
        -1,
        "0x10",
        "1.0000000001",
        "9000000000.000000001",
        "1" * 5000,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal(-1),
        Decimal("1e999999"),
    ],
    ids=lambda amount: repr(amount)[:24],
)
def test_what_is_no_exact_amount_is_refused(amount):
    """Floats, other notations, negative, too fine or too large ones; the message stays short."""
    with pytest.raises(MoneyError) as refused:
        parse(amount)
    assert len(str(refused.value)) < 200


@given(AMOUNTS)
def test_what_is_written_is_read_back(nano):
    """No amount changes on its way through text."""
    assert parse(usd(nano)) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (5 * NANO, "5.00"), (1_500_000, "0.0015"), (1, "0.000000001"), (-1_500_000_000, "-1.50")],
)
def test_amounts_are_written_with_cents_at_least(nano, text):
    """As many places as there are, and never fewer than two."""
    assert usd(nano) == text


@given(AMOUNTS)
def test_a_person_is_never_promised_more(nano):
    """Spent is shown rounded up and left rounded down, each by less than a cent."""
    spent, left = (parse(shown.removeprefix("$").replace(",", "")) for shown in (show_spent(nano), show_left(nano)))
    assert left <= nano <= spent
    assert spent - nano < CENT
    assert nano - left < CENT


@pytest.mark.parametrize(
    ("nano", "spent", "left"),
    [
        (0, "$0.00", "$0.00"),
        (1, "$0.0001", "$0.00"),
        (1_234_567, "$0.0013", "$0.0012"),
        (9_999_999, "$0.0100", "$0.0099"),
        (CENT, "$0.01", "$0.01"),
        (1_795_000_000, "$1.80", "$1.79"),
        (1_234_567_890_123, "$1,234.57", "$1,234.56"),
    ],
)
def test_amounts_are_shown_as_people_read_them(nano, spent, left):
    """Cents, and four places below one."""
    assert (show_spent(nano), show_left(nano)) == (spent, left)


def test_what_is_overdrawn_is_not_shown_as_left():
    """Nothing is left then."""
    assert show_left(-5 * NANO) == "$0.00"
