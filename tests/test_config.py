"""Settings: their defaults, their short forms, and what is said about mistakes."""

import os
import subprocess
import sys

import pytest
from traitlets import TraitError
from traitlets.config import Config
from traitlets.config.loader import KVArgParseConfigLoader

from keyguard_jupyter.config import Keyguard
from keyguard_jupyter.core.providers import KeySource
from keyguard_jupyter.errors import ConfigurationError


def test_the_default_is_openai_with_the_key_from_the_environment() -> None:
    """Without any setting there is one provider, OpenAI's, with the usual variable."""
    script = "from keyguard_jupyter.config import Keyguard; print(Keyguard().key_sources(), Keyguard().specs())"
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert "KeySource(kind='environment', value='OPENAI_API_KEY')" in done.stdout
    assert "https://api.openai.com/v1" in done.stdout


def test_another_server_in_the_environment_has_to_be_named() -> None:
    """OPENAI_BASE_URL of another server is not guessed about: its prices would be unknown."""
    script = "from keyguard_jupyter.config import Keyguard; Keyguard().specs()"
    env = {**os.environ, "OPENAI_BASE_URL": "http://gpu1:8000/v1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert "name that server in c.Keyguard.providers" in done.stderr


@pytest.mark.parametrize(
    ("short", "source"),
    [
        ("prompt", KeySource("prompt")),
        ("env:MY_KEY", KeySource("environment", "MY_KEY")),
        ("file:/run/secrets/openai", KeySource("file", "/run/secrets/openai")),
        ("command:pass show openai", KeySource("command", "pass show openai")),
    ],
)
def test_a_key_source_can_be_written_short_on_the_command_line(short: str, source: KeySource) -> None:
    """`--Keyguard.providers=openai=SOURCE` is all that it takes."""
    loaded = KVArgParseConfigLoader([f"--Keyguard.providers=openai={short}"], classes=[Keyguard]).load_config()
    assert Keyguard(config=loaded).key_sources() == {"openai": source}


def test_a_key_is_refused_where_its_source_belongs() -> None:
    """A key typed into the configuration is refused, and not repeated in the message."""
    with pytest.raises(ConfigurationError, match="never the key itself") as caught:
        Keyguard(config=Config({"Keyguard": {"providers": {"openai": "sk-very-secret"}}})).specs()
    assert "sk-very-secret" not in str(caught.value)


def test_all_settings_travel_as_one_document() -> None:
    """What the Jupyter server was told reaches the gateway process unchanged."""
    told = Keyguard(config=Config({"Keyguard": {"providers": {"openai": "prompt"}, "port": 8890, "person": "ada"}}))
    document = told.as_document()
    assert Keyguard(config=Config({"Keyguard": document})).as_document() == document
    assert not any("key" in name for name in document if name != "keyfile")


@pytest.mark.parametrize("setting", [{"default_max_output_tokens": 0}, {"hold_wait_seconds": -1}, {"port": "x"}])
def test_values_out_of_range_are_refused(setting: dict[str, object]) -> None:
    """A number that makes no sense is refused when it is read."""
    with pytest.raises(TraitError):
        Keyguard(config=Config({"Keyguard": setting}))
