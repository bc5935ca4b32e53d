"""Prices that the host configures: added, replaced, marked free; never free by a slip."""

import re
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.prices import LIMITLESS, affordable_output, cost, worst
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.errors import PriceError, Unpriced


def lookup(overrides, model, *, kind="compatible", provider="campus"):
    return prices.load(overrides).lookup(kind, model, provider=provider)


def test_a_model_of_ones_own():
    """A price in dollars per 1M tokens is all that a model of one's own needs."""
    entry = {"input": "0.10", "output": "0.40", "cached": "0.05", "cache_write": "0.2", "max_output": 8192}
    price = lookup({"campus/qwen3-32b": entry}, "qwen3-32b")
    assert (price.model, price.kind, price.mode) == ("qwen3-32b", "configured", "chat")
    assert (price.input_usd_per_1m, price.output_usd_per_1m) == ("0.10", "0.40")
    assert (price.max_input, price.max_output, price.free) == (None, 8192, False)
    assert cost(price, Usage(input=10**6, cached=10**6, output=10**6), tier="flex") == 550_000_000
    assert worst(price, 10**6, 0) == 200_000_000


def test_a_configured_price_replaces_the_table():
    """What the host writes comes before the table, for that provider alone."""
    table = prices.load({"openai/gpt-4": {"input": 1, "output": Decimal("2.5")}})
    assert table.lookup("openai", "gpt-4").output_usd_per_1m == "2.50"
    assert table.lookup("openai", "gpt-4", provider="openai").input_usd_per_1m == "1.00"
    assert table.lookup("openai", "gpt-4", provider="other").input_usd_per_1m == "30.00"
    assert table.lookup("openai", "gpt-4o").input_usd_per_1m == "2.50"


def test_a_fine_tuned_family():
    """A family price covers its fine-tuned models; one exact id comes before it."""
    table = prices.load(
        {
            "openai/ft:gpt-9": {"input": "1", "output": "1"},
            "openai/ft:gpt-9:acme::1": {"input": "2", "output": "2"},
            "openai/ft:gpt-4-0613": {"input": "3", "output": "3"},
        }
    )
    assert table.lookup("openai", "ft:gpt-9:acme::1").input_usd_per_1m == "2.00"
    assert table.lookup("openai", "ft:gpt-9:acme::2").input_usd_per_1m == "1.00"
    assert table.lookup("openai", "ft:gpt-4-0613:x::y").input_usd_per_1m == "3.00"
    assert "ft:gpt-9:acme::1" in table.models("openai")
    assert "ft:gpt-9" not in table.models("openai")


def test_like_another_model():
    """A deployment takes the whole row of a model of its own kind, tiers and long-context step included."""
    overrides = {"uni/prod": {"like": "gpt-5.4", "max_output": 99}}
    azure = lookup(overrides, "prod", kind="azure", provider="uni")
    assert (azure.kind, azure.model, azure.max_output, azure.step) == ("azure", "prod", 99, 272_000)
    assert azure.max_input == prices.load().lookup("azure", "gpt-5.4").max_input
    assert lookup(overrides, "prod", provider="uni").kind == "openai"
    only_claude = lookup({"uni/c": {"like": "claude-haiku-4-5"}}, "c", provider="uni")
    assert only_claude.kind == "anthropic"


def test_free_only_when_it_says_so():
    """A model is free by `free: True` alone, for itself or for all of a provider; usage still has a cost of 0."""
    table = prices.load(
        {
            "ollama/*": {"free": True, "max_output": 4096},
            "ollama/dear": {"input": "1", "output": "1"},
            "campus/e": {"free": True, "mode": "embedding"},
        }
    )
    local = table.lookup("compatible", "llama4:8b", provider="ollama")
    assert local.free
    assert local.max_output == 4096
    assert (local.input_usd_per_1m, local.output_usd_per_1m) == ("0.00", "0.00")
    assert cost(local, Usage(input=10**9, audio_input=5, output=10**9), tier="ultrafast") == 0
    assert affordable_output(local, 10**9, 0, n=5) == LIMITLESS
    assert not table.lookup("compatible", "dear", provider="ollama").free
    assert table.lookup("compatible", "e", provider="campus").mode == "embedding"
    assert table.models("compatible", provider="ollama") == ["dear"]
    for provider in ("campus", "other", "ollama2"):
        with pytest.raises(Unpriced):
            table.lookup("compatible", "llama4:8b", provider=provider)


def test_embeddings_write_nothing():
    """An embedding model needs no output rate, and an output rate of 0 is none."""
    for entry in ({"input": "0.02"}, {"input": "0.02", "output": "0"}):
        price = lookup({"campus/e": {"mode": "embedding", **entry}}, "e")
        assert (price.mode, price.output_usd_per_1m, price.free) == ("embedding", "0.00", False)
        assert affordable_output(price, 10, 200) == LIMITLESS
        assert affordable_output(price, 11, 200) == -1


