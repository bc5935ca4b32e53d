"""A running stand-in provider, and ways to call it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.demo.provider import Provider

MODEL = "gpt-4.1-mini"


@pytest.fixture
def key() -> str:
    """The one key that the provider takes."""
    return "sk-canary-0123456789abcdef"


@pytest.fixture
def messages() -> list[Any]:
    """A short conversation."""
    return [
        {"role": "system", "content": "You are a patient tutor."},
        {"role": "user", "content": "Tell me about recursion."},
    ]


@pytest.fixture
async def provider(key: str) -> AsyncIterator[Provider]:
    """A provider in the test's own loop."""
    async with Provider(key=key) as running:
        yield running


@pytest.fixture
async def client(provider: Provider, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK, pointed at the provider."""
    async with openai.AsyncOpenAI(base_url=provider.url, api_key=key, max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
async def web(provider: Provider, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A bare HTTP client with the key, which decompresses nothing."""
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(provider.root, headers=headers, auto_decompress=False) as session:
        yield session


@pytest.fixture
def read_stream(web: aiohttp.ClientSession, messages: list[Any]) -> Callable[..., Awaitable[bytes]]:
    """Ask for a stream and return its bytes as they came."""

    async def read(path: str = "/v1/chat/completions", **fields: Any) -> bytes:
        said = {"input": "Tell me about recursion."} if path.endswith("responses") else {"messages": messages}
        body = {"model": MODEL, "prompt": "x", "stream": True, **said, **fields}
        if path.endswith("responses"):
            del body["prompt"]
        async with web.post(path, json=body) as answer:
            assert answer.status == 200
            return await answer.read()

    return read


@pytest.fixture
def events_of() -> Callable[[bytes], list[Any]]:
    """Return the JSON of each event of a stream but the end mark."""

    def parse(stream: bytes) -> list[Any]:
        lines = [line for line in stream.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]

    return parse
