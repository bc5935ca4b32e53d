"""Prices: the table is complete, costs are exact, and the worst case is never below the truth."""

import json
import time
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyguard_jupyter.core import price_file, prices
from keyguard_jupyter.core.prices import LIMITLESS, affordable_output, cost, worst
from keyguard_jupyter.core.rates import DEAREST, NAMED_TIERS
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.errors import PriceError, Unpriced
from keyguard_jupyter.money import NANO

TABLE = prices.load()
FILE = json.loads(Path(prices.__file__).with_name("prices.json").read_text("utf-8"))
TEXT = [
    TABLE.lookup(kind, model)
    for kind in price_file.KINDS
    for model in TABLE.models(kind)
    if TABLE.lookup(kind, model).mode in price_file.TEXT_MODES
]
TIERS = ("default", "flex", "priority", "fast", "ultrafast", "scale", "batch", "standard", "never-heard-of", "")
STEP = 272_000
ASTRA = TABLE.lookup("openai", "gpt-6-astra")


def dollars(price, usage, **how):
    return Decimal(cost(price, usage, **how)) / NANO


# The table


def test_every_row_has_a_price():
    """No row is free by omission: each is priced by the token, by the unit, or says that it is free."""
    rows = price_file.read(json.dumps(FILE))[1]
    assert sum(map(len, rows.values())) > 500
    for row in (row for kind in rows.values() for row in kind.values()):
        if row.free:
            assert row.mode == "moderation"
        elif row.tiers:
            for tier in row.tiers.values():
                assert min(tier.base[:7]) > 0
                assert row.mode == "embedding" or min(*tier.base, *tier.long) > 0
        else:
            assert row.units


def test_no_rate_of_a_long_request_is_cheaper():
    """Above the long-context step nothing costs less than below."""
    for price in TEXT:
        for tier in price.tiers.values():
            assert tier.long.input >= tier.base.input, price.model
            assert tier.long.output >= tier.base.output, price.model
            assert tier.long.cache_write >= tier.base.cache_write, price.model


def test_the_table_says_where_it_comes_from():
    """Date, source, licence and unit stand in the file, and the licence notice beside it."""
    assert FILE["about"]["date"] == TABLE.date == TABLE.version
    assert "litellm" in FILE["about"]["source"]
    assert "MIT" in FILE["about"]["licence"]
    notice = Path(prices.__file__).with_name("prices.LICENSE").read_text("utf-8")
    assert "Permission is hereby granted" in notice
    assert "Berri AI" in notice


def test_one_model_a_line():
    """The file is one line a model, sorted, so that a change of price is one line of a diff."""
    text = Path(prices.__file__).with_name("prices.json").read_text("utf-8")
    for kind in price_file.KINDS:
        assert list(FILE[kind]) == sorted(FILE[kind])
    assert text.count("\n") == sum(len(FILE[kind]) for kind in price_file.KINDS) + 2 * len(price_file.KINDS) + 3