def test_the_version_tells_overrides_apart():
    """Charges keep the version of the prices they were made with; configuration changes it, its order does not."""
    one, two = {"input": "1", "output": "1"}, {"free": True}
    plain = prices.load()
    first = prices.load({"a/x": one, "b/y": two}).version
    assert plain.version == plain.date == prices.load({}).version
    assert first.startswith(f"{plain.date}+overrides-")
    assert len(first) == len(plain.date) + len("+overrides-") + 8
    assert prices.load({"b/y": two, "a/x": one}).version == first
    assert prices.load({"a/x": two, "b/y": two}).version != first


@pytest.mark.parametrize(
    ("key", "entry", "problem"),
    [
        ("gpt-4", {"free": True}, 'a key is "provider/model"'),
        ("/gpt-4", {"free": True}, 'a key is "provider/model"'),
        ("openai/", {"free": True}, 'a key is "provider/model"'),
        (5, {"free": True}, 'a key is "provider/model"'),
        ("a/m", None, "write"),
        ("a/m", "free", "write"),
        ("a/m", {}, "input and output missing"),
        ("a/m", {"input": "1"}, "output missing"),
        ("a/m", {"output": "1"}, "input missing"),
        ("a/m", {"mode": "embedding"}, "input missing"),
        ("a/m", {"input": "0", "output": "0"}, "free"),
        ("a/m", {"input": "1", "output": "0"}, "free"),
        ("a/m", {"input": "1", "output": "1", "cached": "0"}, "free"),
        ("a/m", {"mode": "embedding", "input": "0"}, "free"),
        ("a/m", {"input": 0.1, "output": "1"}, "as a string"),
        ("a/m", {"input": True, "output": "1"}, "as a string"),
        ("a/m", {"input": None, "output": "1"}, "as a string"),
        ("a/m", {"input": "-1", "output": "1"}, "out of range"),
        ("a/m", {"input": "NaN", "output": "1"}, "is not an amount"),
        ("a/m", {"input": "1e308", "output": "1"}, "out of range"),
        ("a/m", {"input": "1000001", "output": "1"}, "out of range"),
        ("a/m", {"input": "1e-10", "output": "1"}, "finer"),
        ("a/m", {"input": "cheap", "output": "1"}, "not an amount"),
        ("a/m", {"input": "1", "output": "1", "ouput": "2"}, "unknown: ouput"),
        ("a/m", {"input": "1", "output": "1", 3: "2"}, "unknown: 3"),
        ("a/m", {"input": "1", "output": "1", "mode": "realtime"}, "mode is one of"),
        ("a/m", {"input": "1", "output": "1", "mode": []}, "mode is one of"),
        ("a/m", {"input": "1", "output": "1", "max_output": "8192"}, "max_output is a positive whole number"),
        ("a/m", {"input": "1", "output": "1", "max_input": 0}, "max_input is a positive whole number"),
        ("a/m", {"free": True, "max_input": True}, "max_input is a positive whole number"),
        ("a/m", {"free": False}, "a free model is"),
        ("a/m", {"free": 1}, "a free model is"),
        ("a/m", {"free": True, "input": "1"}, "a free model is"),
        ("a/m", {"like": "gpt-4", "free": True}, "takes the whole row"),
        ("a/m", {"like": "gpt-4", "input": "1"}, "takes the whole row"),
        ("a/m", {"like": "gpt-4", "mode": "chat"}, "takes the whole row"),
        ("a/m", {"like": "gpt-nothing"}, "no model 'gpt-nothing'"),
        ("a/m", {"like": "whisper-1"}, "no model 'whisper-1'"),
        ("a/m", {"like": ["gpt-4"]}, "no model"),
        ("a/*", {"input": "1", "output": "1"}, "a pattern can only be"),
        ("a/*", {"like": "gpt-4"}, "a pattern can only be"),
        ("a/llama*", {"free": True}, "a pattern can only be"),
        ("*/*", {"free": True}, 'a key is "provider/model"'),
    ],
)
def test_a_wrong_entry_is_refused_with_the_fix(key, entry, problem):
    """A slip in the configuration stops the start, and says which entry and what to write."""
    with pytest.raises(PriceError) as refusal:
        prices.load({key: entry})
    assert f'Keyguard.prices["{key}"]' in str(refusal.value)
    assert problem in str(refusal.value)


def test_the_documented_configuration_works():
    """The example in docs/prices.md is a configuration that can be pasted."""
    page = (Path(__file__).parents[2] / "docs" / "prices.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    c = SimpleNamespace(Keyguard=SimpleNamespace())
    exec(example, {"c": c})
    table = prices.load(c.Keyguard.prices)
    assert table.lookup("compatible", "qwen3-32b", provider="campus").max_output == 8192
    assert table.lookup("azure", "prod-chat", provider="uni-azure").input_usd_per_1m == "2.75"
