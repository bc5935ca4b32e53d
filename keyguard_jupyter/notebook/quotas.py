"""Limits as a participant sees them: what they are called, how much of each is used, and when it begins anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..money import CENT, NANO, parse, show_left, show_spent, usd

COST_STEP = CENT // 100
"""A hundredth of a cent, in nano-dollars."""

WINDOWS = {
    "lifetime": "in total",
    "day": "today",
    "week": "this week",
    "month": "this month",
    "minute": "this minute",
    "until": "until its last day",
}
POOL_STATES = {"ok": "has room", "nearly_used": "is nearly used up", "used_up": "is used up"}


@dataclass(frozen=True, slots=True)
class Clock:
    """What is needed to write an instant for a person: the present, and the zone of the reader.

    Args:
        now: aware.
        zone: None is the zone of this machine.
    """

    now: datetime
    zone: tzinfo | None = None

    def write(self, moment: str | None) -> str:
        """Write an ISO instant as ``Mon 1 Dec 09:00 CET``, with the year where it is another one.

        Args:
            moment: ISO 8601; without an offset it is UTC. None is ``never``.
        """
        if moment is None:
            return "never"
        local = read_moment(moment).astimezone(self.zone)
        year = "" if local.year == self.now.astimezone(self.zone).year else f" {local.year}"
        return f"{local:%a} {local.day} {local:%b}{year} {local:%H:%M} {_zone_name(local)}"


def read_clock(me: Mapping[str, Any], zone: tzinfo | None = None) -> Clock:
    """Return the clock for an answer to ``/api/me``: the gateway's time, in the zone of the project.

    Args:
        me: the answer.
        zone: wins over the project's; this machine's own serves where it does not know the project's.
    """
    return Clock(read_moment(me["now"]), zone or _find_zone(me.get("timezone")))


def read_moment(moment: str) -> datetime:
    """Read an ISO 8601 instant; without an offset it is UTC."""
    read = datetime.fromisoformat(moment)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit of one's own. Amounts are nano-dollars; ``left`` leaves out what calls under way hold."""

    scope: str
    name: str
    pattern: str
    window: str
    amount: int
    spent: int
    held: int
    left: int
    resets_at: str | None

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes this limit in this window itself; a new window, or a new amount, is another one."""
        return (self.scope, self.name, self.pattern, self.window, str(self.amount), self.resets_at or "")

    @property
    def percent(self) -> int:
        """How much is spent, in percent, rounded down: 100 means all of it."""
        return self.spent * 100 // self.amount if self.amount > 0 else 100

    @property
    def title(self) -> str:
        """What the limit covers: ``this week, all models``."""
        models = "all models" if self.pattern == "*" else self.pattern
        return f"{WINDOWS.get(self.window, self.window)}, {models}{', this key' if self.scope == 'key' else ''}"

    def figures(self, clock: Clock) -> str:
        """Write how much is used and left, and when it resets."""
        return f"{self._used} used ({self.percent} %), {self._rest(clock)}"

    def warning(self, clock: Clock) -> str:
        """Write the same as news."""
        used = "used up" if self.percent >= 100 else f"{self.percent} % used"
        return f"your limit ({self.title}) is {used}: {self._used}, {self._rest(clock)}"

    @property
    def _used(self) -> str:
        show = show_spent if self.amount >= NANO else show_cost  # cents are too coarse for a small limit
        return f"{show(self.spent)} of {show_amount(self.amount)}"

    def _rest(self, clock: Clock) -> str:
        held = f"{show_spent(self.held)} held for calls under way, " if self.held else ""
        return f"{held}{show_left(self.left)} left{self._ending(clock)}"

    def _ending(self, clock: Clock) -> str:
        if self.resets_at is None:
            return ""
        verb = "ends" if self.window == "until" else "resets"
        return f", {verb} {clock.write(self.resets_at)}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A limit shared with others: only whether it has room is told, for its figures are not one's own."""

    scope: str
    name: str
    pattern: str
    window: str
    state: str
    resets_at: str | None

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes this pool in this window itself."""
        return (self.scope, self.name, self.pattern, self.window, self.resets_at or "")

    def sentence(self, clock: Clock) -> str:
        """Say in words how the pool stands."""
        models = "all models" if self.pattern == "*" else self.pattern
        window = WINDOWS.get(self.window, self.window)
        resets = f", resets {clock.write(self.resets_at)}" if self.resets_at and self.state != "ok" else ""
        return f"{self.scope} {self.name} ({window}, {models}) {POOL_STATES.get(self.state, self.state)}{resets}"


def read_quotas(me: Mapping[str, Any]) -> list[Quota]:
    """Read one's own limits from the gateway's answer to ``/api/me``, the most used first."""
    quotas = [
        Quota(
            scope=row["scope"],
            name=row["name"],
            pattern=row["pattern"],
            window=row["window"],
            amount=read_usd(row["amount_usd"]),
            spent=read_usd(row["spent_usd"]),
            held=read_usd(row["held_usd"]),
            left=read_usd(row["remaining_usd"]),
            resets_at=row["resets_at"],
        )
        for row in me["limits"]
    ]
    return sorted(quotas, key=lambda quota: (-quota.percent, quota.identity))


def read_pools(me: Mapping[str, Any]) -> list[Pool]:
    """Read the pools that one draws from out of the gateway's answer to ``/api/me``."""
    return [
        Pool(row["scope"], row["name"], row["pattern"], row["window"], row["state"], row["resets_at"])
        for row in me["pools"]
    ]


def read_usd(amount: str) -> int:
    """Read a decimal string of dollars as nano-dollars; unlike a limit, a balance may be below zero."""
    return -parse(amount[1:]) if amount.startswith("-") else parse(amount)


def show_amount(nano: int) -> str:
    """Write an amount that was set by somebody: exactly."""
    return show_spent(nano) if nano % CENT == 0 else f"${usd(nano)}"


def show_cost(nano: int) -> str:
    """Write what a call cost: rounded up, and finer than a balance, for most calls cost less than a cent."""
    if nano >= NANO or nano == 0:
        return show_spent(nano)
    steps = -(-nano // COST_STEP)
    return f"${steps // 10_000}.{steps % 10_000:04d}"


def show_remaining(me: Mapping[str, Any]) -> str:
    """Say what is left over all limits: ``$1.79 left``."""
    remaining = me["remaining_usd"]
    return "no spending limit" if remaining is None else f"{show_left(read_usd(remaining))} left"


def _find_zone(name: str | None) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):  # a machine without a time zone database
        return None


def _zone_name(moment: datetime) -> str:
    name = moment.tzname() or ""
    if name.isascii() and len(name) <= 5 and name.isalpha():
        return name
    offset = moment.strftime("%z")  # Windows says "Central European Standard Time", others "+03"
    return f"UTC{offset[:3]}:{offset[3:5]}"
