"""When a person is warned."""

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyguard_jupyter.notebook.crossings import Crossings

BERLIN = ZoneInfo("Europe/Berlin")
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def feed(make_me: Make, make_limit: Make) -> Callable[..., list[str]]:
    """Feed one week's limit of $5.00 with its spending, and get the warnings as text."""

    def step(crossings: Crossings, spent: str, **changes: Any) -> list[str]:
        left = f"{5 - float(spent):.2f}"
        me = make_me(limits=[make_limit(spent_usd=spent, remaining_usd=left, **changes)])
        return [news.text for news in crossings.feed(me, BERLIN)]

    return step


def test_each_threshold_is_told_once(feed: Callable[..., list[str]]) -> None:
    """75, 90 and 100 percent are told when they are crossed, and not again."""
    crossings = Crossings()
    told = [len(feed(crossings, spent)) for spent in ("1.00", "3.74", "3.75", "3.90", "4.50", "4.99", "5.00", "5.00")]
    assert told == [0, 0, 1, 0, 1, 0, 1, 0]


def test_warning_names_used_limit_left_and_reset(feed: Callable[..., list[str]]) -> None:
    """A warning is one line with all four facts; at the end of the money it names whom to ask."""
    crossings = Crossings()
    feed(crossings, "1.00")
    limit, resets = "Keyguard: your limit (this week, all models)", "resets Tue 1 Dec 09:00 CET"
    assert feed(crossings, "4.60") == [f"{limit} is 92 % used: $4.60 of $5.00, $0.40 left, {resets}"]
    used_up = f"{limit} is used up: $5.00 of $5.00, $0.00 left, {resets}. Ask host@example.org"
    assert feed(crossings, "5.00") == [used_up]


def test_what_was_crossed_before_is_no_news(feed: Callable[..., list[str]]) -> None:
    """A kernel that starts above a threshold does not warn of it, but of the next one."""
    crossings = Crossings()
    assert feed(crossings, "3.80") == []
    assert len(feed(crossings, "4.50")) == 1


def test_two_thresholds_at_once_are_one_line(feed: Callable[..., list[str]]) -> None:
    """One cell that takes a limit from nothing to its end warns once."""
    crossings = Crossings()
    feed(crossings, "0.00")
    assert len(feed(crossings, "5.00")) == 1


def test_a_new_window_warns_anew(feed: Callable[..., list[str]]) -> None:
    """The same threshold in the next week is news again."""
    crossings = Crossings()
    feed(crossings, "0.00")
    assert len(feed(crossings, "4.00")) == 1
    assert feed(crossings, "0.10", resets_at="2026-12-08T08:00:00Z") == []
    assert len(feed(crossings, "4.00", resets_at="2026-12-08T08:00:00Z")) == 1


def test_another_amount_is_another_limit(feed: Callable[..., list[str]]) -> None:
    """After the host changed the limit, its thresholds count anew."""
    crossings = Crossings()
    feed(crossings, "0.00")
    assert len(feed(crossings, "4.00")) == 1
    assert feed(crossings, "4.00", amount_usd="10.00") == []
    assert len(feed(crossings, "4.00", amount_usd="4.10")) == 1


def test_pools_warn_when_their_state_worsens(make_me: Make, make_pool: Make) -> None:
    """A shared limit is told in words, once for each step down, without figures."""
    crossings = Crossings()
    told = [
        [news.text for news in crossings.feed(make_me(limits=[], pools=[make_pool(state=state)]), BERLIN)]
        for state in ("ok", "nearly_used", "nearly_used", "ok", "nearly_used", "used_up")
    ]
    pool, resets = "Keyguard: the limit shared by group team (this month, gpt-4*)", "resets Tue 1 Dec 01:00 CET"
    nearly, up = f"{pool} is nearly used up, {resets}", f"{pool} is used up, {resets}. Ask host@example.org"
    assert told == [[], [nearly], [], [], [], [up]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cents=st.lists(st.integers(0, 60), max_size=30))
def test_at_most_three_warnings_a_window(feed: Callable[..., list[str]], cents: list[int]) -> None:
    """However spending rises, each threshold warns once at most, and some warning comes."""
    crossings, total, told = Crossings(), 0, 0
    feed(crossings, "0.00")
    for more in cents:
        total += more
        told += len(feed(crossings, f"{total // 100}.{total % 100:02d}"))
    assert told <= sum(total >= mark for mark in (375, 450, 500))
    assert (told > 0) == (total >= 375)
