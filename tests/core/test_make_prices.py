"""The script that makes the price table: what it keeps, what it drops, what it fills in."""

import importlib.util
import json
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from keyguard_jupyter.core import prices

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_prices.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_prices", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(**fields):
    return {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000, **fields}


PLAIN = {"input_cost_per_token": Decimal("1e-6"), "output_cost_per_token": Decimal("4e-6")}


def make(script, source):
    dropped = Counter()
    return script.make(source, dropped), dropped


def test_a_plain_row(script):
    """Dollars per token become whole nano-dollars per 1M tokens; what is finer is rounded up."""
    fields = model(**PLAIN, cache_read_input_token_cost=Decimal("1.00000000001e-7"), deprecation_date="2027-01-01")
    table, dropped = make(script, {"m": fields})
    assert table["openai"]["m"] == {
        "mode": "chat",
        "max_input": 1000,
        "tiers": {"default": {"input": 10**9, "cached": 100_000_001, "output": 4 * 10**9}},
        "retires": "2027-01-01",
    }
    assert not dropped


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input_cost_per_token": Decimal("1e-6")},
        {"input_cost_per_token": Decimal("1e-6"), "output_cost_per_token": Decimal("0.0")},
        {"input_cost_per_token": 0, "output_cost_per_token": 0},
        {**PLAIN, "output_cost_per_video_token": Decimal("1e-5")},
        {"mode": "embedding"},
        {"mode": "image_generation"},
    ],
)
def test_no_price_no_row(script, fields):
    """A text model without both rates is dropped, never $0; and so is one that also sells video by the token."""
    table, dropped = make(script, {"m": model(**fields)})
    assert not table["openai"]
    assert dropped.total() == 1


def test_prefixes_and_other_providers(script):
    """The provider's prefix is cut off, Azure's data zone is not, and other providers are left out."""
    source = {
        "sample_spec": model(),
        "azure/eu/m": model(litellm_provider="azure", **PLAIN),
        "azure/mistral-x": model(litellm_provider="azure", **PLAIN),
        "gemini/g": model(litellm_provider="gemini", **PLAIN),
        "xai/grok": model(litellm_provider="xai", **PLAIN),
    }
    table, _ = make(script, source)
    assert {kind: list(rows) for kind, rows in table.items()} == {
        "anthropic": [],
        "azure": ["eu/m"],
        "gemini": ["g"],
        "openai": [],
    }


def test_tiers_are_filled_on_the_dear_side(script):
    """What a tier leaves out is at least the default's rate, raised as the tier is; cached has no rate of its own."""
    fields = model(
        **PLAIN,
        cache_read_input_token_cost=Decimal("1e-7"),
        cache_creation_input_token_cost=Decimal("1.25e-6"),
        input_cost_per_token_flex=Decimal("5e-7"),
        input_cost_per_token_priority=Decimal("2e-6"),
        output_cost_per_token_batches=Decimal("2e-6"),
        input_cost_per_token_above_200k_tokens=Decimal("3e-6"),
        output_cost_per_token_above_200k_tokens=Decimal("6e-6"),
        provider_specific_entry={"fast": 6, "us": Decimal("1.1")},
    )
    row = make(script, {"m": fields})[0]["openai"]["m"]
    tiers = row["tiers"]
    assert row["step"] == 200_000
    assert row["uplift"] == {"us": 1100}
    assert set(tiers) == {"default", "flex", "priority", "fast"}
    assert tiers["default"]["cache_write_12h"] == 2_500_000_000
    assert tiers["default"]["long"]["cached"] == 100_000_000
    flex = {"input": 5 * 10**8, "cache_write": 1_250_000_000, "cache_write_12h": 2_500_000_000, "output": 4 * 10**9}
    assert {name: rate for name, rate in tiers["flex"].items() if name != "long"} == flex
    assert tiers["priority"]["output"] == 8 * 10**9
    assert tiers["priority"]["long"]["input"] == 6 * 10**9
    assert tiers["priority"]["long"]["output"] == 12 * 10**9
    assert tiers["fast"]["long"]["output"] == 36 * 10**9


