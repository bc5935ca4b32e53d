"""Limits and the windows in which they count."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

UNITS = ("usd", "requests", "tokens", "concurrent")
WINDOWS = ("lifetime", "day", "week", "month", "minute", "until")


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit that applies to a call, with the window that holds now.

    Args:
        project: name of the project.
        scope: ``"project"``, ``"group"``, ``"person"`` or ``"key"``.
        name: the group, the person or the key's id; the project's name for a project.
        unit: one of ``UNITS``.
        pattern: the models that it counts; ``"*"`` is every model.
        window: one of ``WINDOWS``.
        amount: nano-dollars for ``usd``, a count for the other units.
        starts_at: start of the window that holds now, in UTC; None when it counts from the beginning.
        resets_at: when the next window starts, in UTC; for ``until`` the instant from which nothing is granted.
        rule: where the limit is written.

    Attributes:
        counter: stable id of what is counted. It does not hold the amount: to raise a limit forgets no spending.
    """

    project: str
    scope: str
    name: str
    unit: str
    pattern: str
    window: str
    amount: int
    starts_at: datetime | None
    resets_at: datetime | None
    rule: str
    counter: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = (self.project, self.scope, self.name, self.unit, self.pattern, self.window, _stamp(self.starts_at))
        counter = "|".join(names)
        if "%" in counter or counter.count("|") >= len(names):
            counter = "|".join(name.replace("%", "%25").replace("|", "%7C") for name in names)
        object.__setattr__(self, "counter", counter)


def _stamp(instant: datetime | None) -> str:
    """Write an instant of UTC to the minute: ``20261123T1200``."""
    return instant.isoformat()[:16].replace("-", "").replace(":", "") if instant else "-"


def window_bounds(
    window: str, zone: ZoneInfo, now: datetime, until: datetime | None = None
) -> tuple[datetime | None, datetime | None]:
    """Return the start and the end of the window that ``now`` lies in.

    Days, weeks (from Monday) and months start at midnight in ``zone``, so that a day may last 23 or 25 hours; where the
    clocks skip midnight, at the moment they do. Minutes are those of UTC.

    Args:
        window: one of ``WINDOWS``.
        zone: the project's time zone.
        now: an aware datetime.
        until: the end of an ``until`` window.

    Returns:
        ``(starts_at, resets_at)`` in UTC with ``starts_at <= now < resets_at``; ``(None, None)`` for ``lifetime`` and
        ``(None, until)`` for ``until``, which count from the beginning.

    Raises:
        ValueError: no such window.
    """
    assert now.tzinfo is not None
    if window == "lifetime":
        return None, None
    if window == "until":
        return None, until
    if window == "minute":
        start = now.astimezone(UTC).replace(second=0, microsecond=0)
        return start, start + timedelta(minutes=1)
    return _calendar_bounds(window, zone, now)


def _calendar_bounds(window: str, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    first = _first_day(window, now.astimezone(zone).date())
    following = _first_day_after(window, first)
    start, end = _midnight(first, zone), _midnight(following, zone)
    if start > now:  # the clocks jumped over midnight, and this window's has not come yet
        before = _first_day(window, first - timedelta(days=1))
        return _midnight(before, zone), start
    if end <= now:  # the clocks went back over midnight: the date is yesterday's again, the window is not
        return end, _midnight(_first_day_after(window, following), zone)
    return start, end


def _first_day(window: str, day: date) -> date:
    if window == "day":
        return day
    if window == "week":
        return day - timedelta(days=day.weekday())
    if window == "month":
        return day.replace(day=1)
    raise ValueError(f"no window is called {window!r}")


def _first_day_after(window: str, first: date) -> date:
    if window == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=1 if window == "day" else 7)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first midnight of a day: with ``fold=0`` one that is skipped falls on the jump or just after it."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
