"""The price table's file, read strictly: one wrong figure, and nothing of it is used.

The file is JSON: ``about`` (``date``, ``source``, ``licence``, ``unit``) and one object per kind, model id → row. The
reference of a row stands in docs/prices.md.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import NoReturn

from ..errors import PriceError
from .rates import NAMED_TIERS, Price, Rates, Tier, complete, only, tiers

KINDS = ("anthropic", "azure", "gemini", "openai")
TEXT_MODES = frozenset({"chat", "responses", "completion", "embedding"})
MODES = TEXT_MODES | {
    "audio_speech",
    "audio_transcription",
    "container",
    "image_generation",
    "moderation",
    "realtime",
    "video_generation",
}
LARGEST_RATE = 10**15
"""One million dollars per 1M tokens; anything above is a slip of the decimal point."""

_ROW = frozenset({"mode", "free", "max_input", "max_output", "step", "tiers", "units", "uplift", "retires"})
_RATES = frozenset(Rates._fields)
_ABOUT = frozenset({"date", "source", "licence", "unit"})

Rows = dict[str, dict[str, Price]]


def read(text: str) -> tuple[str, Rows]:
    """Read a price table.

    Args:
        text: the file.

    Returns:
        Its date (ISO), and its rows by kind and model id.

    Raises:
        PriceError: the table is malformed: an unknown field, a rate that is not a whole positive number of
            nano-dollars, a text model without both input and output, a name given twice. Nothing is used.
    """
    document = _parse(text)
    about = _object(document.pop("about", None), "about")
    _known(about, _ABOUT, "about")
    day = _day(about.get("date"), "about.date")
    _known(document, frozenset(KINDS), "the table")
    return day, {
        kind: {model: _row(kind, model, fields) for model, fields in _object(rows, kind).items()}
        for kind, rows in document.items()
    }


def _parse(text: str) -> dict[str, object]:
    try:
        document = json.loads(
            text, parse_float=_no_number, parse_constant=_no_number, object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError) as problem:
        raise PriceError(f"price table: {problem}") from None
    return dict(_object(document, "the table"))


def _no_number(text: str) -> NoReturn:
    raise PriceError(f"{text[:40]} is not a whole number of nano-dollars")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise PriceError("a name stands twice in one object")
    return found


def _row(kind: str, model: str, fields: object) -> Price:
    where = f"{kind}/{model}"
    row = _object(fields, where)
    _known(row, _ROW, where)
    mode = row.get("mode")
    if not model or not isinstance(mode, str) or mode not in MODES:
        raise PriceError(f"price table: {where}: mode is unknown or missing")
    step = _optional(row, "step", where)
    priced = _tiers(row, mode=mode, step=step, where=where)
    units = _amounts(row.get("units", {}), f"{where}.units")
    if not priced and (not units or mode in TEXT_MODES):
        raise PriceError(f"price table: {where} has no price; a model that costs nothing says so: free")
    return Price(
        kind=kind,
        model=model,
        mode=mode,
        free="free" in row,
        max_input=_optional(row, "max_input", where),
        max_output=_optional(row, "max_output", where),
        step=step,
        tiers=priced,
        units=units,
        uplift=_amounts(row.get("uplift", {}), f"{where}.uplift"),
        retires=_day(row["retires"], f"{where}.retires") if "retires" in row else None,
    )


def _tiers(row: Mapping[str, object], *, mode: str, step: int | None, where: str) -> dict[str, Tier]:
    if "free" in row:
        if row["free"] is not True or row.keys() & {"step", "tiers", "units", "uplift"}:
            raise PriceError(f"price table: {where}: a free row says true, and names no price")
        return only(Rates())
    named = _object(row.get("tiers", {}), f"{where}.tiers")
    if not named:
        return {}
    _known(named, frozenset(NAMED_TIERS), f"{where}.tiers")
    if "default" not in named:
        raise PriceError(f"price table: {where}.tiers names no default")
    return tiers({name: _tier(rates, mode, step, f"{where}.tiers.{name}") for name, rates in named.items()})


def _tier(value: object, mode: str, step: int | None, where: str) -> tuple[Rates, Rates]:
    rates = dict(_object(value, where))
    above = rates.pop("long", None)
    if (above is None) != (step is None):
        raise PriceError(f"price table: {where}: step and long belong together")
    base = _rates(rates, mode, where)
    return base, base if above is None else _rates(above, mode, f"{where}.long")


def _rates(value: object, mode: str, where: str) -> Rates:
    named = _amounts(value, where)
    _known(named, _RATES, where)
    needed = {"input"} if mode == "embedding" else {"input", "output"}
    if missing := needed - named.keys():
        raise PriceError(f"price table: {where} lacks {', '.join(sorted(missing))}")
    return complete(named)


def _amounts(value: object, where: str) -> dict[str, int]:
    amounts = _object(value, where)
    for name, amount in amounts.items():
        _positive(amount, f"{where}.{name}")
    return amounts  # type: ignore[return-value]  # _positive has looked at every one


def _optional(row: Mapping[str, object], name: str, where: str) -> int | None:
    return _positive(row[name], f"{where}.{name}") if name in row else None


def _positive(value: object, where: str) -> int:
    # type() and not isinstance(): True is an int to Python, and no price.
    if type(value) is not int or not 0 < value <= LARGEST_RATE:
        raise PriceError(f"price table: {where} is not a positive whole number within range")
    return value


def _day(value: object, where: str) -> str:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise PriceError(f"price table: {where} is not a date such as 2026-11-12") from None


def _known(found: Mapping[str, object], known: frozenset[str], where: str) -> None:
    if unknown := found.keys() - known:
        raise PriceError(f"price table: {where} has unknown fields: {', '.join(sorted(unknown))}")


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise PriceError(f"price table: {where} is not an object")
    return value
