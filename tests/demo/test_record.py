"""What the stand-in remembers."""

import asyncio
import gzip
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.demo.provider import Provider

MODEL = "gpt-4.1-mini"


async def test_keeps_every_byte(provider: Provider, key: str) -> None:
    """Method, path, header names, their order and case, and the body are kept as they came."""
    body = gzip.compress(b'{"model": "x"}')
    head = (
        b"POST /v1/chat/../chat/completions?a=%2F&b HTTP/1.1\r\nHost: x\r\nX-oDD:  two  words\r\n"
        b"Authorization: Bearer " + key.encode() + b"\r\nx-odd: again\r\nContent-Encoding: gzip\r\n"
        b"Connection: close\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(*provider.root.removeprefix("http://").split(":"))
    writer.write(head + body)
    await reader.read()
    writer.close()
    await writer.wait_closed()
    (received,) = provider.requests
    assert received.method == "POST"
    assert received.path == "/v1/chat/../chat/completions?a=%2F&b"
    assert [name for name, _ in received.raw_headers][:4] == [b"Host", b"X-oDD", b"Authorization", b"x-odd"]
    assert received.header("X-Odd") == "two  words, again"
    assert received.body == body
    assert received.status == 404


async def test_a_caller_that_leaves_a_stream_is_noticed(
    provider: Provider, web: aiohttp.ClientSession, messages: list[Any]
) -> None:
    """The record says that the caller went away, and after how many chunks."""
    provider.script(hold=5)
    async with web.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, "stream": True}) as answer:
        await provider.until(held=1)
        answer.close()
        await provider.until(gone=1)
    (received,) = provider.requests
    assert (received.gone, received.finished, received.chunks, received.held) == (True, False, 5, False)


async def test_a_caller_that_leaves_before_the_headers_is_noticed(
    provider: Provider, client: openai.AsyncOpenAI, messages: list[Any]
) -> None:
    """A plain call that is given up while the provider is silent is recorded as such."""
    provider.script(stall="headers")
    call = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=messages))
    await provider.until(received=1)
    call.cancel()
    await provider.until(gone=1, open=0)
    assert provider.requests[0].status is None


async def test_a_caller_that_leaves_in_its_own_body_is_noticed(provider: Provider) -> None:
    """A body that ends early is kept as far as it came."""
    _, writer = await asyncio.open_connection(*provider.root.removeprefix("http://").split(":"))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{half")
    await provider.until(received=1)
    while not provider.requests[0].body:
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    await provider.until(gone=1)
    assert provider.requests[0].body == b"{half"


async def test_remembers_so_many_and_forgets_on_demand() -> None:
    """The oldest calls make room for new ones; the count goes on; clearing starts anew."""
    async with Provider(keep=2) as provider, openai.AsyncOpenAI(base_url=provider.url, api_key="k") as client:
        for _ in range(3):
            await client.models.list()
        assert [received.number for received in provider.requests] == [2, 3]
        assert provider.counts["finished"] == 3
        provider.clear()
        assert provider.requests == []
        assert provider.counts["received"] == 0


async def test_waiting_in_vain_says_how_far_it_got(provider: Provider) -> None:
    """A wait that is too long names what it waited for; one for an unknown count is a mistake."""
    with pytest.raises(TimeoutError, match=r"received.*1.*held.*0"):
        await provider.until(seconds=0.01, received=1)
    with pytest.raises(ValueError, match="nonsense"):
        await provider.until(nonsense=1)
