"""A real gateway, a stand-in provider, and a course whose people and limits each test sets."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from keyguard_jupyter.client import Client

from .kernels import PACKAGE

COIN = "coin"
"""A model whose output costs a tenth of a cent per token; a call costs one nano-dollar more, for its input."""

POLICY: dict[str, Any] = {
    "default": "deny",
    "timezone": "Europe/Berlin",
    "contact": "host@example.org",
    "models": {
        "gpt-4.1-mini": {"access": "allow"},
        "gpt-4.1": {"access": "members", "groups": ["team"]},
        "text-embedding-3-small": {"access": "allow"},
        COIN: {"access": "allow"},
        "o3": {"access": "deny"},
        "gpt-4": {"access": "blocked"},
    },
    "groups": {"team": {"members": ["ada"]}},
    "people": {},
}


@dataclass
class Course:
    """A running course."""

    host: Client
    provider_root: str
    policy: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(POLICY)))

    @property
    def url(self) -> str:
        """The gateway's root."""
        return self.host.url

    def apply(self) -> None:
        """Put the policy as it now stands in force."""
        self.host.put("/api/policy", {"projects": {"default": self.policy}})

    def admit(self, person: str, **settings: Any) -> str:
        """Give a person settings of their own and a key of a kernel."""
        self.policy["people"][person] = settings
        self.apply()
        wish = {"person": person, "kind": "kernel", "kernel_id": f"kernel-{person}", "notebook": f"{person}.ipynb"}
        key: str = self.host.post("/api/keys", {**wish, "lease_seconds": 900})["key"]
        return key

    def script(self, **fields: Any) -> None:
        """Tell the provider how to answer the next calls."""
        body = json.dumps(fields).encode()
        with urlopen(Request(f"{self.provider_root}/_control/script", data=body)) as answer:
            assert answer.status == 200

    def limit(self, amount: str, window: str = "week") -> dict[str, Any]:
        """Return settings with a limit in total."""
        return {"limits": {"total": {"amount": amount, "window": window}}}


@contextmanager
def run_course(folder: Path) -> Iterator[Course]:
    """Run a provider and a gateway until the tests are done."""
    admin = f"sk-kg-admin-{secrets.token_urlsafe(32)}"
    with ExitStack() as stack:
        root = stack.enter_context(_running("keyguard_jupyter.demo.provider", "--pace", "none", "--lifeline"))
        root = root.removesuffix("/v1")
        key = {"base_url": f"{root}/v1", "api_key_file": str(_key_file(folder))}
        config = {
            "database_url": f"sqlite:///{folder / 'keyguard.sqlite'}",
            "providers": {
                "openai": {"kind": "openai", **key},
                "campus": {"kind": "compatible", "models": [COIN], **key},
            },
            "prices": {f"campus/{COIN}": {"input": "0.000001", "output": "1000", "max_output": 1000}},
        }
        start = {"config": config, "admin_key": admin, "vault": None, "port": 0, "keys": {"openai": "file"}}
        env = {"JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTER_DATA_DIR": str(folder / "data")}
        url = stack.enter_context(_running("keyguard_jupyter.serve", "--embedded", first=start, env=env))
        course = Course(Client(url, admin), root)
        course.apply()
        yield course


def _key_file(folder: Path) -> Path:
    path = folder / "openai-key"
    path.write_text("sk-REAL-" + secrets.token_hex(20))
    path.chmod(0o600)
    return path


@contextmanager
def _running(
    module: str, *arguments: str, first: dict[str, Any] | None = None, env: dict[str, str] | None = None
) -> Iterator[str]:
    """Run a module that prints its address as JSON and ends when its standard input does."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "KEYGUARD"))}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**plain, "PYTHONPATH": str(PACKAGE.parent), **(env or {})},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if first is not None:
            process.stdin.write(json.dumps(first) + "\n")
            process.stdin.flush()
        said = json.loads(process.stdout.readline())
        assert "url" in said, said
        yield said["url"]
        process.stdin.close()
        process.wait(20)
