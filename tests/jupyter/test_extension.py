"""The extension in a real server: how it starts, what it imports, where the server may listen."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from .processes import PACKAGE_HOME, me
from .servers import Jupyter

pytestmark = pytest.mark.jupyter
HEAVY = ("aiohttp", "sqlalchemy", "alembic", "openai", "pandas", "ipywidgets", "uvloop", "pydantic")


def run_python(code: str, **env: str) -> str:
    """Run code in a fresh interpreter that has only this package, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": PACKAGE_HOME, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_extension_is_light() -> None:
    """On top of Jupyter itself the extension costs at most 0.3 seconds, and imports nothing heavy."""
    code = f"""
        import sys, time
        import jupyter_server.serverapp
        before = set(sys.modules)
        start = time.perf_counter()
        import keyguard_jupyter
        point, = keyguard_jupyter._jupyter_server_extension_points()
        app = point["app"]()
        spent = time.perf_counter() - start
        print(app.name, spent < 0.3, [name for name in {HEAVY} if name in set(sys.modules) - before])
    """
    assert run_python(code) == "keyguard True []\n"


def test_a_running_server_has_imported_nothing_heavy(start_jupyter) -> None:
    """Guarding a kernel from start to end imports nothing heavy into the server either."""
    setup = f"""
import atexit, sys
atexit.register(lambda: print("HEAVY:", [n for n in {HEAVY} if n in sys.modules], file=sys.stderr))
"""
    server = start_jupyter(setup=setup).ready()
    server.kernel().shut_down()
    server.stop()
    assert "HEAVY: []" in server.log.text


def test_importing_the_package_is_light() -> None:
    """``import keyguard_jupyter`` takes next to no time and imports next to nothing."""
    code = "import sys, typing; a = set(sys.modules); import keyguard_jupyter; print(*sorted(set(sys.modules) - a))"
    assert run_python(code) == "keyguard_jupyter keyguard_jupyter._version\n"


def test_a_broken_extension_leaves_no_key_behind(canary: str) -> None:
    """The key leaves the environment even when the rest of the extension cannot be imported."""
    code = """
        import os, sys
        sys.modules["keyguard_jupyter.jupyter.extension"] = None
        import keyguard_jupyter
        try:
            keyguard_jupyter._jupyter_server_extension_points()
        except ImportError:
            print(os.environ.get("OPENAI_API_KEY"), os.environ.get("KEYGUARD_ADMIN_KEY"))
    """
    assert run_python(code, OPENAI_API_KEY=canary, KEYGUARD_ADMIN_KEY="sk-kg-admin-x") == "None None\n"


def test_the_log_says_where_and_from_what_source(jupyter: Jupyter, canary: str) -> None:
    """One line tells people where the gateway listens, for which providers, and where each key comes from."""
    line = jupyter.log.wait_for("the gateway listens at .*")[0]
    assert "openai (key from the environment variable OPENAI_API_KEY)" in line
    assert canary not in jupyter.log.text


def test_a_server_behind_tls(start_jupyter, tmp_path: Path) -> None:
    """A server that speaks TLS with a certificate of its own has kernels whose SDK needs to know nothing of it."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*request, *names], check=True, capture_output=True)
    server = start_jupyter({"ServerApp": {"certfile": str(cert), "keyfile": str(key)}}, home=tmp_path).ready()
    assert server.info["secure"]
    kernel = server.notebook()
    assert kernel.env()["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert kernel.call_model() == "assistant"


def test_a_server_on_a_unix_socket(start_jupyter) -> None:
    """A server that listens on a unix socket alone has kernels that call models."""
    server = start_jupyter(socket="jupyter.sock").ready()
    assert server.info["sock"].endswith("jupyter.sock")
    assert server.notebook().call_model() == "assistant"


def test_proxies_are_left_alone(start_jupyter) -> None:
    """With a proxy in the environment that nobody answers at, kernels and server reach the gateway all the same."""
    dead = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), dead)
    server = start_jupyter(env={**proxies, "NO_PROXY": "intern.test"}).ready()
    kernel = server.notebook()
    env = kernel.env()
    assert env["HTTP_PROXY"] == dead
    assert env["NO_PROXY"].split(",") == ["intern.test", "127.0.0.1", "localhost"]
    assert kernel.call_model() == "assistant"


def test_a_gateway_elsewhere(start_jupyter, standalone, canary: str) -> None:
    """With a gateway's address and an admin key the server starts none, and gets its kernels' keys there."""
    server = start_jupyter({"Keyguard": {"person": "ada"}}, standalone.env).ready()
    server.log.wait_for(f"kernels get their keys from the gateway at {standalone.url}")
    kernel = server.notebook("shared.ipynb")
    env = kernel.env()
    assert env["KEYGUARD_URL"] == standalone.url
    assert (me(env)["person"], me(env)["key"]["notebook"]) == ("ada", "shared.ipynb")
    assert "KEYGUARD_ADMIN_KEY" not in env
    assert standalone.env["KEYGUARD_ADMIN_KEY"] not in str(env)
    assert canary not in str(env)
    assert kernel.call_model() == "assistant"
    assert "listens at" not in server.log.text


def test_a_gateway_elsewhere_that_is_down(start_jupyter, canary: str) -> None:
    """When a gateway elsewhere does not answer, kernels start without a key after a moment, and the log says why."""
    env = {"KEYGUARD_URL": "http://127.0.0.1:9", "KEYGUARD_ADMIN_KEY": "sk-kg-admin-x"}
    server = start_jupyter(env=env).ready()
    start = time.monotonic()
    kernel = server.kernel()
    assert time.monotonic() - start < 8
    server.log.wait_for(f"kernel {kernel.id} starts without a key: .*does not answer")
    assert kernel.env()["OPENAI_API_KEY"] == "keyguard-unavailable"
    assert canary not in str(kernel.env())


def test_a_gateway_elsewhere_without_an_admin_key(start_jupyter) -> None:
    """An address without an admin key is reported, with what to set."""
    server = start_jupyter({"Keyguard": {"gateway_url": "http://127.0.0.1:9"}}).ready()
    kernel = server.kernel()
    server.log.wait_for(f"kernel {kernel.id} starts without a key: .*set KEYGUARD_ADMIN_KEY")


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        ({"openai": {"kind": "openai", "api_key_env": "MY_KEY", "modells": []}}, "unknown field 'modells'"),
        ({"openai": "env:MY_KEY", "campus": {"base_url": "http://gpu.test/v1"}}, "campus.models is missing"),
        ({"openai": "env:MY_KEY", "anthropic": "env:NOT_SET"}, "set NOT_SET before you start Jupyter"),
        ({"openai": "env:MY_KEY", "anthropic": "prompt"}, "there is no terminal"),
    ],
)
def test_a_mistake_in_the_settings_leaves_no_key(start_jupyter, canary: str, providers, message: str) -> None:
    """Settings that cannot be used are reported with the fix; no kernel sees a key, not even under its own name."""
    server = start_jupyter(providers=providers, env={"MY_KEY": canary}).ready()
    assert message in server.log.wait_for("Keyguard: .*Kernels start without a key until that is mended")[0]
    env = server.kernel().env()
    assert env["OPENAI_API_KEY"] == "keyguard-unavailable"
    assert "MY_KEY" not in env
    assert canary not in str(env)
