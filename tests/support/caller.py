"""Somebody with a virtual key, and the ledger as it stands on disk."""

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import httpx

from .gateway import CANARIES, Gateway

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
HELLO = [{"role": "user", "content": "Say: one two three"}]
_numbers = itertools.count(1)


def _check(response: httpx.Response) -> None:
    """Look for the real keys in everything that a caller gets."""
    response.read()
    told = response.content + repr(response.headers.raw).encode()
    for canary in CANARIES:
        assert canary.encode() not in told, f"the real key was in the answer to {response.request.url}"


class Caller:
    """A person's client; every answer is searched for the real keys.

    Args:
        key: the virtual key, or another one; None sends none.
        id: of the key.
    """

    def __init__(self, gateway: Gateway, key: str | None, person: str = "", id: str = "") -> None:  # noqa: A002
        self.gateway, self.key, self.person, self.id = gateway, key, person, id
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        self.http = httpx.Client(
            base_url=gateway.url,
            headers=headers,
            timeout=30,
            trust_env=False,
            verify=False,
            limits=httpx.Limits(max_keepalive_connections=0),  # so that nothing is left open
            event_hooks={"response": [_check]},
        )

    @classmethod
    def new(cls, gateway: Gateway, project: str = "default", person: str | None = None, **fields: Any) -> "Caller":
        """Issue a key to somebody who has made no calls yet."""
        who = person or f"person-{next(_numbers)}"
        issued = gateway.admin.post("/api/keys", {"person": who, "project": project, **fields})
        return cls(gateway, issued["key"], who, issued["id"])

    def send(self, path: str, body: Any = None, method: str = "POST", **options: Any) -> httpx.Response:
        """Send a request; a body that is no text or bytes goes as JSON."""
        content = {"content": body} if isinstance(body, str | bytes) else {"json": body} if body is not None else {}
        return self.http.request(method, path, **content, **options)

    def chat(self, model: str = "gpt-4.1-mini", **fields: Any) -> httpx.Response:
        """Ask for a chat completion."""
        return self.send(CHAT, {"model": model, "messages": HELLO, **fields})

    def rows(self) -> list[sqlite3.Row]:
        """Return this key's usage, oldest first, when nothing of it is in flight any more."""
        eventually(lambda: not query(self.gateway, f"SELECT 1 FROM holds WHERE call LIKE '%{self.id}%'"))
        return query(self.gateway, f"SELECT * FROM usage WHERE key_id = '{self.id}' ORDER BY seq")


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return response.status_code, response.json()["error"]["code"]


def query(gateway: Gateway, statement: str) -> list[sqlite3.Row]:
    """Read the ledger's file."""
    with contextlib.closing(sqlite3.connect(gateway.database, timeout=10)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(statement).fetchall()


def eventually(reached: Callable[[], bool], seconds: float = 10.0) -> None:
    """Watch another process's state, which nothing announces, until it is as expected."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def assert_sound(gateway: Gateway) -> None:
    """Nothing is held when all is idle, and every counter of dollars says what its owner's calls came to."""
    eventually(lambda: not query(gateway, "SELECT 1 FROM holds"))
    assert query(gateway, "SELECT id FROM counters WHERE held != 0") == []
    for row in query(gateway, "SELECT id, spent FROM counters WHERE id LIKE '%|usd|*|lifetime|-'"):
        project, scope, name = row["id"].split("|")[:3]
        column = {"person": "person", "key": "key_id", "project": "project"}.get(scope)
        if column is not None:
            where = f"project = '{project}' AND {column} = '{name}'"
            total = query(gateway, f"SELECT COALESCE(SUM(cost), 0) FROM usage WHERE {where}")[0][0]
            assert row["spent"] == total, row["id"]
