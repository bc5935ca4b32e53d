"""The calls that a cell makes: which they are, and when they have all been counted."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..client import Client
from .cost import cost
from .markup import Display

PAGE_ROWS = 500
SETTLE_SECONDS = 2.0
"""How long a report waits for calls that are still being counted."""
PAUSE_SECONDS = 0.05


def read_calls(client: Client, **params: object) -> list[dict[str, Any]]:
    """Read all usage rows that match, page by page, oldest first.

    Args:
        client: of the person whose rows they are.
        params: of ``GET /api/me/usage``: ``since``, ``key``.

    Raises:
        GatewayError: see :meth:`Client.get`.
    """
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = client.get("/api/me/usage", limit=PAGE_ROWS, after=after, **params)
        rows += page["rows"]
        if page["next"] is None or page["next"] == after:
            return rows
        after = page["next"]


@dataclass(frozen=True, slots=True)
class CellCalls:
    """The calls that this kernel's key makes from now on.

    Args:
        client: of this kernel.
        since: the gateway's time now, ISO 8601.
        earlier: ids of calls that began in the same moment, but before.
    """

    client: Client
    since: str
    earlier: frozenset[str]

    @classmethod
    def begin(cls, client: Client) -> "CellCalls":
        """Begin to count.

        Raises:
            GatewayError: see :meth:`Client.get`.
        """
        since = client.get("/api/me")["now"]
        return cls(client, since, frozenset(row["id"] for row in cls._rows_since(client, since)))

    def report(self) -> Display:
        """Wait until no call is under way, briefly, and render what the calls cost.

        Raises:
            GatewayError: see :meth:`Client.get`.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        me = self.client.get("/api/me")
        while _under_way(me) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            me = self.client.get("/api/me")
        if not me["limits"]:  # then nothing tells whether a call is still being counted, as a stream just read may be
            time.sleep(PAUSE_SECONDS)
        rows = [row for row in self._rows_since(self.client, self.since) if row["id"] not in self.earlier]
        return cost(rows, me, settled=not _under_way(me))

    @staticmethod
    def _rows_since(client: Client, since: str) -> list[dict[str, Any]]:
        return read_calls(client, since=since, key="self")


def _under_way(me: Mapping[str, Any]) -> bool:
    return any(row["held_usd"].strip("0.") for row in me["limits"])
