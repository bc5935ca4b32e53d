"""A load generator for chats, plain and streamed: so many calls, so many at a time, against any base URL.

It speaks HTTP by hand, so that what it measures is the server and not a client library; it runs in a process of its
own, and takes the processor time of the servers (``--pid``) before and after. The result is one line of JSON, times in
milliseconds::

    python benchmarks/load.py --url http://127.0.0.1:9000/v1 --key sk-… --calls 2000 --parallel 20 --pid 4711
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import psutil
import uvloop

QUESTION = "Explain in a few sentences what a neural network is, and how it learns."
SETTLE_SECONDS = 0.3


@dataclass
class Timing:
    """What one call took, in seconds from the moment at which it was sent."""

    first: float
    last: float
    status: int


class Connection(asyncio.Protocol):
    """One connection that is kept alive, and carries one call at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._done: asyncio.Future[Timing] | None = None
        self._buffer = bytearray()
        self._sent = 0.0
        self._first = 0.0
        self._body = -1  # where the body starts in the buffer, once the headers are there
        self._length: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the call that is under way."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("closed in the middle of an answer"))

    def call(self, request: bytes) -> "asyncio.Future[Timing]":
        """Send a request; the result is what it took."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._body, self._first, self._length = -1, 0.0, None
        self._sent = time.perf_counter()
        self._transport.write(request)
        return self._done

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and finish the call when its answer is whole."""
        self._buffer += data
        if self._body < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._body = end + 4
            self._length = read_length(bytes(self._buffer[:end]))
        if not self._first and len(self._buffer) > self._body:
            self._first = time.perf_counter()
        if self._is_whole() and self._done is not None and not self._done.done():
            status = int(self._buffer[9:12])
            now = time.perf_counter()
            self._done.set_result(Timing((self._first or now) - self._sent, now - self._sent, status))

    def _is_whole(self) -> bool:
        if self._length is None:
            return self._buffer.endswith(b"\r\n0\r\n\r\n")
        return len(self._buffer) >= self._body + self._length

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def read_length(head: bytes) -> int | None:
    """Return the Content-Length of an answer's head, or None when it comes in chunks."""
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return None


@dataclass
class Load:
    """What to send.

    Args:
        url: base URL, with ``/v1``.
        key: bearer token.
        model: which model to name.
        calls: how many in all.
        parallel: how many at a time.
        stream: ask for streams.
        spread: seconds over which the first calls start, evenly.
        pids: whose processor time to measure, children included.
    """

    url: str
    key: str
    model: str
    calls: int
    parallel: int
    stream: bool
    spread: float
    pids: list[int] = field(default_factory=list)

    def request(self) -> bytes:
        """Write the request."""
        messages = [
            {"role": "system", "content": "You are a patient tutor. Answer briefly and in plain words."},
            {"role": "user", "content": QUESTION},
        ]
        document: dict[str, object] = {"model": self.model, "messages": messages, "max_completion_tokens": 200}
        if self.stream:
            document["stream"] = True
        body = json.dumps(document).encode()
        where = urlsplit(self.url)
        head = (
            f"POST {where.path}/chat/completions HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Authorization: Bearer {self.key}\r\nAccept: application/json\r\nUser-Agent: load\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def run(load: Load) -> dict[str, object]:
    """Send the calls and sum up."""
    loop, where = asyncio.get_running_loop(), urlsplit(load.url)
    request = load.request()
    left = iter(range(load.calls))
    timings: list[Timing] = []

    async def work(number: int) -> None:
        await asyncio.sleep(number * load.spread / load.parallel)
        _, connection = await loop.create_connection(Connection, where.hostname or "127.0.0.1", where.port or 80)
        for _ in left:
            timing = await connection.call(request)
            timings.append(timing)
        connection.close()

    before = {pid: cpu_seconds(pid) for pid in load.pids}
    started = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(load.parallel)))
    seconds = time.perf_counter() - started
    await asyncio.sleep(SETTLE_SECONDS)  # what a server leaves for later is its cost too
    cpu = {str(pid): 1000 * (cpu_seconds(pid) - spent) / len(timings) for pid, spent in before.items()}
    return {**sum_up(timings), "calls_per_second": len(timings) / seconds, "cpu_ms_per_call": cpu}


def sum_up(timings: list[Timing]) -> dict[str, object]:
    """Return the counts and the percentiles, in milliseconds."""
    last = sorted(1000 * timing.last for timing in timings)
    first = sorted(1000 * timing.first for timing in timings)
    return {
        "calls": len(timings),
        "failed": sum(timing.status != 200 for timing in timings),
        "p50_ms": statistics.median(last),
        "p99_ms": last[int(0.99 * (len(last) - 1))],
        "first_p50_ms": statistics.median(first),
        "first_p99_ms": first[int(0.99 * (len(first) - 1))],
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its descendants have used."""
    process = psutil.Process(pid)
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total


def main() -> None:
    """Read the arguments, send the load and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", default="gpt-4.1-mini")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--parallel", type=int, default=20)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which the first calls start")
    parser.add_argument("--pid", type=int, action="append", default=[], dest="pids")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(uvloop.run(run(Load(**vars(given))))) + "\n")


if __name__ == "__main__":
    main()
