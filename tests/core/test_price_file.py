"""The price table's file: one wrong figure, and nothing of it is used."""

import copy
import json

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.price_file import LARGEST_RATE
from keyguard_jupyter.errors import PriceError

GOOD = {
    "about": {"date": "2026-11-12", "source": "somewhere", "licence": "MIT", "unit": "nano-dollars"},
    "openai": {
        "m": {
            "mode": "chat",
            "max_input": 1000,
            "max_output": 100,
            "step": 500,
            "tiers": {
                "default": {"input": 10, "cached": 1, "output": 20, "long": {"input": 20, "output": 40}},
                "flex": {"input": 5, "output": 10, "long": {"input": 10, "output": 20}},
            },
            "units": {"search_high": 7},
            "uplift": {"eu": 1100},
            "retires": "2027-01-01",
        },
        "e": {"mode": "embedding", "tiers": {"default": {"input": 10}}},
        "f": {"mode": "moderation", "free": True},
        "w": {"mode": "audio_transcription", "units": {"input_second": 3}},
    },
}


def with_field(path, value):
    table = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    place = table
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(table)


def test_a_good_table_is_read():
    """The table that the bad ones below are made from is itself fine."""
    row = prices.read(json.dumps(GOOD)).lookup("openai", "m")
    assert (row.max_input, row.max_output, row.step, row.retires) == (1000, 100, 500, "2027-01-01")
    assert (row.units, row.uplift, row.free) == ({"search_high": 7}, {"eu": 1100}, False)
    assert row.tiers["default"].long.output == 40
    assert prices.read(json.dumps(GOOD)).models("openai") == ["e", "f", "m"]


BAD = -1, 0, 1.5, 1e308, True, None, "10", [], {}, LARGEST_RATE + 1
PLACES = (
    "openai/m/tiers/default/input",
    "openai/m/tiers/default/long/output",
    "openai/m/tiers/flex/output",
    "openai/m/units/search_high",
    "openai/m/uplift/eu",
    "openai/m/step",
    "openai/m/max_input",
    "openai/m/max_output",
    "openai/e/tiers/default/input",
)


@pytest.mark.parametrize("value", BAD, ids=repr)
@pytest.mark.parametrize("path", PLACES)
def test_a_figure_must_be_a_positive_whole_number(path, value):
    """Zero, negative, fractional, huge or other figures spoil the table."""
    with pytest.raises(PriceError):
        prices.read(with_field(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("extra", {}),
        ("about", ...),
        ("about", []),
        ("about/more", 1),
        ("about/date", "yesterday"),
        ("about/date", ...),
        ("openai", []),
        ("openai/m", []),
        ("openai/m/discount", 1),
        ("openai/m/mode", "karaoke"),
        ("openai/m/mode", ...),
        ("openai/m/mode", None),
        ("openai/m/mode", []),
        ("openai/m/free", True),
        ("openai/m/retires", "soon"),
        ("openai/m/tiers", {}),
        ("openai/m/tiers", []),
        ("openai/m/tiers/default", ...),
        ("openai/m/tiers/turbo", {"input": 1, "output": 1}),
        ("openai/m/tiers/default/taste", 1),
        ("openai/m/tiers/default/input", ...),
        ("openai/m/tiers/default/output", ...),
        ("openai/m/tiers/default/long/input", ...),
        ("openai/m/tiers/default/long", ...),
        ("openai/m/tiers/flex/long", ...),
        ("openai/m/step", ...),
        ("openai/m/units", []),
        ("openai/e/tiers", ...),
        ("openai/f/free", False),
        ("openai/f/free", 1),
        ("openai/f/free", ...),
        ("openai/f/units", {"input_second": 1}),
        ("openai/w/units", ...),
        ("openai/", {"mode": "moderation", "free": True}),
    ],
)
def test_a_row_is_complete_or_the_table_is_refused(path, value):
    """Unknown fields, missing rates, half a long-context step and a price of nothing spoil the table."""
    with pytest.raises(PriceError):
        prices.read(with_field(path, value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps(GOOD) + "x",
        json.dumps(GOOD).replace(": 10,", ": NaN,", 1),
        json.dumps(GOOD).replace(": 10,", ": Infinity,", 1),
        json.dumps(GOOD).replace(": 10,", ": 1e308,", 1),
        json.dumps(GOOD).replace(": 10,", f": {'9' * 5000},", 1),
        json.dumps(GOOD).replace('"cached": 1', '"input": 1', 1),
        json.dumps(GOOD).replace('"e": ', '"m": ', 1),
        "[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(text):
    """Broken JSON, NaN, endless numbers, endless nesting and a name that stands twice spoil the table."""
    with pytest.raises(PriceError):
        prices.read(text)
