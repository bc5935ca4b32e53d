"""One's own standing, rendered from the gateway's answer to ``/api/me``: pure, no input or output."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from .markup import Display, bar, clean, columns, escape, line, meter, panel, table
from .quotas import Clock, Pool, Quota, read_clock, read_pools, read_quotas, show_amount, show_remaining
from .rights import PRICE_HEADS, price_rows

STATES = {
    "ok": "Calls are open",
    "paused": "PAUSED",
    "outside_hours": "CLOSED at this hour",
    "expired": "EXPIRED",
    "revoked": "REVOKED",
}
MOST_LIMITS = 4
MOST_POOLS = 3
MOST_MODELS = 6
"""How many of each a status shows, so that it stays within a screen."""


def status(me: Mapping[str, Any], zone: tzinfo | None = None) -> Display:
    """Render who one is, whether calls are open, what is left, and which models one may use.

    Args:
        me: the answer to ``GET /api/me``.
        zone: in which times are written; None is the project's.
    """
    clock = read_clock(me, zone)
    quotas, pools = read_quotas(me), read_pools(me)
    models = price_rows(me["models"])
    facts = [_person(me), _state(me), *_notice(me)]
    endings = [_key(me, clock), *_contact(me)]
    return Display(
        "\n".join(
            [
                *map(clean, facts),
                *_quota_lines(quotas, clock),
                *_pool_lines(pools, clock),
                *_model_lines(models),
                *map(clean, endings),
            ]
        ),
        panel(
            "Keyguard status",
            [
                line(facts[0], strong=True),
                *map(line, facts[1:]),
                *_quota_markup(quotas, clock),
                *[line(f"Shared: {pool.sentence(clock)}") for pool in pools[:MOST_POOLS]],
                *_model_markup(models),
                *map(line, endings),
            ],
            tone="good" if me["state"] == "ok" else "over",
        ),
    )


def _person(me: Mapping[str, Any]) -> str:
    groups = f", groups {', '.join(me['groups'])}" if me["groups"] else ""
    return f"Keyguard: {me['person']} in project {me['project']}{groups}"


def _state(me: Mapping[str, Any]) -> str:
    state = STATES.get(me["state"], str(me["state"]))
    message = me["message"]
    return f"{state}{f': {message}' if message else ''} ({show_remaining(me)})"


def _notice(me: Mapping[str, Any]) -> list[str]:
    return [f"Notice: {me['notice']}"] if me["notice"] else []


def _contact(me: Mapping[str, Any]) -> list[str]:
    return [f"Questions: {me['contact']}"] if me["contact"] else []


def _key(me: Mapping[str, Any], clock: Clock) -> str:
    key = me["key"]
    label = f" ({key['label']})" if key["label"] else ""
    expiry = "no expiry date" if key["expires_at"] is None else f"expires {clock.write(key['expires_at'])}"
    return f"Key …{key['suffix']}{label}, {key['kind']}, {expiry}"


def _quota_lines(quotas: Sequence[Quota], clock: Clock) -> list[str]:
    if not quotas:
        return []
    shown = quotas[:MOST_LIMITS]
    width = max(len(clean(quota.title)) for quota in shown)
    lines = [f"  {clean(quota.title):{width}}  {bar(quota.percent)} {quota.figures(clock)}" for quota in shown]
    return ["Your limits", *lines, *_more(len(quotas) - MOST_LIMITS, "limits")]


def _quota_markup(quotas: Sequence[Quota], clock: Clock) -> list[str]:
    return [
        f'<div style="margin: 0.25em 0"><span>{escape(_capital(quota.title))} '
        f"({escape(show_amount(quota.amount))})</span>{meter(quota.title, quota.percent, quota.figures(clock))}</div>"
        for quota in quotas[:MOST_LIMITS]
    ] + [line(text) for text in _more(len(quotas) - MOST_LIMITS, "limits")]


def _pool_lines(pools: Sequence[Pool], clock: Clock) -> list[str]:
    if not pools:
        return []
    return [
        "Shared with others",
        *[f"  {clean(pool.sentence(clock))}" for pool in pools[:MOST_POOLS]],
        *_more(len(pools) - MOST_POOLS, "pools"),
    ]


def _model_lines(models: Sequence[Sequence[str]]) -> list[str]:
    if not models:
        return ["No model is allowed to you now."]
    rows = columns([PRICE_HEADS, *models[:MOST_MODELS]], left=(0, 1))
    return ["Models you may use, prices per 1M tokens", *rows, *_more(len(models) - MOST_MODELS, "models", "models")]


def _model_markup(models: Sequence[Sequence[str]]) -> list[str]:
    if not models:
        return [line("No model is allowed to you now.")]
    return [
        line("Models you may use, prices per 1M tokens"),
        table(PRICE_HEADS, models[:MOST_MODELS]),
        *[line(text) for text in _more(len(models) - MOST_MODELS, "models", "models")],
    ]


def _more(count: int, what: str, verb: str | None = None) -> list[str]:
    if count <= 0:
        return []
    return [f"  and {count} more {what}{f': %keyguard {verb}' if verb else ''}"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
