"""One gateway before several providers of several kinds, each with its own key and its own manners."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caller import CHAT, COMPLETIONS, EMBEDDINGS, HELLO, RESPONSES, Caller, code_of
from tests.support.gateway import OTHER_KEY, REAL_KEY, Gateway
from tests.support.standin import StandIn


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, StandIn]]:
    """Run three providers: two that take one key each, and one without keys."""
    with StandIn(REAL_KEY) as openai, StandIn(OTHER_KEY) as azure, StandIn(None) as campus:
        yield {"openai": openai, "azure": azure, "campus": campus}


@pytest.fixture(scope="module")
def gateway(servers: dict[str, StandIn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run a gateway before them."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "campus-key").write_text("campus-key-0123456789\n")
    settings = {
        "providers": {
            "openai": {"kind": "openai", "base_url": servers["openai"].url},
            "azure": {
                "kind": "azure",
                "base_url": servers["azure"].root,
                "api_version": "2025-01-01",
                "deployments": {
                    "prod-chat": "gpt-4.1",
                    "prod/é": {"base_model": "gpt-4.1-mini"},
                    "lab": "o3-deep-research",
                },
            },
            "campus": {
                "kind": "compatible",
                "base_url": servers["campus"].url,
                "api_key_file": str(folder / "campus-key"),
                "models": ["qwen3-32b", "llama", "nameless", "gpt-4.1-nano"],
                "unknown_fields": "pass",
            },
        },
        "prices": {
            "campus/qwen3-32b": {"free": True},
            "campus/llama": {"input": "0.10", "output": "0.40", "max_output": 512},
            "campus/gpt-4.1-nano": {"like": "gpt-4.1-nano"},
            "openai/acme-1": {"input": "1.00", "output": "2.00"},
        },
    }
    policy = {"projects": {"default": {"default": "allow", "limits": {"total": {"amount": "100.00"}}}}}
    with Gateway(folder, "", settings=settings, policy=policy, keys={"azure": OTHER_KEY}) as running:
        yield running


@pytest.fixture
def ada(gateway: Gateway, servers: dict[str, StandIn]) -> Caller:
    """Give somebody new."""
    for server in servers.values():
        server.clear()
    return Caller.new(gateway)


def where(servers: dict[str, StandIn]) -> list[str]:
    """Return which providers were called."""
    return [name for name, server in servers.items() if server.requests]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4.1", "openai"),
        ("acme-1", "openai"),
        ("prod-chat", "azure"),
        ("prod/é", "azure"),
        ("qwen3-32b", "campus"),
        ("llama", "campus"),
        ("gpt-4.1-nano", "campus"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_model_goes_to_its_provider_with_that_ones_key(
    servers: dict[str, StandIn], ada: Caller, model: str, provider: str, stream: bool
) -> None:
    """Routed by the exact name, each call carries the key of its own provider in the way that one wants it."""
    answer = ada.chat(model, stream=stream, max_tokens=30)
    assert answer.status_code == 200
    assert where(servers) == [provider]
    sent = servers[provider].last
    keys = {"openai": REAL_KEY, "azure": OTHER_KEY, "campus": "campus-key-0123456789"}
    assert sent.key == keys[provider]
    assert (sent.header("api-key") is None) is (provider != "azure")
    assert (sent.header("authorization") is None) is (provider == "azure")
    (row,) = ada.rows()
    assert (row["provider"], row["model"], row["outcome"]) == (provider, model, "ok")
    assert (row["cost"] == 0) is (model == "qwen3-32b")


def test_azure_has_its_own_addresses(servers: dict[str, StandIn], ada: Caller) -> None:
    """A deployment stands in the path, escaped, with the version that the host configured; responses name it in the body."""
    assert ada.chat("prod/é").status_code == 200
    path = "/openai/deployments/prod%2F%C3%A9/chat/completions?api-version=2025-01-01"
    assert servers["azure"].last.path == path
    assert not {"store", "service_tier", "safety_identifier"} & set(servers["azure"].last.json)
    answer = ada.send(RESPONSES, {"model": "prod-chat", "input": "hi"})
    assert answer.status_code == 200
    sent = servers["azure"].last
    assert (sent.path, sent.json["model"], sent.json["store"]) == ("/openai/v1/responses", "prod-chat", False)
    assert {row["outcome"] for row in ada.rows()} == {"ok"}


def test_azures_filter_bills_the_prompt(servers: dict[str, StandIn], ada: Caller) -> None:
    """A prompt that Azure's filter refuses costs its input, and the caller is told why it was refused."""
    error = {"message": "The response was filtered", "code": "content_filter", "param": "prompt"}
    servers["azure"].script(status=400, body={"error": error})
    answer = ada.chat("prod-chat", max_tokens=1000)
    assert code_of(answer) == (400, "content_filter")
    (row,) = ada.rows()
    assert row["outcome"] == "content_filter"
    assert 0 < row["cost"] < row["held"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": HELLO}),
        (RESPONSES, {"input": "hi"}),
        (COMPLETIONS, {"prompt": "hi"}),
        (EMBEDDINGS, {"input": "hi"}),
    ],
)
@pytest.mark.parametrize("model", ["qwen3-32b", "llama"])
def test_a_compatible_server_serves_every_route(
    servers: dict[str, StandIn], ada: Caller, path: str, body: dict[str, Any], model: str
) -> None:
    """What a host's own server does with its models, the host knows."""
    assert ada.send(path, {"model": model, **body}).status_code == 200
    sent = servers["campus"].last.json
    assert not {"store", "service_tier", "safety_identifier", "user"} & set(sent)
    assert [row["outcome"] for row in ada.rows()] == ["ok"]


