"""Whatever body is allowed, what the provider receives costs at most what was held, and nothing fails."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.usage import from_chat, from_completions, from_embeddings, from_responses
from tests.support.caller import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Caller
from tests.support.gateway import Gateway
from tests.support.standin import StandIn

TABLE = prices.load()
TEXT = st.text(max_size=30)
NAME = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
NUMBER = st.floats(0, 2, allow_nan=False)
SCHEMA = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(NAME, st.just({"type": "string"}), max_size=3)}
)
FUNCTION = st.fixed_dictionaries(
    {"name": NAME}, optional={"description": TEXT, "parameters": SCHEMA, "strict": st.booleans()}
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "temperature": NUMBER | st.none(),
    "top_p": NUMBER,
    "stream": st.booleans() | st.none(),
    "user": TEXT,
    "metadata": st.dictionaries(NAME, TEXT, max_size=2),
    "store": st.booleans(),
    "safety_identifier": TEXT,
}
PENALTIES: dict[str, st.SearchStrategy[Any]] = {
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "seed": st.integers(-(2**40), 2**40),
    "stop": TEXT | st.lists(TEXT, max_size=3),
    "logit_bias": st.dictionaries(st.sampled_from(["1", "50256"]), st.integers(-100, 100), max_size=2),
    "n": st.integers(1, 8),
}
CAP = st.integers(1, 3000) | st.none()
PART = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
MESSAGE = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "system", "developer"]),
            "content": TEXT | st.lists(PART, min_size=1, max_size=3),
        },
        optional={"name": NAME},
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": TEXT | st.none()},
        optional={
            "refusal": st.none(),
            "annotations": st.just([]),
            "tool_calls": st.lists(
                st.fixed_dictionaries(
                    {
                        "id": NAME,
                        "type": st.just("function"),
                        "function": st.fixed_dictionaries({"name": NAME, "arguments": TEXT}),
                    }
                ),
                min_size=1,
                max_size=2,
            ),
        },
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": NAME, "content": TEXT}),
)
ITEM = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": TEXT}),
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.just("user"),
            "content": st.lists(
                st.fixed_dictionaries({"type": st.just("input_text"), "text": TEXT}), min_size=1, max_size=2
            ),
        }
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": NAME, "output": TEXT}),
    st.fixed_dictionaries({"type": st.just("function_call"), "call_id": NAME, "name": NAME, "arguments": TEXT}),
)
PROMPT = TEXT | st.lists(TEXT, min_size=1, max_size=5) | st.lists(st.integers(0, 200_000), min_size=1, max_size=20)
PROMPTS = PROMPT | st.lists(st.lists(st.integers(0, 200_000), min_size=1, max_size=5), min_size=1, max_size=4)


def _one_cap(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("max_tokens") is not None:
        body.pop("max_completion_tokens", None)
    return body


def _streams_only(body: dict[str, Any]) -> dict[str, Any]:
    if not body.get("stream"):
        body.pop("stream_options", None)
    return body


CHATS = (
    st.fixed_dictionaries(
        {"messages": st.lists(MESSAGE, min_size=1, max_size=4)},
        optional={
            **COMMON,
            **PENALTIES,
            "max_tokens": CAP,
            "max_completion_tokens": CAP,
            "tools": st.lists(
                st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION}), min_size=1, max_size=2
            ),
            "tool_choice": st.sampled_from(["none", "auto"]),
            "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
            "service_tier": st.sampled_from(["auto", "default", None]),
            "reasoning_effort": st.sampled_from(["low", "high"]),
            "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}),
        },
    )
    .map(_one_cap)
    .map(_streams_only)
)
RESPONSE_BODIES = st.fixed_dictionaries(
    {"input": TEXT.filter(bool) | st.lists(ITEM, min_size=1, max_size=4)},
    optional={
        **COMMON,
        "instructions": TEXT,
        "max_output_tokens": st.integers(16, 3000) | st.none(),
        "reasoning": st.fixed_dictionaries({}, optional={"effort": st.just("low"), "summary": st.just("auto")}),
        "text": st.just({"verbosity": "low"}),
        "truncation": st.sampled_from(["auto", "disabled"]),
        "tools": st.lists(FUNCTION.map(lambda function: {"type": "function", **function}), min_size=1, max_size=2),
        "service_tier": st.sampled_from(["auto", "default"]),
    },
)
COMPLETION_BODIES = st.fixed_dictionaries(
    {"prompt": PROMPTS},
    optional={**COMMON, **PENALTIES, "max_tokens": CAP, "echo": st.booleans(), "suffix": TEXT},
).flatmap(lambda body: st.sampled_from([body, {**body, "best_of": 8}]))
EMBEDDING_BODIES = st.fixed_dictionaries(
    {"input": PROMPTS},
    optional={"encoding_format": st.sampled_from(["float", "base64"]), "dimensions": st.integers(1, 64), "user": TEXT},
)
ROUTES = [
    ("chat", CHAT, ["gpt-4.1-mini", "gpt-6-luna", "gpt-4o"], CHATS, from_chat),
    ("responses", RESPONSES, ["gpt-4.1-mini", "gpt-5-codex"], RESPONSE_BODIES, from_responses),
    ("completions", COMPLETIONS, ["davinci-002", "gpt-3.5-turbo-instruct"], COMPLETION_BODIES, from_completions),
    ("embeddings", EMBEDDINGS, ["text-embedding-3-small"], EMBEDDING_BODIES, from_embeddings),
]


@pytest.mark.parametrize(("route", "path", "models", "bodies", "read"), ROUTES, ids=[route[0] for route in ROUTES])
def test_every_allowed_body_is_bounded(
    standin: StandIn, shared: Gateway, route: str, path: str, models: list[str], bodies: Any, read: Any
) -> None:
    """The provider never refuses the cost of what was held: caps reach it, and its own count costs no more."""
    rich = Caller.new(shared, "default")
    poor = Caller.new(shared, "default", settings={"limits": {"total": {"amount": "0.02"}}})
    standin.script(text="word " * 4000, times=None)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(body=bodies, model=st.sampled_from(models), who=st.sampled_from([rich, rich, poor]))
    def run(body: dict[str, Any], model: str, who: Caller) -> None:
        if model.startswith("gpt-6") and "max_tokens" in body:
            body = {name: value for name, value in body.items() if name != "max_tokens"}
        before = len(standin.requests)
        answer = who.send(path, {"model": model, **body})
        assert answer.status_code in {200, 400, 402}, answer.text
        if answer.status_code == 402:
            assert who is poor
            assert len(standin.requests) == before
            return
        sent = standin.last.json
        assert len(standin.requests) == before + 1, answer.text
        assert not {"metadata"} & set(sent)
        if route != "embeddings":
            caps = [sent[name] for name in ("max_tokens", "max_completion_tokens", "max_output_tokens") if name in sent]
            assert len(caps) == 1
        if route in {"chat", "responses"}:
            assert (sent["store"], sent["service_tier"]) == (False, "default")

    run()
    rows = rich.rows() + poor.rows()
    assert [row for row in rows if row["outcome"] not in {"ok", "provider_400"}] == []
    assert [row for row in rows if row["cost"] > row["held"]] == []
    assert sum(row["cost"] for row in poor.rows()) <= 20_000_000
    assert len([row for row in rows if row["outcome"] == "ok"]) > 30
