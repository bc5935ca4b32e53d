"""The stand-in as a process of its own."""

import asyncio
import base64
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest

MODEL = "gpt-4.1-mini"


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Run the provider as a process; yield it and what it printed."""
    command = [sys.executable, "-m", "keyguard_jupyter.demo.provider", *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=dict(os.environ))
    try:
        assert process.stdout is not None
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_is_steered_over_http(messages: list[Any], key: str) -> None:
    """What a test can do in its own loop it can do over HTTP: script, hold, wait, release, read, forget."""
    async with running("--key", key, "--pace", "none", "--lifeline") as (process, said):
        root = said["url"].removesuffix("/v1") + "/_control/"
        async with (
            aiohttp.ClientSession(base_url=root) as control,
            openai.AsyncOpenAI(base_url=said["url"], api_key=key, max_retries=0) as client,
        ):
            async with control.post("script", json=[{"text": "first"}, {"status": 503, "body": "no"}]) as answer:
                assert answer.status == 200
            first = await client.chat.completions.create(model=MODEL, messages=messages)
            assert first.choices[0].message.content == "first"
            async with control.delete("script"):
                pass
            async with control.post("hold", json={"after": 2}):
                pass
            stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
            async with control.get("state", params={"held": 1, "seconds": 5}) as answer:
                assert (await answer.json())["held"] == 1
            async with control.get("state", params={"held": 2, "seconds": "0.01"}) as answer:
                assert answer.status == 408
            async with control.post("release"):
                pass
            assert len([chunk async for chunk in stream]) > 2
            async with control.get("requests", params={"since": 1}) as answer:
                (received,) = (await answer.json())["requests"]
            assert base64.b64decode(received["body_base64"]) == received["body"].encode()
            assert json.loads(received["body"])["stream"] is True
            assert received["key"] == key
            async with control.delete("requests") as answer:
                assert (await answer.json())["received"] == 0
            for method, path, status in [("post", "script", 400), ("get", "nothing", 404)]:
                async with control.request(method, path, json={"dorp": 1}) as answer:
                    assert answer.status == status
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 5) == 0


async def test_ends_on_a_signal_whatever_is_under_way() -> None:
    """SIGTERM ends it cleanly, even with a call that it would never answer."""
    async with (
        running("--pace", "none") as (process, said),
        aiohttp.ClientSession(headers={"api-key": "k"}) as session,
    ):
        root = said["url"].removesuffix("/v1")
        async with session.post(f"{root}/_control/script", json={"stall": "headers"}):
            pass
        call = asyncio.create_task(session.get(f"{root}/v1/models"))
        async with session.get(f"{root}/_control/state", params={"received": 1}):
            pass
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        with pytest.raises(aiohttp.ClientError):
            await call


async def test_a_port_that_is_taken_is_reported() -> None:
    """When it cannot listen it says why, on the line where the address would be, and fails."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with running("--port", str(taken.getsockname()[1])) as (process, said):
            assert "address already in use" in said["error"]
            assert await process.wait() == 1


async def test_loads_nothing_of_the_notebook() -> None:
    """The server side imports neither the SDK nor pandas nor widgets."""
    probe = "import sys, keyguard_jupyter.demo.provider; print({'openai', 'pandas', 'ipywidgets'} & set(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", probe, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.strip() == b"set()"
