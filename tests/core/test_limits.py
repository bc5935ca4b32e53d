from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.limits import WINDOWS, Limit, window_bounds

from .policies import NOW, ZONES, instants

BERLIN = ZoneInfo("Europe/Berlin")
zones = st.sampled_from(ZONES).map(ZoneInfo)
calendar = st.sampled_from(["day", "week", "month"])


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def limit(**changes):
    fields = {
        "project": "default",
        "scope": "person",
        "name": "ada",
        "unit": "usd",
        "pattern": "*",
        "window": "week",
        "amount": 5,
        "starts_at": utc(2026, 11, 22, 23),
        "resets_at": utc(2026, 11, 29, 23),
        "rule": "projects.default.people.ada.limits.total",
    }
    return Limit(**{**fields, **changes})


def test_a_counter_names_what_is_counted_and_since_when():
    """The counter is stable text: project, scope, name, unit, models, window, its start in UTC."""
    assert limit().counter == "default|person|ada|usd|*|week|20261122T2300"
    assert limit(window="lifetime", starts_at=None).counter == "default|person|ada|usd|*|lifetime|-"


def test_a_new_amount_keeps_the_counter():
    """Raising a limit, or writing it elsewhere, forgets no spending."""
    assert limit(amount=7, rule="projects.default.person_defaults.limits.total").counter == limit().counter


def test_names_cannot_forge_a_counter():
    """The separator is escaped in names, and so is the escape."""
    assert limit(name="a|b").counter == "default|person|a%7Cb|usd|*|week|20261122T2300"
    assert limit(name="a%7Cb").counter == "default|person|a%257Cb|usd|*|week|20261122T2300"


@given(
    st.text("a|%7C", max_size=6),
    st.text("a|%7C", max_size=6),
    st.text("a|%7C", max_size=6),
    st.text("a|%7C", max_size=6),
)
def test_different_things_have_different_counters(name, pattern, other_name, other_pattern):
    """Two limits share a counter only when they count the same."""
    one, other = limit(name=name, pattern=pattern), limit(name=other_name, pattern=other_pattern)
    assert (one.counter == other.counter) == ((name, pattern) == (other_name, other_pattern))


@pytest.mark.parametrize(
    ("window", "starts_at", "resets_at"),
    [
        ("minute", utc(2026, 11, 23, 12, 0), utc(2026, 11, 23, 12, 1)),
        ("day", utc(2026, 11, 22, 23), utc(2026, 11, 23, 23)),
        ("week", utc(2026, 11, 22, 23), utc(2026, 11, 29, 23)),
        ("month", utc(2026, 10, 31, 23), utc(2026, 11, 30, 23)),
        ("lifetime", None, None),
    ],
)
def test_windows_follow_the_local_calendar(window, starts_at, resets_at):
    """Days, weeks from Monday and months start at local midnight; a lifetime has no bounds."""
    assert window_bounds(window, BERLIN, NOW + timedelta(seconds=5)) == (starts_at, resets_at)


def test_until_counts_from_the_beginning():
    """A budget until a date has no start, and ends on the date."""
    assert window_bounds("until", BERLIN, NOW, utc(2027, 1, 31)) == (None, utc(2027, 1, 31))


@pytest.mark.parametrize(
    ("now", "hours"), [(utc(2026, 3, 29, 12), 23), (utc(2026, 10, 25, 12), 25), (utc(2026, 10, 26, 12), 24)]
)
def test_a_day_lasts_as_long_as_the_clocks_make_it(now, hours):
    """In Berlin, the day on which summer time begins has 23 hours, the day on which it ends 25."""
    starts_at, resets_at = window_bounds("day", BERLIN, now)
    assert resets_at - starts_at == timedelta(hours=hours)


def test_a_year_ends_inside_a_week():
    """A week runs across the end of a year, a month does not."""
    now = utc(2026, 12, 31, 22, 59)
    assert window_bounds("week", BERLIN, now) == (utc(2026, 12, 27, 23), utc(2027, 1, 3, 23))
    assert window_bounds("month", BERLIN, now) == (utc(2026, 11, 30, 23), utc(2026, 12, 31, 23))
    assert window_bounds("month", BERLIN, utc(2026, 12, 31, 23)) == (utc(2026, 12, 31, 23), utc(2027, 1, 31, 23))