def test_unknown_fields_pass_to_whom_the_host_says(servers: dict[str, StandIn], ada: Caller) -> None:
    """`unknown_fields: pass` lets fields of the server's own through there, and nowhere else."""
    extra = {"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}}
    for model in ("qwen3-32b", "llama"):
        assert ada.chat(model, **extra).status_code == 200
        assert {name: servers["campus"].last.json[name] for name in extra} == extra
        assert code_of(ada.chat(model, Model="gpt-6-astra")) == (400, "unknown_parameter")
    for model in ("gpt-4.1", "prod-chat"):
        assert code_of(ada.chat(model, **extra)) == (400, "unknown_parameter")
    tools = [{"type": "web_search"}]
    assert code_of(ada.chat("llama", tools=tools)) == (403, "tool_not_allowed")
    assert ada.chat("qwen3-32b", tools=tools).status_code == 200


def test_configured_prices_count(servers: dict[str, StandIn], ada: Caller) -> None:
    """A price of the host's own holds for hold and charge, and the cap of the row for the answer."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    servers["campus"].script(usage=usage)
    answer = ada.chat("llama", messages=[{"role": "user", "content": "x " * 1000}])
    assert servers["campus"].last.json["max_tokens"] == 512
    assert answer.headers["x-keyguard-cost-usd"] == "0.00014"
    servers["openai"].script(usage=usage, answers_as="acme-1-2026-01-01")
    ada.chat("acme-1", messages=[{"role": "user", "content": "x " * 1000}])
    assert [row["cost"] for row in ada.rows()] == [140_000, 1_200_000]


def test_a_model_without_a_price_says_what_to_write(servers: dict[str, StandIn], ada: Caller) -> None:
    """A named model without a price, and one that nobody names, are refused with the line that mends it."""
    answer = ada.chat("nameless")
    assert code_of(answer) == (400, "model_unpriced")
    assert 'c.Keyguard.prices = {"campus/nameless": {"free": True}}' in answer.json()["error"]["message"]
    assert 'c.Keyguard.prices = {"openai/acme-2"' in ada.chat("acme-2").json()["error"]["message"]
    assert where(servers) == []


def test_a_deployment_that_searches_is_refused(servers: dict[str, StandIn], ada: Caller) -> None:
    """A harmless name does not hide what a deployment runs."""
    assert code_of(ada.send(RESPONSES, {"model": "lab", "input": "hi"})) == (403, "tool_not_allowed")
    assert where(servers) == []


def test_moderations_go_to_openai(servers: dict[str, StandIn], ada: Caller, gateway: Gateway) -> None:
    """What is free goes to the provider of OpenAI's kind, for anybody whose key lives, and nobody else."""
    assert ada.send("/v1/moderations", {"input": "hi"}).status_code == 200
    assert where(servers) == ["openai"]
    gateway.admin.delete(f"/api/keys/{ada.id}")
    assert code_of(ada.send("/v1/moderations", {"input": "hi"})) == (401, "key_revoked")


def test_moderations_and_free_models_need_no_money(servers: dict[str, StandIn], gateway: Gateway) -> None:
    """Who has spent everything may still moderate, and use what is free; rates and pauses hold for them too."""
    settings = {"limits": {"total": {"amount": "0.001"}}, "requests_per_minute": 4}
    poor = Caller.new(gateway, settings=settings)
    usage = {"prompt_tokens": 10**6, "completion_tokens": 0, "total_tokens": 10**6}
    servers["openai"].script(usage=usage)
    assert poor.chat("gpt-4.1", max_tokens=20).status_code == 200  # which comes to more than there was
    assert code_of(poor.chat("gpt-4.1")) == (402, "budget_exceeded")
    assert poor.chat("qwen3-32b").status_code == 200
    assert poor.send("/v1/moderations", {"input": "hi"}).status_code == 200
    assert poor.chat("qwen3-32b").status_code == 200
    assert code_of(poor.chat("qwen3-32b")) == (429, "rate_limit_exceeded")


def test_models_of_all_providers_are_listed_once(ada: Caller) -> None:
    """The list names each model that can be used, with the provider that would get the call."""
    listed = {one["id"]: one["owned_by"] for one in ada.send("/v1/models", method="GET").json()["data"]}
    expected = {
        "gpt-4.1": "openai",
        "prod-chat": "azure",
        "qwen3-32b": "campus",
        "gpt-4.1-nano": "campus",
        "acme-1": "openai",
    }
    assert {name: listed.get(name) for name in expected} == expected
    assert not {"nameless", "lab"} & set(listed)
    assert ada.send("/v1/models/prod/é", method="GET").json()["owned_by"] == "azure"


def test_a_provider_that_is_away_does_not_stop_the_others(servers: dict[str, StandIn], tmp_path: Path) -> None:
    """One provider that cannot be reached is a 502 of its own, for nothing, and the SDK may try again."""
    providers = {
        "openai": {"kind": "openai", "base_url": servers["openai"].url},
        "gone": {"base_url": "http://127.0.0.1:1/v1", "models": ["m"]},
    }
    settings = {"providers": providers, "prices": {"gone/m": {"input": "1.00", "output": "1.00"}}}
    policy = {"projects": {"default": {"default": "allow"}}}
    with Gateway(tmp_path, "", settings=settings, policy=policy) as gateway:
        bob = Caller.new(gateway, person="bob")
        answer = bob.chat("m")
        assert code_of(answer) == (502, "provider_error")
        assert answer.headers["x-should-retry"] == "true"
        assert bob.rows() == []
        assert bob.chat("gpt-4.1").status_code == 200
