"""The smaller endpoints of the stand-in."""

import base64
from array import array
from typing import Any

import aiohttp
import openai
import pytest

from keyguard_jupyter.demo import tokens
from keyguard_jupyter.demo.provider import Provider

MODEL = "gpt-4.1-mini"


async def test_completions_bill_every_draft(client: openai.AsyncOpenAI) -> None:
    """``best_of`` drafts of each prompt are billed, ``n`` of each shown, sixteen tokens each unless told otherwise."""
    answer = await client.completions.create(
        model="davinci-002", prompt=["Tell me about recursion", "Tell me about plants"], n=2, best_of=3
    )
    assert len(answer.choices) == 4
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2 * 3 * 16
    assert answer.usage.prompt_tokens == 2 * tokens.count("Tell me about plants") + 1  # "recursio" "n"


async def test_completions_take_token_numbers_and_stream(client: openai.AsyncOpenAI) -> None:
    """A prompt of token numbers weighs as many tokens; a stream ends with its usage."""
    stream = await client.completions.create(
        model="davinci-002",
        prompt=[[1, 2, 3], [4, 5]],
        max_tokens=4,
        echo=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].text == "[3 tokens]"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (5, 8)


@pytest.mark.parametrize("fields", [{"prompt": []}, {"prompt": [[1], 2.5]}, {"prompt": "a", "n": 3, "best_of": 2}, {}])
async def test_completions_refuse_what_makes_no_sense(web: aiohttp.ClientSession, fields: dict[str, Any]) -> None:
    """No prompt, a prompt of the wrong kind, and fewer drafts than choices are refused."""
    async with web.post("/v1/completions", json={"model": "davinci-002", **fields}) as answer:
        assert answer.status == 400


async def test_embeddings_are_the_same_in_both_encodings(client: openai.AsyncOpenAI) -> None:
    """Base64 holds the very floats, each text has one vector of length one, and like texts lie close."""
    texts = ["a cat on the mat", "the cat on a mat", "stocks fell sharply"]
    plain = await client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    coded = await client.embeddings.create(
        model="text-embedding-3-small", input=texts, encoding_format="base64", dimensions=1536
    )
    unpacked = array("f", base64.b64decode(coded.data[0].embedding))  # type: ignore[arg-type]
    assert unpacked.tolist() == plain.data[0].embedding
    first, second, third = (item.embedding for item in plain.data)
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-5)
    near, far = (sum(a * b for a, b in zip(first, other, strict=True)) for other in (second, third))
    assert near > far
    assert plain.usage.prompt_tokens == plain.usage.total_tokens == sum(map(tokens.count, texts))


async def test_embeddings_refuse_a_strange_size(web: aiohttp.ClientSession) -> None:
    """Dimensions are a positive number."""
    async with web.post("/v1/embeddings", json={"model": "e", "input": "x", "dimensions": "many"}) as answer:
        assert answer.status == 400


async def test_moderation_flags_violence(client: openai.AsyncOpenAI) -> None:
    """A handful of words is flagged, each input by itself."""
    answer = await client.moderations.create(input=["I will attack at dawn", "Good morning"])
    assert [result.flagged for result in answer.results] == [True, False]
    assert answer.results[0].categories.violence


async def test_moderation_needs_an_input(web: aiohttp.ClientSession) -> None:
    """Nothing to judge is an error."""
    async with web.post("/v1/moderations", json={}) as answer:
        assert answer.status == 400


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    """The list and each of its entries can be read, and what is not on it cannot."""
    listed = [model.id async for model in client.models.list()]
    assert MODEL in listed
    assert (await client.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await client.models.retrieve("gpt-nothing")


async def test_other_paths_are_unknown(client: openai.AsyncOpenAI, web: aiohttp.ClientSession) -> None:
    """Anything else is a 404 in the provider's shape, and a body that is no JSON a 400."""
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        await client.files.list()
    async with web.post("/v1/chat/completions", data=b"{") as answer:
        assert answer.status == 400
    async with web.get("/chat/completions") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
async def test_token_numbers_are_embedded_too(client: openai.AsyncOpenAI, given: Any) -> None:
    """One list of numbers is one text, several are several, and each number is a token."""
    answer = await client.embeddings.create(model="text-embedding-3-large", input=given)
    assert answer.usage.prompt_tokens == 3
    assert len(answer.data) == (1 if given[0] == 1 else 2)
    assert len(answer.data[0].embedding) == 3072


async def test_a_legacy_stream_can_carry_its_usage_in_the_last_choice(
    provider: Provider, client: openai.AsyncOpenAI
) -> None:
    """Usage in the last chunk with a choice, unasked, as some servers send it."""
    provider.script(usage_in_choice=True)
    stream = await client.completions.create(model="davinci-002", prompt="Say hi", stream=True)
    last = [chunk async for chunk in stream][-1]
    assert last.choices[0].finish_reason == "stop"
    assert last.usage is not None
