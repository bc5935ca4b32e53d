"""What a virtual key may ask about itself: state, limits, models, usage, and why."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ..core.limits import Limit
from ..core.people import Caller
from ..core.policy import Project, decide, limits_for, limits_of, standing
from ..errors import BadRequest, Refused
from ..gate.catalog import allowed_models, price_of
from ..gate.pipeline import Gate
from ..gate.priced import Priced
from ..gate.suitable import SERVED, why_not
from ..ledger.counters import Balance, balances
from ..ledger.directory import KeyRecord
from ..ledger.statement import Range, spent
from ..money import usd
from .answers import iso, iso_of, limit_row, pool_row, price_row

EXAMPLE_INPUT_TOKENS = 1000
_OWN = ("person", "key")
_STATES = {"key_expired": "expired", "key_revoked": "revoked"}


async def describe_caller(gate: Gate, caller: Caller, record: KeyRecord, project: Project) -> dict[str, Any]:
    """Return everything that ``%keyguard status`` shows: only the caller's own figures."""
    now = datetime.now(UTC)
    found = await _balances(gate, limits_of(project, caller, record.settings, now))
    state = standing(project, caller, record.settings, now)
    models = allowed_models(gate.directory, gate.providers, project, caller, record, now)
    totals = [balance.left for balance in found if balance.limit.pattern == "*"]
    return {
        "project": caller.project,
        "person": caller.person,
        "groups": list(caller.groups),
        "key": {
            "id": record.id,
            "suffix": record.suffix,
            "label": record.label,
            "kind": record.kind,
            "expires_at": iso(record.expires_at),
            "notebook": record.notebook,
        },
        "contact": project.contact,
        "notice": project.notice,
        "state": "ok" if state.allowed else _STATES.get(state.code or "", state.code),
        "message": None if state.allowed else state.reason,
        "remaining_usd": usd(min(totals)) if totals else None,
        "prices_version": gate.prices.version,
        "now": iso_of(now),
        "timezone": project.timezone,
        "models": [
            {"id": name, "provider": priced.spec.name, **price_row(priced.price)} for name, priced in models.items()
        ],
        "limits": [limit_row(balance) for balance in found if balance.limit.scope in _OWN],
        "pools": [pool_row(balance) for balance in found if balance.limit.scope not in _OWN],
        "spent_usd": await _spent(gate, caller, project, now),
    }


async def explain(
    gate: Gate, caller: Caller, record: KeyRecord, project: Project, model: str, *, for_host: bool
) -> dict[str, Any]:
    """Return why a caller may use a model, or not, under which limits, and what it costs."""
    now = datetime.now(UTC)
    decision = decide(project, caller, record.settings, model, now)
    limits = [limit for limit in limits_for(project, caller, record.settings, model, now) if limit.unit == "usd"]
    found = await _balances(gate, limits)
    priced = price_of(gate.providers, model)
    example = None if priced is None else priced.worst(EXAMPLE_INPUT_TOKENS, gate.bounds.default_cap)
    unfit = _unfit(priced, model) if decision.allowed else None
    return {
        "model": model,
        "allowed": decision.allowed and unfit is None,
        "code": decision.code if unfit is None else unfit.code,
        "reason": decision.reason if unfit is None else unfit.message,
        "rule": decision.rule,
        "steps": [
            {
                "scope": step.scope,
                "name": step.name,
                "pattern": step.pattern,
                "access": step.access,
                "rule": step.rule,
                "effect": step.effect,
            }
            for step in decision.steps
            if step.scope != "key" or record.id  # a host asks about a person, without a key
        ],
        "limits": [limit_row(b) if for_host or b.limit.scope in _OWN else pool_row(b) for b in found],
        "price": None if priced is None else {**price_row(priced.price), "version": gate.prices.version},
        "worst_case_usd": None if example is None else usd(example),
    }


def _unfit(priced: Priced | None, model: str) -> Refused | None:
    """Return why nobody can use a model here, whatever the policy says."""
    if priced is None:
        return BadRequest(f"{model} has no price here.", code="model_unpriced")
    return why_not(SERVED, priced.spec, priced.price, model)


async def _balances(gate: Gate, limits: "tuple[Limit, ...] | list[Limit]") -> list[Balance]:
    return await gate.database.read(lambda db: balances(db, limits))


async def _spent(gate: Gate, caller: Caller, project: Project, now: datetime) -> dict[str, str]:
    midnight = now.astimezone(ZoneInfo(project.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    today = int(midnight.timestamp() * 1000)
    ranges = {
        "key": Range(project=caller.project, person=caller.person, key_id=caller.key_id),
        "today": Range(project=caller.project, person=caller.person, since=today),
        "total": Range(project=caller.project, person=caller.person),
    }
    found = await gate.database.read(lambda db: {name: spent(db, covered) for name, covered in ranges.items()})
    return {name: usd(amount) for name, amount in found.items()}