@pytest.mark.parametrize(
    ("model", "row", "read", "write"),
    [
        ("gpt-3.5-turbo", "gpt-3.5-turbo", "0.50", "1.50"),
        ("gpt-3.5-turbo-1106", "gpt-3.5-turbo-1106", "1.00", "2.00"),
        ("gpt-3.5-turbo-16k", "gpt-3.5-turbo-16k", "3.00", "4.00"),
        ("gpt-4", "gpt-4", "30.00", "60.00"),
        ("gpt-4-1106-preview", "gpt-4-1106-preview", "10.00", "30.00"),
        ("babbage-002", "babbage-002", "0.40", "0.40"),
        ("davinci-002", "davinci-002", "2.00", "2.00"),
        ("ft:gpt-3.5-turbo:acme::1", "ft:gpt-3.5-turbo", "3.00", "6.00"),
        ("ft:gpt-3.5-turbo-1106:org::id", "ft:gpt-3.5-turbo-1106", "3.00", "6.00"),
        ("ft:gpt-4-0613:org::id", "ft:gpt-4-0613", "30.00", "60.00"),
        ("ft:babbage-002:comp:38aa1134", "ft:babbage-002", "1.60", "1.60"),
        ("ft:davinci-002:comp:38n5h353", "ft:davinci-002", "12.00", "12.00"),
        ("ft:gpt-4.1-2025-04-14:acme:moderation:abc", "ft:gpt-4.1-2025-04-14", "3.00", "12.00"),
    ],
)
def test_models_and_their_fine_tuned_forms(model, row, read, write):
    """Older models and fine-tuned ones have their own rates; a fine-tuned id never matches anything but its base."""
    price = TABLE.lookup("openai", model)
    assert (price.model, price.input_usd_per_1m, price.output_usd_per_1m) == (row, read, write)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-6.2-astra",
        "GPT-4",
        " gpt-4",
        "gpt-4 ",
        "gpt-4-",
        "openai/gpt-4",
        "ft:",
        "ft::gpt-4",
        "ft:gpt-4:org::id",
        "ft:gpt-6-astra:acme::id",
        "ft:never",
        "",
        "*",
        "about",
    ],
)
def test_ids_are_exact(model):
    """An id that is not in the table to the letter has no price, whatever it resembles."""
    with pytest.raises(Unpriced):
        TABLE.lookup("openai", model)


def test_kinds_are_apart():
    """One provider's table says nothing about another's; Azure's data zones are part of the id."""
    zone = TABLE.lookup("azure", "eu/gpt-4o-2024-11-20")
    assert zone.input_usd_per_1m == "2.75"
    assert TABLE.lookup("azure", "gpt-4o-2024-11-20").input_usd_per_1m == "2.50"
    assert TABLE.lookup("anthropic", "claude-haiku-4-5").output_usd_per_1m == "5.00"
    assert TABLE.lookup("gemini", "gemini-2.5-pro").step == 200_000
    for kind, model in (("openai", "claude-haiku-4-5"), ("anthropic", "gpt-4"), ("compatible", "gpt-4")):
        with pytest.raises(Unpriced):
            TABLE.lookup(kind, model)


def test_an_unpriced_model_says_how_to_price_it():
    """The refusal names model, provider and the table's date, and the line that a host can paste."""
    with pytest.raises(Unpriced) as refusal:
        TABLE.lookup("compatible", "qwen3-32b", provider="campus")
    message = str(refusal.value)
    assert '"qwen3-32b" of provider "campus"' in message
    assert TABLE.date in message
    assert 'c.Keyguard.prices = {"campus/qwen3-32b": {"input": "…", "output": "…"}}' in message
    assert 'c.Keyguard.prices = {"campus/qwen3-32b": {"free": True}}' in message


def test_a_refusal_stays_short_and_printable():
    """An id that somebody made up cannot flood a log or break its lines."""
    with pytest.raises(Unpriced) as refusal:
        TABLE.lookup("openai", 'x\n"' * 10_000)
    assert len(str(refusal.value)) < 2000
    assert "\n" not in str(refusal.value)


def test_what_is_not_sold_by_the_token():
    """A model that is sold by the second has no price per token, and its unit price can be asked for."""
    with pytest.raises(Unpriced, match="sold by input_second, output_second, not by the token"):
        TABLE.lookup("openai", "whisper-1")
    assert TABLE.unit_price("openai", "whisper-1", "input_second") == 100_000
    assert TABLE.unit_price("openai", "container", "container_session") == 30_000_000
    assert TABLE.unit_price("openai", "gpt-6-astra", "search_high") == 10_000_000
    for kind, model, unit in (("openai", "gpt-4", "search_high"), ("openai", "no", "x"), ("no", "gpt-4", "x")):
        with pytest.raises(Unpriced):
            TABLE.unit_price(kind, model, unit)


def test_listing_models():
    """Only ids that a caller can name are listed: not what is sold by the second, not a fine-tuning family."""
    models = TABLE.models("openai")
    assert models == sorted(models)
    assert {"gpt-4", "babbage-002", "omni-moderation-latest"} <= set(models)
    assert not {"whisper-1", "container", "ft:gpt-3.5-turbo"} & set(models)
    assert TABLE.models("compatible") == []


