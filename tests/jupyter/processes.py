"""Processes as tests see them: what they write, whether they run, what is in their memory; and a gateway of its own."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import keyguard_jupyter
from keyguard_jupyter.client import Client
from keyguard_jupyter.core.keys import ADMIN_PREFIX, make_key
from keyguard_jupyter.errors import GatewayError

PACKAGE_HOME = str(Path(keyguard_jupyter.__file__).parent.parent)
POLICY = """\
projects:
  default:
    default: deny
    models: {"*": {access: allow}}
    limits: {total: {amount: "100.00", window: lifetime}}
"""


class Log:
    """The lines that a process wrote, and a way to wait for one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._follow, args=(process.stderr,), daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """All of it so far."""
        with self._changed:
            return "".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = 40.0, *, after: int = 0) -> re.Match[str]:
        """Return the first match, as soon as there is one behind the first ``after`` characters."""
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                if match := re.compile(pattern).search("".join(self.lines), after):
                    return match
                left = end - time.monotonic()
                assert left > 0, f"{pattern!r} did not appear in:\n{''.join(self.lines)}"
                assert not self._ended, f"the process ended without {pattern!r}:\n{''.join(self.lines)}"
                self._changed.wait(left)

    def close(self) -> None:
        self._thread.join(20)

    def _follow(self, stream: Any) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Standalone:
    """A gateway that belongs to no Jupyter server.

    Args:
        home: for its ledger and policy.
        provider: the base URL of its provider.
    """

    def __init__(self, home: Path, provider: str) -> None:
        policy = home / "policy.yaml"
        policy.write_text(POLICY)
        (home / "key").write_text("sk-of-the-gateway")
        source = {"kind": "openai", "base_url": provider, "api_key_file": str(home / "key")}
        settings = {
            "providers": {"openai": source},
            "database_url": f"sqlite:///{home / 'keyguard.sqlite'}",
            "policy_file": str(policy),
        }
        admin_key = make_key(ADMIN_PREFIX)
        document = {"config": settings, "admin_key": admin_key, "vault": None, "port": 0, "keys": {}}
        command = [sys.executable, "-P", "-m", "keyguard_jupyter.serve", "--embedded"]
        env = {**os.environ, "PYTHONPATH": PACKAGE_HOME, "JUPYTER_RUNTIME_DIR": str(home)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(document) + "\n")
        self.process.stdin.flush()
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.env = {"KEYGUARD_URL": self.url, "KEYGUARD_ADMIN_KEY": admin_key}
        self.host = Client(self.url, admin_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.terminate()

    def active_keys(self) -> list[dict[str, Any]]:
        """Return the keys that are neither revoked nor lapsed."""
        return [key for key in self.host.get("/api/keys")["keys"] if key["active"]]


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def memory_has(pid: int, needle: str) -> bool:
    """Search all readable memory of a process; what is not dumpable, root alone can read."""
    wanted = needle.encode()
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            bounds, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(part, 16) for part in bounds.split("-"))
            memory.seek(start)
            try:
                if wanted in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def me(env: dict[str, str]) -> Any:
    """Return what the gateway says about the key in a kernel's environment; its refusal's status if it refuses."""
    try:
        return Client(env["KEYGUARD_URL"], env["OPENAI_API_KEY"]).get("/api/me")
    except GatewayError as refusal:
        return refusal.status


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that only looking can tell, such as the end of somebody else's child."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.05)
