"""May this caller use this model now, and under which limits: the policy's answer, remembered until it may change."""

from dataclasses import dataclass
from datetime import datetime

from ..core.limits import Limit
from ..core.people import Caller
from ..core.policy import Decision, Project, decide, limits_for, output_cap_for, valid_until
from ..errors import Forbidden, Unauthorized
from ..ledger.directory import Directory, KeyRecord

MEMO_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the policy says about one caller and one model.

    Args:
        limits: every limit that the call takes from, in the order in which they are taken.
        output_cap: the most output tokens per answer that any scope allows; None for no such rule.
        until: when the answer may change.
    """

    decision: Decision
    limits: tuple[Limit, ...]
    output_cap: int | None
    until: datetime


def check_allowed(decision: Decision) -> None:
    """Refuse a call unless the policy allows it.

    Raises:
        Forbidden: with the policy's code and reason.
        Unauthorized: the key, or its owner, expired or was switched off.
    """
    if decision.allowed:
        return
    code = decision.code or "model_not_allowed"
    if code in {"key_expired", "key_revoked"}:
        raise Unauthorized(decision.reason, code=code)
    raise Forbidden(decision.reason, code=code, param="model" if code.startswith("model") else None)


def plan(directory: Directory, project: Project, caller: Caller, record: KeyRecord, model: str, now: datetime) -> Plan:
    """Return what the policy says; the same answer is remembered until it may change."""
    memo = directory.memo
    if len(memo) > MEMO_MOST:  # callers choose the names of models
        memo.clear()
    found: Plan | None = memo.get((record.id, model))
    if found is None or found.until <= now:
        found = memo[(record.id, model)] = Plan(
            decision=decide(project, caller, record.settings, model, now),
            limits=limits_for(project, caller, record.settings, model, now),
            output_cap=output_cap_for(project, caller, record.settings),
            until=valid_until(project, caller, record.settings, now),
        )
    return found
