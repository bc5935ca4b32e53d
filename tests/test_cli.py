"""The command line, against a gateway that was started by it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from keyguard_jupyter.client import Client

KEY = "sk-real-canary-0123456789abcdefghijklmnopqrstuvwxyz"


class Home:
    """A user's home with a gateway that `jupyter keyguard serve` started."""

    def __init__(self, folder: Path, *arguments: str, key: str = KEY) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "COLUMNS": "200",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keyguard_jupyter.cli", "serve", *arguments],
            cwd=folder,
            env={**self.env, "OPENAI_API_KEY": key} if key else self.env,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def listening(self) -> str:
        """Wait until the gateway listens, and return its root."""
        assert self.process.stderr is not None
        while not (found := re.search(r"listens at (\S+)", self.said)):
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        return found[1]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as this user."""
        command = [sys.executable, "-m", "keyguard_jupyter.cli", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        _, rest = self.process.communicate(timeout=30)
        self.said += rest
        return self.process.returncode


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    running = Home(tmp_path_factory.mktemp("home"))
    running.listening()
    yield running
    assert running.stop() == 0


def test_the_first_start_shows_a_starter_policy(home: Home) -> None:
    """Without a policy, a careful one is written, put in force and shown with the line that changes it."""
    path = home.folder / "data" / "keyguard" / "policy.yaml"
    assert str(path) in home.said
    assert "this is the line to change" in home.said
    limits = yaml.safe_load(path.read_text())["projects"]["default"]["limits"]
    assert limits == {"total": {"amount": "5.00", "window": "month"}}


def test_the_admin_key_is_written_once_for_its_owner_alone(home: Home) -> None:
    """The first start makes the admin key, in a file that only its owner can read; it is the gateway's."""
    path = home.folder / "data" / "keyguard" / "admin-key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Client(home.listening(), path.read_text().strip()).get("/api/keys")["keys"] == []
    assert path.read_text().strip() not in home.said


def test_the_real_key_is_nowhere_but_in_the_process(home: Home) -> None:
    """No file of the user, and no log line, holds the real key."""
    assert KEY not in home.said
    for path in home.folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_export_applied_again_changes_nothing(home: Home, tmp_path: Path) -> None:
    """`export` writes the policy such that `apply` of it finds no difference."""
    exported = home.run("export")
    assert exported.returncode == 0, exported.stderr
    (tmp_path / "again.yaml").write_text(exported.stdout)
    applied = home.run("apply", str(tmp_path / "again.yaml"))
    assert applied.returncode == 0, applied.stderr
    assert "nothing to change" in applied.stdout


def test_a_dry_run_shows_the_difference_and_changes_nothing(home: Home, tmp_path: Path) -> None:
    """`apply --dry-run` names each path with before and after, and leaves the policy as it is."""
    before = home.run("export").stdout
    (tmp_path / "more.yaml").write_text(before.replace("5.00", "7.50"))
    done = home.run("apply", "--dry-run", str(tmp_path / "more.yaml"))
    assert done.returncode == 0, done.stderr
    assert "7.50" in done.stdout
    assert "Nothing was changed" in done.stdout
    assert home.run("export").stdout == before


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("projects: {default: {defualt: deny}}", "default"),
        ("projects: [", "line 1"),
        ("projects: {default: {limits: {total: {amount: 5.0}}}}", "quote"),
    ],
    ids=["unknown field", "not YAML", "a float"],
)
def test_a_mistake_in_a_policy_is_named(home: Home, tmp_path: Path, text: str, complaint: str) -> None:
    """A policy with a mistake is refused with the place of the mistake, and nothing changes."""
    (tmp_path / "bad.yaml").write_text(text)
    before = home.run("export").stdout
    done = home.run("apply", str(tmp_path / "bad.yaml"))
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert home.run("export").stdout == before


def test_a_key_is_issued_listed_and_revoked(home: Home) -> None:
    """A key is shown once; the list knows it by its last characters; revoked is revoked."""
    issued = json.loads(home.run("keys", "issue", "grace", "--label", "laptop", "--json").stdout)
    assert Client(home.listening(), issued["key"]).get("/api/me")["person"] == "grace"
    listed = home.run("keys", "list").stdout
    assert f"…{issued['suffix']}" in listed
    assert issued["key"] not in listed
    assert home.run("keys", "revoke", issued["id"]).returncode == 0
    rows = json.loads(home.run("keys", "--json").stdout)
    assert [row["revoked_at"] is not None for row in rows if row["id"] == issued["id"]] == [True]


@pytest.mark.parametrize(
    "command", [["status"], ["usage"], ["usage", "--by", "model", "--json"], ["prices", "gpt-4.1"]]
)
def test_tables_are_printed(home: Home, command: list[str]) -> None:
    """The commands that only show something succeed."""
    done = home.run(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_wrong_words_are_explained(home: Home) -> None:
    """A command with wrong arguments says what to write."""
    done = home.run("keys", "isue", "ada")
    assert done.returncode == 1
    assert "keys issue PERSON" in done.stderr


def test_without_a_gateway_the_command_says_so(tmp_path: Path) -> None:
    """Where no gateway runs, a command says how to get one, in one line."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "keyguard_jupyter.cli", "status"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "KEYGUARD_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "key", "complaint"),
    [
        ((), "", "OPENAI_API_KEY"),
        (("--policy=/nowhere/policy.yaml",), KEY, "/nowhere/policy.yaml"),
        (("--database=postgresql://x/y",), KEY, "sqlite"),
        (("--Keyguard.providers=openai=sk-oops",), KEY, "never the key itself"),
        (("--Keyguard.providers=openai=file:/nowhere/key",), KEY, "/nowhere/key"),
        (("--Keyguard.providers=openai=command:false",), KEY, "status 1"),
    ],
    ids=["no key", "no policy file", "not sqlite", "a key as source", "no key file", "command fails"],
)
def test_a_start_that_cannot_be_says_why(tmp_path: Path, arguments: tuple[str, ...], key: str, complaint: str) -> None:
    """A gateway that cannot start ends with 1 and a sentence that names the setting; nothing of a key is shown."""
    failing = Home(tmp_path, *arguments, key=key)
    _, said = failing.process.communicate(timeout=60)
    assert failing.process.returncode == 1, said
    assert complaint in said
    assert "Traceback" not in said
    assert KEY not in said
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "config", "runtime"}, "something else was written"
