"""The worst case of a call: never below the truth, and its inverse is exact."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyguard_jupyter.core import price_file, prices
from keyguard_jupyter.core.prices import LIMITLESS, affordable_output, cost, worst
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.money import NANO

TABLE = prices.load()
TEXT = [
    price
    for kind in price_file.KINDS
    for price in (TABLE.lookup(kind, model) for model in TABLE.models(kind))
    if price.mode in price_file.TEXT_MODES
]
TIERS = ("default", "flex", "priority", "fast", "ultrafast", "scale", "batch", "standard", "never-heard-of", "")
STEP = 272_000
ASTRA = TABLE.lookup("openai", "gpt-6-astra")


@st.composite
def calls(draw):
    """Draw a model, a tier, bounds around the long-context step, and a usage of text and images within them."""
    price = draw(st.sampled_from(TEXT))
    step = price.step or STEP
    bound = draw(st.integers(0, 1_000_000) | st.integers(max(0, step - 3), step + 3))
    output = draw(st.integers(0, 130_000))
    read = draw(st.integers(0, bound) | st.just(bound) | st.integers(min(bound, step - 1), min(bound, step + 1)))
    cuts = sorted(draw(st.tuples(*[st.integers(0, read)] * 3)))
    pictures = draw(st.just(0) | st.integers(0, output))
    usage = Usage(
        input=cuts[0],
        cached=cuts[1] - cuts[0],
        cache_write=cuts[2] - cuts[1],
        image_input=read - cuts[2],
        output=draw(st.integers(0, output - pictures)),
        image_output=pictures,
    )
    return price, draw(st.sampled_from(TIERS)), bound, output, usage


@given(calls())
@settings(max_examples=1500, deadline=None)
def test_the_worst_case_is_never_below_the_truth(call):
    """Whatever text call stays within its bounds costs at most what was held for it."""
    price, tier, bound, output, usage = call
    assert worst(price, bound, output, tier=tier) >= cost(price, usage, tier=tier)
    if tier in ("flex", "batch"):
        assert worst(price, bound, output, tier=tier) >= cost(price, usage)


@pytest.mark.parametrize("tier", TIERS)
def test_the_worst_case_covers_every_model(tier):
    """For every model: all tokens of one kind, on the edges of the long-context step."""
    for price in TEXT:
        step = price.step or STEP
        for bound in (0, 1, step, step + 1, 2 * step):
            held = worst(price, bound, 4096, tier=tier)
            for read in {0, min(bound, step), bound}:
                for kind in ("input", "cached", "cache_write", "image_input"):
                    assert held >= cost(price, Usage(**{kind: read}, output=4096), tier=tier), price.model
            assert worst(price, bound, 0, tier=tier) <= held <= worst(price, bound + 1, 4097, tier=tier)


def test_the_hold_takes_the_dearest_way_of_reading():
    """A cache write that costs more than reading is what is held; the 12-hour write, never asked for, is not."""
    assert worst(ASTRA, 1000, 0) == cost(ASTRA, Usage(cache_write=1000))
    assert worst(ASTRA, STEP, 0) == 3_400_000_000
    assert worst(ASTRA, STEP + 1, 0) == 6_800_025_000
    gpt4 = TABLE.lookup("openai", "gpt-4")
    assert worst(gpt4, 1000, 100) == cost(gpt4, Usage(input=1000, output=100))


def test_a_step_that_makes_things_cheaper_does_not_lower_the_hold():
    """Were a long request cheaper, a call that may be shorter than its bound is held at the dearer side."""
    odd = prices.read(
        json.dumps(
            {
                "about": {"date": "2026-01-01"},
                "openai": {
                    "m": {
                        "mode": "chat",
                        "step": 100,
                        "tiers": {
                            "default": {
                                "input": 5 * 10**6,
                                "output": 8 * 10**6,
                                "long": {"input": 10**6, "output": 10**6},
                            }
                        },
                    }
                },
            }
        )
    ).lookup("openai", "m")
    assert cost(odd, Usage(input=101, output=10)) == 111
    assert worst(odd, 101, 10) == cost(odd, Usage(input=100, output=10)) == 580
    assert affordable_output(odd, 101, 580) == 10
    assert affordable_output(odd, 101, 579) == 9


@given(calls(), st.integers(-10, 20 * NANO), st.integers(1, 8))
@settings(max_examples=800, deadline=None)
def test_the_affordable_output_is_the_largest(call, money, n):
    """The cap fits the money, and one token more does not."""
    price, tier, bound, _, _ = call
    cap = affordable_output(price, bound, money, tier=tier, n=n)
    if cap == -1:
        assert worst(price, bound, 0, tier=tier) > money
    elif cap < LIMITLESS:
        assert worst(price, bound, cap * n, tier=tier) <= money < worst(price, bound, (cap + 1) * n, tier=tier)
    else:
        assert price.mode == "embedding"
        assert worst(price, bound, 0, tier=tier) <= money
