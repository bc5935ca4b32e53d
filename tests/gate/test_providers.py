"""Which provider serves a model, what it is sent, and where its key comes from."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.people import Caller
from keyguard_jupyter.core.providers import KeySource, read_providers
from keyguard_jupyter.errors import ConfigurationError
from keyguard_jupyter.gate.endpoints import ENDPOINTS
from keyguard_jupyter.gate.providers import Provider, Providers, Unsent, read_key

ROUTES = {endpoint.name: endpoint for endpoint in ENDPOINTS}
KEY = "sk-canary/0123+456789"
DOCUMENT: dict[str, Any] = {
    "openai": "env:X",
    "campus": {"base_url": "http://127.0.0.1:1/v1", "models": ["qwen", "gpt-4.1-nano"]},
    "azure": {"kind": "azure", "base_url": "https://x.example", "deployments": {"prod/1": "gpt-4.1"}},
    "second": {"kind": "openai", "base_url": "https://second.example/v1"},
}
TABLE = prices.load({"campus/qwen": {"free": True}})


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    """Make providers of all kinds."""
    made = Providers({name: Provider(spec, KEY, 5) for name, spec in read_providers(DOCUMENT).items()}, TABLE)
    yield made
    await made.close()


def who(person: str = "ada", project: str = "default") -> Caller:
    """Make a caller."""
    return Caller(project, person, (), "k", "abcde", "personal")


async def test_a_model_goes_to_the_provider_that_names_it(providers: Providers) -> None:
    """A name in the configuration comes first, whoever else has a price for it; then the order of the configuration."""
    for model, name in (
        ("qwen", "campus"),
        ("gpt-4.1-nano", "campus"),
        ("prod/1", "azure"),
        ("gpt-4.1", "openai"),
        ("ft:gpt-4.1-2025-04-14:acme::x", "openai"),
    ):
        found = providers.route(model)
        assert found is not None
        assert found.spec.name == name
    for model in ("qwen2", "QWEN", "prod", "gpt-99", ""):
        assert providers.route(model) is None


async def test_callers_cannot_fill_the_memory_with_names(providers: Providers) -> None:
    """Names of models that callers make up are not remembered for ever."""
    for number in range(25_000):
        providers.route(f"made-up-{number}")
    assert len(providers._routes) <= 10_001


async def test_a_missing_model_is_explained(providers: Providers) -> None:
    """A host reads what to write, for the provider that would serve the model."""
    assert 'c.Keyguard.prices = {"openai/gpt-99"' in providers.explain_missing("gpt-99")
    spec = read_providers({"campus": DOCUMENT["campus"]})["campus"]
    alone = Providers({"campus": Provider(spec, None, 5)}, TABLE)
    assert "c.Keyguard.providers" in alone.explain_missing("gpt-99")
    await alone.close()


async def test_the_catalogue_is_what_is_routed(providers: Providers) -> None:
    """Every model stands once, at the provider that gets its calls."""
    models = providers.models()
    assert models["gpt-4.1-nano"].spec.name == "campus"
    assert models["gpt-4.1"].spec.name == "openai"
    assert models["prod/1"].spec.name == "azure"
    assert not [name for name in models if models[name].spec.name == "second"]


BODY = {"model": "m", "stream": False, "messages": []}


async def test_openai_gets_what_bounds_the_call(providers: Providers) -> None:
    """Nothing stored, the usual tier, a name for the person, and the cap under the name that the caller used."""
    provider = providers.all()[0]
    sent = provider.body_for(ROUTES["chat"], {**BODY, "max_tokens": 500}, 100, who())
    assert sent == {
        **BODY,
        "max_tokens": 100,
        "store": False,
        "service_tier": "default",
        "safety_identifier": sent["safety_identifier"],
    }
    assert provider.body_for(ROUTES["chat"], BODY, 100, who())["max_completion_tokens"] == 100
    response = provider.body_for(ROUTES["responses"], BODY, 100, who())
    assert (response["max_output_tokens"], response["store"], response["service_tier"]) == (100, False, "default")
    legacy = provider.body_for(ROUTES["completions"], BODY, 16, who())
    assert set(legacy) == {*BODY, "max_tokens", "user"}
    assert set(provider.body_for(ROUTES["embeddings"], BODY, None, who())) == {*BODY, "user"}
    assert provider.body_for(ROUTES["moderations"], {"input": "x"}, None, who()) == {"input": "x"}


async def test_other_servers_get_what_they_understand(providers: Providers) -> None:
    """A compatible server gets the old cap and nothing of OpenAI's own; Azure gets no tier where it knows none."""
    _, campus, azure, _ = providers.all()
    assert campus.body_for(ROUTES["chat"], {**BODY, "max_completion_tokens": 5}, 5, who()) == {**BODY, "max_tokens": 5}
    assert set(azure.body_for(ROUTES["chat"], BODY, 5, who())) == {*BODY, "max_completion_tokens", "user"}
    response = azure.body_for(ROUTES["responses"], BODY, 50, who())
    assert (response["store"], response["service_tier"]) == (False, "default")


