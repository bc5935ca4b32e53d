"""Starting the servers of a benchmark, each in a process of its own, and stopping them."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROVIDER_KEY = "sk-benchmark-0123456789abcdef"
ADMIN_KEY = "sk-kg-admin-benchmark-0123456789abcdef"

# Every kind of limit is on, and all are wide enough never to be reached: each call is held against all of them.
POLICY = """
projects:
  default:
    default: deny
    models: {gpt-4.1-mini: {access: members, groups: [team]}}
    limits: {total: {amount: "100000.00", window: lifetime}}
    model_limits: {gpt-4.1-mini: {amount: "90000.00", window: month}}
    groups:
      team: {members: [ada], limits: {total: {amount: "80000.00", window: month}}}
    people:
      ada: {limits: {total: {amount: "70000.00", window: week}}}
    person_defaults: {requests_per_minute: 100000000, tokens_per_minute: 100000000000, max_concurrent: 100000}
"""


@dataclass(frozen=True)
class Target:
    """Something to send load to.

    Args:
        name: for the table.
        url: base URL, with ``/v1``.
        key: bearer token.
        pid: of its process.
    """

    name: str
    url: str
    key: str
    pid: int


@contextlib.contextmanager
def process(command: list[str], *, environment: Mapping[str, str], said: str = "") -> Iterator[dict[str, Any]]:
    """Run a server; yield the line of JSON that it prints when it listens.

    Args:
        command: with its arguments.
        environment: all of it.
        said: what is written to its standard input, which then stays open.
    """
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=dict(environment), cwd=ROOT, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        server.stdin.write(said)
        server.stdin.flush()
        line = json.loads(server.stdout.readline() or "{}")
        if "url" not in line:
            raise RuntimeError(f"{' '.join(command)} did not start: {line.get('error', 'no reason given')}")
        yield line
    finally:
        server.terminate()
        server.wait(30)
        server.stdin.close()
        server.stdout.close()


@contextlib.contextmanager
def targets(pace: str) -> Iterator[list[Target]]:
    """Run a provider, a bare proxy and a gateway before it; yield all three.

    Args:
        pace: of the provider.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "KEYGUARD_"))}
    provider = [sys.executable, "-m", "keyguard_jupyter.demo.provider", "--pace", pace, "--keep", "0"]
    bare = [sys.executable, "benchmarks/bare_proxy.py"]
    with contextlib.ExitStack() as stack:
        direct = stack.enter_context(process([*provider, "--key", PROVIDER_KEY], environment=environment))
        root = direct["url"].removesuffix("/v1")
        proxy = stack.enter_context(
            process([*bare, "--upstream", root, "--key", PROVIDER_KEY], environment=environment)
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyguard-benchmark-")))
        gate = stack.enter_context(gateway(direct["url"], folder, environment))
        yield [
            Target("direct", direct["url"], PROVIDER_KEY, direct["pid"]),
            Target("bare", proxy["url"] + "/v1", "anything", proxy["pid"]),
            gate,
        ]


@contextlib.contextmanager
def gateway(provider: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Target]:
    """Run a gateway with every guard on, on an SQLite file, and make a virtual key.

    Args:
        provider: base URL of the provider.
        folder: for the database and everything else that it writes.
        environment: of the process, to which Jupyter's folders are added.
    """
    (folder / "key").write_text(PROVIDER_KEY)
    (folder / "policy.yaml").write_text(POLICY)
    settings = {
        "providers": {"openai": {"kind": "openai", "base_url": provider, "api_key_file": str(folder / "key")}},
        "database_url": f"sqlite:///{folder / 'keyguard.sqlite'}",
        "policy_file": str(folder / "policy.yaml"),
    }
    start = {"config": settings, "admin_key": ADMIN_KEY, "vault": None, "port": 0, "keys": {}}
    folders = {"JUPYTER_DATA_DIR": str(folder / "data"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    command = [sys.executable, "-m", "keyguard_jupyter.serve", "--embedded"]
    with process(command, environment={**environment, **folders}, said=json.dumps(start) + "\n") as running:
        key = make_key(running["url"])
        yield Target("gate", running["url"] + "/v1", key, running["pid"])


def make_key(root: str) -> str:
    """Ask a gateway for a virtual key."""
    request = urllib.request.Request(
        root + "/api/keys",
        data=json.dumps({"person": "ada", "settings": {"limits": {"total": {"amount": "60000.00"}}}}).encode(),
        headers={"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return str(json.load(answer)["key"])
