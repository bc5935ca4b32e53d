"""Which keys pass through the Jupyter server."""

import subprocess
import sys

import pytest

from keyguard_jupyter.core.providers import KeySource
from keyguard_jupyter.jupyter.sources import describe, variables_named

from .processes import PACKAGE_HOME


@pytest.mark.parametrize(
    ("providers", "variables"),
    [
        ({"openai": "env:MY_KEY"}, {"MY_KEY", "OPENAI_API_KEY"}),
        ({"openai": "file:/run/secrets/openai"}, {"OPENAI_API_KEY"}),
        ({"eu": {"kind": "azure", "deployments": {"a": "gpt-4.1"}}}, {"AZURE_OPENAI_API_KEY"}),
        ({"campus": {"models": ["qwen3-32b"], "api_key_env": "CAMPUS"}}, {"CAMPUS"}),
        ({"campus": {"models": ["qwen3-32b"]}}, set()),
        ({"openai": {"api_key_env": "A", "nonsense": 1}, "campus": {"api_key_env": "B"}}, {"A", "B", "OPENAI_API_KEY"}),
        ({"openai": 7, 8: None}, {"OPENAI_API_KEY"}),
        ({"openai": {"kind": ["odd"], "api_key_env": "A"}}, {"A"}),
        ("not a mapping", set()),
        (None, set()),
    ],
)
def test_all_variables_are_found(providers: object, variables: set[str]) -> None:
    """Every variable that a setting names is found, also in a setting with mistakes, and each provider's usual one."""
    assert variables_named(providers) == variables


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (KeySource("environment", "MY_KEY"), "key from the environment variable MY_KEY"),
        (KeySource("file", "/run/secrets/openai"), "key from the file /run/secrets/openai"),
        (KeySource("command", "echo sk-real"), "key from a command"),
        (KeySource("prompt"), "key typed in"),
        (KeySource("none"), "no key"),
    ],
)
def test_sources_are_described_without_secrets(source: KeySource, words: str) -> None:
    """A source is described by what is safe to log: a command's words may hold secrets."""
    assert describe(source) == words


def test_without_a_terminal_nobody_is_asked() -> None:
    """Where there is no terminal, asking fails at once, with what to write instead."""
    code = "from keyguard_jupyter.jupyter.sources import ask_for_key; ask_for_key('openai')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": PACKAGE_HOME},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert "there is no terminal" in done.stderr
    assert "file:/path/to/key" in done.stderr
