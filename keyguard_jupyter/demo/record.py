"""What reached the provider, byte for byte, and a way to wait for it."""

import asyncio
import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

COUNTS = ("received", "held", "finished", "gone", "dropped", "open")


@dataclass(slots=True)
class Received:
    """One call that reached the provider.

    Args:
        number: from 1, in the order of arrival.
        method: as sent.
        path: as sent, with the query.
        raw_headers: names and values as sent, in their order.
        body: the bytes that came; all of them unless the caller went away before.
        at: Unix time in seconds of the arrival.
        status: what it was answered with; None before, and when the connection was dropped before.
        chunks: how many writes of a stream went out; 1 for a plain answer.
        held: waits to be released.
        finished: the whole answer was written.
        gone: the caller went away before that.
        dropped: a script closed the connection.
    """

    number: int
    method: str
    path: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    at: float = field(default_factory=time.time)
    status: int | None = None
    chunks: int = 0
    held: bool = False
    finished: bool = False
    gone: bool = False
    dropped: bool = False

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None; several of the same name are joined by a comma."""
        wanted = name.lower().encode()
        values = [value.decode("latin-1") for key, value in self.raw_headers if key.lower() == wanted]
        return ", ".join(values) if values else None

    @property
    def key(self) -> str | None:
        """The provider's key that came with the call: the bearer token, or the ``api-key`` header."""
        bearer = self.header("authorization")
        return bearer.removeprefix("Bearer ") if bearer is not None else self.header("api-key")

    @property
    def json(self) -> Any:
        """The body, parsed; raises ``ValueError`` when it is not JSON."""
        return json.loads(self.body)

    def describe(self) -> dict[str, Any]:
        """Return everything as JSON: the body as base64, and as text where it is text."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.raw_headers],
            "key": self.key,
            "body_base64": base64.b64encode(self.body).decode(),
            "body": self.body.decode("utf-8", "replace"),
            "at": self.at,
            "status": self.status,
            "chunks": self.chunks,
            "held": self.held,
            "finished": self.finished,
            "gone": self.gone,
            "dropped": self.dropped,
        }


class Record:
    """The calls received so far, the oldest forgotten first when there are more than ``keep``."""

    def __init__(self, keep: int) -> None:
        self.requests: list[Received] = []
        self._keep = keep
        self._counts = dict.fromkeys(COUNTS, 0)
        self._waiting: list[tuple[dict[str, int], asyncio.Future[None]]] = []

    @property
    def counts(self) -> dict[str, int]:
        """How many calls were received, are held, finished, lost their caller, were dropped, are under way."""
        return dict(self._counts)

    def clear(self) -> None:
        """Forget the calls; what is under way is still counted as held and open."""
        self.requests.clear()
        for name in ("received", "finished", "gone", "dropped"):
            self._counts[name] = 0

    def open(self, method: str, path: str, raw_headers: tuple[tuple[bytes, bytes], ...]) -> Received:
        """Note that a call has arrived."""
        received = Received(self._counts["received"] + 1, method, path, raw_headers)
        if self._keep:
            self.requests.append(received)
            if len(self.requests) > self._keep:
                del self.requests[0]
        self._add(received=1, open=1)
        return received

    def close(self, received: Received) -> None:
        """Note how a call ended."""
        self._add(open=-1, finished=int(received.finished), gone=int(received.gone), dropped=int(received.dropped))

    def hold(self, received: Received, held: bool) -> None:
        """Note that a call waits to be released, or does no longer."""
        received.held = held
        self._add(held=1 if held else -1)

    async def until(self, *, seconds: float = 10.0, **counts: int) -> None:
        """Wait until the counts are reached.

        Args:
            seconds: how long to wait.
            counts: by name, at least so many; ``open`` is reached when at most so many are under way.

        Raises:
            TimeoutError: it took too long; the message says how far it got.
        """
        unknown = counts.keys() - set(COUNTS)
        if unknown:
            raise ValueError(f"nothing counts {', '.join(sorted(unknown))}")
        if self._reached(counts):
            return
        waiter = asyncio.get_running_loop().create_future()
        entry = (counts, waiter)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            raise TimeoutError(f"waited {seconds} s for {counts}, got {self._counts}") from None
        finally:
            self._waiting.remove(entry)

    def _add(self, **changes: int) -> None:
        for name, change in changes.items():
            self._counts[name] += change
        for counts, waiter in self._waiting:
            if not waiter.done() and self._reached(counts):
                waiter.set_result(None)

    def _reached(self, counts: dict[str, int]) -> bool:
        return all(
            self._counts[name] <= number if name == "open" else self._counts[name] >= number
            for name, number in counts.items()
        )
