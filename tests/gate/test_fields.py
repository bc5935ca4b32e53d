"""Which fields pass, which are dropped, which are refused, and with what code."""

import typing
from typing import Any

import pytest
from openai.types import CompletionCreateParams, EmbeddingCreateParams
from openai.types.chat import CompletionCreateParams as ChatParams
from openai.types.responses import ResponseCreateParams

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.providers import ProviderSpec, read_providers
from keyguard_jupyter.errors import Refused
from keyguard_jupyter.gate.ask import Ask, read_ask
from keyguard_jupyter.gate.endpoints import ENDPOINTS

ROUTES = {endpoint.name: endpoint for endpoint in ENDPOINTS}
TABLE = prices.load()
OPENAI = read_providers({"openai": "env:X"})["openai"]
BASE: dict[str, dict[str, Any]] = {
    "chat": {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "gpt-4.1-mini", "input": "hi"},
    "completions": {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"},
    "embeddings": {"model": "text-embedding-3-small", "input": "hi"},
    "moderations": {"input": "hi"},
}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}


def read(route: str, *, spec: ProviderSpec = OPENAI, without: str = "", **fields: Any) -> Ask:
    """Read a request that is right but for the given fields."""
    body = {name: value for name, value in {**BASE[route], **fields}.items() if name != without}
    model = body.get("model", "omni-moderation-latest")
    price = TABLE.lookup("openai", model if isinstance(model, str) else "gpt-4.1-mini")
    return read_ask(ROUTES[route], body, spec, price, 8)


def item(**fields: Any) -> dict[str, Any]:
    """Make the input of a response from one item."""
    return {"input": [fields]}


def message(**fields: Any) -> dict[str, Any]:
    """Make the messages of a chat from one that a user says."""
    return {"messages": [{"role": "user", "content": "hi", **fields}]}


PASSED: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"temperature": 0.5, "top_p": 1, "presence_penalty": -1, "frequency_penalty": 0.1, "seed": -7}),
    ("chat", {"stop": ["a", "b"]}),
    ("chat", {"stop": "a"}),
    ("chat", {"logit_bias": {"50256": -100}, "logprobs": True, "top_logprobs": 3}),
    ("chat", {"response_format": {"type": "json_object"}}),
    ("chat", {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": [1]}}}}),
    ("chat", {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"}),
    ("chat", {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}]}),
    ("chat", {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("chat", {"tool_choice": {"type": "custom", "custom": {"name": "c"}}}),
    (
        "chat",
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        },
    ),
    ("chat", {"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}}),
    ("chat", {"reasoning_effort": "high", "verbosity": "low", "modalities": ["text"]}),
    ("chat", {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "parallel_tool_calls": False}),
    ("chat", message(content=[{"type": "text", "text": "hi"}], name="ada")),
    (
        "chat",
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            ]
        },
    ),
    ("responses", {"instructions": "be kind", "truncation": "auto", "max_tool_calls": 3, "top_logprobs": 0}),
    ("responses", {"reasoning": {"effort": "low", "summary": "auto", "mode": "standard"}}),
    ("responses", {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"}}),
    ("responses", {"include": ["reasoning.encrypted_content"]}),
    ("responses", {"tools": [{"type": "function", **FUNCTION}], "tool_choice": {"type": "function", "name": "f"}}),
    (
        "responses",
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "c"}]}},
    ),
    ("responses", item(type="function_call_output", call_id="c", output="1")),
    ("responses", item(type="reasoning", id="r", summary=[], encrypted_content="gAAA")),
    ("completions", {"suffix": "s", "echo": True, "logprobs": 2, "best_of": 2, "n": 1}),
    ("completions", {"prompt": ["a", "b"]}),
    ("completions", {"prompt": [1, 2, 3]}),
    ("completions", {"prompt": [[1, 2], [3]]}),
    ("embeddings", {"dimensions": 256, "encoding_format": "base64"}),
    ("embeddings", {"input": [[1], [2, 3]]}),
    ("moderations", {"input": ["a", "b"], "model": "omni-moderation-latest"}),
]


@pytest.mark.parametrize(("route", "fields"), PASSED, ids=lambda value: str(value)[:60])
def test_known_fields_reach_the_provider_as_they_are(route: str, fields: dict[str, Any]) -> None:
    """A field that cannot hide a cost is passed on, with the same value."""
    body = read(route, **fields).body
    assert {name: body[name] for name in fields} == fields


