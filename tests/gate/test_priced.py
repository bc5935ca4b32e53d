"""What one model at one provider costs."""

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.providers import read_providers
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.errors import Unpriced
from keyguard_jupyter.gate.priced import Priced

TABLE = prices.load(
    {"openai/gpt-4.1-mini": {"input": "0.10", "output": "0.20"}, "eu/gpt-4.1-mini": {"like": "gpt-4.1-mini"}}
)
SPECS = read_providers(
    {
        "openai": "env:X",
        "eu": {"kind": "openai", "base_url": "https://eu.example/v1", "price_multiplier": "1.1"},
        "azure": {"kind": "azure", "base_url": "https://x.example", "deployments": {"prod": "gpt-4.1"}},
    }
)
USAGE = Usage(input=1000, output=1000)


def test_a_configured_price_holds_for_the_dated_name_of_the_model() -> None:
    """A provider answers with a dated name; the host's own price counts all the same, but not for another model."""
    priced = Priced.find(TABLE, SPECS["openai"], "gpt-4.1-mini")
    assert priced.cost(USAGE, None, "gpt-4.1-mini-2025-04-14") == 1000 * 100 + 1000 * 200
    assert priced.cost(USAGE, None, "gpt-4.1") == 1000 * 2000 + 1000 * 8000


def test_a_region_that_costs_more_does_so_in_hold_and_charge() -> None:
    """The provider's multiplier applies to what is held, what is charged, and what another model would have cost."""
    plain, eu = (Priced.find(TABLE, SPECS[name], "gpt-4.1") for name in ("openai", "eu"))
    assert eu.worst(1000, 1000) * 10 == plain.worst(1000, 1000) * 11
    assert eu.cost(USAGE, None, None) * 10 == plain.cost(USAGE, None, None) * 11
    mini = Priced.find(TABLE, SPECS["eu"], "gpt-4.1-mini")
    assert mini.cost(USAGE, None, "gpt-4.1") == eu.cost(USAGE, None, None)


def test_a_deployment_has_the_price_of_its_model() -> None:
    """A deployment's name says nothing; the model that it runs has the price, also when it answers with a dated name."""
    priced = Priced.find(TABLE, SPECS["azure"], "prod")
    assert priced.price.model == "gpt-4.1"
    assert priced.cost(USAGE, None, "gpt-4.1-2025-04-14") == priced.cost(USAGE, None, None)


@pytest.mark.parametrize("tier", [None, "auto", "default", "standard"])
def test_the_usual_tier_has_many_names(tier: str | None) -> None:
    """No tier, `auto` and the usual one are one price."""
    priced = Priced.find(TABLE, SPECS["openai"], "gpt-6-astra")
    assert priced.cost(USAGE, tier, None) == priced.cost(USAGE, "default", None)


def test_the_hold_covers_every_usual_answer() -> None:
    """What is held for a call is at least what any split of its tokens costs, on both sides of the long-context step."""
    priced = Priced.find(TABLE, SPECS["openai"], "gpt-6-astra")
    for read in (1000, 272_000, 272_001, 400_000):
        held = priced.worst(read, 500)
        for usage in (Usage(input=read, output=500), Usage(cache_write=read, output=500), Usage(cached=read)):
            assert priced.cost(usage, "default", "gpt-6-astra") <= held
        cap = priced.affordable_output(read, held, 1)
        assert cap >= 500


@pytest.mark.parametrize("model", ["gpt-6.2-astra", "ft:gpt-9:acme::x", "GPT-4.1", "gpt-4.1 ", "openai/gpt-4.1"])
def test_only_exact_names_have_prices(model: str) -> None:
    """A name that is nearly right has no price, and the message says what a host can write."""
    with pytest.raises(Unpriced, match="c.Keyguard.prices"):
        Priced.find(TABLE, SPECS["openai"], model)


def test_what_a_provider_does_for_nothing_costs_nothing() -> None:
    """Moderations are free whatever they report."""
    priced = Priced.nothing(TABLE, SPECS["openai"], "omni-moderation-latest")
    assert (priced.worst(10**6, 10**6), priced.cost(USAGE, "priority", "gpt-6-astra")) == (0, 0)
