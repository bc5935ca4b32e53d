"""Holding calls, and answers that go wrong on their way."""

import asyncio
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.demo.provider import Provider
from keyguard_jupyter.demo.script import Script

MODEL = "gpt-4.1-mini"


async def test_calls_wait_until_they_are_released(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """Held calls are in flight until the test lets some, then all of them go; later ones pass."""
    provider.hold()
    calls = [asyncio.create_task(client.chat.completions.create(model=MODEL, messages=messages)) for _ in range(5)]
    await provider.until(held=5)
    assert not any(call.done() for call in calls)
    provider.release(2)
    await provider.until(finished=2)
    assert provider.counts["held"] == 3
    provider.release()
    await asyncio.gather(*calls)
    await client.chat.completions.create(model=MODEL, messages=messages)
    assert provider.counts == {"received": 6, "held": 0, "finished": 6, "gone": 0, "dropped": 0, "open": 0}


@pytest.mark.parametrize(("after", "seen"), [(3, 3), ("usage", 6)])
async def test_streams_can_be_held_in_the_middle(
    provider: Provider, client: openai.AsyncOpenAI, after: Any, seen: int
) -> None:
    """A stream held after so many chunks, or before its usage, has delivered just those."""
    provider.hold(after)
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Say one two three four"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    await provider.until(held=1)
    got = [await anext(stream) for _ in range(seen)]
    assert got[-1].choices
    assert provider.requests[0].chunks == seen
    provider.release()
    assert [chunk async for chunk in stream][-1].usage is not None


@pytest.mark.parametrize(
    ("script", "error", "told"),
    [
        (
            {"status": 429, "headers": {"Retry-After": "7"}, "body": {"error": {"message": "slow"}}},
            openai.RateLimitError,
            '{"error":{"message":"slow"}}',
        ),
        (
            {"status": 401, "body": {"error": {"message": "bad key {key}"}}},
            openai.AuthenticationError,
            '{"error":{"message":"bad key KEY"}}',
        ),
        ({"status": 500, "body": "<b>Oops</b> {key}"}, openai.InternalServerError, "<b>Oops</b> KEY"),
        (
            {"status": 400, "body": {"error": {"code": "content_filter", "inner": [1, "{key}"]}}},
            openai.BadRequestError,
            '{"error":{"code":"content_filter","inner":[1,"KEY"]}}',
        ),
    ],
    ids=["429", "401", "500", "400"],
)
async def test_a_status_comes_as_scripted(
    provider: Provider,
    client: openai.AsyncOpenAI,
    script: dict[str, Any],
    error: Any,
    told: str,
    messages: list[Any],
    key: str,
) -> None:
    """Status, headers and body are what the script says, with the caller's key where it is asked for."""
    provider.script(**script)
    with pytest.raises(error) as caught:
        await client.chat.completions.create(model=MODEL, messages=messages)
    assert caught.value.response.text == told.replace("KEY", key)
    assert caught.value.response.headers.get("retry-after") == script.get("headers", {}).get("Retry-After")
    assert await client.models.list()  # and the next call is served


async def test_a_redirect_is_only_announced(provider: Provider, web: aiohttp.ClientSession, key: str) -> None:
    """A 307 points elsewhere; HTML keeps its media type; an empty body stays empty."""
    provider.script(status=307, headers={"Location": "http://127.0.0.1:9/{key}"})
    async with web.get("/v1/models", allow_redirects=False) as answer:
        assert answer.status == 307
        assert answer.headers["Location"] == f"http://127.0.0.1:9/{key}"
        assert await answer.read() == b""


async def test_broken_json_is_sent_as_it_is(provider: Provider, web: aiohttp.ClientSession) -> None:
    """A body of text goes out untouched, and scripted headers replace the usual ones."""
    provider.script(status=200, body='{"usage": ', headers={"content-type": "text/html"})
    async with web.get("/v1/models") as answer:
        assert await answer.text() == '{"usage": '
        assert answer.headers.getall("Content-Type") == ["text/html"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_drops_before_the_headers(
    provider: Provider, client: openai.AsyncOpenAI, stream: Any, reset: bool, messages: list[Any]
) -> None:
    """The caller gets no answer at all, closed in order or reset."""
    provider.script(drop="headers", reset=reset)
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model=MODEL, messages=messages, stream=stream)
    await provider.until(dropped=1)
    assert provider.requests[0].status is None
    assert not provider.requests[0].gone


@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_drops_after_some_chunks(
    provider: Provider, client: openai.AsyncOpenAI, reset: bool, messages: list[Any]
) -> None:
    """The caller gets the chunks before, and then an error."""
    provider.script(drop=4, reset=reset, hold=4)
    stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    got = [await anext(stream) for _ in range(4)]
    assert len(got) == 4
    provider.release()
    with pytest.raises((openai.APIConnectionError, openai.APIError)):
        await anext(stream)
    await provider.until(dropped=1)
    assert provider.requests[0].chunks == 4


async def test_a_connection_drops_just_before_the_usage(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """All of the text arrives, the usage does not."""
    provider.script(drop="usage", hold="usage")
    stream = await client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    await provider.until(held=1)
    chunks = [await anext(stream) for _ in range(provider.requests[0].chunks)]
    assert chunks[-1].choices[0].finish_reason == "stop"
    provider.release()
    with pytest.raises((openai.APIConnectionError, openai.APIError)):
        await anext(stream)


async def test_a_plain_answer_breaks_off(provider: Provider, web: aiohttp.ClientSession, messages: list[Any]) -> None:
    """A plain answer can end in the middle of its body."""
    provider.script(drop=10)
    async with web.post("/v1/chat/completions", json={"model": MODEL, "messages": messages}) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


@pytest.mark.parametrize("stall", ["headers", 3])
async def test_a_provider_falls_silent(
    provider: Provider, client: openai.AsyncOpenAI, stall: Any, messages: list[Any]
) -> None:
    """Silence lasts until the caller has had enough."""
    provider.script(stall=stall)
    impatient = client.with_options(timeout=0.2)

    async def ask() -> None:
        stream = await impatient.chat.completions.create(model=MODEL, messages=messages, stream=True)
        async for _ in stream:
            pass

    with pytest.raises(openai.APITimeoutError):
        await ask()
    await provider.until(gone=1)
    assert provider.requests[0].chunks == (0 if stall == "headers" else 3)


async def test_scripts_wait_for_the_call_they_are_for(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """A script matches model, path, header and streaming; it is used so many times, in the order of the queue."""
    provider.script(status=418, model="gpt-4o", times=2)
    provider.script(status=419, path="/embeddings", times=None)
    provider.script(status=420, having={"X-Mark": "here"})
    provider.script(status=421, stream=True)

    async def status(model: str = MODEL, mark: str = "", stream: Any = False) -> int:
        try:
            await client.chat.completions.create(
                model=model, messages=messages, extra_headers={"x-mark": mark}, stream=stream
            )
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    assert [await status(), await status("gpt-4o"), await status("gpt-4o"), await status("gpt-4o")] == [
        200,
        418,
        418,
        200,
    ]
    assert [await status(mark="there"), await status(mark="here")] == [200, 420]
    assert await status(stream=True) == 421
    for _ in range(2):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.embeddings.create(model="e", input="x")
        assert caught.value.status_code == 419
    provider.forget()
    assert await client.embeddings.create(model="e", input="x")


async def test_an_unknown_word_in_a_script_is_a_mistake() -> None:
    """A script that asks for what there is not is refused, so that no test passes by a typing error."""
    with pytest.raises(ValueError, match="dorp"):
        Script.read({"dorp": 3})
