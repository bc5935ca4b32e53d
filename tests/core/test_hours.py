from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.hours import Span, next_change, next_opening, open_at, parse, show

from .policies import NOW, ZONES, instants, timetables

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = ("Mon-Fri 09:00-18:00", "Sat 10:00-12:00")
zones = st.sampled_from(ZONES).map(ZoneInfo)


def berlin(*parts, fold=0):
    return datetime(*parts, tzinfo=BERLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("Mon 09:00-18:00", Span(frozenset({0}), 540, 1080)),
        ("Mon-Fri 09:00-18:00", Span(frozenset(range(5)), 540, 1080)),
        ("Mon,Wed-Thu 00:00-24:00", Span(frozenset({0, 2, 3}), 0, 1440)),
        ("Sat-Mon 10:00-10:30", Span(frozenset({5, 6, 0}), 600, 630)),
        ("Fri 22:00-02:00", Span(frozenset({4}), 1320, 1560)),
        ("Fri 22:00-00:00", Span(frozenset({4}), 1320, 1440)),
    ],
)
def test_a_span_is_days_and_two_times(text, span):
    """Days are names, ranges and lists of both; an end before the start is on the next day."""
    assert parse(text) == span


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("09:00-18:00", "not a span"),
        ("Mon 9-18", "not a span"),
        ("Mon 09:00-18:00 ", "not a span"),
        ("Mon ٠٩:00-18:00", "not a span"),
        ("mon 09:00-18:00", "'mon' is not a day"),
        ("Montag 09:00-18:00", "'Montag' is not a day"),
        ("Mon-Wed-Fri 09:00-18:00", "'Mon-Wed-Fri' is not a day"),
        ("Mon, 09:00-18:00", "'' is not a day"),
        ("Mon 09:60-18:00", "09:60 is not a time"),
        ("Mon 09:00-24:01", "24:01 is not a time"),
        ("Mon 24:00-02:00", "empty span"),
        ("Mon 09:00-09:00", "empty span"),
    ],
)
def test_what_is_not_a_span_is_refused_with_the_reason(text, problem):
    """The message names what cannot be read."""
    with pytest.raises(ValueError, match=problem):
        parse(text)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (berlin(2026, 11, 23, 8, 59, 59), False),
        (berlin(2026, 11, 23, 9), True),
        (berlin(2026, 11, 23, 17, 59, 59), True),
        (berlin(2026, 11, 23, 18), False),
        (berlin(2026, 11, 28, 11), True),
        (berlin(2026, 11, 29, 11), False),
    ],
)
def test_hours_are_those_of_the_wall_clock(now, expected):
    """It opens at the first minute and is closed at the last, by local time."""
    assert open_at(OFFICE, BERLIN, now) is expected


def test_without_hours_it_is_always_open():
    """An empty timetable closes nothing."""
    assert open_at((), BERLIN, NOW)


def test_a_night_runs_into_the_next_day():
    """A span that ends before it starts belongs to the day on which it starts."""
    night = ("Fri 22:00-02:00",)
    assert open_at(night, BERLIN, berlin(2026, 11, 28, 1, 59))
    assert not open_at(night, BERLIN, berlin(2026, 11, 27, 1, 59))
    assert not open_at(night, BERLIN, berlin(2026, 11, 28, 2))


def test_an_hour_that_comes_twice_opens_once():
    """When the clocks go back, a span begins and ends the first time that the clock shows it."""
    early = ("Sun 02:00-02:30",)
    assert open_at(early, BERLIN, berlin(2026, 10, 25, 2, 15))
    assert not open_at(early, BERLIN, berlin(2026, 10, 25, 2, 15, fold=1))


def test_a_span_that_the_clocks_skip_is_moved():
    """When the clocks jump from 02:00 to 03:00, a span from 02:00 to 02:30 is open from 03:00 to 03:30."""
    early = ("Sun 02:00-02:30",)
    assert open_at(early, BERLIN, berlin(2026, 3, 29, 3, 15))
    assert not open_at(early, BERLIN, berlin(2026, 3, 29, 3, 30))


def test_the_next_opening_is_told():
    """After hours on Friday it opens on Saturday, after that on Monday."""
    assert next_opening([OFFICE], BERLIN, berlin(2026, 11, 27, 20)) == berlin(2026, 11, 28, 10)
    assert next_opening([OFFICE], BERLIN, berlin(2026, 11, 28, 12)) == berlin(2026, 11, 30, 9)


def test_it_opens_when_every_timetable_is_open():
    """Hours of a group and of the project both bind: the opening is where they meet."""
    lab = ("Tue,Thu 08:00-10:00", "Wed 20:00-22:00")
    assert next_opening([OFFICE, lab], BERLIN, berlin(2026, 11, 23, 12)) == berlin(2026, 11, 24, 9)


def test_timetables_that_never_meet_never_open():
    """There is no opening to promise."""
    assert next_opening([("Mon 09:00-10:00",), ("Tue 09:00-10:00",)], BERLIN, NOW) is None


def test_a_change_more_than_a_day_away_is_not_told():
    """The next change is looked for a day ahead, and not much further."""
    assert next_change(("Sun 10:00-12:00",), BERLIN, NOW) is None
    assert next_change(OFFICE, BERLIN, NOW) == berlin(2026, 11, 23, 18)
    assert next_change((), BERLIN, NOW) is None


@given(timetables, zones, instants(), st.floats(0, 1, exclude_max=True))
def test_nothing_changes_before_the_next_change(hours, zone, now, part):
    """A timetable stays open, or closed, until the change that is told, or for a day when none is."""
    change = next_change(hours, zone, now) or now + timedelta(days=1)
    assert change > now
    later = min(now + part * (change - now), change - timedelta(microseconds=1))
    assert open_at(hours, zone, later) == open_at(hours, zone, now)


@given(timetables, zones, instants())
def test_a_closed_timetable_opens_within_two_weeks(hours, zone, now):
    """The opening that is told is one: it is open then, and was not just before."""
    opening = next_opening([hours], zone, now)
    assert now < opening <= now + timedelta(days=15)
    assert open_at(hours, zone, opening)


def test_an_instant_is_shown_with_its_day_and_zone():
    """A person reads the weekday, the local time and which zone that is."""
    assert show(berlin(2026, 3, 9, 9), BERLIN) == "Mon 2026-03-09 09:00 (Europe/Berlin)"
