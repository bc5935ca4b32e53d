"""Prices that the host adds or replaces in the configuration.

``c.Keyguard.prices`` maps ``provider/model`` to one of

- ``{"input": "0.10", "output": "0.40"}``, dollars per 1M tokens as strings; also ``cached``, ``cache_write``,
  ``cache_write_12h``, ``mode``, ``max_input`` and ``max_output``;
- ``{"like": "gpt-4.1"}``, the row of another model; also ``max_input`` and ``max_output``;
- ``{"free": True}``, for one model or, as ``provider/*``, for all of a provider.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from .. import money
from ..errors import MoneyError, PriceError
from .price_file import LARGEST_RATE, TEXT_MODES, Rows
from .rates import Price, Rates, complete, only

CONFIGURED = "configured"
EVERY_MODEL = "*"

_RATES = ("input", "output", "cached", "cache_write", "cache_write_12h")
_FIELDS = frozenset({"free", "like", "mode", "max_input", "max_output", *_RATES})

Override = Mapping[str, Price]
"""The price by the provider's kind; ``""`` is for a kind that is not listed."""


def read(overrides: Mapping[str, Mapping[str, object]], rows: Rows) -> dict[str, Override]:
    """Read the configured prices.

    Args:
        overrides: ``c.Keyguard.prices``.
        rows: the table, in which ``like`` is looked up.

    Raises:
        PriceError: names the entry and what to write instead.
    """
    return {key: _entry(str(key), fields, rows) for key, fields in overrides.items()}


def fingerprint(overrides: Mapping[str, Mapping[str, object]]) -> str:
    """Return eight characters that change when the overrides do."""
    canonical = json.dumps(overrides, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _entry(key: str, fields: object, rows: Rows) -> Override:
    provider, _, model = key.partition("/")
    if not provider or not model or "*" in provider:
        raise _wrong(key, 'a key is "provider/model", or "provider/*" for a free one')
    if not isinstance(fields, Mapping):
        raise _wrong(key, 'write {"input": "0.10", "output": "0.40"} or {"free": True}')
    if unknown := fields.keys() - _FIELDS:
        raise _wrong(key, f"unknown: {', '.join(sorted(map(str, unknown)))}; known: {', '.join(sorted(_FIELDS))}")
    if "*" in model and (model != EVERY_MODEL or "free" not in fields):
        raise _wrong(key, 'a pattern can only be "provider/*", with {"free": True}')
    found = _like(key, fields, rows) if "like" in fields else {"": _figures(key, fields)}
    return {kind: _named(key, fields, price, model) for kind, price in found.items()}


def _figures(key: str, fields: Mapping[str, object]) -> Price:
    mode = fields.get("mode", "chat")
    if not isinstance(mode, str) or mode not in TEXT_MODES:
        raise _wrong(key, f"mode is one of {', '.join(sorted(TEXT_MODES))}")
    if "free" not in fields:
        return Price(CONFIGURED, "", mode, tiers=only(_rates(key, fields, mode)))
    if fields["free"] is not True or fields.keys() & {*_RATES}:
        raise _wrong(key, 'a free model is {"free": True}, without rates')
    return Price(CONFIGURED, "", mode, free=True, tiers=only(Rates()))


def _named(key: str, fields: Mapping[str, object], price: Price, model: str) -> Price:
    return replace(
        price,
        model=model,
        max_input=_whole(key, fields, "max_input", price.max_input),
        max_output=_whole(key, fields, "max_output", price.max_output),
    )


def _like(key: str, fields: Mapping[str, object], rows: Rows) -> dict[str, Price]:
    if fields.keys() & {"free", "mode", *_RATES}:
        raise _wrong(key, '"like" takes the whole row; leave out the rates, or write them all and leave out "like"')
    other = fields["like"]
    found = {kind: table[other] for kind, table in rows.items() if isinstance(other, str) and other in table}
    found = {kind: price for kind, price in found.items() if price.tiers}
    if not found:
        raise _wrong(key, f"the price table has no model {other!r}")
    # A provider whose kind does not sell the model (a compatible server) gets OpenAI's price for it, if there is one.
    found[""] = found.get("openai") or next(iter(found.values()))
    return found


def _rates(key: str, fields: Mapping[str, object], mode: str) -> Rates:
    named = {name: _rate(key, name, fields[name]) for name in _RATES if name in fields}
    if mode == "embedding" and not named.get("output"):
        named.pop("output", None)
    needed = {"input"} if mode == "embedding" else {"input", "output"}
    if missing := needed - named.keys():
        raise _wrong(key, f"{' and '.join(sorted(missing))} missing (dollars per 1M tokens, as strings)")
    if not all(named.values()):
        raise _wrong(key, 'a rate is 0; a model that costs nothing is {"free": True}')
    return complete(named)


def _rate(key: str, name: str, value: object) -> int:
    try:
        rate = money.parse(value)  # type: ignore[arg-type]  # parse refuses what is not an amount, and says how to write it
    except MoneyError as problem:
        raise _wrong(key, f"{name}: {problem}") from None
    if rate > LARGEST_RATE:
        raise _wrong(key, f"{name}: {value} dollars per 1M tokens is out of range")
    return rate


def _whole(key: str, fields: Mapping[str, object], name: str, otherwise: int | None) -> int | None:
    value = fields.get(name, otherwise)
    if value is not None and (type(value) is not int or value <= 0):
        raise _wrong(key, f"{name} is a positive whole number of tokens")
    return value


def _wrong(key: str, problem: str) -> PriceError:
    return PriceError(f'Keyguard.prices["{key}"]: {problem}')
