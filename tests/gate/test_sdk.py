"""The unmodified OpenAI SDK against the gateway: what it is answered, what the provider receives, what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
import pytest_asyncio

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.usage import Usage
from keyguard_jupyter.demo.provider import Provider
from keyguard_jupyter.demo.record import Received
from keyguard_jupyter.money import parse
from tests.support.gateway import REAL_KEY, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "gpt-4.1-mini"
ASK: Any = [{"role": "user", "content": "Say: four words and more"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


class Point(pydantic.BaseModel):
    """What a structured answer is parsed into."""

    x: int
    name: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Provider, Gateway, str]]:
    """Run one provider and one gateway for the module."""
    async with Provider(key=REAL_KEY) as provider:
        gateway = Gateway(tmp_path_factory.mktemp("gateway"), provider.url)
        try:
            await asyncio.to_thread(gateway.__enter__)
            yield provider, gateway, await asyncio.to_thread(gateway.issue)
        finally:
            await asyncio.to_thread(gateway.stop)


@pytest.fixture
def provider(served: tuple[Provider, Gateway, str]) -> Provider:
    """Return the provider, without memory of earlier tests."""
    served[0].clear()
    served[0].forget()
    return served[0]


@pytest.fixture
def gateway(served: tuple[Provider, Gateway, str]) -> Gateway:
    """Return the gateway."""
    return served[1]


@pytest_asyncio.fixture(loop_scope="module")
async def client(served: tuple[Provider, Gateway, str]) -> AsyncIterator[openai.AsyncOpenAI]:
    """Make ada's asynchronous client."""
    _, gateway, key = served
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as made:
        yield made


def last(provider: Provider) -> Received:
    """Return the one call that reached the provider."""
    assert len(provider.requests) == 1
    return provider.requests[0]


async def last_row(gateway: Gateway) -> dict[str, Any]:
    """Return the last usage row."""
    rows = (await asyncio.to_thread(gateway.admin.get, "/api/usage"))["rows"]
    return dict(rows[-1])


# --- chat -----------------------------------------------------------------------------------------------------------


async def test_a_chat_is_answered_and_its_cost_told(
    provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI
) -> None:
    """A whole answer arrives as the provider gave it, with headers that tell its cost, what is left, and its id."""
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content == "four words and more"
    assert answer.usage is not None
    used = Usage(input=answer.usage.prompt_tokens, output=answer.usage.completion_tokens)
    cost = prices.cost(prices.load().lookup("openai", MODEL), used)
    assert parse(raw.headers["x-keyguard-cost-usd"]) == cost
    row = await last_row(gateway)
    assert row["request_id"] == raw.headers["x-keyguard-request-id"]
    assert parse(row["cost_usd"]) == cost
    limits = (await asyncio.to_thread(gateway.admin.get, "/api/explain", model=MODEL, person="ada"))["limits"]
    assert parse(raw.headers["x-keyguard-remaining-usd"]) == min(parse(limit["remaining_usd"]) for limit in limits)
    assert not [name for name in raw.headers if name.startswith(("openai-", "x-ratelimit", "set-cookie"))]


async def test_the_provider_receives_what_keyguard_sets(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """Nothing is stored, the tier is the default one, the cap is there, and nothing says who the caller is."""
    await client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        user="ada@example.org",
        store=True,
        metadata={"course": "cs101"},
        safety_identifier="ada",
        temperature=0.5,
        service_tier="auto",
    )
    call = last(provider)
    body = call.json
    assert body["store"] is False
    assert body["service_tier"] == "default"
    assert body["max_completion_tokens"] == 4096
    assert body["safety_identifier"].startswith("kg-")
    assert body["temperature"] == 0.5
    assert not {"user", "metadata", "max_tokens"} & body.keys()
    assert "ada" not in call.body.decode()
    assert call.key == REAL_KEY
    names = {name.decode().lower() for name, _ in call.raw_headers}
    assert names == {
        "host",
        "accept",
        "content-type",
        "content-length",
        "accept-encoding",
        "user-agent",
        "authorization",
    }


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_named_cap_keeps_its_name(provider: Provider, client: openai.AsyncOpenAI, field: str) -> None:
    """A cap that fits is sent under the caller's own name, and no header says that it was shortened."""
    named: Any = {field: 3}
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, **named)
    answer = raw.parse()
    assert last(provider).json[field] == 3
    assert answer.choices[0].finish_reason == "length"
    assert "x-keyguard-max-output-tokens" not in raw.headers


