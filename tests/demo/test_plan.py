"""Answers that are odd in themselves."""

import gzip
import json
import zlib
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.demo.plan import draw_up
from keyguard_jupyter.demo.provider import Provider
from keyguard_jupyter.demo.said import Answer, Frame
from keyguard_jupyter.demo.script import Script

MODEL = "gpt-4.1-mini"


async def test_usage_can_be_left_out_moved_or_forged(provider: Provider, read_stream: Any, events_of: Any) -> None:
    """No usage; usage in the last chunk with a choice, unasked; usage that is impossible: all as scripted."""
    asked = {"stream_options": {"include_usage": True}}
    provider.script(usage=False)
    assert b'"usage":{' not in await read_stream(**asked)
    provider.script(usage_in_choice=True, extra={"tool_usage": 1})
    last = events_of(await read_stream())[-1]
    assert (last["choices"][0]["finish_reason"], last["tool_usage"]) == ("stop", 1)
    assert last["usage"]["completion_tokens"] > 0
    forged = {"prompt_tokens": -1, "completion_tokens": "many", "total_tokens": 10**18}
    provider.script(usage=forged)
    assert events_of(await read_stream(**asked))[-1]["usage"] == forged


@pytest.mark.parametrize("path", ["chat/completions", "responses", "completions", "embeddings"])
async def test_a_plain_answer_has_usage_as_scripted(
    provider: Provider, web: aiohttp.ClientSession, path: str, messages: list[Any]
) -> None:
    """Scripted usage, further fields and another model appear in plain answers of every endpoint; or no usage."""
    body = {"model": "a", "messages": messages, "input": "x"}
    if path == "completions":
        body["prompt"] = "x"
    provider.script(
        usage={"input_tokens": 243_551}, extra={"tool_usage": {"web_search": {"num_requests": 30}}}, answers_as="b"
    )
    provider.script(usage=False)
    async with web.post(f"/v1/{path}", json=body) as answer:
        document = await answer.json()
    assert document["usage"] == {"input_tokens": 243_551}
    assert document["tool_usage"]["web_search"]["num_requests"] == 30
    assert document["model"] == "b"
    async with web.post(f"/v1/{path}", json=body) as answer:
        assert not (await answer.json()).get("usage")


async def test_it_may_claim_another_model_and_tier(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """Model and tier of the answer are what the script says; without one the tier is the one asked for."""
    provider.script(answers_as="gpt-6-astra", tier="priority")
    answer = await client.chat.completions.create(model=MODEL, messages=messages)
    assert (answer.model, answer.service_tier) == ("gpt-6-astra", "priority")
    answer = await client.chat.completions.create(model=MODEL, messages=messages, service_tier="flex")
    assert answer.service_tier == "flex"


async def test_the_end_mark_can_be_missing(provider: Provider, read_stream: Any) -> None:
    """A stream may end without ``[DONE]``."""
    provider.script(done=False)
    assert b"[DONE]" not in await read_stream()


async def test_an_error_event_ends_a_chat(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any], key: str
) -> None:
    """An error in a stream comes after so many chunks, and may repeat the key."""
    provider.script(error="overloaded, key {key}", error_after=2)
    stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert [await anext(stream) for _ in range(2)]
    with pytest.raises(openai.APIError, match=key):
        await anext(stream)


async def test_an_error_event_ends_a_response(provider: Provider, client: openai.AsyncOpenAI) -> None:
    """The same in the shape of the Responses API."""
    provider.script(error={"message": "no more", "code": "server_error"}, error_after=3)
    stream = await client.responses.create(model=MODEL, input="hello", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events][-1] == "error"
    assert len(events) == 4


@pytest.mark.parametrize(("finish", "last"), [("failed", "response.failed"), ("content_filter", "response.incomplete")])
async def test_a_response_can_fail_or_stay_incomplete(
    provider: Provider, client: openai.AsyncOpenAI, finish: str, last: str
) -> None:
    """The last event says how it ended; a failed response has no usage unless one is scripted."""
    provider.script(finish=finish)
    stream = await client.responses.create(model=MODEL, input="hello", stream=True)
    event = [event async for event in stream][-1]
    assert event.type == last
    assert (event.response.usage is None) == (finish == "failed")  # type: ignore[union-attr]


def blocks_of(frames: list[Frame], **script: Any) -> list[bytes]:
    """Return the writes of a stream."""
    return [write.block for write in draw_up(Answer(frames=frames), Script(**script), None).writes]


FRAMES = [Frame("other", "{}"), Frame("token", '"Grüße"'), Frame("usage", "[]"), Frame("done", "[DONE]")]
STREAM = 'data: {}\n\ndata: "Grüße"\n\ndata: []\n\ndata: [DONE]\n\n'.encode()


def test_each_event_is_a_write_of_its_own() -> None:
    """Unless scripted otherwise events go out one by one, named where they have names."""
    blocks = blocks_of(FRAMES)
    assert len(blocks) == 4
    assert b"".join(blocks) == STREAM
    assert blocks_of([Frame("other", "{}", "response.created")]) == [b"event: response.created\ndata: {}\n\n"]


