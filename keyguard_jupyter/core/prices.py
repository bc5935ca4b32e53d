"""What a call costs, and the most that it can cost.

Amounts are nano-dollars, rates nano-dollars per 1M tokens; a call is one whole-number sum and one rounding up. The
figures stand in prices.json, which is data: see docs/prices.md for where it comes from and how to add to it.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import PriceError, Unpriced
from . import price_file, price_overrides
from .price_overrides import EVERY_MODEL, Override
from .rates import DEAREST, PER, Price, multiplied
from .usage import Usage

__all__ = ["LIMITLESS", "Price", "PriceTable", "affordable_output", "cost", "load", "read", "worst"]

LIMITLESS = 2**53
"""The output cap that `affordable_output` returns for a model whose output costs nothing."""

_LONGEST_ID_SHOWN = 200


class PriceTable:
    """Prices by exact model id; made by `load` or `read`.

    Args:
        date: the day of the figures, ISO.
        version: the date, and a mark when configuration has changed the table; kept with every charge.
        rows: by kind and model id.
        overrides: by ``provider/model``.
    """

    __slots__ = ("_overrides", "_rows", "date", "version")

    def __init__(
        self, date: str, version: str, rows: price_file.Rows, overrides: Mapping[str, Override] | None = None
    ) -> None:
        self.date = date
        self.version = version
        self._rows = rows
        self._overrides = overrides or {}

    def lookup(
        self, kind: str, model: str, *, provider: str | None = None, multiplier: Fraction = Fraction(1)
    ) -> Price:
        """Return the price of a model, by its exact id.

        A configured price comes first, then ``provider/*``, then the table of the kind. A fine-tuned model
        (``ft:<base>:<organisation>:…``) has the price of ``ft:<base>``.

        Args:
            kind: the kind of the provider: ``openai``, ``azure``, ``anthropic``, ``gemini``, ``compatible``.
            model: the id as requested.
            provider: the provider's name in the configuration; the kind when left out.
            multiplier: applied to every rate of the table and of the configuration.

        Raises:
            Unpriced: there is none; the message says what to add.
        """
        price = self._find(kind, model, provider or kind)
        if price is None or not price.tiers:
            raise Unpriced(self._advice(model, provider or kind, price))
        return price if multiplier == 1 else multiplied(price, multiplier)

    def models(self, kind: str, *, provider: str | None = None) -> list[str]:
        """List the ids that a caller can name and that have a price per token, sorted.

        Args:
            kind: the kind of the provider.
            provider: its name, to list the models that configuration adds to it; the kind when left out.
        """
        table = {model for model, price in self._rows.get(kind, {}).items() if price.tiers}
        prefix = f"{provider or kind}/"
        added = {key.removeprefix(prefix) for key in self._overrides if key.startswith(prefix)}
        # A bare "ft:<base>" prices a family; no model has that id.
        return sorted(model for model in table | added if model != EVERY_MODEL and not _is_family(model))

    def unit_price(self, kind: str, model: str, unit: str) -> int:
        """Return the nano-dollars of one unit that is not a token: ``search_high``, ``input_second``, ….

        Raises:
            Unpriced: the row names no such unit.
        """
        row = self._rows.get(kind, {}).get(model)
        if row is None or unit not in row.units:
            raise Unpriced(f"{_shown(model)} of {kind} has no price per {unit} in the table of {self.date}")
        return row.units[unit]

    def _find(self, kind: str, model: str, provider: str) -> Price | None:
        names = (model, _family(model))
        for name in (*names, EVERY_MODEL):
            if override := self._overrides.get(f"{provider}/{name}"):
                return override.get(kind) or override[""]
        rows = self._rows.get(kind, {})
        return rows.get(names[0]) or rows.get(names[1])

    def _advice(self, model: str, provider: str, row: Price | None) -> str:
        name = _shown(model)
        key = json.dumps(f"{provider}/{model}"[:_LONGEST_ID_SHOWN], ensure_ascii=False)
        found = f"is sold by {', '.join(row.units)}, not by the token," if row else "has no price"
        return (
            f"Model {name} of provider {json.dumps(provider)} {found} in the price table of {self.date}, so it "
            f"cannot be used. An administrator can add its price in dollars per 1M tokens to the configuration: "
            f'c.Keyguard.prices = {{{key}: {{"input": "…", "output": "…"}}}} or, if it costs nothing, '
            f'c.Keyguard.prices = {{{key}: {{"free": True}}}}'
        )


def load(overrides: Mapping[str, Mapping[str, Any]] | None = None) -> PriceTable:
    """Load the price table that this package carries.

    Args:
        overrides: ``c.Keyguard.prices``; see docs/prices.md.

    Raises:
        PriceError: the table or an override is malformed; nothing of it is used.
    """
    try:
        text = Path(__file__).with_name("prices.json").read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise PriceError(f"price table: {problem}") from None
    return read(text, overrides)


def read(text: str, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> PriceTable:
    """Read a price table from text.

    Args:
        text: JSON in the format of prices.json.
        overrides: ``c.Keyguard.prices``.

    Raises:
        PriceError: as `load`.
    """
    date, rows = price_file.read(text)
    if not overrides:
        return PriceTable(date, date, rows)
    configured = price_overrides.read(overrides, rows)
    return PriceTable(date, f"{date}+overrides-{price_overrides.fingerprint(overrides)}", rows, configured)


def cost(price: Price, usage: Usage, *, tier: str = "default", fees: int = 0) -> int:
    """Return what a call cost, in nano-dollars, rounded up once.

    Args:
        price: the row of the model that answered.
        usage: the tokens it reported.
        tier: the service tier it reported; one that is unknown costs the dearest rates of the row.
        fees: nano-dollars beside the tokens.
    """
    rates = price.tiers.get(tier) or price.tiers[DEAREST]
    above = price.step is not None and usage.input_total > price.step
    per = rates.long if above else rates.base
    total = (
        usage.input * per.input
        + usage.cached * per.cached
        + usage.cache_write * per.cache_write
        + usage.cache_write_12h * per.cache_write_12h
        + usage.audio_input * per.audio_input
        + usage.cached_audio * per.cached_audio
        + usage.image_input * per.image_input
        + usage.output * per.output
        + usage.audio_output * per.audio_output
        + usage.image_output * per.image_output
    )
    return -(-total // PER) + fees


def worst(price: Price, input_tokens: int, output_tokens: int, *, tier: str = "default") -> int:
    """Return the most that a call of text and images can cost within its bounds, in nano-dollars.

    It is at least the `cost` of every usage that reads at most `input_tokens` (fresh, cached or written to a cache for
    the default time) and writes at most `output_tokens`. Audio and 12-hour cache writes are outside: the gateway
    refuses to ask for them. For ``flex`` and ``batch`` it covers an answer at the default tier too.

    Args:
        price: the row of the model.
        input_tokens: the most that it can read.
        output_tokens: the most that it can write, all choices together.
        tier: the service tier that is asked for.
    """
    return max(
        -(-(read * per_input + output_tokens * per_output) // PER)
        for read, per_input, per_output in _cases(price, input_tokens, tier)
    )


def affordable_output(price: Price, input_tokens: int, money: int, *, tier: str = "default", n: int = 1) -> int:
    """Return the largest output cap that an amount pays for.

    Args:
        price: the row of the model.
        input_tokens: the most that the call can read.
        money: nano-dollars.
        tier: the service tier that is asked for.
        n: how many choices are asked for; each may write as much as the cap.

    Returns:
        The largest ``c`` with ``worst(price, input_tokens, c * n) <= money``; -1 when not even the input fits;
        `LIMITLESS` when output costs nothing.
    """
    if price.free:
        return LIMITLESS
    left = [
        (money * PER - read * per_input, per_output * n)
        for read, per_input, per_output in _cases(price, input_tokens, tier)
    ]
    if min(rest for rest, _ in left) < 0:
        return -1
    return min(LIMITLESS, *(rest // per_cap if per_cap else LIMITLESS for rest, per_cap in left))


def _cases(price: Price, input_tokens: int, tier: str) -> tuple[tuple[int, int, int], ...]:
    """Return tokens read and both rates, on either side of the long-context step that the call can end up on."""
    rates = price.tiers.get(tier) or price.tiers[DEAREST]
    if price.step is None or input_tokens <= price.step:
        return ((input_tokens, *rates.hold),)
    # The bound lies above the step, and the true count may lie below it: neither side need be the dearer.
    return ((price.step, *rates.hold), (input_tokens, *rates.hold_long))


def _family(model: str) -> str:
    prefix, _, rest = model.partition(":")
    return f"ft:{rest.partition(':')[0]}" if prefix == "ft" else model


def _is_family(model: str) -> bool:
    return model.startswith("ft:") and model == _family(model)


def _shown(model: str) -> str:
    return json.dumps(model[:_LONGEST_ID_SHOWN], ensure_ascii=False)
