"""The caller's side of a stream: one who does not read, or goes away, holds nobody up."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from keyguard_jupyter.gate.reader import Reader

PART = b"x" * 2**20


@contextlib.asynccontextmanager
async def served(stream: Callable[[Reader], object]) -> AsyncIterator[tuple[socket.socket, "asyncio.Future[str]"]]:
    """Serve one stream, and connect somebody to it; the future tells how it ended."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle(request: web.Request) -> web.StreamResponse:
        reader = Reader(request, {"x-ours": "1"})
        await reader.start()
        await stream(reader)  # type: ignore[misc]
        await reader.finish()
        ended.set_result(reader.outcome)
        return reader.response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.create_connection(runner.addresses[0][:2], timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            yield connection, ended
        finally:
            await runner.cleanup()


async def test_a_stream_arrives_as_it_is_written() -> None:
    """Headers first, then each part, then the end."""
    written = asyncio.Event()

    async def stream(reader: Reader) -> None:
        await reader.write(b"data: 1\n\n")
        await written.wait()
        await reader.write(b"data: 2\n\n")

    async with served(stream) as (connection, ended):
        first = await asyncio.to_thread(connection.recv, 65536)
        assert b"x-ours: 1" in first
        written.set()
        assert await ended == "ok"


async def test_who_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who leaves the stream unread for too long counts as gone: what follows is not kept for it."""
    monkeypatch.setattr("keyguard_jupyter.gate.reader.READER_SECONDS", 0.1)

    async def stream(reader: Reader) -> None:
        for _ in range(200):
            await reader.write(PART)

    async with served(stream) as (_, ended), asyncio.timeout(10):
        assert await ended == "client_gone"


async def test_who_goes_away_is_noticed() -> None:
    """After a reset nothing is written any more, and nothing is raised."""
    gone = asyncio.Event()

    async def stream(reader: Reader) -> None:
        await reader.write(b"data: 1\n\n")
        await gone.wait()
        async with asyncio.timeout(10):
            while reader.outcome == "ok":
                await reader.write(PART)
        await reader.write(b"data: 2\n\n")

    async with served(stream) as (connection, ended):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        gone.set()
        assert await ended == "client_gone"