DROPPED: list[tuple[str, dict[str, Any]]] = [
    (route, {name: value})
    for route in ("chat", "responses", "completions", "embeddings")
    for name, value in {"user": "bob", "safety_identifier": "bob", "metadata": {"who": "bob"}, "store": True}.items()
] + [("responses", {"background": False}), ("chat", {"audio": None}), ("chat", {"nonsense": None})]


@pytest.mark.parametrize(("route", "fields"), DROPPED, ids=lambda value: str(value)[:60])
def test_what_keyguard_sets_itself_is_dropped(route: str, fields: dict[str, Any]) -> None:
    """Who the caller says to be, what to store, and fields that say nothing do not reach the provider."""
    assert not set(fields) & set(read(route, **fields).body)


def test_what_an_sdk_adds_to_answers_is_dropped() -> None:
    """An answer can be sent back as the SDK gave it: with nulls, empty annotations, parsed values, and ids of thoughts."""
    call = {
        "index": 0,
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}},
    }
    said = {"role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None, "parsed": {"a": 1}}
    ask = read("chat", messages=[{**said, "tool_calls": [call]}])
    function = {"name": "f", "arguments": "{}"}
    assert ask.body["messages"] == [
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    ]
    part = {"type": "output_text", "text": "hi", "annotations": [], "logprobs": [], "parsed": None}
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]},
        {"role": "user", "content": "and now?"},
    ]
    sent = read("responses", input=items).body["input"]
    assert [(one["type"], one["role"]) for one in sent] == [("message", "assistant"), ("message", "user")]
    assert sent[0]["content"] == [{"type": "output_text", "text": "hi", "annotations": []}]


