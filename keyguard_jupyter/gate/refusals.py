"""Refusals in words: what was refused, used and limit, when it resets, whom to ask."""

from datetime import datetime

from ..core.limits import Limit
from ..ledger.book import NoRoom
from ..money import show_left, show_spent

_OWNERS = {"person": "Your", "key": "This key's", "group": "Your group's", "project": "The course's"}
_WINDOWS = {"lifetime": "total", "day": "daily", "week": "weekly", "month": "monthly", "until": "total"}


def describe(limit: Limit) -> str:
    """Name a limit as its owner would: ``Your weekly limit for gpt-4*``."""
    which = f"{_OWNERS[limit.scope]} {_WINDOWS.get(limit.window, limit.window)} limit"
    return which if limit.pattern == "*" else f"{which} for {limit.pattern}"


def explain_full(full: NoRoom, *, contact: str | None = None, waited: bool = False) -> str:
    """Say why a call does not fit a limit.

    Pools are shared, so that only their owner's own figures are told: a person's and a key's.
    """
    limit = full.limit
    if limit.unit == "concurrent":
        return f"{limit.amount} of your calls are running already, which is the limit. Try again when one has ended."
    if waited:
        return f"{describe(limit)} has money left, but other calls that are running hold it. Try again in a moment."
    used = f"{show_spent(full.spent)} of {show_left(limit.amount)} used"
    if limit.scope in {"group", "project"}:
        used = "used up" if full.left <= 0 else "nearly used up"
    return f"{describe(limit)} does not cover this call: {used}. {_reset(limit)} {_ask(contact)}"


def explain_rate(full: NoRoom) -> str:
    """Say that a rate per minute is used up."""
    what = "requests" if full.limit.unit == "requests" else "tokens"
    return f"The limit of {full.limit.amount} {what} per minute is reached. Wait a moment, or send less at once."


def _reset(limit: Limit) -> str:
    if limit.window == "until":
        return f"It ends on {_when(limit.resets_at)}." if limit.resets_at else ""
    return f"It resets {_when(limit.resets_at)}." if limit.resets_at else "It does not reset by itself."


def _when(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%a} {moment.day} {moment:%b %Y %H:%M} UTC"


def _ask(contact: str | None) -> str:
    return f"Ask {contact} for more." if contact else "Ask your host for more."
