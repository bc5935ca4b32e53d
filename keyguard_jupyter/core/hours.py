"""Opening hours: ``"Mon-Fri 09:00-18:00"``, ``"Sat,Sun 10:00-12:00"``, ``"Fri 22:00-02:00"`` (into the next day).

Times are what the clock on the wall shows. Where the clocks go back, the first of two equal times counts. A time that
the clocks skip falls as long after the jump as it is written after the jump's start.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SPAN = re.compile(r"([A-Za-z,-]+) ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_WHOLE_DAY = 24 * 60
# A weekly timetable repeats itself after a week; the second week is for one that the clocks have shifted.
_HORIZON_DAYS = 15


@dataclass(frozen=True, slots=True)
class Span:
    """A time of day on some weekdays.

    Args:
        days: 0 is Monday.
        opens: minutes from midnight.
        closes: minutes from the same midnight; more than 1440 when it runs into the next day.
    """

    days: frozenset[int]
    opens: int
    closes: int


def parse(text: str) -> Span:
    """Read one span.

    Args:
        text: weekdays (``Mon``, ``Mon-Fri``, ``Mon,Wed,Fri``), a blank, and two times of day; ``24:00`` may end it.

    Raises:
        ValueError: not a span; the message says what to write.
    """
    found = _SPAN.fullmatch(text)
    if not found:
        raise ValueError(f'{text!r} is not a span: write days and times like "Mon-Fri 09:00-18:00"')
    opens, closes = _minutes(found[2], found[3]), _minutes(found[4], found[5])
    if opens in (_WHOLE_DAY, closes):
        raise ValueError(f"{text!r} is an empty span: a whole day is 00:00-24:00")
    return Span(_weekdays(found[1]), opens, closes if closes > opens else closes + _WHOLE_DAY)


def _minutes(hour: str, minute: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > _WHOLE_DAY:
        raise ValueError(f"{hour}:{minute} is not a time of day: they run from 00:00 to 24:00")
    return total


def _weekdays(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(end in DAYS for end in ends):
            raise ValueError(f"{part!r} is not a day: write {', '.join(DAYS)}, or a range like Mon-Fri")
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        days.update((first + step) % 7 for step in range((last - first) % 7 + 1))
    return frozenset(days)


def open_at(hours: Collection[str], zone: ZoneInfo, now: datetime) -> bool:
    """Tell whether a timetable is open; without any hours it always is."""
    if not hours:
        return True
    return any(opens <= now < closes for opens, closes in _intervals(hours, zone, now, days=1))


def next_change(hours: Collection[str], zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return the next instant at which a timetable may open or close; None when there is none for a day or more."""
    intervals = _intervals(hours, zone, now, days=2)
    return min((instant for interval in intervals for instant in interval if instant > now), default=None)


def next_opening(timetables: Sequence[Collection[str]], zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return the next instant after ``now`` at which every timetable is open.

    Args:
        timetables: each a collection of spans.
        zone: the project's time zone.
        now: an aware datetime at which at least one of them is closed.

    Returns:
        The instant in UTC, or None when they never are all open.
    """
    openings = {
        opens
        for hours in timetables
        for opens, _ in _intervals(hours, zone, now, days=_HORIZON_DAYS)
        if opens > now and all(open_at(other, zone, opens) for other in timetables)
    }
    return min(openings, default=None)


def show(instant: datetime, zone: ZoneInfo) -> str:
    """Write an instant for a person: ``Mon 2026-03-09 09:00 (Europe/Berlin)``."""
    local = instant.astimezone(zone)
    return f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M} ({zone.key})"


def _intervals(hours: Iterable[str], zone: ZoneInfo, now: datetime, days: int) -> list[tuple[datetime, datetime]]:
    """Return the intervals that start between the day before ``now`` and ``days`` days after it."""
    today = now.astimezone(zone).date()
    spans = [parse(text) for text in hours]
    return [
        (_instant(day, span.opens, zone), _instant(day, span.closes, zone))
        for day in (today + timedelta(days=step) for step in range(-1, days + 1))
        for span in spans
        if day.weekday() in span.days
    ]


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return wall.replace(tzinfo=zone).astimezone(UTC)
