"""Which models a route serves, and which none does."""

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.providers import read_providers
from keyguard_jupyter.errors import BadRequest, Forbidden
from keyguard_jupyter.gate.endpoints import ENDPOINTS
from keyguard_jupyter.gate.priced import Priced
from keyguard_jupyter.gate.suitable import SERVED, check_suitable, why_not

ROUTES = {endpoint.name: endpoint for endpoint in ENDPOINTS}
TEXT = ("chat", "responses", "completions", "embeddings")
TABLE = prices.load(
    {
        "campus/free": {"free": True},
        "campus/free-live-agent": {"free": True},
        "campus/priced": {"input": "1", "output": "2"},
        "campus/vectors": {"input": "1", "mode": "embedding"},
        "campus/like": {"like": "gpt-5-codex"},
        "campus/sonar-deep-research": {"input": "1", "output": "2"},
        "openai/gpt-99": {"input": "1", "output": "2"},
        "openai/gpt-99-codex": {"input": "1", "output": "2", "mode": "responses"},
    }
)
SPECS = read_providers(
    {
        "openai": "env:X",
        "campus": {
            "base_url": "http://h/v1",
            "models": ["free", "free-live-agent", "priced", "vectors", "like", "sonar-deep-research"],
        },
        "azure": {
            "kind": "azure",
            "base_url": "https://x.example",
            "deployments": {
                "prod": "gpt-4.1",
                "lab": "o3-deep-research",
                "code": "gpt-5-codex",
                "old": "gpt-35-turbo-instruct",
            },
        },
    }
)


def routes_of(provider: str, model: str) -> tuple[str, ...]:
    """Return the routes that serve a model."""
    priced = Priced.find(TABLE, SPECS[provider], model)
    found = []
    for name in TEXT:
        try:
            check_suitable(ROUTES[name], SPECS[provider], priced.price, model)
        except (BadRequest, Forbidden):
            continue
        found.append(name)
    assert bool(found) == (why_not(SERVED, SPECS[provider], priced.price, model) is None)
    return tuple(found)


@pytest.mark.parametrize(
    ("provider", "model", "routes"),
    [
        ("openai", "gpt-4.1-mini", ("chat", "responses")),
        ("openai", "gpt-3.5-turbo-1106", ("chat", "responses")),
        ("openai", "gpt-6-astra", ("chat", "responses")),
        ("openai", "ft:gpt-4.1-2025-04-14:acme::abc", ("chat", "responses")),
        ("openai", "gpt-5-codex", ("responses",)),
        ("openai", "o1-pro", ("responses",)),
        ("openai", "gpt-3.5-turbo-instruct", ("completions",)),
        ("openai", "babbage-002", ("completions",)),
        ("openai", "davinci-002", ("completions",)),
        ("openai", "ft:babbage-002:comp:38aa1134", ("completions",)),
        ("openai", "text-embedding-3-small", ("embeddings",)),
        ("openai", "gpt-image-1", ()),
        ("openai", "gpt-4o-mini-transcribe", ()),
        ("openai", "gpt-4o-mini-tts", ()),
        ("openai", "gpt-realtime", ()),
        ("openai", "gpt-4o-mini-search-preview", ()),
        ("openai", "gpt-5-search-api-2025-10-14", ()),
        ("openai", "o4-mini-deep-research", ()),
        ("openai", "computer-use-preview", ()),
        ("openai", "gpt-rosalind-research", ("chat", "responses")),
        ("openai", "gpt-99", TEXT),
        ("openai", "gpt-99-codex", ("responses",)),
        ("campus", "free", TEXT),
        ("campus", "free-live-agent", TEXT),
        ("campus", "priced", TEXT),
        ("campus", "like", TEXT),
        ("campus", "vectors", ("embeddings",)),
        ("campus", "sonar-deep-research", ()),
        ("azure", "prod", ("chat", "responses")),
        ("azure", "code", ("responses",)),
        ("azure", "old", ("completions",)),
        ("azure", "lab", ()),
    ],
)
def test_a_model_is_served_on_its_own_routes(provider: str, model: str, routes: tuple[str, ...]) -> None:
    """Chat models chat and respond, others do one thing; what a host's own server does, the host knows."""
    assert routes_of(provider, model) == routes


def test_the_right_route_is_named() -> None:
    """A model on the wrong route is a 400 that says where it belongs."""
    for route, model, words in (
        ("chat", "gpt-5-codex", "use /v1/responses"),
        ("chat", "babbage-002", "use /v1/completions"),
        ("completions", "gpt-4.1", "use /v1/chat/completions or /v1/responses"),
        ("chat", "text-embedding-3-small", "use /v1/embeddings"),
        ("chat", "gpt-image-1", "is not offered here"),
    ):
        priced = Priced.find(TABLE, SPECS["openai"], model)
        with pytest.raises(BadRequest, match=words) as refused:
            check_suitable(ROUTES[route], SPECS["openai"], priced.price, model)
        assert (refused.value.code, refused.value.param) == ("invalid_request", "model")


@pytest.mark.parametrize("model", ["gpt-4o-search-preview", "gpt-5-search-api", "o3-deep-research", "gpt-realtime"])
def test_a_model_that_acts_by_itself_is_a_tool(model: str) -> None:
    """Models that search whatever the request says are refused like the tools that they use."""
    priced = Priced.find(TABLE, SPECS["openai"], model)
    for route in TEXT:
        with pytest.raises(Forbidden) as refused:
            check_suitable(ROUTES[route], SPECS["openai"], priced.price, model)
        assert (refused.value.code, refused.value.param) == ("tool_not_allowed", "model")


def test_a_deployment_is_what_it_runs() -> None:
    """A harmless name for a model that searches does not make it harmless."""
    priced = Priced.find(TABLE, SPECS["azure"], "lab")
    with pytest.raises(Forbidden):
        check_suitable(ROUTES["responses"], SPECS["azure"], priced.price, "lab")


def test_every_text_model_of_the_table_has_a_route() -> None:
    """No priced text model falls between the routes, but for those that act by themselves."""
    for model in TABLE.models("openai"):
        priced = Priced.find(TABLE, SPECS["openai"], model)
        if priced.price.mode in {"chat", "responses", "completion", "embedding"}:
            acts = any(word in model for word in ("search-", "deep-research", "computer-use"))
            assert bool(routes_of("openai", model)) is not acts, model
