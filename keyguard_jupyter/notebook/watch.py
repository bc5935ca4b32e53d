"""What happens after each cell: a look at the limits, and the cost report where one was asked for.

Callbacks run on whatever thread runs the cell (subshells have their own), so all state is per thread or under a lock.
"""

import threading
import time
from collections.abc import Callable

from ..client import Client
from ..errors import GatewayError
from .calls import CellCalls
from .crossings import Crossings
from .markup import Display, notice

TIMEOUT_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0

Show = Callable[[Display], object]
Connect = Callable[[], Client]


class Watch:
    """Look at the limits after each cell that was long enough to contain a call.

    Args:
        connect: returns the kernel's client, or raises GatewayError where there is no gateway.
        show: shows a display below the cell.
    """

    def __init__(self, connect: Connect, show: Show) -> None:
        self._connect = connect
        self._show = show
        self._crossings = Crossings()
        self._lock = threading.Lock()
        self._cells = threading.local()
        self._shortest_call = 0.0
        self._pause = 0.0
        self._silent_until = 0.0
        self._first_look = threading.Thread(target=self._look_first, name="keyguard-first-look", daemon=True)

    def start(self) -> None:
        """Remember how the limits stand now, without making the kernel wait for it."""
        self._first_look.start()

    def before_cell(self, *_: object) -> None:
        """Note when a cell begins."""
        self._begun().append(time.monotonic())

    def after_cell(self, *_: object) -> None:
        """Show the cost report if one was asked for, then a line for each limit that was crossed."""
        begun = self._begun()
        seconds = time.monotonic() - begun.pop() if begun else 0.0
        calls: CellCalls | None = self._cells.__dict__.pop("calls", None)
        try:
            if calls is not None:
                self._show_cost(calls)
            if self._may_have_called(seconds):
                for display in self._look():
                    self._show(display)
        except KeyboardInterrupt:  # the person is in a hurry, and the cell itself is done
            return

    def count_calls(self) -> None:
        """Show at the end of the cell that now runs on this thread what its calls cost.

        Raises:
            GatewayError: the gateway does not answer.
        """
        self._cells.calls = CellCalls.begin(self._connect())

    def _begun(self) -> list[float]:
        if not hasattr(self._cells, "begun"):
            self._cells.begun = []
        begun: list[float] = self._cells.begun
        return begun

    def _show_cost(self, calls: CellCalls) -> None:
        try:
            self._show(calls.report())
        except GatewayError as failure:
            self._show(notice(f"The cost of this cell is not known: {failure}"))

    def _may_have_called(self, seconds: float) -> bool:
        if self._first_look.is_alive():
            self._first_look.join(TIMEOUT_SECONDS)
        return seconds >= self._shortest_call and time.monotonic() >= self._silent_until

    def _look_first(self) -> None:
        try:
            self._connect().get("/health")  # so that what is loaded for the first request is not measured
        except GatewayError:
            return
        self._look()

    def _look(self) -> list[Display]:
        """Ask how the limits stand and return what is new; a gateway that fails is left alone for a while."""
        with self._lock:
            try:
                client = self._connect()
                begun = time.monotonic()
                me = client.get("/api/me")
                seconds = time.monotonic() - begun
                news = self._crossings.feed(me)
            except Exception:  # noqa: BLE001  a warning that can't be had must not disturb the cell
                self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2 or FIRST_PAUSE_SECONDS)
                self._silent_until = time.monotonic() + self._pause
                return []
            # No call is quicker than half of the quickest look: a call does more at the gateway, and goes on to a
            # provider, but a client may have its connection open already. Shorter cells need no look.
            self._shortest_call = min(self._shortest_call or seconds / 2, seconds / 2)
            self._pause = 0.0
            return news
