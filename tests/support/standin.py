"""A stand-in provider in a thread of its own, for tests that are not asynchronous."""

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from keyguard_jupyter.demo.provider import Provider
from keyguard_jupyter.demo.record import Received
from keyguard_jupyter.demo.script import Place


class StandIn:
    """A running provider.

    Args:
        key: the one key that it takes; None takes any, and none.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._ready: Future[tuple[Provider, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._provider, self._loop, self._stop = self._ready.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        stop = asyncio.Event()
        async with Provider(key=self._key) as provider:
            self._ready.set_result((provider, asyncio.get_running_loop(), stop))
            await stop.wait()

    @property
    def url(self) -> str:
        """The base URL for a client of OpenAI."""
        return self._provider.url

    @property
    def root(self) -> str:
        """The address without a path."""
        return self._provider.root

    @property
    def requests(self) -> list[Received]:
        """The calls received since the last :meth:`clear`, oldest first."""
        return self._provider.requests

    @property
    def last(self) -> Received:
        """The call received last."""
        return self._provider.requests[-1]

    def script(self, **fields: Any) -> None:
        """Make the next matching calls behave oddly."""
        self._do(lambda: self._provider.script(**fields))

    def clear(self) -> None:
        """Forget scripts, holds and what was received."""
        self._do(self._provider.forget)
        self._do(self._provider.release)
        self._do(self._provider.clear)

    def hold(self, after: Place = "headers") -> None:
        """Keep all calls that arrive from now on waiting."""
        self._do(lambda: self._provider.hold(after))

    def release(self, count: int | None = None) -> None:
        """Let held calls go on."""
        self._do(lambda: self._provider.release(count))

    def until(self, **counts: int) -> None:
        """Wait for counts, as ``held=3``."""
        asyncio.run_coroutine_threadsafe(self._provider.until(**counts), self._loop).result(20)

    def _do(self, order: Any) -> None:
        done: Future[None] = Future()

        def run() -> None:
            order()
            done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result(10)
