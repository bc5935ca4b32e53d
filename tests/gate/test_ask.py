"""What bounds the cost of a request: caps, answers, prompts, input, and hosts that let unknown fields pass."""

from typing import Any

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.providers import ProviderSpec, read_providers
from keyguard_jupyter.errors import BadRequest
from keyguard_jupyter.gate.ask import Ask, model_of, read_ask
from keyguard_jupyter.gate.endpoints import ENDPOINTS

ROUTES = {endpoint.name: endpoint for endpoint in ENDPOINTS}
TABLE = prices.load({"campus/qwen": {"free": True}, "campus/dear": {"input": "1.00", "output": "2.00"}})
SPECS = read_providers(
    {
        "openai": "env:X",
        "campus": {"base_url": "http://h/v1", "models": ["qwen", "dear"], "unknown_fields": "pass"},
        "quiet": {"base_url": "http://h/v1", "models": ["other"], "hidden_input_tokens": 0},
    }
)
CHAT = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hi"}]}


def ask(route: str, body: dict[str, Any], provider: str = "openai") -> Ask:
    """Read a request for a model of a provider."""
    spec: ProviderSpec = SPECS[provider]
    return read_ask(ROUTES[route], body, spec, TABLE.lookup(spec.kind, body["model"], provider=provider), 8)


@pytest.mark.parametrize("model", [["gpt-6-luna"], {"id": "x"}, None, 5, "", "x" * 257, "a\nb", "a\x00", True])
def test_a_model_is_one_name(model: object) -> None:
    """Lists, objects, nothing, and names of several lines are no model."""
    with pytest.raises(BadRequest) as refused:
        model_of(ROUTES["chat"], {"model": model})
    assert (refused.value.code, refused.value.param) == ("invalid_request", "model")


def test_only_moderations_have_a_model_of_their_own() -> None:
    """Where nothing is billed, the usual model is meant when none is named; elsewhere it must be named."""
    assert model_of(ROUTES["moderations"], {}) == "omni-moderation-latest"
    for name in ("chat", "responses", "completions", "embeddings"):
        with pytest.raises(BadRequest):
            model_of(ROUTES[name], {})


@pytest.mark.parametrize(
    ("route", "fields", "cap"),
    [
        ("chat", {"max_tokens": 5}, 5),
        ("chat", {"max_completion_tokens": 6}, 6),
        ("chat", {"max_tokens": None, "max_completion_tokens": 7}, 7),
        ("chat", {}, None),
        ("responses", {"max_output_tokens": 16}, 16),
        ("responses", {}, None),
        ("completions", {"max_tokens": 9}, 9),
        ("completions", {}, 16),
        ("embeddings", {}, None),
    ],
)
def test_the_cap_is_the_one_that_is_named(route: str, fields: dict[str, Any], cap: int | None) -> None:
    """A null says nothing; the legacy route means sixteen tokens when nothing is said."""
    body = {"model": "gpt-4.1-mini", "messages": [], "input": "x", "prompt": "x"}
    known = ROUTES[route].fields.passed
    assert ask(route, {**{name: value for name, value in body.items() if name in known}, **fields}).named_cap == cap


@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ["a", "b", "c"]}, 3),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1], [2]]}, 2),
        ({"prompt": ["a"] * 5, "n": 2, "best_of": 4}, 20),
        ({"prompt": "a", "n": 3}, 3),
        ({"prompt": ["a"] * 2048, "n": 8}, 2048 * 8),
    ],
)
def test_every_prompt_and_alternative_may_use_the_cap(fields: dict[str, Any], answers: int) -> None:
    """A call is bounded by prompts times the larger of n and best_of."""
    assert ask("completions", {"model": "gpt-3.5-turbo-instruct", **fields}).answers == answers


