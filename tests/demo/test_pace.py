"""How fast the stand-in speaks."""

import asyncio

import openai
import pytest

from keyguard_jupyter.demo import pace
from keyguard_jupyter.demo.provider import Provider

MODEL = "gpt-4.1-mini"


def test_realistic_pauses_lie_in_their_bounds() -> None:
    """The first token takes 150 to 400 ms, each further one 20 to 40 ms, the same for the same question."""
    rhythm = pace.read("realistic")
    assert rhythm is not None
    pauses = rhythm.pauses("a question")
    assert 0.15 <= next(pauses) <= 0.4
    assert all(0.02 <= next(pauses) <= 0.04 for _ in range(100))
    assert next(rhythm.pauses("a question")) == next(rhythm.pauses("a question"))
    assert rhythm.whole("a question", 10_000) == 3.0


def test_a_pace_of_ones_own_is_read() -> None:
    """A pace is given in milliseconds, as numbers or ranges; anything else is refused."""
    assert pace.read("100:20") == pace.Pace((0.1, 0.1), (0.02, 0.02))
    assert pace.read("1-2:3-4") == pace.Pace((0.001, 0.002), (0.003, 0.004))
    assert pace.read("none") is None
    with pytest.raises(ValueError, match="fast"):
        pace.read("fast")


async def test_pauses_are_kept() -> None:
    """Streams pause before each token, plain answers before the whole, scripts before whatever they say."""
    loop = asyncio.get_running_loop()
    async with Provider(pace="40:10") as provider, openai.AsyncOpenAI(base_url=provider.url, api_key="k") as client:
        started = loop.time()
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Say one two three"}], stream=True
        )
        assert len([chunk async for chunk in stream]) == 5
        assert loop.time() - started >= 0.055
        started = loop.time()
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Say one two three"}])
        assert loop.time() - started >= 0.055
        provider.script(delay=0.03, pause=0.03)
        started = loop.time()
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Say one two three"}], stream=True
        )
        assert len([chunk async for chunk in stream]) == 5
        assert loop.time() - started >= 0.115
