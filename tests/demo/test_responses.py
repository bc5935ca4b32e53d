"""``/responses`` of the stand-in, by the real SDK."""

from typing import Any

import aiohttp
import openai
import pytest
from pydantic import BaseModel

from keyguard_jupyter.demo import tokens

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
FLAT_TOOLS: list[Any] = [{"type": "function", **TOOLS[0]["function"]}]


class Step(BaseModel):
    explanation: str
    output: int


class Solution(BaseModel):
    steps: list[Step]
    answer: str | None


async def test_answers_and_counts(client: openai.AsyncOpenAI) -> None:
    """A response has text, a status, and usage that counts instructions as a message."""
    answer = await client.responses.create(model=MODEL, input="Say hello", instructions="Be brief.")
    assert answer.output_text == "hello"
    assert answer.status == "completed"
    assert answer.usage is not None
    counted = tokens.count("Say hello") + tokens.count("Be brief.")
    assert answer.usage.input_tokens == counted + 2 * tokens.PER_MESSAGE + tokens.PER_CALL
    assert answer.usage.output_tokens == 1


async def test_takes_a_conversation_as_items(client: openai.AsyncOpenAI) -> None:
    """Messages in parts, earlier calls and their outputs are read, and all are counted."""
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "What is 2+3?"}]},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "5"},
    ]
    answer = await client.responses.create(model=MODEL, input=items)
    assert answer.output_text == "2 + 3 = 5."
    assert answer.usage is not None
    assert answer.usage.input_tokens > 3 * tokens.PER_MESSAGE + tokens.PER_CALL + tokens.count("What is 2+3?5")


async def test_streams_the_events_in_their_order(client: openai.AsyncOpenAI) -> None:
    """Every event comes in the order of the real API with a running number, and usage with the last."""
    stream = await client.responses.create(model=MODEL, input="Say hello", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.output_text == "hello"


async def test_a_cap_leaves_it_incomplete(client: openai.AsyncOpenAI) -> None:
    """A response that the cap cuts is incomplete, says why, and has exactly so many tokens."""
    answer = await client.responses.create(model=MODEL, input="Tell me about recursion", max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is not None
    assert answer.usage.output_tokens == tokens.count(answer.output_text) == 16
    stream = await client.responses.create(
        model=MODEL, input="Tell me about recursion", max_output_tokens=16, stream=True
    )
    assert [event.type async for event in stream][-1] == "response.incomplete"


async def test_the_sdks_helpers_understand_it(client: openai.AsyncOpenAI) -> None:
    """``responses.stream`` and ``responses.parse`` accept events, structured answers and calls of tools."""
    async with client.responses.stream(model=MODEL, input="Solve it", text_format=Solution) as stream:
        final = await stream.get_final_response()
    assert isinstance(final.output_parsed, Solution)
    assert (await client.responses.parse(model=MODEL, input="Solve it", text_format=Solution)).output_parsed
    async with client.responses.stream(
        model=MODEL, input="Rain?", tools=FLAT_TOOLS, tool_choice={"type": "function", "name": "weather"}
    ) as stream:
        kinds = [event.type async for event in stream]
        called = (await stream.get_final_response()).output[0]
    assert "response.function_call_arguments.delta" in kinds
    assert called.type == "function_call"
    assert called.parsed_arguments == {"city": "text", "days": 2}


@pytest.mark.parametrize("mode", ["required", "auto"])
async def test_allowed_tools_force_only_when_required(client: openai.AsyncOpenAI, mode: Any) -> None:
    """A list of allowed tools forces a call in the mode ``required`` only."""
    answer = await client.responses.create(
        model=MODEL,
        input="Rain?",
        tools=FLAT_TOOLS,
        tool_choice={"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "weather"}]},
    )
    assert (answer.output[0].type == "function_call") == (mode == "required")


@pytest.mark.parametrize(
    "fields",
    [{"max_output_tokens": 15}, {"previous_response_id": "resp_1"}, {"prompt": {"id": "pmpt_1"}}, {"input": None}],
)
async def test_refuses_what_it_does_not_have(web: aiohttp.ClientSession, fields: dict[str, Any]) -> None:
    """A cap under the real minimum, and state that was never stored, are refused."""
    async with web.post("/v1/responses", json={"model": MODEL, "input": "hello", **fields}) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == next(iter(fields))
