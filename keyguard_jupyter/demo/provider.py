"""A stand-in for a provider: a real HTTP server that speaks OpenAI's API, remembers every byte, and fails on demand.

In a test's own loop::

    async with Provider(key="sk-real") as provider:
        provider.script(status=429, headers={"Retry-After": "7"}, times=2)
        ...  # call provider.url
        assert provider.requests[0].key == "sk-real"

As a process, which prints ``{"url": "http://127.0.0.1:PORT/v1"}`` once it listens::

    python -m keyguard_jupyter.demo.provider --port 0 --key sk-real --pace realistic
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any, Self

from aiohttp import web

from . import control
from .api import Api
from .endpoints import MODELS
from .pace import read as read_pace
from .record import Received, Record
from .said import Answer, encode
from .script import PLAIN, Place, Playbook, Script
from .wire import Barrier, Sender


class Provider:
    """The server, as an asynchronous context manager.

    Args:
        key: the one key that is good; None takes any but no missing one.
        pace: ``realistic``, ``none`` or ``FIRST:TOKEN`` in milliseconds.
        host: where to listen.
        port: 0 picks a free one.
        models: what ``/models`` lists; other names are answered all the same.
        keep: how many calls are remembered.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        pace: str = "none",
        host: str = "127.0.0.1",
        port: int = 0,
        models: tuple[str, ...] = MODELS,
        keep: int = 20_000,
    ) -> None:
        self._api = Api(key, models)
        self._address = (host, port)
        self._record = Record(keep)
        self._playbook = Playbook()
        self._barrier = Barrier()
        self._sender = Sender(self._record, read_pace(pace), self._barrier)
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        # A handler is cancelled when its caller goes away, so that is noticed even in the middle of a pause.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._address, backlog=1024)
        await site.start()
        self._address = self._runner.addresses[0][:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def root(self) -> str:
        """The address without a path."""
        host, port = self._address
        return f"http://{host}:{port}"

    @property
    def url(self) -> str:
        """The base URL for a client of OpenAI."""
        return f"{self.root}/v1"

    @property
    def requests(self) -> list[Received]:
        """The calls received, oldest first."""
        return self._record.requests

    @property
    def counts(self) -> dict[str, int]:
        """How many calls were received, finished, dropped, lost their caller (``gone``), are held, are open."""
        return self._record.counts

    def script(self, script: Script | None = None, **fields: Any) -> None:
        """Make the next matching calls behave oddly; ``fields`` are those of ``Script``."""
        self._playbook.add(Script(**fields) if script is None else script)

    def forget(self) -> None:
        """Drop all scripts that were not used yet."""
        self._playbook.clear()

    def clear(self) -> None:
        """Forget the calls received so far."""
        self._record.clear()

    def hold(self, after: Place = "headers") -> None:
        """Keep all calls that arrive from now on waiting, until they are released.

        Args:
            after: where: before the headers, after so many chunks of a stream, or before the chunk with its usage.
        """
        self._barrier.place = after

    def release(self, count: int | None = None) -> None:
        """Let held calls go on: so many of them, or all, and hold no more."""
        self._barrier.release(count)

    async def until(self, *, seconds: float = 10.0, **counts: int) -> None:
        """Wait for counts: ``await provider.until(held=50)``; ``open=0`` waits until nothing is under way.

        Raises:
            TimeoutError: after ``seconds``.
        """
        await self._record.until(seconds=seconds, **counts)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if path.startswith(control.PREFIX):
            return await control.steer(self, request.method, path, await request.content.read())
        received = self._record.open(request.method, path, request._message.raw_headers)  # noqa: SLF001 — kept as sent
        try:
            return await self._serve(request, received)
        except (ConnectionError, asyncio.CancelledError):
            received.gone = not (received.finished or received.dropped)
            raise
        finally:
            self._record.close(received)

    async def _serve(self, request: web.BaseRequest, received: Received) -> web.StreamResponse:
        while block := await request.content.readany():
            received.body += block
        body = _parse(received.body)
        script = PLAIN
        if len(self._playbook):
            path, model = received.path.partition("?")[0], str(body.get("model", "")) if isinstance(body, dict) else ""
            stream = isinstance(body, dict) and body.get("stream") is True
            script = self._playbook.take(path, model, stream, request.headers)
        if script is not PLAIN:
            script = script.told(received.key or "")
        answer = _scripted(script) if script.status is not None else self._api.answer(received, body, script)
        return await self._sender.send(request, received, answer, script)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _scripted(script: Script) -> Answer:
    assert script.status is not None
    if script.body is None or isinstance(script.body, str):
        text = script.body or ""
        media = "text/html" if text.lstrip().startswith("<") else "application/json"
        return Answer(status=script.status, payload=text.encode(), media=media)
    return Answer(status=script.status, payload=encode(script.body))


async def _run(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    provider = Provider(
        key=arguments.key, pace=arguments.pace, host=arguments.host, port=arguments.port, keep=arguments.keep
    )
    try:
        async with provider:
            sys.stdout.write(json.dumps({"url": provider.url, "pid": os.getpid()}) + "\n")
            sys.stdout.flush()
            if arguments.lifeline:
                threading.Thread(target=_await_end, args=(loop, stop), daemon=True).start()
            await stop.wait()
    except OSError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 1
    return 0


def _await_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    # The loop may have been closed by a signal in the meantime; then there is nothing left to stop.
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)


def _make_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main(arguments: list[str] | None = None) -> int:
    """Run the provider until it is told to stop, and return the exit status."""
    parser = argparse.ArgumentParser(prog="keyguard_jupyter.demo.provider", description="A stand-in for a provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--key", help="the one key that is good; any, if none is named")
    parser.add_argument("--pace", default="realistic", help="realistic, none, or FIRST:TOKEN in milliseconds")
    parser.add_argument("--keep", type=int, default=20_000, help="how many calls are remembered")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input ends")
    given = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=_make_loop) as runner:
        return runner.run(_run(given))


if __name__ == "__main__":
    sys.exit(main())