async def test_a_shortened_answer_says_so(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """Where Keyguard set the cap, a header names it."""
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    cap = last(provider).json["max_completion_tokens"]
    assert raw.headers["x-keyguard-max-output-tokens"] == str(cap)


@pytest.mark.parametrize("asked", [False, True], ids=["not asked", "asked"])
async def test_a_stream_reports_usage_to_whom_asked(
    provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI, asked: bool
) -> None:
    """Keyguard always asks for the usage chunk, and passes it on only to a caller that asked too."""
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True, **options)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "four words and more"
    reports = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(reports) == asked
    assert len([chunk for chunk in chunks if not chunk.choices]) == asked
    assert last(provider).json["stream_options"] == {"include_usage": True}
    assert stream.response.headers["x-keyguard-request-id"]
    assert "x-keyguard-remaining-usd" in stream.response.headers
    row = await last_row(gateway)
    assert (row["outcome"], row["output_tokens"], row["stream"]) == ("ok", 4, True)


async def test_tools_of_the_callers_own_work(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """A function call and its result go there and back."""
    answer = await client.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS, tool_choice="required")
    message = answer.choices[0].message
    assert message.tool_calls is not None
    called = message.tool_calls[0]
    assert called.type == "function"
    assert called.function.name == "weather"
    assert set(json.loads(called.function.arguments)) == {"city"}
    result: Any = {"role": "tool", "tool_call_id": called.id, "content": "sunny"}
    again = await client.chat.completions.create(model=MODEL, messages=[*ASK, message, result], tools=TOOLS)
    assert again.choices[0].message.content