async def test_a_person_is_the_same_and_nobody(providers: Providers) -> None:
    """The identifier is stable per person, differs by person and project, and says nothing about who it is."""
    provider = providers.all()[0]

    def named(caller: Caller) -> str:
        return str(provider.body_for(ROUTES["chat"], BODY, 5, caller)["safety_identifier"])

    ada = named(who("ada"))
    assert ada == named(Caller("default", "ada", ("team",), "other-key", "zzzzz", "kernel", "k1", "a.ipynb"))
    assert len({ada, named(who("bob")), named(who("ada", "course")), named(who("default\0ada", ""))}) == 4
    assert "ada" not in ada
    assert ada.startswith("kg-")


async def test_each_kind_has_its_own_addresses(providers: Providers) -> None:
    """Azure's deployments stand in the path, escaped, but for responses; queries are ours alone."""
    openai, _, azure, _ = providers.all()
    assert str(openai._prepare_url(ROUTES["chat"], "x?y=1")) == "https://api.openai.com/v1/chat/completions"
    base = "https://x.example/openai"
    deployment = f"{base}/deployments/prod%2F1/chat/completions?api-version=2024-10-21"
    assert str(azure._prepare_url(ROUTES["chat"], "prod/1")) == deployment
    assert str(azure._prepare_url(ROUTES["responses"], "prod/1")) == f"{base}/v1/responses"


async def test_what_was_never_sent_is_known(providers: Providers) -> None:
    """A refused connection, and a name that does not exist, raise what is not charged."""
    with pytest.raises(Unsent) as refused:
        await providers.all()[1].send(ROUTES["chat"], "qwen", b"{}")
    assert (refused.value.code, refused.value.status) == ("provider_error", 502)
    assert "Nothing was charged" in refused.value.message
    spec = read_providers({"x": {"base_url": "http://name.invalid/v1", "models": ["m"]}})["x"]
    provider = Provider(spec, None, 5)
    with pytest.raises(Unsent):
        await provider.send(ROUTES["chat"], "m", b"{}")
    await provider.close()


async def test_a_proxy_that_refuses_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the proxy on the way refuses to connect, the provider was not reached."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    provider = Provider(read_providers({"openai": "env:X"})["openai"], KEY, 5)
    async with server:
        with pytest.raises(Unsent):
            await provider.send(ROUTES["chat"], "m", b"{}")
        await provider.close()


async def test_a_provider_does_not_show_its_key(providers: Providers) -> None:
    """Neither its description nor what it passes on contains the key."""
    provider = providers.all()[0]
    assert KEY not in repr(provider)
    for told in (KEY, json.dumps(KEY), json.dumps(KEY).replace("/", "\\/"), json.dumps(json.dumps(KEY))):
        assert b"0123+456789" not in provider.redact(f"your key {told} is odd".encode())
    said = b'{"text": "100 % of \\u00e9"}'
    assert provider.redact(said) == said


# --- keys -----------------------------------------------------------------------------------------------------------


async def test_a_key_comes_from_where_the_host_says(tmp_path: Path) -> None:
    """What was handed over, a file, a command, or none at all."""
    path = tmp_path / "key"
    path.write_text(f"  {KEY}\n")
    assert await read_key("p", KeySource("environment", "X"), {"p": KEY}) == KEY
    assert await read_key("p", KeySource("prompt"), {"p": KEY}) == KEY
    assert await read_key("p", KeySource("file", str(path)), {}) == KEY
    assert await read_key("p", KeySource("command", f"cat {path}"), {}) == KEY
    assert await read_key("p", KeySource("none"), {"p": KEY}) is None


@pytest.mark.parametrize(
    ("source", "handed", "words"),
    [
        (KeySource("environment", "OPENAI_API_KEY"), {}, "is missing"),
        (KeySource("environment", "X"), {"p": "   "}, "is missing"),
        (KeySource("environment", "X"), {"p": "short"}, "is not one line"),
        (KeySource("environment", "X"), {"p": f"{KEY}\n{KEY}"}, "is not one line"),
        (KeySource("environment", "X"), {"p": "sk-with space-in-it"}, "is not one line"),
        (KeySource("environment", "X"), {"p": "sk-schlüssel-0123"}, "is not one line"),
        (KeySource("file", "/nowhere/at/all"), {}, "cannot be read: No such file"),
        (KeySource("command", "/nowhere/at/all"), {}, "cannot be run"),
        (KeySource("command", "false"), {}, "failed with status 1"),
        (KeySource("command", "unbalanced 'quote"), {}, "cannot be run"),
        (KeySource("command", "true"), {}, "is missing"),
    ],
)
async def test_a_key_that_is_none_is_explained(source: KeySource, handed: dict[str, str], words: str) -> None:
    """The message says where the key was looked for, and never what was found."""
    with pytest.raises(ConfigurationError, match=words) as refused:
        await read_key("p", source, handed)
    assert "provider p" in str(refused.value)
    assert not [key for key in handed.values() if key.strip() and key.strip() in str(refused.value)]