def test_what_the_model_reads_bounds_the_input() -> None:
    """Messages, tools and schemas count byte by byte, prompts each with their hidden tokens; a model's context is the end."""
    short, long = (ask("chat", {**CHAT, "messages": [{"role": "user", "content": "x" * size}]}) for size in (10, 110))
    assert long.input_tokens == short.input_tokens + 100
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"x": "y" * 1000}}}]
    assert ask("chat", {**CHAT, "tools": tools}).input_tokens > short.input_tokens + 1500
    assert ask("chat", {**CHAT, "messages": [{"role": "user", "content": "é" * 10}]}).input_tokens > short.input_tokens
    one, three = (ask("embeddings", {"model": "text-embedding-3-small", "input": ["x"] * count}) for count in (1, 3))
    assert three.input_tokens >= one.input_tokens + 2 * 24
    huge = ask("embeddings", {"model": "text-embedding-3-small", "input": "x" * 1_000_000})
    assert huge.input_tokens == 8191


def test_streams_report_their_usage_whether_asked_or_not() -> None:
    """The usage is always asked for; whether the caller asked for it too is remembered."""
    for options, wanted in (({}, False), ({"include_usage": False}, False), ({"include_usage": True}, True)):
        found = ask("chat", {**CHAT, "stream": True, "stream_options": options})
        assert found.body["stream_options"]["include_usage"] is True
        assert found.wants_usage is wanted
    assert "stream_options" not in ask("chat", CHAT).body
    assert ask("chat", CHAT).body["stream"] is False
    response = {"model": "gpt-4.1-mini", "input": "x", "stream": True, "stream_options": {"include_obfuscation": False}}
    assert ask("responses", response).body["stream_options"] == {"include_obfuscation": False}


def test_the_usual_tier_is_written_out() -> None:
    """`auto` is whatever the provider's project is set to: it never reaches the provider."""
    assert ask("chat", {**CHAT, "service_tier": "auto"}).body["service_tier"] == "default"


# --- hosts that let unknown fields pass -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["qwen", "dear"])
def test_unknown_fields_pass_where_the_host_says_so(model: str) -> None:
    """Fields of the host's own server pass, and are counted; what Keyguard sets itself is dropped all the same."""
    body = {**CHAT, "model": model, "top_k": 5, "guided_json": {"a": "x" * 500}, "user": "bob", "metadata": {"a": "b"}}
    found = ask("chat", body, "campus")
    assert found.body["top_k"] == 5
    assert not {"user", "metadata"} & set(found.body)
    assert found.input_tokens > 500


@pytest.mark.parametrize("model", ["qwen", "dear"])
@pytest.mark.parametrize("name", ["Model", "MODEL", "Max_Tokens", "\u017ftream", "\uff4dodel", "N"])
def test_a_name_that_a_server_may_take_for_another_is_refused(model: str, name: str) -> None:
    """Some servers read names without regard to case, and the last one counts: such names pass nowhere."""
    body = {**CHAT, "model": model, name: "dearer"}
    with pytest.raises(BadRequest) as refused:
        ask("chat", body, "campus")
    assert refused.value.code == "unknown_parameter"


def test_a_free_model_may_be_sent_anything_but_other_peoples_state() -> None:
    """Where nothing costs money, images and odd values pass; streams, caps and stored conversations are still ours."""
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]
    found = ask(
        "chat", {"model": "qwen", "messages": picture, "temperature": None, "tools": [{"type": "odd"}]}, "campus"
    )
    assert found.body["messages"] == picture
    for fields in (
        {"stream": "yes"},
        {"stream_options": [1]},
        {"stream": True, "stream_options": "x"},
        {"max_tokens": 10**40},
        {"max_tokens": "x"},
        {"n": 10**40},
    ):
        with pytest.raises(BadRequest):
            ask("chat", {**CHAT, "model": "qwen", **fields}, "campus")
    for fields in ({"previous_response_id": "resp_of_bob"}, {"conversation": "c"}, {"background": True}):
        with pytest.raises(BadRequest):
            ask("responses", {"model": "qwen", "input": "x", **fields}, "campus")


def test_the_host_says_how_much_a_server_adds() -> None:
    """`hidden_input_tokens` takes the place of what is assumed of providers."""
    body = {**CHAT, "model": "other"}
    price = TABLE.lookup("compatible", "dear", provider="campus")
    with_default = read_ask(ROUTES["chat"], body, SPECS["campus"], price, 8).input_tokens
    assert read_ask(ROUTES["chat"], body, SPECS["quiet"], price, 8).input_tokens < with_default
