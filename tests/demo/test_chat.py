"""``/chat/completions`` of the stand-in, by the real SDK."""

import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest
from pydantic import BaseModel

from keyguard_jupyter.demo import tokens
from keyguard_jupyter.demo.provider import Provider

MODEL = "gpt-4.1-mini"


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
                "required": ["city", "days"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]


class Step(BaseModel):
    explanation: str
    output: int


class Solution(BaseModel):
    steps: list[Step]
    answer: str | None


async def test_answers_in_words_and_counts_its_tokens(client: openai.AsyncOpenAI, messages: list[Any]) -> None:
    """Usage is a true count: of the messages by the documented rule, and of the text that came back."""
    answer = await client.chat.completions.create(model=MODEL, messages=messages)
    text = answer.choices[0].message.content
    assert text is not None
    assert text.startswith("Recursion means")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL
    assert answer.usage is not None
    sent = sum(tokens.count(message["content"]) for message in messages)
    assert answer.usage.prompt_tokens == sent + 2 * tokens.PER_MESSAGE + tokens.PER_CALL
    assert answer.usage.completion_tokens == tokens.count(text)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_serves_the_synchronous_client_too(provider: Provider, messages: list[Any], key: str) -> None:
    """A client that blocks its thread gets the same answer, plain and streamed."""

    def ask() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=provider.url, api_key=key) as blocking:
            plain = blocking.chat.completions.create(model=MODEL, messages=messages)
            with blocking.chat.completions.create(model=MODEL, messages=messages, stream=True) as chunks:
                streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            return plain.choices[0].message.content, streamed

    plain, streamed = await asyncio.to_thread(ask)
    assert plain == streamed


async def test_streams_role_text_end_and_usage_in_this_order(client: openai.AsyncOpenAI, messages: list[Any]) -> None:
    """The role comes first, then the text, then the reason for the end, then a chunk of usage without choices."""
    stream = await client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    plain = await client.chat.completions.create(model=MODEL, messages=messages)
    assert chunks[-1].usage == plain.usage
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == plain.choices[0].message.content


async def test_reports_usage_on_a_stream_only_when_asked(read_stream: Any) -> None:
    """Without ``include_usage`` no chunk mentions usage; the stream ends with the end mark either way."""
    stream = await read_stream()
    assert b"usage" not in stream
    assert stream.endswith(b"data: [DONE]\n\n")


async def test_the_sdks_helpers_understand_it(client: openai.AsyncOpenAI, messages: list[Any]) -> None:
    """``stream`` and ``parse`` of the SDK accept the events and the structured answers."""
    async with client.chat.completions.stream(model=MODEL, messages=messages, response_format=Solution) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(final.choices[0].message.parsed, Solution)
    parsed = await client.chat.completions.parse(model=MODEL, messages=messages, response_format=Solution)
    assert parsed.choices[0].message.parsed == final.choices[0].message.parsed


async def test_several_choices_are_all_counted(client: openai.AsyncOpenAI, messages: list[Any]) -> None:
    """``n`` answers differ, and each is billed."""
    answer = await client.chat.completions.create(model=MODEL, messages=messages, n=5)
    texts = [choice.message.content or "" for choice in answer.choices]
    assert len(set(texts)) == 5
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(map(tokens.count, texts))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_cap_is_kept_to_the_token(client: openai.AsyncOpenAI, name: str, messages: list[Any]) -> None:
    """Each choice ends at the cap with the reason ``length``, in a stream too."""
    answer = await client.chat.completions.create(model=MODEL, messages=messages, n=2, **{name: 7})  # type: ignore[call-overload]
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.usage.completion_tokens == 14
    stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True, **{name: 7})  # type: ignore[call-overload]
    chunks = [chunk async for chunk in stream]
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 7
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_an_answer_ends_before_a_stop(client: openai.AsyncOpenAI) -> None:
    """The text of ``stop`` does not appear, and what would follow is not billed."""
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Count to 20"}], stop=[" 4"]
    )
    assert answer.choices[0].message.content == "1, 2, 3,"
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"]
)
async def test_a_forced_tool_is_called(client: openai.AsyncOpenAI, choice: Any, messages: list[Any]) -> None:
    """A tool that must be called is called with arguments that fit, plain and streamed."""
    answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, tool_choice=choice)
    call = answer.choices[0].message.tool_calls[0]  # type: ignore[index]
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["days"] == 2
    async with client.chat.completions.stream(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice=choice
    ) as stream:
        final = await stream.get_final_completion()
    streamed = final.choices[0].message.tool_calls[0]  # type: ignore[index]
    assert streamed.function.arguments == call.function.arguments
    assert streamed.function.parsed_arguments == {"city": "text", "days": 2}


async def test_a_tool_that_need_not_be_called_is_not(client: openai.AsyncOpenAI, messages: list[Any]) -> None:
    """With tools at hand and a free choice the stand-in answers in words, and counts the tools as input."""
    bare = await client.chat.completions.create(model=MODEL, messages=messages)
    answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content == bare.choices[0].message.content
    assert answer.usage is not None
    assert bare.usage is not None
    assert answer.usage.prompt_tokens > bare.usage.prompt_tokens


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("Are you a real model?", "stand-in"),
        ("What is 17 * 3?", "17 * 3 = 51."),
        ("Say 'this is a test'", "this is a test"),
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("", "listening"),
        ("word " * 1000, "You asked: “word"),
    ],
)
async def test_answers_fit_the_question(client: openai.AsyncOpenAI, asked: str, told: str) -> None:
    """It says what it is, does sums, repeats what it is told to, and else takes up the question."""
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": asked}])
    assert told in (answer.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"model": None}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"model": "gpt-6-luna", "max_tokens": 5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"tool_choice": {"type": "function", "function": {"name": "nothing"}}}, "tool_choice"),
        ({"tools": [1], "tool_choice": "required"}, None),
    ],
)
async def test_refuses_what_the_real_provider_refuses(
    web: aiohttp.ClientSession, fields: dict[str, Any], param: str | None, messages: list[Any]
) -> None:
    """A malformed field is a 400 that names it; so is ``max_tokens`` for a reasoning model."""
    async with web.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, **fields}) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == param


async def test_any_json_is_an_object_with_an_answer(client: openai.AsyncOpenAI, messages: list[Any]) -> None:
    """``json_object`` gives a JSON object; a schema that is missing gives an empty one."""
    answer = await client.chat.completions.create(
        model=MODEL, messages=messages, response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content or "") == {"answer": "text"}
    bare: Any = {"type": "json_schema", "json_schema": {"name": "nothing"}}
    answer = await client.chat.completions.create(model=MODEL, messages=messages, response_format=bare)
    assert answer.choices[0].message.content == "{}"


async def test_a_conversation_without_a_person_is_answered(client: openai.AsyncOpenAI) -> None:
    """When nobody but the system has spoken, its words are taken up; parts of a message are read as one text."""
    parts: list[Any] = [
        {"role": "system", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "2*4?"}]}
    ]
    answer = await client.chat.completions.create(model=MODEL, messages=parts)
    assert answer.choices[0].message.content == "2 * 4 = 8."
    empty: list[Any] = [{"role": "assistant", "content": None}]
    answer = await client.chat.completions.create(model=MODEL, messages=empty)
    assert "listening" in (answer.choices[0].message.content or "")


async def test_the_reason_for_the_end_can_be_scripted(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """A chat ends for the reason that the script names."""
    provider.script(finish="content_filter")
    answer = await client.chat.completions.create(model=MODEL, messages=messages)
    assert answer.choices[0].finish_reason == "content_filter"
