"""One field of a policy document each: read strictly, or refused with its path and what to write instead."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from ..errors import MoneyError, PolicyError
from ..money import parse as parse_money
from .hours import parse as parse_hours
from .paths import join

DISABLED = "disabled"
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,30})?")
_LARGEST_COUNT = 10**15
_LONGEST_NAME = 200


def mapping(value: object, path: str, known: Collection[str] | None = None) -> Mapping[str, object]:
    """Read a mapping whose keys are text.

    Args:
        value: what the document holds.
        path: where.
        known: the keys that it may have; None for any.

    Raises:
        PolicyError: not a mapping, a key that is not text, or a key that is not known, with the nearest one that is.
    """
    if not isinstance(value, Mapping):
        raise PolicyError(path, f"write a mapping here, not {_kind(value)}")
    for key in value:
        if not isinstance(key, str):
            raise PolicyError(path, f"{key!r} is not read as text: write it in quotes")
        if known is not None and key not in known:
            raise PolicyError(join(path, key), f"there is no such setting here{_suggest(key, known)}")
    return value


def named(value: object, path: str) -> Mapping[str, object]:
    """Read a mapping whose keys are names of projects, groups or people."""
    entries = mapping(value, path)
    for key in entries:
        name(key, path)
    return entries


def patterned(value: object, path: str) -> Mapping[str, object]:
    """Read a mapping whose keys are model patterns."""
    entries = mapping(value, path)
    for key in entries:
        if not key or not key.isprintable() or " " in key or set(key) & set("[]{}\\"):
            raise PolicyError(
                path, f"{key!r} is not a model pattern: write an id in which * and ? may stand for others"
            )
    return entries


def name(value: object, path: str) -> str:
    """Read the name of a project, a group or a person."""
    if not isinstance(value, str):
        raise PolicyError(path, f"{value!r} is not read as text: write the name in quotes")
    if not value or value != value.strip() or not value.isprintable() or len(value) > _LONGEST_NAME:
        raise PolicyError(path, f"{value!r} is not a name: write 1 to {_LONGEST_NAME} characters without blanks around")
    return value


def names(value: object, path: str) -> list[str]:
    """Read a list of names."""
    return [name(item, path) for item in _list(value, path)]


def text(value: object, path: str) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise PolicyError(path, f"write a text here, not {_kind(value)}")
    return value


def choice(value: object, path: str, options: Collection[str]) -> str:
    """Read one of some words."""
    if not isinstance(value, str) or value not in options:
        raise PolicyError(path, f"write one of {', '.join(options)}, not {_kind(value)}")
    return value


def flag(value: object, path: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise PolicyError(path, f"write true or false, not {_kind(value)}")
    return value


def count(value: object, path: str) -> int:
    """Read a whole number of at least one."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError(path, f"write a whole number here, not {_kind(value)}")
    if not 1 <= value <= _LARGEST_COUNT:
        raise PolicyError(path, f"{value} is out of range: write at least 1; to stop calls, use active: false or pause")
    return value


def amount(value: object, path: str) -> int | None:
    """Read dollars as nano-dollars, or ``disabled`` as None."""
    if value == DISABLED:
        return None
    if isinstance(value, float):
        raise PolicyError(path, f'{value!r} is read as a float, which is not exact: quote it, like "5.00"')
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PolicyError(path, f'write dollars in quotes, like "5.00", or {DISABLED}, not {_kind(value)}')
    if str(value).startswith("-"):
        raise PolicyError(path, f"{value} is negative: an amount is not")
    if isinstance(value, str) and not _AMOUNT.fullmatch(value):
        raise PolicyError(path, f'"{value}" is not an amount: write dollars, like "5.00", or {DISABLED}')
    try:
        return parse_money(value)
    except MoneyError as error:
        raise PolicyError(path, str(error)) from None


def timezone(value: object, path: str) -> str:
    """Read the IANA name of a time zone."""
    zone = text(value, path)
    try:
        return ZoneInfo(zone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = _suggest(zone, available_timezones()) or ': write one like "Europe/Berlin"'
        raise PolicyError(path, f'"{zone}" is not a time zone{hint}') from None


def instant(value: object, path: str, zone: ZoneInfo) -> datetime:
    """Read an instant as UTC: with an offset, or by the clock of ``zone``; a bare date means the end of that day."""
    try:
        found = _by_the_clock(value, path)
        moment = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise PolicyError(path, f"{value} is out of range: leave it out for never") from None
    if not 1970 <= moment.year <= 9998:
        raise PolicyError(path, f"{value} is out of range: leave it out for never")
    return moment


def _by_the_clock(value: object, path: str) -> datetime:
    if isinstance(value, str):
        value = _parse_instant(value, path)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time()) + timedelta(days=1)
    raise PolicyError(path, f"write a date or a time here, like 2027-01-31T18:00:00Z, not {_kind(value)}")


def _parse_instant(value: str, path: str) -> date:
    try:
        return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    except ValueError:
        raise PolicyError(path, f'"{value}" is not a date or a time: write it like 2027-01-31T18:00:00Z') from None


def hours(value: object, path: str) -> tuple[str, ...]:
    """Read opening hours: a list of spans, at least one."""
    spans = tuple(text(item, path) for item in _list(value, path))
    if not spans:
        raise PolicyError(path, "leave it out for always; active: false or pause closes")
    for span in spans:
        try:
            parse_hours(span)
        except ValueError as error:
            raise PolicyError(path, str(error)) from None
    return spans


def _list(value: object, path: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise PolicyError(path, f"write a list here, not {_kind(value)}")
    return list(value)


def _kind(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f'the text "{value}"' if isinstance(value, str) else repr(value)


def _suggest(word: str, known: Collection[str]) -> str:
    near = get_close_matches(word, known, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; there are {', '.join(known)}" if len(known) < 30 else ""
