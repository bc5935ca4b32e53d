"""The gateway as the child of a Jupyter server: it comes back, and never outlives it."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from .processes import is_running, me, wait_until
from .servers import Jupyter

pytestmark = pytest.mark.jupyter


def test_a_killed_gateway_comes_back(start_jupyter) -> None:
    """After kill -9 the gateway listens at the same address, kernels' keys are still good, and calls work again."""
    server = start_jupyter().ready()
    kernel = server.notebook()
    env = kernel.env()
    url, pid = server.gateway()
    start = len(server.log.text)
    os.kill(pid, signal.SIGKILL)
    server.log.wait_for("was ended by signal 9; it is started again", after=start)
    again, other_pid = server.gateway(after=start)
    assert (again, other_pid != pid) == (url, True)
    assert me(env)["key"]
    assert kernel.call_model() == "assistant"


def test_a_kernel_that_starts_while_the_gateway_is_away_waits(start_jupyter) -> None:
    """A kernel that is started right after the gateway died gets a key: its start waits for the gateway."""
    server = start_jupyter().ready()
    _, pid = server.gateway()
    os.kill(pid, signal.SIGKILL)
    assert me(server.kernel().env())["key"]


def test_a_kernel_that_starts_before_the_gateway_waits(start_jupyter) -> None:
    """A kernel that is started as soon as the server answers gets a key."""
    server = start_jupyter().ready()
    assert me(server.kernel().env())["key"]


def test_a_gateway_that_cannot_start_leaves_kernels_without_any_key(start_jupyter, canary: str, tmp_path: Path) -> None:
    """A database that cannot be opened is named in the log; kernels start at once, without a key."""
    (tmp_path / "file").write_text("not a folder")
    settings = {"Keyguard": {"database_url": f"sqlite:///{tmp_path / 'file' / 'keyguard.sqlite'}"}}
    server = start_jupyter(settings).ready()
    problem = server.log.wait_for("the gateway cannot start: .*")[0]
    assert str(tmp_path / "file") in problem
    kernel = server.kernel()
    server.log.wait_for(f"kernel {kernel.id} starts without a key: the gateway cannot start")
    env = kernel.env()
    assert env["OPENAI_API_KEY"] == "keyguard-unavailable"
    assert env["OPENAI_BASE_URL"] == f"{env['KEYGUARD_URL']}/v1"
    assert env["KEYGUARD_URL"].startswith("http://127.0.0.1:")
    assert canary not in str(env)


def test_a_gateway_that_can_start_later_does(start_jupyter, tmp_path: Path) -> None:
    """When what kept the gateway from starting is mended, it starts where kernels already look for it."""
    policy = tmp_path / "policy.yaml"
    server = start_jupyter({"Keyguard": {"policy_file": str(policy)}}).ready()
    server.log.wait_for("the gateway cannot start: .*policy.yaml")
    early = server.kernel().env()
    policy.write_text("projects: {default: {default: deny}}\n")
    assert server.gateway()[0] == early["KEYGUARD_URL"]
    assert me(server.kernel().env())["key"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_gateway_outlives_its_server(start_jupyter, number: signal.Signals) -> None:
    """However the server ends, its gateway ends within five seconds, and its kernels too.

    SIGINT without a terminal is how process managers stop a server; then Jupyter runs no shutdown hooks.
    """
    server = start_jupyter().ready()
    server.kernel()
    _, gateway = server.gateway()
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert gateway in {child.pid for child in children}
    server.stop(number)
    wait_until(lambda: not is_running(gateway), 5)
    wait_until(lambda: not any(is_running(child.pid) for child in children))


def test_a_gateway_that_is_still_starting_does_not_outlive_its_server(start_jupyter) -> None:
    """A server that is killed while its gateway starts takes it along."""
    server = start_jupyter()
    server.log.wait_for("is running at")
    children: list[psutil.Process] = []

    def has_started() -> bool:
        found = psutil.Process(server.process.pid).children()
        children[:] = [child for child in found if "keyguard_jupyter.serve" in child.cmdline()]
        return bool(children)

    wait_until(has_started)
    server.process.kill()
    wait_until(lambda: not is_running(children[0].pid), 5)


def test_an_orderly_stop_revokes(start_jupyter, standalone) -> None:
    """A server that is stopped gives back its kernels' keys."""
    server = start_jupyter(env=standalone.env).ready()
    env = server.kernel().env()
    assert me(env)["key"]
    server.stop()
    assert me(env) == 401


def test_two_servers_of_one_user(start_jupyter) -> None:
    """Two servers on one database have a gateway each; the end of one leaves the other as it is."""
    first = start_jupyter().ready()
    database = f"sqlite:///{first.home / 'keyguard.sqlite'}"
    second = start_jupyter({"Keyguard": {"database_url": database}}).ready()
    kernels = [first.notebook(), second.notebook()]
    assert first.gateway()[0] != second.gateway()[0]
    assert [kernel.call_model() for kernel in kernels] == ["assistant", "assistant"]
    first.stop()
    assert kernels[1].call_model() == "assistant"


def test_the_gateways_own_environment_has_no_key(jupyter: Jupyter, canary: str) -> None:
    """The child is not given the real key by its environment or its arguments."""
    _, pid = jupyter.gateway()
    process = psutil.Process(pid)
    assert canary not in " ".join(process.cmdline())
    if os.geteuid() == 0:
        assert process.environ()["HOME"] == str(jupyter.home)
        assert canary not in str(process.environ())
    else:  # an ordinary user cannot look
        with pytest.raises(psutil.AccessDenied):
            process.environ()