async def test_tool_calls_stream(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """The SDK puts streamed arguments together."""
    async with client.chat.completions.stream(
        model=MODEL, messages=ASK, tools=[openai.pydantic_function_tool(Point)], tool_choice="required"
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert isinstance(calls[0].function.parsed_arguments, Point)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDK's own, where a parsed answer is sent back
async def test_answers_are_parsed_into_models(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """`parse` works with a pydantic model, on chat and on responses, and the answer may be sent back."""
    answer = await client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Point)
    assert isinstance(answer.choices[0].message.parsed, Point)
    again = await client.chat.completions.create(model=MODEL, messages=[*ASK, answer.choices[0].message, *ASK])
    assert again.choices[0].message.content == "four words and more"
    response = await client.responses.parse(model=MODEL, input=ASK, text_format=Point)
    assert isinstance(response.output_parsed, Point)


# --- responses ------------------------------------------------------------------------------------------------------


async def test_a_response_is_answered(provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    """Responses work, are not stored, are capped, and are metered."""
    raw = await client.responses.with_raw_response.create(
        model=MODEL, input="Say: four words and more", store=True, user="ada", metadata={"a": "b"}
    )
    answer = raw.parse()
    assert answer.output_text == "four words and more"
    body = last(provider).json
    assert (body["store"], body["service_tier"], body["max_output_tokens"]) == (False, "default", 4096)
    assert body["safety_identifier"].startswith("kg-")
    assert not {"user", "metadata"} & body.keys()
    row = await last_row(gateway)
    assert (row["endpoint"], row["output_tokens"], row["outcome"]) == ("responses", 4, "ok")
    assert raw.headers["x-keyguard-cost-usd"] == row["cost_usd"]


async def test_a_response_streams(provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    """All events of a streamed response arrive, the last with its usage, and the output can be sent back."""
    stream = await client.responses.create(model=MODEL, input="Say: four words and more", stream=True)
    events = [event async for event in stream]
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta") == "four words and more"
    )
    final = events[-1]
    assert final.type == "response.completed"
    assert final.response.usage is not None
    row = await last_row(gateway)
    assert (row["input_tokens"], row["outcome"]) == (final.response.usage.input_tokens, "ok")
    follow: Any = [*ASK, *final.response.output, *ASK]
    assert (await client.responses.create(model=MODEL, input=follow)).output_text


async def test_a_response_calls_tools(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """A function call of a response goes there and back."""
    tools: Any = [{"type": "function", **TOOLS[0]["function"], "strict": True}]
    answer = await client.responses.create(model=MODEL, input="weather?", tools=tools, tool_choice="required")
    call = answer.output[0]
    assert call.type == "function_call"
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    again = await client.responses.create(model=MODEL, input=[call, result], tools=tools)  # type: ignore[list-item]
    assert again.output_text


# --- the other routes -----------------------------------------------------------------------------------------------


async def test_embeddings_are_the_same_in_both_encodings(
    provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI
) -> None:
    """Numbers and base64 (the SDK's default) give the same vectors; input is charged, and nobody is named."""
    model = "text-embedding-3-small"
    packed = await client.embeddings.create(model=model, input=["one text", "another"], user="ada")
    plain = await client.embeddings.create(model=model, input=["one text", "another"], encoding_format="float")
    assert [call.json.get("encoding_format") for call in provider.requests] == ["base64", "float"]
    assert all(call.json["user"].startswith("kg-") for call in provider.requests)
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
    row = await last_row(gateway)
    assert (row["endpoint"], row["input_tokens"], row["output_tokens"]) == ("embeddings", plain.usage.prompt_tokens, 0)
    assert parse(row["cost_usd"]) > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_legacy_completions_work(
    provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI, stream: bool
) -> None:
    """A completion has the cap of sixteen tokens that the API documents, and is metered for all of its choices."""
    answer = await client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt=["Say: a", "Say: b"], n=2, stream=stream
    )
    chunks = [chunk async for chunk in answer] if stream else [answer]
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2, 3}
    assert last(provider).json["max_tokens"] == 16
    assert "store" not in last(provider).json
    row = await last_row(gateway)
    assert (row["endpoint"], row["outcome"]) == ("completions", "ok")
    assert row["output_tokens"] > 0


async def test_moderations_are_free(provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    """A moderation is passed on and costs nothing."""
    answer = await client.moderations.create(input="I will attack")
    assert answer.results[0].flagged
    assert last(provider).json == {"input": "I will attack", "model": "omni-moderation-latest"}
    row = await last_row(gateway)
    assert (row["endpoint"], parse(row["cost_usd"])) == ("moderations", 0)


async def test_models_are_the_callers_own(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """The list holds what the caller may use, and nothing else can be retrieved; the provider is not asked."""
    names = {model.id async for model in client.models.list()}
    assert names == {MODEL, "gpt-4.1", "gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small"}
    assert (await client.models.retrieve("gpt-4.1")).id == "gpt-4.1"
    for name in ("gpt-4", "gpt-5", "made-up/name"):
        with pytest.raises(openai.NotFoundError) as refused:
            await client.models.retrieve(name)
        assert refused.value.code == "model_not_found"
    assert provider.requests == []


async def test_the_synchronous_client_works(provider: Provider, served: tuple[Provider, Gateway, str]) -> None:
    """The blocking client gets the same answers, whole and as a stream."""
    _, gateway, key = served

    def ask() -> tuple[str | None, str, str, int, str]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
            whole = client.chat.completions.create(model=MODEL, messages=ASK)
            with client.chat.completions.create(model=MODEL, messages=ASK, stream=True) as stream:
                text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            with client.responses.stream(model=MODEL, input="Say: a response") as events:
                said = events.get_final_response().output_text
            vectors = client.embeddings.create(model="text-embedding-3-small", input="text").data
            with pytest.raises(openai.PermissionDeniedError) as refused:
                client.chat.completions.create(model="gpt-4", messages=ASK)
            return whole.choices[0].message.content, text, said, len(vectors), str(refused.value.code)

    found = await asyncio.to_thread(ask)
    assert found == ("four words and more", "four words and more", "a response", 1, "model_blocked")
    assert len(provider.requests) == 4


# --- refusals -------------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[dict[str, Any], type[openai.APIStatusError], str, str]] = [
    ({"model": "gpt-4"}, openai.PermissionDeniedError, "model_blocked", "gpt-4"),
    ({"model": "gpt-4.1-nano"}, openai.PermissionDeniedError, "model_not_allowed", "gpt-4.1-nano"),
    ({"model": "gpt-4.1-mini-made-up"}, openai.APIStatusError, "model_", "gpt-4.1-mini-made-up"),
    ({"extra_body": {"nonsense": 1}}, openai.BadRequestError, "unknown_parameter", "nonsense"),
    ({"n": 99}, openai.BadRequestError, "invalid_request", "at most 8"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, openai.BadRequestError, "invalid_request", "not both"),
    ({"service_tier": "priority"}, openai.BadRequestError, "invalid_request", "service_tier"),
    ({"web_search_options": {}}, openai.PermissionDeniedError, "tool_not_allowed", "web_search"),
    ({"messages": []}, openai.BadRequestError, "", "messages"),
]


@pytest.mark.parametrize(("fields", "kind", "code", "words"), REFUSALS, ids=[str(case[0])[:40] for case in REFUSALS])
async def test_refusals_are_the_sdks_ordinary_exceptions(
    provider: Provider,
    client: openai.AsyncOpenAI,
    fields: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str,
    words: str,
) -> None:
    """A refusal is the exception that the SDK has for it, with a code for programs and words for people."""
    with pytest.raises(kind) as refused:
        await client.chat.completions.create(**{"model": MODEL, "messages": ASK, **fields})
    assert (refused.value.code or "").startswith(code)
    assert words in refused.value.message
    assert refused.value.type
    if code:
        assert provider.requests == []


async def test_a_wrong_key_is_an_authentication_error(provider: Provider, gateway: Gateway) -> None:
    """Unknown keys, and the real one, are refused with 401, and nothing is sent."""
    for wrong in ("sk-kg-" + "x" * 43, REAL_KEY, "keyguard-unavailable"):
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=wrong, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.chat.completions.create(model=MODEL, messages=ASK)
            assert refused.value.code == "invalid_api_key"
            assert wrong not in refused.value.message
    assert provider.requests == []


async def test_routes_that_are_not_offered_are_not_found(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """Files, images, audio, batches and stored responses are 404 with a message that says what is offered."""
    for call in (
        client.files.list(),
        client.images.generate(prompt="a cat"),
        client.audio.speech.create(input="hello", model="tts-1", voice="alloy"),
        client.responses.retrieve("resp_123"),
        client.batches.list(),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            await call
        assert refused.value.code == "unknown_url"
        assert "not offered" in refused.value.message
    assert provider.requests == []


async def test_an_error_in_mid_stream_is_raised_by_the_sdk(
    provider: Provider, gateway: Gateway, client: openai.AsyncOpenAI
) -> None:
    """A provider's error event ends the stream with the SDK's exception, and the call is charged in full."""
    provider.script(text="a few words", error="the model is tired", error_after=2)
    stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True, max_tokens=50)
    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass
    row = await last_row(gateway)
    assert row["outcome"] in {"no_usage", "interrupted"}
    assert parse(row["cost_usd"]) > 0


async def test_an_empty_budget_is_a_402(provider: Provider, gateway: Gateway, tmp_path: Path) -> None:
    """Without money a call is the SDK's status error with code, figures, and whom to ask; nothing is sent."""
    settings = {"limits": {"total": {"amount": "0.000001"}}}
    key = await asyncio.to_thread(gateway.issue, "ada", settings=settings)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model=MODEL, messages=ASK)
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    assert refused.value.type == "insufficient_quota"
    assert "grace@example.org" in refused.value.message
    assert provider.requests == []
