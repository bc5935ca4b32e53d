"""One row of the price table: what a model costs, by kind of token, service tier and length of the request.

A row names few rates; every other one has a stand-in that is never cheaper than the truth can be known to be:

- cached tokens and cache writes without a rate of their own cost what input costs;
- audio without a rate costs the dearest rate of the row;
- `flex` and `batch` without rates are the default tier (that is what a provider falls back to);
- a tier that the row does not know costs, token by token, the dearest of all its tiers.

All of it is worked out when the row is made, so that pricing a call is one lookup and one sum.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from .. import money

PER = 1_000_000
DEAREST = ""
NAMED_TIERS = ("default", "flex", "priority", "fast", "ultrafast", "batch")


class Rates(NamedTuple):
    """Nano-dollars per 1M tokens, for each kind of token that `Usage` tells apart."""

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_12h: int = 0
    audio_input: int = 0
    cached_audio: int = 0
    image_input: int = 0
    output: int = 0
    audio_output: int = 0
    image_output: int = 0


class Hold(NamedTuple):
    """The dearest rates that a token of text or of an image can cost, in nano-dollars per 1M."""

    input: int
    output: int


class Tier(NamedTuple):
    """Rates of one service tier, up to the long-context step (``base``) and above it (``long``)."""

    base: Rates
    long: Rates
    hold: Hold
    hold_long: Hold


@dataclass(frozen=True, slots=True)
class Price:
    """One complete row of the price table.

    Args:
        kind: the table that the row stands in: ``openai``, ``azure``, ``anthropic``, ``gemini`` or ``configured``.
        model: the exact id.
        mode: what the model does: ``chat``, ``responses``, ``completion``, ``embedding``, ``moderation``, …
        free: true for a model that is marked free; never inferred from a missing price.
        max_input: the most tokens that it reads, None when unknown.
        max_output: the most tokens that it writes, None when unknown.
        step: a request that reads more tokens than this costs the ``long`` rates, for all its tokens; None: no step.
        tiers: rates by service tier; ``""`` holds the dearest. Empty: the model is not sold by the token.
        units: nano-dollars for what is not sold by the token (a search, a second, an image, …).
        uplift: per mille that a regional endpoint costs, as ``{"eu": 1100}``; applied by the provider's
            ``price_multiplier``, for only the host knows which endpoint a base URL is.
        retires: the day on which the provider withdraws the model, as ``2026-10-23``; None when unknown.
    """

    kind: str
    model: str
    mode: str = "chat"
    free: bool = False
    max_input: int | None = None
    max_output: int | None = None
    step: int | None = None
    tiers: Mapping[str, Tier] = field(default_factory=dict, hash=False, repr=False)
    units: Mapping[str, int] = field(default_factory=dict, hash=False, repr=False)
    uplift: Mapping[str, int] = field(default_factory=dict, hash=False, repr=False)
    retires: str | None = None

    @property
    def input_usd_per_1m(self) -> str:
        """Return what 1M tokens of text read cost at the default tier, in dollars."""
        return money.usd(self.tiers["default"].base.input)

    @property
    def output_usd_per_1m(self) -> str:
        """Return what 1M tokens of text written cost at the default tier, in dollars."""
        return money.usd(self.tiers["default"].base.output)


def complete(named: Mapping[str, int]) -> Rates:
    """Give every kind of token a rate.

    Args:
        named: the rates that the row names, nano-dollars per 1M tokens; ``input`` at least. A model without
            ``output`` (embeddings) writes none.
    """
    rate = named.get
    output = rate("output", 0)
    write = rate("cache_write", named["input"])
    dearest = max(named.values())
    audio_input = rate("audio_input", dearest)
    return Rates(
        input=named["input"],
        cached=rate("cached", named["input"]),
        cache_write=write,
        cache_write_12h=rate("cache_write_12h", write),
        audio_input=audio_input,
        cached_audio=rate("cached_audio", audio_input),
        image_input=rate("image_input", named["input"]),
        output=output,
        audio_output=rate("audio_output", dearest),
        image_output=rate("image_output", output),
    )


def tiers(named: Mapping[str, tuple[Rates, Rates]]) -> dict[str, Tier]:
    """Give every service tier that a provider may report its rates.

    Args:
        named: rates up to and above the long-context step of the tiers that the row names; ``default`` at least.
    """
    own = {name: _tier(base, long) for name, (base, long) in named.items()}
    default = own["default"]
    if len(own) == 1:
        return dict.fromkeys((*NAMED_TIERS, "standard", "scale", DEAREST), default)
    dearest = _tier(_dearest(t.base for t in own.values()), _dearest(t.long for t in own.values()))
    return {
        "default": default,
        # Anthropic reports the default as "standard"; "scale" is prepaid capacity, counted at list price.
        "standard": default,
        "scale": default,
        "flex": _with_fallback(own.get("flex", default), default),
        "batch": _with_fallback(own.get("batch", default), default),
        # OpenAI calls the same tier by both names.
        "priority": own.get("priority") or own.get("fast") or dearest,
        "fast": own.get("fast") or own.get("priority") or dearest,
        "ultrafast": own.get("ultrafast") or dearest,
        DEAREST: dearest,
    }


@lru_cache(maxsize=1024)
def multiplied(price: Price, factor: Fraction) -> Price:
    """Return the price times a factor, each rate rounded up (regional surcharges, a safety margin).

    Args:
        price: a row of the table.
        factor: not negative; 11/10 for an endpoint that costs a tenth more.
    """
    named = {
        name: (_scaled(price.tiers[name].base, factor), _scaled(price.tiers[name].long, factor))
        for name in NAMED_TIERS
        if name in price.tiers
    }
    units = {name: ceil(cost * factor) for name, cost in price.units.items()}
    return replace(price, tiers=tiers(named), units=units)


def only(base: Rates, long: Rates | None = None) -> dict[str, Tier]:
    """Give every service tier the same rates: those of a row that names no tier but the default."""
    return tiers({"default": (base, long or base)})


def _tier(base: Rates, long: Rates) -> Tier:
    return Tier(base, long, _hold(base), _hold(long))


def _hold(rates: Rates) -> Hold:
    # The 12-hour write is left out: the gateway refuses to ask for it. So is audio.
    read = max(rates.input, rates.cached, rates.cache_write, rates.image_input)
    return Hold(read, max(rates.output, rates.image_output))


def _with_fallback(tier: Tier, default: Tier) -> Tier:
    # Asked for flex, a provider may answer at default and charge that: the hold must cover both.
    return tier._replace(
        hold=Hold(*map(max, tier.hold, default.hold)), hold_long=Hold(*map(max, tier.hold_long, default.hold_long))
    )


def _dearest(all_rates: Iterable[Rates]) -> Rates:
    return Rates(*map(max, zip(*all_rates, strict=True)))


def _scaled(rates: Rates, factor: Fraction) -> Rates:
    return Rates(*(ceil(rate * factor) for rate in rates))
