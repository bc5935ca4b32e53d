"""Providers as the host writes them down."""

from fractions import Fraction

import pytest

from keyguard_jupyter.core.providers import KeySource, read_providers
from keyguard_jupyter.errors import ConfigurationError

CAMPUS = {"base_url": "http://gpu1:8000/v1", "models": ["qwen3-32b"]}
AZURE = {"kind": "azure", "base_url": "https://x.openai.azure.com", "deployments": {"prod": "gpt-4.1"}}


def one(value, name="p"):
    """Read one provider."""
    return read_providers({name: value})[name]


@pytest.mark.parametrize(
    ("name", "text", "kind", "source"),
    [
        ("openai", "prompt", "openai", KeySource("prompt")),
        ("openai", "env:MY_KEY", "openai", KeySource("environment", "MY_KEY")),
        ("openai", "file:/run/secrets/openai", "openai", KeySource("file", "/run/secrets/openai")),
        ("gemini", "command:pass show a:b", "gemini", KeySource("command", "pass show a:b")),
    ],
)
def test_a_well_known_provider_needs_only_its_key_source(name, text, kind, source):
    """The short form names the source; the rest is known."""
    spec = one(text, name)
    assert (spec.kind, spec.source) == (kind, source)
    assert spec.base_url.startswith("https://")
    assert (spec.models, spec.unknown_fields, spec.multiplier) == (None, "refuse", 1)


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({}, KeySource("environment", "OPENAI_API_KEY")),
        ({"api_key_env": "X"}, KeySource("environment", "X")),
        ({"api_key_file": "/k"}, KeySource("file", "/k")),
        ({"api_key_command": "pass show x"}, KeySource("command", "pass show x")),
        ({"api_key_prompt": True}, KeySource("prompt")),
    ],
)
def test_the_long_form_names_one_source(fields, source):
    """Without any it is the usual variable."""
    assert one({"kind": "openai", **fields}).source == source


def test_a_compatible_server_needs_no_key_but_its_models():
    """What it serves is named exactly."""
    spec = one(CAMPUS)
    assert (spec.kind, spec.source, spec.models) == ("compatible", KeySource("none"), ("qwen3-32b",))
    assert spec.serves("qwen3-32b")
    assert not spec.serves("qwen3-32B")
    assert not spec.speaks_openai


def test_a_deployment_has_the_price_of_what_it_runs():
    """J7: either form of naming the model; a name that is no deployment is itself."""
    for base in ("gpt-4.1", {"base_model": "gpt-4.1"}):
        spec = one({**AZURE, "deployments": {"prod": base}})
        assert (spec.priced_as("prod"), spec.priced_as("other")) == ("gpt-4.1", "other")
        assert spec.serves("prod")
        assert not spec.serves("gpt-4.1")
    assert one(AZURE).api_version == "2024-10-21"
    assert one(AZURE).source == KeySource("environment", "AZURE_OPENAI_API_KEY")


def test_numbers_are_exact():
    """A multiplier is a decimal string, and no float ever touches it."""
    assert one({**CAMPUS, "price_multiplier": "1.1"}).multiplier == Fraction(11, 10)
    assert one({**CAMPUS, "price_multiplier": 2}).multiplier == 2
    assert one({**CAMPUS, "hidden_input_tokens": 0}).hidden_input_tokens == 0


def test_a_slash_at_the_end_is_no_difference():
    """The path of a route follows the base URL."""
    assert one({**CAMPUS, "base_url": "http://gpu1:8000/v1/"}).base_url == "http://gpu1:8000/v1"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sk-real-key", "never the key itself"),
        ("env:", "not a key source"),
        (5, "must be a mapping"),
        ({**CAMPUS, "modles": []}, "unknown field 'modles'"),
        ({**CAMPUS, "api_key": "sk-x"}, "unknown field 'api_key'"),
        ({**CAMPUS, "kind": "opnai"}, "write one of openai"),
        ({"base_url": "http://x/v1"}, "models is missing"),
        ({"base_url": "http://x/v1", "models": "qwen"}, "list of exact model ids"),
        ({"base_url": "http://x/v1", "models": [""]}, "list of exact model ids"),
        ({"models": ["m"]}, "base_url is missing"),
        *(
            ({**CAMPUS, "base_url": url}, "plain http")
            for url in ("x", "ftp://x", "http://", "http://x?a=b", "http://u@x")
        ),
        ({"kind": "azure", "base_url": "https://x"}, "deployments is missing"),
        ({**AZURE, "deployments": ["prod"]}, "must map"),
        ({**AZURE, "deployments": {"prod": ""}}, "must name the model"),
        ({**AZURE, "deployments": {"prod": {"model": "gpt-4.1"}}}, "must name the model"),
        ({"kind": "openai", "api_key_env": "A", "api_key_file": "/b"}, "one key source"),
        ({"kind": "openai", "api_key_file": 5}, "must be a string"),
        ({**CAMPUS, "unknown_fields": "drop"}, "refuse, pass"),
        *(
            ({**CAMPUS, "price_multiplier": m}, "decimal string")
            for m in (1.1, "0", "-1", "NaN", "Infinity", "101", "x")
        ),
        *(({**CAMPUS, "hidden_input_tokens": n}, "whole number") for n in (-1, True, 1.5, "5")),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_its_place(value, words):
    """The message names the provider and says what to write."""
    with pytest.raises(ConfigurationError, match=words) as refused:
        one(value)
    assert str(refused.value).startswith("providers.p")


def test_a_key_that_was_written_as_its_source_is_not_repeated():
    """A host who pastes the key there does not find it in a log."""
    with pytest.raises(ConfigurationError) as refused:
        one("sk-real-canary", "openai")
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä|", "a:b"])
def test_a_name_is_a_word(name):
    """Names stand in keys of the price configuration."""
    with pytest.raises(ConfigurationError, match="is not a name"):
        read_providers({name: CAMPUS})


def test_two_providers_do_not_serve_one_model():
    """Which of them would be asked, and at which price?"""
    with pytest.raises(ConfigurationError, match="a and b both name the model qwen3-32b"):
        read_providers({"a": CAMPUS, "b": CAMPUS})
    with pytest.raises(ConfigurationError, match="both name the model prod"):
        read_providers({"a": AZURE, "b": {**CAMPUS, "models": ["prod"]}})


def test_a_source_describes_itself_without_the_key():
    """What stands in a log line is where a key comes from."""
    assert [str(KeySource("file", "/k")), str(KeySource("prompt"))] == ["file /k", "prompt"]
