"""``jupyter keyguard demo``: JupyterLab, a stand-in provider and a small course, in a folder that goes at the end.

Everything is real but the model: the extension takes a key out of its environment, hands it to a gateway, and gives
every kernel a virtual one.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.request import ProxyHandler, build_opener

from jupyter_core.application import JupyterApp
from rich.console import Console
from traitlets import Bool, Integer, Unicode

from .._version import __version__
from .course import POLICY, prepare

PERSON = "ada"
FIRST_NOTEBOOK = "2-participant.ipynb"
START_SECONDS = 90
STOP_SECONDS = 20


class Demo(JupyterApp):
    """Start JupyterLab with a stand-in provider and a small course. Needs no key and no network; Ctrl-C ends it."""

    name = "jupyter-keyguard-demo"
    description = __doc__
    version = __version__
    examples = "jupyter keyguard demo --no-browser --port 8899"
    ip = Unicode("127.0.0.1", help="The address on which JupyterLab listens.").tag(config=True)
    port = Integer(0, help="The port on which JupyterLab listens; 0 takes a free one.").tag(config=True)
    open_browser = Bool(default_value=True, help="Whether to open a browser.").tag(config=True)
    aliases = {"ip": "Demo.ip", "port": "Demo.port"}
    flags = {"no-browser": ({"Demo": {"open_browser": False}}, "Do not open a browser; print the address only.")}

    def start(self) -> None:
        """Run the demo until Ctrl-C, SIGTERM, or until JupyterLab ends."""
        super().start()
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if find_spec("jupyterlab") is None:
            console.print("The demo needs JupyterLab: [bold]pip install 'keyguard_jupyter\\[demo]'[/]")
            self.exit(1)
        with _signals_as_interrupt(), contextlib.suppress(KeyboardInterrupt):
            self._run(console)
        self.exit(0)

    def _run(self, console: Console) -> None:
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyguard-demo-")))
            console.print("Preparing the course …")
            key = "sk-demo-" + secrets.token_hex(16)
            provider_url = stack.enter_context(_provider(key))
            work = prepare_home(home, provider_url)
            port, token = self.port or _free_port(), secrets.token_hex(16)
            lab = stack.enter_context(_lab(home, work, self._lab_config(port, token), key))
            url = f"http://{'127.0.0.1' if self.ip in {'', '0.0.0.0'} else self.ip}:{port}"  # noqa: S104  (shown only)
            if not _wait_for(f"{url}/api", lab):
                log = (home / "lab.log").read_text(errors="replace")
                console.print(f"[bold red]JupyterLab did not start.[/] It said:\n{log[-3000:]}")
                return
            address = f"{url}/lab/tree/{FIRST_NOTEBOOK}?token={token}"
            console.print(
                f"\n[bold]Keyguard's demo runs at[/]\n\n    {address}\n\n"
                f"You are [bold]{PERSON}[/], a participant; the answers come from a stand-in provider. The policy is "
                f"{work / 'policy.yaml'}\nCtrl-C ends it and removes everything.\n"
            )
            if self.open_browser:
                import webbrowser

                webbrowser.open(address)
            lab.wait()

    def _lab_config(self, port: int, token: str) -> dict[str, Any]:
        return {
            "ServerApp": {
                "ip": self.ip,
                "port": port,
                "port_retries": 0,
                "open_browser": False,
                "allow_root": hasattr(os, "geteuid") and os.geteuid() == 0,
            },
            "IdentityProvider": {"token": token},
            # Nothing is fetched from anywhere: no news, no update checks, no list of extensions.
            "LabApp": {
                "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
                "extension_manager": "readonly",
                "news_url": None,
            },
        }


def prepare_home(home: Path, provider_url: str) -> Path:
    """Make the demo's folders, ledger and configuration.

    Args:
        home: an empty folder.
        provider_url: of the stand-in provider.

    Returns:
        The folder with the notebooks and the policy.
    """
    work = home / "course"
    shutil.copytree(_notebooks(), work, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (work / "policy.yaml").write_text(POLICY, encoding="utf-8")
    database_url = f"sqlite:///{home / 'ledger' / 'keyguard.sqlite'}"
    asyncio.run(prepare(database_url))
    notifications = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    notifications.parent.mkdir(parents=True)
    notifications.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    config = home / "config"
    config.mkdir()
    keyguard = {
        "providers": {"openai": {"kind": "openai", "base_url": provider_url, "api_key_env": "OPENAI_API_KEY"}},
        "database_url": database_url,
        "person": PERSON,
    }
    (config / "jupyter_keyguard_config.json").write_text(json.dumps({"Keyguard": keyguard}))
    return work


def environment(home: Path, key: str) -> dict[str, str]:
    """Return the environment in which the demo's Jupyter server runs: nothing of the user's own is touched.

    Args:
        key: the stand-in provider's, as if it were real.
    """
    ours = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith(("KEYGUARD_", "OPENAI_"))}
    folders = {name: str(home / folder) for name, folder in ours.items()}
    return {**others, **folders, "OPENAI_API_KEY": key}


@contextlib.contextmanager
def _provider(key: str) -> Iterator[str]:
    command = [sys.executable, "-P", "-m", "keyguard_jupyter.demo.provider", "--lifeline", "--pace", "realistic"]
    process = subprocess.Popen(  # noqa: S603
        [*command, "--key", key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.stdin.close()
        process.stdout.close()
        _end(process)


@contextlib.contextmanager
def _lab(home: Path, work: Path, config: Mapping[str, Any], key: str) -> Iterator["subprocess.Popen[bytes]"]:
    (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
    # A session of its own: Ctrl-C is for us, and we end it in order.
    with (home / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jupyterlab", "--no-browser"],
            cwd=work,
            env=environment(home, key),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> bool:
    import time

    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), opener.open(url, timeout=2):
            return True
        time.sleep(0.2)
    return False


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _notebooks() -> Path:
    """Return the notebooks: in the installed package, or in the source tree it is run from."""
    installed = Path(__file__).with_name("notebooks")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "notebooks"