def test_moderation_is_free():
    """Moderation costs nothing because the table says so."""
    price = TABLE.lookup("openai", "omni-moderation-latest")
    assert price.free
    assert cost(price, Usage(input=10**6, output=10**6)) == worst(price, 10**6, 10**6) == 0
    assert affordable_output(price, 10**9, 0) == LIMITLESS
    assert affordable_output(price, 10**9, -5) == LIMITLESS


def test_loading_takes_no_time():
    """The table loads in well under a tenth of a second, for every process of the gateway does it."""
    started = time.process_time()
    prices.load()
    assert time.process_time() - started < 0.1


# What a call cost


@pytest.mark.parametrize(
    ("model", "usage", "tier", "expected"),
    [
        ("gpt-6-astra", Usage(input=STEP), "default", "2.72"),
        ("gpt-6-astra", Usage(input=STEP + 1), "default", "5.44002"),
        ("gpt-6-astra", Usage(input=STEP, output=1000), "default", "2.77"),
        ("gpt-6-astra", Usage(input=STEP, cached=1, output=1000), "default", "5.515002"),
        ("gpt-6-astra", Usage(cached=STEP, cache_write=1), "default", "0.544025"),
        ("gpt-6-astra", Usage(input=1000, output=1000), "priority", "0.12"),
        ("gpt-6-astra", Usage(input=1000, output=1000), "fast", "0.12"),
        ("gpt-6-astra", Usage(input=1000, output=100), "ultrafast", "0.09"),
        ("gpt-6-astra", Usage(input=1000, output=100), "never-heard-of", "0.09"),
        ("gpt-6-astra", Usage(input=1000, output=100), "flex", "0.0075"),
        ("gpt-6-astra", Usage(input=1000, output=100), "scale", "0.015"),
        ("gpt-6-astra", Usage(cache_write=1000), "default", "0.0125"),
        ("gpt-6-astra", Usage(cache_write_12h=1000), "default", "0.025"),
        ("gpt-4", Usage(cache_write_12h=1000), "default", "0.03"),
        ("gpt-4", Usage(input=1000), "flex", "0.03"),
        ("gpt-4", Usage(input=1000), "priority", "0.03"),
        ("gpt-4o-mini-audio-preview-2024-12-17", Usage(audio_input=1000, audio_output=1000), "default", "0.03"),
        ("gpt-4", Usage(audio_input=1000), "default", "0.06"),
        ("gpt-4o", Usage(image_input=1000, image_output=1000), "default", "0.0125"),
        ("text-embedding-3-small", Usage(input=10), "default", "0.0000002"),
        ("gpt-5.4", Usage(input=STEP + 1, output=1), "priority", "2.720055"),
    ],
)
def test_known_costs(model, usage, tier, expected):
    """Figures from the providers' price lists, tier by tier and on both sides of the long-context step."""
    assert dollars(TABLE.lookup("openai", model), usage, tier=tier) == Decimal(expected)


def test_a_call_is_rounded_up_once():
    """A cost is the exact sum, rounded up to a whole nano-dollar: not once per kind of token."""
    luna = TABLE.lookup("openai", "gpt-5-nano")
    assert luna.tiers["flex"].base.cached == 2_500_000
    odd = prices.read(
        json.dumps(
            {
                "about": {"date": "2026-01-01"},
                "openai": {"m": {"mode": "chat", "tiers": {"default": {"input": 1, "output": 1_000_001}}}},
            }
        )
    ).lookup("openai", "m")
    assert cost(odd, Usage(input=1)) == 1
    assert cost(odd, Usage(input=999_999, output=1)) == 2
    assert cost(odd, Usage()) == 0
    assert cost(odd, Usage(), fees=7) == 7


def test_anthropic_fast_and_standard():
    """Anthropic's names for its tiers are understood."""
    opus = TABLE.lookup("anthropic", "claude-opus-5")
    usage = Usage(input=1000, output=1000)
    assert dollars(opus, usage, tier="standard") == Decimal("0.03")
    assert dollars(opus, usage, tier="fast") == dollars(opus, usage, tier="priority") == Decimal("0.06")