def test_pictures_join_the_row_of_their_model(script):
    """A picture's size, which litellm lists as a model, becomes a unit price of the model."""
    source = {
        "hd/10-x-10/pic": model(mode="image_generation", input_cost_per_pixel=Decimal("1e-9")),
        "10-x-20/pic": model(mode="image_generation", input_cost_per_image=Decimal("0.04")),
        "10-x-20/nothing": model(mode="image_generation", input_cost_per_pixel=Decimal(0)),
    }
    table, _ = make(script, source)
    assert table["openai"] == {
        "pic": {"mode": "image_generation", "units": {"image 10x20": 40_000_000, "image hd 10x10": 100}}
    }


def test_the_dearer_of_two(script, capsys):
    """A model that is listed under two names with different rates has the dearer ones."""
    dear = {"input_cost_per_token": Decimal("2e-6"), "output_cost_per_token": Decimal("4e-6")}
    for first, second in ((PLAIN, dear), (dear, PLAIN)):
        source = {
            "gemini/g": model(litellm_provider="gemini", **first),
            "g": model(litellm_provider="gemini", **second),
        }
        assert make(script, source)[0]["gemini"]["g"]["tiers"]["default"]["input"] == 2 * 10**9
    assert "the dearer kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    "fields",
    [
        {"input_cost_per_moonbeam": Decimal("1e-6")},
        {"input_cost_per_token": Decimal("-1e-6")},
        {"input_cost_per_token": Decimal("NaN")},
        {
            "input_cost_per_token_above_128k_tokens": Decimal("1e-6"),
            "input_cost_per_token_above_200k_tokens": Decimal("1e-6"),
        },
    ],
)
def test_what_nobody_has_looked_at_stops_the_script(script, fields):
    """A price field that is new, a figure that is no price and a second step are for a person to decide."""
    with pytest.raises(SystemExit):
        make(script, {"m": model(**{**PLAIN, **fields})})


def test_extra_rows(script):
    """What litellm lacks is added, and an addition that has become too cheap is noticed."""
    table, _ = make(script, {"m": model(**PLAIN)})
    script.merge_extra(table, {"openai": {"n": {"like": "m", "retires": "2027-01-01", "source": "a page"}}})
    assert table["openai"]["n"] == {**table["openai"]["m"], "retires": "2027-01-01"}
    with pytest.raises(SystemExit, match="dearer price"):
        script.merge_extra(table, {"openai": {"m": {"mode": "chat", "free": True}}})


def test_from_wheel_to_table(script, tmp_path, capsys):
    """The script reads the wheel's own file, checks its licence, and writes the same table each time."""
    licence = script.LICENCE.read_text("utf-8").partition("MIT License")[2]
    wheel = tmp_path / "litellm-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        data = json.dumps({"m": model(input_cost_per_token=1e-6, output_cost_per_token=4e-6)})
        archive.writestr("litellm/model_prices_and_context_window_backup.json", data)
        archive.writestr("litellm-9.9.9.dist-info/licenses/LICENSE", "Portions…\nMIT License" + licence)
    extra = tmp_path / "extra.json"
    extra.write_text("{}")
    texts = []
    for name in ("one.json", "two.json"):
        output = tmp_path / name
        script.main([str(wheel), "--date", "2026-01-02", "--output", str(output), "--extra", str(extra)])
        texts.append(output.read_text("utf-8"))
    assert texts[0] == texts[1]
    table = prices.read(texts[0])
    assert table.date == "2026-01-02"
    assert table.lookup("openai", "m").output_usd_per_1m == "4.00"
    assert "litellm 9.9.9" in texts[0]
    assert "openai: 1 rows (chat 1)" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "litellm-9.9.8-py3-none-any.whl", "w") as archive:
        archive.writestr("litellm/model_prices_and_context_window_backup.json", "{}")
        archive.writestr("litellm-9.9.8.dist-info/licenses/LICENSE", "MIT License\nall rights reserved")
    with pytest.raises(SystemExit, match="licence"):
        script.read_source(tmp_path / "litellm-9.9.8-py3-none-any.whl")


def test_a_plain_file_will_do(script, tmp_path):
    """The JSON file of litellm's repository is as good as the wheel."""
    path = tmp_path / "model_prices_and_context_window.json"
    path.write_text("{}")
    assert script.read_source(path) == ("litellm, model_prices_and_context_window.json", "{}")
