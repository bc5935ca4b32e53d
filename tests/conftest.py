"""Settings and servers for all tests."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.caller import Caller
    from tests.support.gateway import Gateway
    from tests.support.standin import StandIn

# How long one example takes says more about the machine than about the code.
settings.register_profile("keyguard", deadline=None)
settings.load_profile("keyguard")

SHARED_POLICY = {
    "projects": {
        "default": {"default": "allow", "contact": "grace@example.org"},
        "course": {
            "default": "deny",
            "contact": "grace@example.org",
            "limits": {"total": {"amount": "500.00"}},
            "models": dict.fromkeys(("gpt-6-luna", "gpt-5.4-mini", "gpt-6.2-astra"), {"access": "allow"}),
            "groups": {"team": {"members": ["ada"], "limits": {"total": {"amount": "200.00"}}}},
        },
    }
}


@pytest.fixture(scope="session")
def one_provider() -> Iterator["StandIn"]:
    """Run one stand-in provider for all tests that do not need their own."""
    from tests.support.gateway import REAL_KEY
    from tests.support.standin import StandIn

    with StandIn(REAL_KEY) as running:
        yield running


@pytest.fixture(scope="session")
def one_gateway(one_provider: "StandIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Gateway"]:
    """Run one gateway for all tests that do not need their own; it waits for money for half a second only."""
    from tests.support.gateway import Gateway

    config = {"hold_wait_seconds": 0.5, "provider_timeout_seconds": 1.0}
    with Gateway(
        tmp_path_factory.mktemp("gateway"), one_provider.url, settings=config, policy=SHARED_POLICY
    ) as running:
        yield running


@pytest.fixture
def standin(one_provider: "StandIn") -> "StandIn":
    """Give the provider with nothing scripted, held or remembered."""
    one_provider.clear()
    return one_provider


@pytest.fixture
def shared(one_gateway: "Gateway", standin: "StandIn") -> Iterator["Gateway"]:
    """Give the gateway, whose ledger must be sound afterwards."""
    from tests.support.caller import assert_sound

    yield one_gateway
    standin.clear()
    assert_sound(one_gateway)


@pytest.fixture
def caller(shared: "Gateway") -> Iterator["Caller"]:
    """Give somebody new, who may spend one dollar."""
    from tests.support.caller import Caller

    new = Caller.new(shared, settings={"limits": {"total": {"amount": "1.00"}}})
    yield new
    new.http.close()
