"""Jupyter servers, a provider and a gateway, for the tests of the extension."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .processes import PACKAGE_HOME, Standalone
from .servers import Jupyter

StartJupyter = Callable[..., Jupyter]


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """The base URL of a stand-in provider that takes any key."""
    command = [sys.executable, "-m", "keyguard_jupyter.demo.provider", "--port", "0"]
    env = {**os.environ, "PYTHONPATH": PACKAGE_HOME}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture(scope="session")
def canary() -> str:
    """A key that looks real, and that must be found nowhere."""
    return f"sk-REAL-{secrets.token_hex(20)}"


@pytest.fixture(scope="module")
def standalone(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A gateway that belongs to no Jupyter server."""
    with Standalone(tmp_path_factory.mktemp("gateway"), provider) as gateway:
        yield gateway


def _starter(stack: ExitStack, provider: str, canary: str) -> StartJupyter:
    def start(
        settings: dict[str, dict[str, Any]] | None = None,
        env: dict[str, str] | None = None,
        *,
        providers: dict[str, Any] | None = None,
        home: Path | None = None,
        **options: Any,
    ) -> Jupyter:
        if home is None:  # short: the path of a unix socket has room for a hundred characters
            home = Path(tempfile.mkdtemp(prefix="kg-"))
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        source = {"openai": {"kind": "openai", "base_url": provider, "api_key_env": "OPENAI_API_KEY"}}
        keyguard = {"providers": source if providers is None else providers, **(settings or {}).get("Keyguard", {})}
        merged = {**(settings or {}), "Keyguard": keyguard}
        return stack.enter_context(Jupyter(home, merged, {"OPENAI_API_KEY": canary, **(env or {})}, **options))

    return start


@pytest.fixture
def start_jupyter(provider: str, canary: str) -> Iterator[StartJupyter]:
    """Return a starter of Jupyter servers that end with the test."""
    with ExitStack() as stack:
        yield _starter(stack, provider, canary)


@pytest.fixture(scope="module")
def starter(provider: str, canary: str) -> Iterator[StartJupyter]:
    """Return a starter of Jupyter servers that end with the module."""
    with ExitStack() as stack:
        yield _starter(stack, provider, canary)


@pytest.fixture(scope="module")
def jupyter(starter: StartJupyter) -> Jupyter:
    """One server for the tests of a module that leave it as it is."""
    soon = {"KernelRestarter": {"time_to_dead": 0.3}}  # how often Jupyter looks whether a kernel has died
    return starter(soon).ready()
