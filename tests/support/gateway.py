"""A real gateway process, started as a Jupyter server starts it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from keyguard_jupyter.client import Client
from keyguard_jupyter.core.keys import ADMIN_PREFIX, make_key
from keyguard_jupyter.vault import Vault

REAL_KEY = "sk-real-canary-0123456789abcdefghijklmnopqrstuvwxyz"
OTHER_KEY = "azure/canary+9876543210zyxwvutsrqponmlkjihgfedcba="
CANARIES = (REAL_KEY, OTHER_KEY)
"""Keys that must turn up nowhere but at a provider."""

OPEN_POLICY = {
    "projects": {
        "default": {
            "default": "deny",
            "contact": "grace@example.org",
            "limits": {"total": {"amount": "100.00"}},
            "models": {
                "gpt-4.1-mini": {"access": "allow"},
                "gpt-4.1": {"access": "members", "groups": ["team"]},
                "gpt-4o-mini": {"access": "allow"},
                "gpt-3.5-turbo-instruct": {"access": "allow"},
                "text-embedding-3-small": {"access": "allow"},
                "gpt-4": {"access": "blocked"},
            },
            "groups": {
                "team": {"members": ["ada", "grace"], "limits": {"total": {"amount": "40.00", "window": "month"}}}
            },
            "people": {"ada": {"limits": {"total": {"amount": "5.00", "window": "week"}}}},
            "person_defaults": {"limits": {"total": {"amount": "2.00", "window": "month"}}},
        }
    }
}


class Gateway:
    """A gateway process on a database of its own.

    Args:
        folder: for the database and the runtime files.
        provider_url: the base URL of a stand-in provider.
        settings: of class Keyguard, over the defaults for tests.
        policy: applied after the start; None leaves what the database holds.
        database: shared with another gateway when given.
        key: of the provider called openai.
        keys: of further providers, by their names.
    """

    def __init__(
        self,
        folder: Path,
        provider_url: str,
        *,
        settings: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = OPEN_POLICY,
        database: Path | None = None,
        key: str = REAL_KEY,
        keys: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.database = database or folder / "ledger.sqlite"
        self.admin_key = make_key(ADMIN_PREFIX)
        self.log = folder / f"gateway-{id(self)}.log"
        self._keys = {"openai": key, **(keys or {})}
        self._policy = policy
        self._settings = {
            "providers": {"openai": {"kind": "openai", "base_url": provider_url}},
            "database_url": f"sqlite:///{self.database}",
            **(settings or {}),
        }
        self.port = 0
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        if self._policy is not None:
            self.apply(self._policy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def admin(self) -> Client:
        """A client of the host."""
        return Client(self.url, self.admin_key)

    def start(self) -> None:
        """Start it, on the port that it had before if it ran before."""
        answer = self.try_to_start()
        assert "url" in answer, answer
        self.url = answer["url"]
        self.port = urlsplit(self.url).port or 0

    def try_to_start(self) -> dict[str, Any]:
        """Start it, and return the line that it says: its address, or why it cannot start."""
        vault = Vault()
        vault.put({name: key.encode() for name, key in self._keys.items()})
        document = {
            "config": self._settings,
            "admin_key": self.admin_key,
            "vault": list(vault.fds),
            "port": self.port,
            "keys": dict.fromkeys(self._keys, "environment"),
        }
        env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        env["JUPYTER_RUNTIME_DIR"] = str(self.folder / "runtime")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "keyguard_jupyter.serve", "--embedded"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                pass_fds=vault.fds,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(document).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        vault.close()
        assert line, self.log.read_text()
        return dict(json.loads(line))

    def stop(self) -> None:
        """End its input, as a Jupyter server that ends does, and wait."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()
        self.assert_no_leak()

    def assert_no_leak(self) -> None:
        """Search what it wrote (log, ledger, files beside it) for the real keys."""
        for path in {*self.folder.rglob("*"), *self.database.parent.glob(f"{self.database.name}*")}:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                found = [canary for canary in CANARIES if canary.encode() in path.read_bytes()]
                assert not found, f"a real key stands in {path}"

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.stop()

    def apply(self, policy: dict[str, Any]) -> dict[str, Any]:
        """Make this the policy."""
        return dict(self.admin.put("/api/policy", policy))

    def issue(self, person: str = "ada", **fields: Any) -> str:
        """Issue a key and return it."""
        return str(self.admin.post("/api/keys", {"person": person, **fields})["key"])
