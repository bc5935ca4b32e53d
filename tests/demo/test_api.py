"""Keys, paths and deployments."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.demo.provider import Provider

MODEL = "gpt-4.1-mini"


async def test_a_wrong_key_is_shown_masked(client: openai.AsyncOpenAI) -> None:
    """The 401 has the provider's own shape, which shows the ends of the key and hides its middle."""
    with pytest.raises(openai.AuthenticationError) as caught:
        await client.with_options(api_key="sk-wrong-abcdefghijklmnop").models.list()
    assert "sk-wrong*************mnop" in caught.value.message
    assert caught.value.code == "invalid_api_key"


async def test_a_missing_key_is_named_as_such(provider: Provider) -> None:
    """Without a key the answer says so."""
    async with aiohttp.ClientSession() as session, session.get(f"{provider.url}/models") as answer:
        assert answer.status == 401
        assert "didn't provide" in (await answer.json())["error"]["message"]


async def test_without_a_key_of_its_own_it_takes_any() -> None:
    """A provider that was given no key accepts every key."""
    async with Provider() as provider, openai.AsyncOpenAI(base_url=provider.url, api_key="anything") as client:
        assert (await client.models.list()).data
    assert provider.requests[0].key == "anything"


@pytest.fixture
async def azure(provider: Provider, key: str) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=provider.root, api_key=key, api_version="2025-04-01-preview", max_retries=0
    ) as client:
        yield client


async def test_a_deployment_answers(
    provider: Provider, azure: openai.AsyncAzureOpenAI, messages: list[Any], key: str
) -> None:
    """The deployment in the path names the model, the key comes in ``api-key``, and filter results come along."""
    answer = await azure.chat.completions.create(model="prod-chat", messages=messages)
    assert answer.model == "prod-chat"
    assert answer.to_dict()["prompt_filter_results"]
    assert provider.requests[0].path == "/openai/deployments/prod-chat/chat/completions?api-version=2025-04-01-preview"
    assert provider.requests[0].key == key
    assert provider.requests[0].json["messages"] == messages
    assert provider.requests[0].header("authorization") is None


async def test_its_stream_opens_with_a_chunk_without_choices(
    azure: openai.AsyncAzureOpenAI, messages: list[Any]
) -> None:
    """The first chunk holds filter results and nothing else."""
    stream = await azure.chat.completions.create(model="prod-chat", messages=messages, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices == []
    assert chunks[1].choices[0].delta.role == "assistant"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/openai/deployments/prod-chat/chat/completions", 404),
        ("/openai/v1/chat/completions", 200),
        ("/openai/chat/completions?api-version=1", 200),
        ("/openai/deployments/prod-chat/nothing?api-version=1", 404),
    ],
)
async def test_the_version_is_needed_except_in_the_newer_form(
    web: aiohttp.ClientSession, path: str, status: int, messages: list[Any]
) -> None:
    """Without ``api-version`` a deployment is not found; the newer paths go without."""
    async with web.post(path, json={"model": MODEL, "messages": messages}) as answer:
        assert answer.status == status