COUNTS = st.integers(0, 400_000)
USAGES = st.builds(
    Usage, **{name: st.just(0) | COUNTS for name in Usage.__slots__ if name not in ("reasoning", "cached_audio")}
)


@given(price=st.sampled_from(TEXT), tier=st.sampled_from(NAMED_TIERS), usage=USAGES)
@settings(max_examples=400, deadline=None)
def test_cost_is_exact(price, tier, usage):
    """Whole-number arithmetic gives what decimal arithmetic on the file's own figures gives."""
    row = FILE[price.kind][price.model]
    named = row["tiers"].get(tier)
    if named is None:
        return
    if usage.input_total > row.get("step", 10**9):
        named = named["long"]
    standing_in = {"cached": "input", "cache_write": "input", "image_input": "input", "image_output": "output"}
    total = Decimal(0)
    for name in ("input", "cached", "cache_write", "image_input", "output", "image_output"):
        rate = named.get(name, named.get(standing_in.get(name), 0))
        total += Decimal(getattr(usage, name)) * rate / 1_000_000
    rates = price.tiers[tier].base if named is row["tiers"][tier] else price.tiers[tier].long
    for name in ("cache_write_12h", "audio_input", "audio_output"):
        rate = named.get(name, getattr(rates, name))
        assert rate >= min(named.values(), key=lambda value: value if isinstance(value, int) else 10**18)
        total += Decimal(getattr(usage, name)) * rate / 1_000_000
    assert cost(price, usage, tier=tier) == int(total.to_integral_value(ROUND_CEILING))


@given(price=st.sampled_from(TEXT), usage=USAGES, tier=st.sampled_from(TIERS))
def test_an_unknown_tier_is_the_dearest(price, usage, tier):
    """No tier costs more than one that nobody has heard of."""
    assert cost(price, usage, tier=tier) <= cost(price, usage, tier="never-heard-of")


# Surcharges


def test_a_multiplier_raises_every_rate():
    """A regional surcharge is in the hold and in the charge, rounded up, and the table itself does not change."""
    dear = TABLE.lookup("openai", "gpt-6-astra", multiplier=Fraction(11, 10))
    assert dear.input_usd_per_1m == "11.00"
    assert dollars(dear, Usage(input=STEP + 1)) == Decimal("5.984022")
    assert dollars(dear, Usage(input=1000), tier="ultrafast") == Decimal("0.066")
    assert worst(dear, 1000, 0) == cost(dear, Usage(cache_write=1000)) == 13_750_000
    assert dear.units["search_high"] == 11_000_000
    assert TABLE.lookup("openai", "gpt-6-astra") is ASTRA
    assert TABLE.lookup("openai", "gpt-6-astra", multiplier=Fraction(11, 10)) is dear
    third = TABLE.lookup("openai", "babbage-002", multiplier=Fraction(1, 3))
    assert third.tiers[DEAREST].base.input == 133_333_334


@given(price=st.sampled_from(TEXT), usage=USAGES, tier=st.sampled_from(TIERS))
def test_a_multiplied_price_is_at_least_the_product(price, usage, tier):
    """The surcharge on a whole call is never less than the surcharge on its cost."""
    dear = TABLE.lookup(price.kind, price.model, multiplier=Fraction(11, 10))
    assert cost(dear, usage, tier=tier) * 10 >= (cost(price, usage, tier=tier) - 1) * 11


# Loading


def test_a_missing_table_fails_closed(tmp_path, monkeypatch):
    """Without its table nothing is priced: loading fails with the reason."""
    monkeypatch.setattr(prices, "__file__", str(tmp_path / "prices.py"))
    with pytest.raises(PriceError, match=r"prices\.json"):
        prices.load()
    (tmp_path / "prices.json").write_bytes(b"\xff\xfe")
    with pytest.raises(PriceError, match="decode"):
        prices.load()
