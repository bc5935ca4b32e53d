"""Finding the gateways that run on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyguard_jupyter.errors import GatewayError
from keyguard_jupyter.runtime import announced, find_gateway


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a runtime folder of its own."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_a_running_gateway_is_found() -> None:
    """The one gateway that runs here is used without any setting."""
    with announced("http://127.0.0.1:8890", "sk-kg-admin-x"):
        assert find_gateway({}).url == "http://127.0.0.1:8890"
    with pytest.raises(GatewayError, match="KEYGUARD_URL"):
        find_gateway({})


def test_its_file_is_for_its_owner_alone() -> None:
    """The file holds the admin key, so nobody else can read it; it is gone afterwards."""
    with announced("http://127.0.0.1:8890", "sk-kg-admin-x") as path:
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_the_environment_comes_first() -> None:
    """An address and a key in the environment are used, whatever runs here."""
    with announced("http://127.0.0.1:8890", "sk-kg-admin-x"):
        env = {"KEYGUARD_URL": "http://127.0.0.1:9000/", "KEYGUARD_ADMIN_KEY": "sk-kg-admin-y"}
        assert find_gateway(env).url == "http://127.0.0.1:9000"


def test_an_address_chooses_among_several(folder: Path) -> None:
    """With several gateways one has to be chosen, and its address is enough."""
    other = {"url": "http://127.0.0.1:8891", "admin_key": "sk-kg-admin-y", "pid": os.getppid()}
    (folder / "keyguard-gateway-1.json").write_text(json.dumps(other))
    with announced("http://127.0.0.1:8890", "sk-kg-admin-x"):
        with pytest.raises(GatewayError, match=r"8890.*8891"):
            find_gateway({})
        assert find_gateway({"KEYGUARD_URL": "http://127.0.0.1:8891"}).url == "http://127.0.0.1:8891"


def test_what_a_dead_gateway_left_is_not_believed(folder: Path) -> None:
    """A file of a process that is gone, or that is damaged, is passed over."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = {"url": "http://127.0.0.1:8891", "admin_key": "sk-kg-admin-y", "pid": gone.pid}
    (folder / "keyguard-gateway-1.json").write_text(json.dumps(left))
    (folder / "keyguard-gateway-2.json").write_text("{")
    with pytest.raises(GatewayError, match="No gateway"):
        find_gateway({})
