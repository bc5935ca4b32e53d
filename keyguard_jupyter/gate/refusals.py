"""Refusals in words: what was refused, used and limit, when it resets, whom to ask."""

from zoneinfo import ZoneInfo

from ..core.limits import Limit
from ..ledger.book import NoRoom
from ..money import NANO, show_left, show_spent, usd

_OWNERS = {"person": "Your", "key": "This key's", "group": "Your group's", "project": "The course's"}
_WINDOWS = {"lifetime": "total", "day": "daily", "week": "weekly", "month": "monthly", "until": "total"}


def describe(limit: Limit) -> str:
    """Name a limit as its owner would: ``Your weekly limit for gpt-4*``."""
    which = f"{_OWNERS[limit.scope]} {_WINDOWS.get(limit.window, limit.window)} limit"
    return which if limit.pattern == "*" else f"{which} for {limit.pattern}"


def explain_full(full: NoRoom, *, contact: str | None = None, zone: str = "UTC", waited: bool = False) -> str:
    """Say why a call does not fit a limit.

    Pools are shared, so that only their owner's own figures are told: a person's and a key's.

    Args:
        zone: the project's time zone, in which resets are told.
    """
    limit = full.limit
    if limit.unit == "concurrent":
        return f"{limit.amount} of your calls are running already, which is the limit. Try again when one has ended."
    if waited:
        return f"{describe(limit)} has money left, but other calls that are running hold it. Try again in a moment."
    used = f"{_spent(full)} of {show_left(limit.amount)} used"
    if limit.scope in {"group", "project"}:
        used = "used up" if full.left <= 0 else "nearly used up"
    return f"{describe(limit)} does not cover this call: {used}. {_reset(limit, zone)} {_ask(contact)}"


def explain_rate(full: NoRoom) -> str:
    """Say that a rate per minute is used up."""
    what = "requests" if full.limit.unit == "requests" else "tokens"
    return f"The limit of {full.limit.amount} {what} per minute is reached. Wait a moment, or send less at once."


def _spent(full: NoRoom) -> str:
    """Show what was spent; of a small limit in cents and their hundredths, or all of it would seem to be gone."""
    if full.limit.amount >= NANO or not full.spent:
        return show_spent(full.spent)
    return f"${usd(-(-full.spent // 100_000) * 100_000)}"


def _reset(limit: Limit, zone: str) -> str:
    if limit.resets_at is None:
        return "It does not reset by itself."
    moment = limit.resets_at.astimezone(ZoneInfo(zone))
    when = f"{moment:%a} {moment.day} {moment:%b %Y %H:%M %Z}"
    if limit.window == "until":
        return f"It ended {when}." if not limit.amount else f"It ends {when}."
    return f"It resets {when}."


def _ask(contact: str | None) -> str:
    return f"Ask {contact} for more." if contact else "Ask your host for more."
