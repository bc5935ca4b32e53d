"""The look at the limits after a cell, without a shell."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyguard_jupyter.client import Client
from keyguard_jupyter.errors import GatewayError
from keyguard_jupyter.notebook.markup import Display
from keyguard_jupyter.notebook.watch import Watch

from .course import COIN, Course


class Bench:
    """A watch, what it showed, and how often it asked."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self.shown: list[str] = []
        self.asked = 0
        self._connect = connect
        self.watch = Watch(self._count, self._show)

    def _count(self) -> Client:
        self.asked += 1
        return self._connect()

    def _show(self, display: Display) -> None:
        self.shown.append(display.text)

    def cell(self, seconds: float = 60.0) -> None:
        """End a cell that began so many seconds ago."""
        self.watch.before_cell()
        self.watch._begun()[-1] -= seconds
        self.watch.after_cell()

    def start(self) -> None:
        self.watch.start()
        self.watch._first_look.join()


def refuse() -> Client:
    raise GatewayError("gone")


@pytest.fixture
def client(course: Course) -> Client:
    """Return the client of somebody new with $0.10 a week."""
    return Client(course.url, course.admit(f"gil{len(course.policy['people'])}", **course.limit("0.10")))


def buy(client: Client, course: Course, tokens: int) -> None:
    course.script(model=COIN, usage={"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1})
    body = {"model": COIN, "max_tokens": tokens, "messages": [{"role": "user", "content": "Hi"}]}
    client.post("/v1/chat/completions", body)


def test_short_cells_ask_nothing(client: Client) -> None:
    """A cell in which no call can have been made costs no request."""
    bench = Bench(lambda: client)
    bench.start()
    before = bench.asked
    assert bench.watch._shortest_call > 0
    bench.cell(-60.0)
    assert bench.asked == before
    bench.cell()
    assert bench.asked == before + 1


def test_unknown_beginning_asks_nothing(client: Client) -> None:
    """The cell in which the magic is loaded has no beginning, and is not looked after."""
    bench = Bench(lambda: client)
    bench.start()
    before = bench.asked
    bench.watch.after_cell()
    assert bench.asked == before


def test_failure_is_silent_and_not_repeated_at_once() -> None:
    """A gateway that is gone is asked again only after a while, that grows; nothing is shown."""
    bench = Bench(refuse)
    bench.start()
    bench.asked = 0
    for _ in range(5):
        bench.cell()
    assert (bench.asked, bench.shown) == (1, [])
    first = bench.watch._pause
    bench.watch._silent_until = time.monotonic()
    bench.cell()
    assert (bench.asked, bench.watch._pause) == (2, 2 * first)


def test_a_gateway_that_comes_late_is_only_remembered(course: Course, client: Client) -> None:
    """Where the first look failed, the next one is the first: old spending is no news."""
    ways = [refuse, lambda: client]
    bench = Bench(lambda: ways[0]())
    bench.start()
    buy(client, course, 80)
    ways.pop(0)
    bench.cell()
    assert bench.shown == []
    buy(client, course, 11)
    bench.cell()
    assert [" is 91 % used: " in text for text in bench.shown] == [True]


def test_threads_tell_it_once(course: Course, client: Client) -> None:
    """Cells that end at the same time on several threads, as with subshells, warn once."""
    bench = Bench(lambda: client)
    bench.start()
    buy(client, course, 80)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bench.cell(), range(16)))
    assert [" is 80 % used: " in text for text in bench.shown] == [True]


def test_gateway_is_waited_for_no_longer_than_needed(client: Client) -> None:
    """The kernel's start does not wait for the first look; the first cell waits until it is over."""
    gate = threading.Event()

    def slow() -> Client:
        gate.wait(10)
        return client

    bench = Bench(slow)
    begun = time.monotonic()
    bench.watch.start()
    assert time.monotonic() - begun < 1
    gate.set()
    bench.cell()
    assert not bench.watch._first_look.is_alive()