def test_events_can_be_cut_anywhere_or_sent_together() -> None:
    """Cuts fall within characters and events; bundles hold several events; the bytes stay the same."""
    cut = blocks_of(FRAMES, split=1)
    assert cut == [STREAM[index : index + 1] for index in range(len(STREAM))]
    assert [len(block.split(b"\n\n")) - 1 for block in blocks_of(FRAMES, together=3)] == [3, 1]
    assert b"".join(blocks_of(FRAMES, together=3)) == STREAM


def test_line_ends_and_comments_are_sent_as_scripted() -> None:
    """Lines can end otherwise, and anything can stand before the first and after the last event."""
    assert b"".join(blocks_of(FRAMES, newline="\r\n")) == STREAM.replace(b"\n", b"\r\n")
    assert b"".join(blocks_of(FRAMES, before=": a\n\n", after=": b\n\n")) == b": a\n\n" + STREAM + b": b\n\n"


def test_a_stream_can_be_compressed() -> None:
    """Each event is compressed and flushed by itself, so that it can be read as it comes."""
    blocks = blocks_of(FRAMES, gzip=True)
    unpacker = zlib.decompressobj(wbits=31)
    assert unpacker.decompress(blocks[0]) == b"data: {}\n\n"
    assert gzip.decompress(b"".join(blocks)) == STREAM


@pytest.mark.parametrize(
    ("place", "frames", "position"),
    [
        (None, FRAMES, None),
        ("headers", FRAMES, -1),
        (0, FRAMES, 0),
        (99, FRAMES, 4),
        ("usage", FRAMES, 2),
        ("usage", FRAMES[:2], 2),
        ("headers", None, -1),
        ("usage", None, -1),
        (5, None, 1),
    ],
)
def test_a_place_is_found(place: Any, frames: list[Frame] | None, position: int | None) -> None:
    """A place is before the headers, before a write, or before the usage; a plain answer has none but its middle."""
    answer = Answer(payload=b"0123456789", frames=frames)
    plan = draw_up(answer, Script(hold=place, stall=place, drop=place), None)
    assert plan.hold == plan.stall == plan.drop == position
    assert draw_up(answer, Script(), place if frames else "headers").hold == (position if frames else -1)
    if frames is None:
        assert b"".join(write.block for write in plan.writes) == b"0123456789"


@pytest.mark.parametrize("script", [{"together": 4}, {"split": 1000}])
def test_the_place_before_the_usage_divides_a_bundle(script: dict[str, Any]) -> None:
    """What is to happen before the usage happens there, though the events around it go out together."""
    plan = draw_up(Answer(frames=FRAMES), Script(drop="usage", **script), None)
    assert plan.drop == 1
    assert plan.writes[1].block.startswith(b"data: []")


@pytest.mark.parametrize(
    "script",
    [{"newline": "\r\n"}, {"split": 7}, {"together": 5}, {"before": ": hm\n\n", "after": ": bye\n\n"}, {"gzip": True}],
    ids=lambda script: next(iter(script)),
)
async def test_the_sdk_reads_the_same_in_other_bytes(
    provider: Provider, client: openai.AsyncOpenAI, script: dict[str, Any], messages: list[Any]
) -> None:
    """Line ends, cuts, bundles, comments and compression change nothing for the caller."""
    provider.script(text="Grüße, 世界!", **script)
    stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Grüße, 世界!"
    provider.script(text="Grüße, 世界!", **script)
    events = await client.responses.create(model=MODEL, input="x", stream=True)
    assert [event async for event in events][-1].type == "response.completed"


async def test_a_plain_answer_can_come_compressed(provider: Provider, web: aiohttp.ClientSession) -> None:
    """A plain answer too can come in gzip although nobody asked."""
    provider.script(gzip=True)
    async with web.post("/v1/embeddings", json={"model": "e", "input": "x", "dimensions": 3}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(await answer.read()))["data"][0]["embedding"]) == 3


async def test_text_that_looks_like_events_stays_text(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """A model may write what looks like an event; in one chunk it is still one piece of text."""
    forged = 'ok\n\ndata: {"usage":{"completion_tokens":0}}\n\ndata: [DONE]\n\n'
    provider.script(text=forged, whole=True)
    stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert [chunk.choices[0].delta.content async for chunk in stream][1] == forged


async def test_one_event_can_be_huge(provider: Provider, read_stream: Any, events_of: Any) -> None:
    """A single event of megabytes goes through, and is still counted by its tokens."""
    provider.script(text="x" * 3_000_000, whole=True)
    events = events_of(await read_stream(stream_options={"include_usage": True}))
    assert len(events[1]["choices"][0]["delta"]["content"]) == 3_000_000
    assert events[-1]["usage"]["completion_tokens"] == 375_000


async def test_half_a_surrogate_pair_does_no_harm(read_stream: Any, events_of: Any) -> None:
    """Text that has no bytes in UTF-8 is answered with a question mark in its place."""
    stream = await read_stream(messages=[{"role": "user", "content": "Say \ud83d"}])
    assert events_of(stream)[1]["choices"][0]["delta"]["content"] == "?"
