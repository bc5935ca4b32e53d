"""Which limits were crossed since the last look: pure, no input or output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from .markup import Display, clean, line, panel, tone_of
from .quotas import Pool, Quota, read_clock, read_pools, read_quotas

THRESHOLDS = (75, 90, 100)
"""Percent of a limit at which a person is told."""

POOL_LEVELS = {"ok": 0, "nearly_used": 1, "used_up": 2}


@dataclass(slots=True)
class Crossings:
    """What was seen so far, so that each threshold is told once in each window.

    The first answer that is fed is only remembered: what was crossed before is no news.
    """

    seen: dict[tuple[str, ...], int] | None = field(default=None)

    def feed(self, me: Mapping[str, Any], zone: tzinfo | None = None) -> list[Display]:
        """Take an answer to ``/api/me`` and return one line for each limit that crossed a threshold since.

        Args:
            me: the answer to ``GET /api/me``.
            zone: in which times are written; None is the project's.
        """
        first, seen = self.seen is None, self.seen or {}
        quotas = [q for q in read_quotas(me) if _rises(seen, q.identity, _level(q))]
        pools = [p for p in read_pools(me) if _rises(seen, p.identity, POOL_LEVELS.get(p.state, 0))]
        self.seen = seen
        if first:
            return []
        return [_warn_quota(q, me, zone) for q in quotas] + [_warn_pool(p, me, zone) for p in pools]


def _rises(seen: dict[tuple[str, ...], int], identity: tuple[str, ...], level: int) -> bool:
    before = seen.get(identity, 0)
    seen[identity] = max(before, level)
    return level > before


def _level(quota: Quota) -> int:
    return max((mark for mark in THRESHOLDS if quota.percent >= mark), default=0)


def _warn_quota(quota: Quota, me: Mapping[str, Any], zone: tzinfo | None) -> Display:
    ask = _ask(me) if quota.percent >= 100 else ""
    return _line(quota.warning(read_clock(me, zone)) + ask, tone_of(quota.percent))


def _warn_pool(pool: Pool, me: Mapping[str, Any], zone: tzinfo | None) -> Display:
    text = f"the limit shared by {pool.sentence(read_clock(me, zone))}"
    return _line(text + (_ask(me) if pool.state == "used_up" else ""), "over" if pool.state == "used_up" else "near")


def _ask(me: Mapping[str, Any]) -> str:
    return f". Ask {me['contact']}" if me["contact"] else ""


def _line(text: str, tone: str) -> Display:
    return Display(f"Keyguard: {clean(text)}", panel("Keyguard warning", [line(f"Keyguard: {text}")], tone=tone))
