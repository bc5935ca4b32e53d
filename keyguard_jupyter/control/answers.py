"""How the API writes times, amounts, keys, limits and usage."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.rates import Price
from ..errors import BadRequest
from ..ledger.counters import Balance
from ..ledger.directory import KeyRecord
from ..money import usd

_NEARLY = 90
"""Per cent of a pool from which it counts as nearly used."""


def iso(ms: int | None) -> str | None:
    """Write milliseconds since 1970 as ISO 8601 in UTC."""
    return None if ms is None else iso_of(datetime.fromtimestamp(ms / 1000, UTC))


def iso_of(moment: datetime | None) -> str | None:
    """Write a time as ISO 8601 in UTC."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(value: object, field: str) -> int | None:
    """Read ISO 8601 as milliseconds since 1970; a time without zone is UTC.

    Raises:
        BadRequest: it is none.
    """
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None:
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise BadRequest(f"{field} must be a time such as 2027-01-31T00:00:00Z", code="invalid_request", param=field)
    return int(moment.timestamp() * 1000)


def key_row(record: KeyRecord) -> dict[str, Any]:
    """Write a key without the key."""
    return {
        "id": record.id,
        "suffix": record.suffix,
        "project": record.project,
        "person": record.person,
        "label": record.label,
        "kind": record.kind,
        "kernel_id": record.kernel_id,
        "notebook": record.notebook,
        "created_at": iso(record.created_at),
        "expires_at": iso(record.expires_at),
        "leased_until": iso(record.leased_until),
        "revoked_at": iso(record.revoked_at),
        "active": record.revoked_at is None,
    }


def limit_row(balance: Balance) -> dict[str, Any]:
    """Write a limit with its owner's figures."""
    limit = balance.limit
    return {
        "scope": limit.scope,
        "name": limit.name,
        "pattern": limit.pattern,
        "window": limit.window,
        "amount_usd": usd(limit.amount),
        "spent_usd": usd(balance.spent),
        "held_usd": usd(balance.held),
        "remaining_usd": usd(balance.left),
        "resets_at": iso_of(limit.resets_at),
        "fraction": balance.spent / limit.amount if limit.amount else 1.0,
        "rule": limit.rule,
    }


def pool_row(balance: Balance) -> dict[str, Any]:
    """Write a pool as its members may see it: its state, not its figures."""
    limit = balance.limit
    used = balance.spent * 100 >= limit.amount * _NEARLY
    state = "used_up" if balance.spent >= limit.amount else "nearly_used" if used else "ok"
    return {
        "scope": limit.scope,
        "name": limit.name,
        "pattern": limit.pattern,
        "window": limit.window,
        "state": state,
        "resets_at": iso_of(limit.resets_at),
    }


def price_row(price: Price) -> dict[str, Any]:
    """Write what a model costs."""
    return {
        "input_usd_per_1m": price.input_usd_per_1m,
        "output_usd_per_1m": price.output_usd_per_1m,
        "free": price.free,
    }


def usage_row(row: Mapping[str, Any], *, whose: bool) -> dict[str, Any]:
    """Write one call.

    Args:
        whose: whether to say whose it was; its owner knows.
    """
    found = {
        "id": str(row["seq"]),
        "request_id": row["id"],
        "at": iso(row["at"]),
        "endpoint": row["endpoint"],
        "provider": row["provider"],
        "model": row["model"],
        "model_answered": row["model_answered"],
        "stream": bool(row["stream"]),
        "input_tokens": row["input_tokens"],
        "cached_tokens": row["cached_tokens"],
        "output_tokens": row["output_tokens"],
        "reasoning_tokens": row["reasoning_tokens"],
        "cost_usd": usd(row["cost"]),
        "notebook": row["notebook"],
        "kernel_id": row["kernel_id"],
        "key_id": row["key_id"],
        "key_suffix": row["key_suffix"],
        "outcome": row["outcome"],
        "duration_ms": row["duration_ms"],
    }
    if whose:
        found |= {"project": row["project"], "person": row["person"], "groups": row["groups"]}
    return found