TOOL, UNKNOWN, INVALID = "tool_not_allowed", "unknown_parameter", "invalid_request"
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    # route, fields, code, what the refusal's param starts with
    *(("chat", {name: 1}, UNKNOWN, name) for name in ("nonsense", "Model", "top_k", "thinking", "google", "api_base")),
    *(("responses", {name: 1}, UNKNOWN, name) for name in ("moderation", "multi_agent", "image", "access_programs")),
    *(("completions", {name: 1}, UNKNOWN, name) for name in ("messages", "tools", "service_tier")),
    *(("embeddings", {name: 1}, UNKNOWN, name) for name in ("stream", "tools", "max_tokens")),
    ("moderations", {"user": "x"}, UNKNOWN, "user"),
    ("moderations", {"model": "gpt-4.1"}, INVALID, "model"),
    ("chat", {"prediction": {"type": "content", "content": "x"}}, INVALID, "prediction"),
    ("chat", {"audio": {"voice": "alloy", "format": "wav"}}, INVALID, "audio"),
    ("chat", {"modalities": ["text", "audio"]}, INVALID, "modalities"),
    ("chat", {"moderation": {"model": "gpt-6-astra"}}, INVALID, "moderation"),
    ("chat", {"prompt_cache_options": {"ttl": "12h"}}, INVALID, "prompt_cache_options"),
    *(("chat", {"service_tier": tier}, INVALID, "service_tier") for tier in ("flex", "priority", "fast", "scale", 1)),
    *(("responses", {"service_tier": tier}, INVALID, "service_tier") for tier in ("flex", "ultrafast", ["default"])),
    ("chat", {"web_search_options": {}}, TOOL, "web_search_options"),
    ("responses", {"web_search_options": {}}, TOOL, "web_search_options"),
    *(
        ("responses", {"tools": [tool]}, TOOL, "tools[0]")
        for tool in (
            {"type": "web_search"},
            {"type": "web_search_preview"},
            {"type": "web_search_2025_08_26"},
            {"type": "file_search", "vector_store_ids": ["vs"]},
            {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "64g"}},
            {"type": "image_generation", "model": "gpt-image-2.5-sunburst"},
            {"type": "mcp", "server_url": "https://example.org"},
            {"type": "shell", "environment": {"type": "container_auto"}},
            {"type": "computer_use_preview"},
            {"type": "tool_search", "execution": "server"},
            {"type": "programmatic_tool_calling"},
            {"type": "namespace", "tools": [{"type": "function"}]},
            {"type": "moon_laser"},
            {"type": ["function"]},
            {"type": None},
            {},
            "function",
        )
    ),
    ("chat", {"tools": [{"type": "web_search"}]}, TOOL, "tools[0]"),
    ("chat", {"tools": [{"type": "function", "function": {**FUNCTION, "defer_loading": True}}]}, UNKNOWN, "tools[0]"),
    ("responses", {"tools": [{"type": "function", **FUNCTION, "defer_loading": True}]}, UNKNOWN, "tools[0].defer"),
    (
        "responses",
        {"tools": [{"type": "function", **FUNCTION, "allowed_callers": ["programmatic"]}]},
        UNKNOWN,
        "tools[0]",
    ),
    ("responses", {"tools": {"type": "function"}}, INVALID, "tools"),
    ("responses", {"tool_choice": {"type": "web_search_preview"}}, TOOL, "tool_choice"),
    ("responses", {"tool_choice": {"type": "mcp", "server_label": "x"}}, TOOL, "tool_choice"),
    (
        "responses",
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
        TOOL,
        "tool_choice.tools[0]",
    ),
    ("responses", {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": 5}}, INVALID, "tool_choice.tools"),
    ("chat", {"tool_choice": {"type": "allowed_tools", "allowed_tools": [{"type": "mcp"}]}}, INVALID, "tool_choice"),
    ("chat", {"tool_choice": {"type": "function", "function": {"name": "f"}, "x": 1}}, UNKNOWN, "tool_choice.x"),
    ("chat", {"tool_choice": "any"}, INVALID, "tool_choice"),
    *(
        ("responses", item(**fields), TOOL, "input[0]")
        for fields in (
            {"type": "tool_search_output", "tools": [{"type": "code_interpreter"}]},
            {"type": "additional_tools", "tools": [{"type": "web_search"}]},
            {"type": "mcp_approval_response", "approve": True, "approval_request_id": "x"},
            {"type": "mcp_list_tools", "tools": []},
            {"type": "computer_call_output", "output": {}},
            {"type": "web_search_call", "id": "ws"},
            {"type": "code_interpreter_call", "id": "ci"},
            {"type": "image_generation_call", "id": "ig"},
            {"type": "local_shell_call", "id": "ls"},
        )
    ),
    *(
        ("responses", item(**fields), INVALID, "input[0]")
        for fields in (
            {"type": "item_reference", "id": "msg_of_bob"},
            {"type": "compaction", "encrypted_content": "x"},
            {"type": "configuration_update", "reasoning": {"effort": "max"}},
            {"type": "moon_item"},
            {"id": "msg_of_bob"},
        )
    ),
    ("responses", item(role="user", content=[{"type": "input_image", "image_url": "https://x"}]), INVALID, "input[0]"),
    ("responses", item(role="user", content=[{"type": "input_file", "file_id": "f"}]), INVALID, "input[0]"),
    ("responses", item(role="user", content=[{"type": "input_text", "text": "x", "cache": 1}]), UNKNOWN, "input[0]"),
    ("responses", {"input": ["text"]}, INVALID, "input[0]"),
    ("responses", {"input": 5}, INVALID, "input"),
    ("responses", {"previous_response_id": "resp_of_bob"}, INVALID, "previous_response_id"),
    ("responses", {"conversation": {"id": "conv_x"}}, INVALID, "conversation"),
    ("responses", {"prompt": {"id": "pmpt_1"}}, INVALID, "prompt"),
    ("responses", {"background": True}, INVALID, "background"),
    ("responses", {"background_options": {"completion_window": "8h"}}, INVALID, "background_options"),
    ("responses", {"context_management": [{"type": "compaction"}]}, INVALID, "context_management"),
    ("responses", {"reasoning": {"mode": "pro"}}, INVALID, "reasoning.mode"),
    ("responses", {"prompt_cache_options": {"prewarm": True}}, INVALID, "prompt_cache_options"),
    ("responses", {"include": ["file_search_call.results"]}, INVALID, "include[0]"),
    ("responses", {"text": {"format": {"type": "text", "model": "gpt-6-astra"}}}, UNKNOWN, "text.format.model"),
    ("chat", message(content=[{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]), INVALID, "messages[0]"),
    ("chat", message(content=[{"type": "input_audio", "input_audio": {}}]), INVALID, "messages[0]"),
    ("chat", message(content=[{"type": "file", "file": {"file_id": "f"}}]), INVALID, "messages[0]"),
    ("chat", message(content=[{"type": "text", "text": "x", "prompt_cache_breakpoint": {"ttl": "12h"}}]), UNKNOWN, ""),
    ("chat", message(audio={"id": "audio_prev"}), UNKNOWN, "messages[0].audio"),
    ("chat", message(role="robot"), INVALID, "messages[0].role"),
    ("chat", message(annotations=[{"type": "url_citation"}]), UNKNOWN, "messages[0].annotations"),
    ("chat", {"messages": [{"content": "x"}]}, INVALID, "messages[0].role"),
    ("chat", {"messages": {"role": "user"}}, INVALID, "messages"),
    ("chat", {"messages": ["text"]}, INVALID, "messages[0]"),
    ("chat", {"stream": 1}, INVALID, "stream"),
    ("chat", {"stream": "yes"}, INVALID, "stream"),
    ("chat", {"stream_options": {"include_usage": True}}, INVALID, "stream_options"),
    ("chat", {"stream": True, "stream_options": {"include_usage": "yes"}}, INVALID, "stream_options"),
    ("chat", {"stream": True, "stream_options": []}, INVALID, "stream_options"),
    ("chat", {"stream": True, "stream_options": {"tier": "fast"}}, UNKNOWN, "stream_options.tier"),
    ("chat", {"max_tokens": 10, "max_completion_tokens": 100_000}, INVALID, "max_completion_tokens"),
    *(("chat", {"max_tokens": cap}, INVALID, "max_tokens") for cap in (0, -1, 1.5, True, "10", 10**30, [1], {})),
    *(("responses", {"max_output_tokens": cap}, INVALID, "max_output_tokens") for cap in (0, False, 10**9)),
    *(("chat", {"n": count}, INVALID, "n") for count in (0, 9, 128, True, 2.0, "2")),
    ("completions", {"best_of": 9}, INVALID, "best_of"),
    ("completions", {"prompt": ["x"] * 2049}, INVALID, "prompt"),
    *(
        ("completions", {"prompt": prompt}, INVALID, "prompt")
        for prompt in ([], [[]], [1, "a"], [True], [1.5], [[1, "a"]], [[True]], [-1], [[2**40]], {"a": 1}, 5, [None])
    ),
    *(("embeddings", {"input": text}, INVALID, "input") for text in ([], [[]], 7, [{"text": "x"}])),
    ("embeddings", {"encoding_format": "hex"}, INVALID, "encoding_format"),
    ("chat", {"temperature": "hot"}, INVALID, "temperature"),
    ("chat", {"temperature": {"deep": ["text"]}}, INVALID, "temperature"),
    ("chat", {"logit_bias": {"1": "x"}}, INVALID, "logit_bias"),
    ("chat", {"logit_bias": [1]}, INVALID, "logit_bias"),
    ("chat", {"stop": [1]}, INVALID, "stop[0]"),
    ("chat", {"response_format": {"type": "json_object", "tools": []}}, UNKNOWN, "response_format.tools"),
    ("chat", {"functions": [{"name": "f", "url": "https://x"}]}, UNKNOWN, "functions[0].url"),
]


@pytest.mark.parametrize(("route", "fields", "code", "param"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_may_hide_a_cost_is_refused(route: str, fields: dict[str, Any], code: str, param: str) -> None:
    """A field, tool, part or item that is not known to be bounded is refused, and the refusal names it."""
    with pytest.raises(Refused) as refused:
        read(route, **fields)
    assert (refused.value.status, refused.value.code) == (403 if code == TOOL else 400, code)
    assert (refused.value.param or "").startswith(param)


@pytest.mark.parametrize(("route", "field"), [("chat", "messages"), ("responses", "input"), ("completions", "prompt")])
def test_what_is_needed_is_named(route: str, field: str) -> None:
    """A request without its contents is refused, whether they are missing or null."""
    for fields in ({"without": field}, {field: None}):
        with pytest.raises(Refused, match=f"{field} is missing") as refused:
            read(route, **fields)
        assert refused.value.param == field


def test_long_names_are_not_repeated_at_length() -> None:
    """A refusal names a field by its beginning, at the top and deep down."""
    name = "x" * 100_000
    for fields in ({name: 1}, message(**{name: 1}), {"tools": [{"type": name}]}, message(content=[{"type": name}])):
        with pytest.raises(Refused) as refused:
            read("chat", **fields)
        assert len(refused.value.message) < 500
        assert len(refused.value.param or "") < 200


@pytest.mark.parametrize(
    ("route", "params"),
    [
        ("chat", ChatParams),
        ("responses", ResponseCreateParams),
        ("completions", CompletionCreateParams),
        ("embeddings", EmbeddingCreateParams),
    ],
    ids=["chat", "responses", "completions", "embeddings"],
)
def test_every_field_of_the_sdk_is_thought_of(route: str, params: Any) -> None:
    """The SDK knows no field that is unknown here by accident; these few are unknown on purpose."""
    kinds = typing.get_args(params) or (params,)
    names = {name for kind in kinds for name in typing.get_type_hints(kind, include_extras=True)}
    on_purpose = {"access_programs", "image", "moderation", "betas"}
    assert names - ROUTES[route].fields.names() <= on_purpose