def test_february_has_its_own_length():
    """A month ends where the next begins, in leap years too."""
    assert window_bounds("month", ZoneInfo("UTC"), utc(2028, 2, 29)) == (utc(2028, 2, 1), utc(2028, 3, 1))


def test_the_first_zone_of_the_day():
    """In Kiritimati, 14 hours ahead, Monday begins on UTC's Sunday morning."""
    assert window_bounds("week", ZoneInfo("Pacific/Kiritimati"), NOW)[0] == utc(2026, 11, 22, 10)


def test_a_midnight_that_is_skipped():
    """In Cairo the clocks jump over midnight: the day begins with the jump."""
    assert window_bounds("day", ZoneInfo("Africa/Cairo"), utc(2026, 4, 24, 12)) == (
        utc(2026, 4, 23, 22),
        utc(2026, 4, 24, 21),
    )


def test_a_date_that_is_skipped():
    """Samoa left out 30 December 2011: the 31st follows the 29th."""
    apia = ZoneInfo("Pacific/Apia")
    before, after = window_bounds("day", apia, utc(2011, 12, 30, 9)), window_bounds("day", apia, utc(2011, 12, 30, 11))
    assert before == (utc(2011, 12, 29, 10), utc(2011, 12, 30, 10))
    assert after == (utc(2011, 12, 30, 10), utc(2011, 12, 31, 10))


def test_clocks_that_go_back_over_midnight():
    """In St John's, 2006, one minute after midnight it was 23:01 again: the new day has begun all the same."""
    zone, now = ZoneInfo("America/St_Johns"), utc(2006, 10, 29, 3)
    assert now.astimezone(zone).day == 28
    assert window_bounds("day", zone, now) == (utc(2006, 10, 29, 2, 30), utc(2006, 10, 30, 3, 30))


def test_clocks_that_jump_from_before_midnight():
    """In Toronto, 1919, it was 00:30 right after 23:30: the day begins where its midnight would have been."""
    zone, now = ZoneInfo("America/Toronto"), utc(1919, 3, 31, 4, 45)
    assert now.astimezone(zone).day == 31
    assert window_bounds("day", zone, now) == (utc(1919, 3, 30, 5), utc(1919, 3, 31, 5))
    assert window_bounds("day", zone, utc(1919, 3, 31, 5)) == (utc(1919, 3, 31, 5), utc(1919, 4, 1, 4))


def test_an_unknown_window_is_refused():
    """A window that nobody knows is never taken for another."""
    with pytest.raises(ValueError, match="fortnight"):
        window_bounds("fortnight", BERLIN, NOW)


def test_a_time_without_a_zone_is_refused():
    """A naive time is never guessed to be of some zone."""
    with pytest.raises(AssertionError):
        window_bounds("day", BERLIN, datetime(2026, 11, 23))


@given(calendar | st.just("minute"), zones, instants())
def test_now_lies_in_its_window_and_windows_touch(window, zone, now):
    """Every instant lies in exactly one window: it begins where the one before ends."""
    starts_at, resets_at = window_bounds(window, zone, now)
    assert starts_at <= now < resets_at
    assert window_bounds(window, zone, starts_at) == (starts_at, resets_at)
    assert window_bounds(window, zone, resets_at - timedelta(microseconds=1)) == (starts_at, resets_at)
    assert window_bounds(window, zone, resets_at)[0] == resets_at
    assert window_bounds(window, zone, starts_at - timedelta(microseconds=1))[1] == starts_at


@given(calendar, zones, instants())
def test_the_zone_in_which_now_is_told_does_not_matter(window, zone, now):
    """The same instant has the same window, whatever zone it is told in."""
    assert window_bounds(window, zone, now.astimezone(ZoneInfo("Asia/Tokyo"))) == window_bounds(window, zone, now)


def test_every_window_has_bounds():
    """No window in the list is forgotten."""
    for window in WINDOWS:
        assert len(window_bounds(window, BERLIN, NOW, NOW)) == 2
