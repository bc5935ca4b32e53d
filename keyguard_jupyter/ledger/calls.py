"""A call, as the ledger keeps it: what is known when money is held, and what is known when it is settled."""

import json
import secrets
import time
from functools import lru_cache
from typing import NamedTuple

from ..core.people import Caller
from ..core.usage import Usage

SETTLED = "ok"
CHARGED_IN_FULL = ("no_usage", "invalid_usage", "interrupted", "expired")
"""Outcomes of calls whose true cost is unknown, so that the whole hold was charged."""
CALL_ID_BYTES = 28

_encode = json.JSONEncoder(separators=(",", ":")).encode


def make_call_id() -> str:
    """Make an id that sorts by time, of :data:`CALL_ID_BYTES` characters."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


def now_ms() -> int:
    """Return the wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Call(NamedTuple):
    """One call of a caller, as known when its money is held.

    Args:
        at: when, in milliseconds since 1970 (UTC). Decides in which windows the call counts.
        held: its worst case in nano-dollars.
    """

    id: str
    at: int
    project: str
    person: str
    groups: tuple[str, ...]
    key_id: str
    key_suffix: str
    kernel_id: str | None
    notebook: str | None
    endpoint: str
    provider: str
    model: str
    stream: bool
    price_version: str
    held: int

    @classmethod
    def of(cls, caller: Caller, **known: object) -> "Call":
        """Make a call of a caller from what else is known about it."""
        return cls(
            project=caller.project,
            person=caller.person,
            groups=caller.groups,
            key_id=caller.key_id,
            key_suffix=caller.suffix,
            kernel_id=caller.kernel_id,
            notebook=caller.notebook,
            **known,  # type: ignore[arg-type]
        )

    def dumps(self) -> str:
        """Write the call as JSON, for the hold's row."""
        return _encode(self)

    @classmethod
    def loads(cls, text: str) -> "Call":
        """Read what :meth:`dumps` wrote."""
        call = cls(*json.loads(text))
        return call._replace(groups=tuple(call.groups))


class Settlement(NamedTuple):
    """What a call came to.

    Args:
        cost: nano-dollars.
        outcome: ``ok`` or why it is not.
    """

    cost: int
    outcome: str
    usage: Usage = Usage()
    model_answered: str | None = None
    tier: str | None = None
    duration_ms: int | None = None


COLUMNS = (
    "id",
    "at",
    "project",
    "person",
    "groups",
    "key_id",
    "key_suffix",
    "kernel_id",
    "notebook",
    "endpoint",
    "provider",
    "model",
    "model_answered",
    "tier",
    "stream",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "cost",
    "held",
    "price_version",
    "duration_ms",
    "outcome",
)
INSERT_USAGE = f"INSERT INTO usage ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608


@lru_cache(maxsize=1024)
def _groups(groups: tuple[str, ...]) -> str:
    return _encode(groups)


def usage_row(call: Call, end: Settlement) -> tuple[object, ...]:
    """Return the values of a usage row, in the order of :data:`COLUMNS`."""
    usage = end.usage
    return (
        call.id,
        call.at,
        call.project,
        call.person,
        _groups(call.groups),
        call.key_id,
        call.key_suffix,
        call.kernel_id,
        call.notebook,
        call.endpoint,
        call.provider,
        call.model,
        end.model_answered,
        end.tier,
        int(call.stream),
        usage.input_total,
        usage.cached + usage.cached_audio,
        usage.cache_write + usage.cache_write_12h,
        usage.audio_input + usage.cached_audio,
        usage.image_input,
        usage.output_total,
        usage.reasoning,
        usage.audio_output,
        usage.image_output,
        end.cost,
        call.held,
        call.price_version,
        end.duration_ms,
        end.outcome,
    )
