"""Kernels' keys between a Jupyter server and a real gateway."""

import logging

import pytest

from keyguard_jupyter.jupyter.gateways import RemoteGateway
from keyguard_jupyter.jupyter.grants import Grants

from .processes import Standalone, me

pytestmark = pytest.mark.jupyter
LOG = logging.getLogger("test")


class Living:
    """A kernel manager, as far as grants look at it."""

    alive = True

    async def is_alive(self) -> bool:
        return self.alive


@pytest.fixture
def gateway(standalone: Standalone) -> RemoteGateway:
    """A real gateway, as a server sees it."""
    return RemoteGateway(standalone.url, standalone.env["KEYGUARD_ADMIN_KEY"])


def grants_of(gateway: RemoteGateway, project: str = "default") -> Grants:
    return Grants(gateway, person="ada", project=project, lease_seconds=60, log=LOG)


def env(standalone: Standalone, key: str | None) -> dict[str, str]:
    return {"KEYGUARD_URL": standalone.url, "OPENAI_API_KEY": key or ""}


async def test_a_second_start_revokes_the_first_key(gateway: RemoteGateway, standalone: Standalone) -> None:
    """A kernel has one key at a time."""
    grants = grants_of(gateway)
    first, second = await grants.issue("k1", None), await grants.issue("k1", None)
    assert me(env(standalone, first)) == 401
    assert me(env(standalone, second))["person"] == "ada"


async def test_odd_names_are_recorded_as_well_as_can_be(gateway: RemoteGateway, standalone: Standalone) -> None:
    """A kernel id that a client chose, however odd, keeps no kernel from getting its key."""
    key = await grants_of(gateway).issue("x" * 300 + "\n", None)
    assert me(env(standalone, key))["person"] == "ada"


async def test_a_refusal_is_told(gateway: RemoteGateway, caplog: pytest.LogCaptureFixture) -> None:
    """When the gateway refuses, there is no key, and the log has its reason."""
    assert await grants_of(gateway, "nowhere").issue("k1", None) is None
    assert "kernel k1 starts without a key: There is no project 'nowhere'" in caplog.text


async def test_the_dead_are_not_renewed(gateway: RemoteGateway, standalone: Standalone) -> None:
    """Renewing revokes the keys of kernels that are dead or gone; one that is about to be launched is left alone."""
    grants, kernels = grants_of(gateway), [Living(), Living()]
    keys = [await grants.issue(name, None) for name in ("living", "dead", "launching")]
    for name, kernel in zip(("living", "dead"), kernels, strict=True):
        grants.watch(name, kernel)
    kernels[1].alive = False
    await grants.renew()
    assert [me(env(standalone, key)) == 401 for key in keys] == [False, True, False]
    del kernels[0], kernel
    await grants.renew()
    assert me(env(standalone, keys[0])) == 401


async def test_one_that_cannot_tell_does_not_harm_others(gateway: RemoteGateway, standalone: Standalone) -> None:
    """A kernel manager that fails when it is asked keeps its key, and the renewal goes on."""

    class Failing:
        def is_alive(self) -> bool:
            raise RuntimeError("no idea")

    grants, failing = grants_of(gateway), Failing()
    key = await grants.issue("k1", None)
    grants.watch("k1", failing)
    await grants.renew()
    assert me(env(standalone, key))["key"]


async def test_a_key_that_the_host_revoked_stays_so(
    gateway: RemoteGateway, standalone: Standalone, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that was revoked at the gateway is not renewed, and the log says what to do."""
    grants = grants_of(gateway)
    key = await grants.issue("k1", None)
    standalone.host.delete(f"/api/keys/{me(env(standalone, key))['key']['id']}")
    await grants.renew()
    assert "the key of kernel k1 was revoked; restart the kernel for another" in caplog.text


async def test_what_the_gateway_missed_is_made_up(gateway: RemoteGateway, standalone: Standalone) -> None:
    """A key that ended while the gateway was away is revoked as soon as it is back."""
    grants = grants_of(gateway)
    key = await grants.issue("k1", None)
    gateway.url = "http://127.0.0.1:9"
    await grants.revoke("k1")
    gateway.url = standalone.url
    assert me(env(standalone, key))["key"]
    await grants.renew()
    assert me(env(standalone, key)) == 401


async def test_a_renewal_that_fails_is_tried_again(
    gateway: RemoteGateway, standalone: Standalone, caplog: pytest.LogCaptureFixture
) -> None:
    """While the gateway is away, nothing is forgotten."""
    grants = grants_of(gateway)
    key = await grants.issue("k1", None)
    gateway.url = "http://127.0.0.1:9"
    await grants.renew()
    assert "could not be renewed, it is tried again" in caplog.text
    gateway.url = standalone.url
    await grants.close()
    assert me(env(standalone, key)) == 401
