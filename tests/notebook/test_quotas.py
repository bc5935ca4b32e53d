"""How limits are written."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.money import NANO
from keyguard_jupyter.notebook.quotas import (
    Clock,
    Quota,
    read_pools,
    read_quotas,
    read_usd,
    show_amount,
    show_cost,
    show_remaining,
)

BERLIN = ZoneInfo("Europe/Berlin")
CLOCK = Clock(datetime(2026, 11, 27, 10, tzinfo=UTC), BERLIN)
Make = Callable[..., dict[str, Any]]


def quota(make_limit: Make, **changes: Any) -> Quota:
    return read_quotas({"limits": [make_limit(**changes)]})[0]


class TestClock:
    @pytest.mark.parametrize(
        ("moment", "zone", "expected"),
        [
            ("2026-12-07T08:00:00Z", BERLIN, "Mon 7 Dec 09:00 CET"),
            ("2027-07-05T07:00:00Z", BERLIN, "Mon 5 Jul 2027 09:00 CEST"),
            ("2026-12-07T08:00:00", UTC, "Mon 7 Dec 08:00 UTC"),
            ("2026-12-07T08:00:00+00:00", timezone(timedelta(hours=5, minutes=30)), "Mon 7 Dec 13:30 UTC+05:30"),
            ("2026-12-07T08:00:00Z", ZoneInfo("America/Sao_Paulo"), "Mon 7 Dec 05:00 UTC-03:00"),
        ],
    )
    def test_moments_are_in_the_readers_zone(self, moment: str, zone: Any, expected: str) -> None:
        """An instant names its zone, and its year only where that is another one."""
        assert Clock(CLOCK.now, zone).write(moment) == expected

    def test_no_moment_is_never(self) -> None:
        """What has no date does not happen."""
        assert CLOCK.write(None) == "never"


class TestQuota:
    def test_figures_name_used_limit_left_and_reset(self, make_limit: Make) -> None:
        """Spent is rounded up and left rounded down, with percent and reset."""
        assert quota(make_limit).figures(CLOCK) == "$3.21 of $5.00 used (64 %), $1.79 left, resets Tue 1 Dec 09:00 CET"

    def test_small_limits_are_finer(self, make_limit: Make) -> None:
        """Below a dollar, cents would hide what was spent."""
        figures = quota(make_limit, amount_usd="0.10", spent_usd="0.095000002", remaining_usd="0.004999998").figures(
            CLOCK
        )
        assert figures.startswith("$0.0951 of $0.10 used (95 %), $0.0049 left")

    def test_held_money_is_named(self, make_limit: Make) -> None:
        """What calls under way hold is missing from what is left, so it is said."""
        figures = quota(make_limit, held_usd="0.05", remaining_usd="1.7429").figures(CLOCK)
        assert "$0.05 held for calls under way, $1.74 left" in figures

    def test_lifetime_does_not_reset(self, make_limit: Make) -> None:
        """A limit without an end says nothing of one."""
        figures = quota(make_limit, window="lifetime", resets_at=None).figures(CLOCK)
        assert figures.endswith("left")

    def test_a_date_ends_it(self, make_limit: Make) -> None:
        """A limit until a date does not begin anew."""
        figures = quota(make_limit, window="until", resets_at="2027-01-31T00:00:00Z").figures(CLOCK)
        assert figures.endswith("ends Sun 31 Jan 2027 01:00 CET")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, "this week, all models"),
            ({"pattern": "gpt-4*", "window": "day"}, "today, gpt-4*"),
            ({"window": "lifetime", "scope": "key"}, "in total, all models, this key"),
            ({"window": "fortnight"}, "fortnight, all models"),
        ],
    )
    def test_title_says_what_it_covers(self, make_limit: Make, changes: dict[str, str], expected: str) -> None:
        """Window, models and, for a key's own limit, the key are in the title; an unknown window is named as it is."""
        assert quota(make_limit, **changes).title == expected

    def test_overspent_limit_has_nothing_left(self, make_limit: Make) -> None:
        """A limit lowered below what was spent shows nothing left, never less."""
        figures = quota(make_limit, amount_usd="3.00", remaining_usd="-0.2071").figures(CLOCK)
        assert figures.startswith("$3.21 of $3.00 used (106 %), $0.00 left")

    def test_limit_of_nothing_is_used_up(self, make_limit: Make) -> None:
        """A limit of zero is full from the start."""
        assert quota(make_limit, amount_usd="0.00", spent_usd="0.00", remaining_usd="0.00").percent == 100

    @given(spent=st.integers(0, 10**12), amount=st.integers(1, 10**12))
    def test_percent_never_rounds_up(self, spent: int, amount: int) -> None:
        """A hundred percent means that all is spent."""
        one = Quota("person", "ada", "*", "week", amount, spent, 0, amount - spent, None)
        assert (one.percent >= 100) == (spent >= amount)

    def test_the_most_used_comes_first(self, make_limit: Make) -> None:
        """What is nearest its end is read first."""
        low, high = make_limit(spent_usd="1.00"), make_limit(window="day", spent_usd="4.00")
        assert [one.window for one in read_quotas({"limits": [low, high]})] == ["day", "week"]


class TestPool:
    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            ("ok", "group team (this month, gpt-4*) has room"),
            ("nearly_used", "group team (this month, gpt-4*) is nearly used up, resets Tue 1 Dec 01:00 CET"),
            ("used_up", "group team (this month, gpt-4*) is used up, resets Tue 1 Dec 01:00 CET"),
        ],
    )
    def test_pools_are_words_only(self, make_pool: Make, state: str, expected: str) -> None:
        """Of a shared limit only its state is told."""
        assert read_pools({"pools": [make_pool(state=state)]})[0].sentence(CLOCK) == expected


class TestAmounts:
    @pytest.mark.parametrize(("text", "nano"), [("1.79", 1_790_000_000), ("-0.5", -NANO // 2), ("0.000000001", 1)])
    def test_decimal_strings_are_read_exactly(self, text: str, nano: int) -> None:
        """Dollars become nano-dollars without a float between, balances below zero too."""
        assert read_usd(text) == nano

    @pytest.mark.parametrize(
        ("nano", "expected"),
        [
            (0, "$0.00"),
            (1, "$0.0001"),
            (52_800, "$0.0001"),
            (12_300_000, "$0.0123"),
            (12_300_001, "$0.0124"),
            (999_999_999, "$1.0000"),
            (1_234_567_890, "$1.24"),
        ],
    )
    def test_costs_are_fine_and_rounded_up(self, nano: int, expected: str) -> None:
        """A call's cost is shown to a hundredth of a cent, and never as less than it was."""
        assert show_cost(nano) == expected

    @pytest.mark.parametrize(
        ("nano", "expected"), [(5 * NANO, "$5.00"), (2_500_000, "$0.0025"), (12_345 * NANO, "$12,345.00")]
    )
    def test_set_amounts_are_exact(self, nano: int, expected: str) -> None:
        """A limit is shown as it was set."""
        assert show_amount(nano) == expected

    @pytest.mark.parametrize(
        ("remaining", "expected"), [("1.7999", "$1.79 left"), (None, "no spending limit"), ("-1.00", "$0.00 left")]
    )
    def test_remaining(self, remaining: str | None, expected: str) -> None:
        """What is left is rounded down; no limit is said to be none."""
        assert show_remaining({"remaining_usd": remaining}) == expected
