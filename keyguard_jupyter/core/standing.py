"""Whether a caller may call at all now: switched off, expired, paused, closed.

Every scope must let the caller through; what a narrower scope says lifts nothing here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .decision import DECIDES, Decision, Step, advise
from .hours import next_opening, open_at, show
from .matching import exactness, matches
from .paths import join
from .people import Caller
from .scopes import Scope, scopes_of
from .settings import Project, Settings


class Stop(NamedTuple):
    """A refusal that no rule about models can lift."""

    code: str
    reason: str
    step: Step
    label: str


class Timetable(NamedTuple):
    """Opening hours of a scope, with where they are written."""

    scope: Scope
    rule: str
    hours: tuple[str, ...]


def standing(project: Project, caller: Caller, key: Settings, now: datetime) -> Decision:
    """Tell whether a caller may call anything now, whatever the model.

    Args:
        project: the caller's project.
        caller: who calls.
        key: settings of the caller's key.
        now: aware.

    Returns:
        A decision with the code ``key_revoked``, ``key_expired``, ``paused`` (everything is) or ``outside_hours``; when
        it is allowed it has no steps.
    """
    assert now.tzinfo is not None
    scopes = scopes_of(project, caller, key)
    free = Decision(True, None, f"{caller.person} may call models now.", join("projects", project.name), ())
    stop = lapse(project, scopes, now) or hold_back(project, scopes, None, now)
    return overrule(free, stop) if stop else free


def overrule(decision: Decision, stop: Stop) -> Decision:
    """Return the refusal that stands in place of a decision, with the decision's steps before its own."""
    steps = [
        Step(step.scope, step.name, step.pattern, step.access, step.rule, f"overridden by {stop.label}")
        if step.rule == decision.rule
        else step
        for step in decision.steps
    ]
    return Decision(False, stop.code, stop.reason, stop.step.rule, (*steps, stop.step))


def lapse(project: Project, scopes: Sequence[Scope], now: datetime) -> Stop | None:
    """Return the widest scope that is switched off, else the widest that has expired, else None."""
    for scope in scopes:
        if not scope.own.active:
            reason = f"{_capital(scope.label)} is switched off. {advise(project)}"
            return _stop(scope, "key_revoked", "revoked", join(scope.path, "active"), reason)
    for scope in scopes:
        found = expiry(scope)
        if found and found[1] <= now:
            rule, instant = found
            reason = (
                f"{_capital(scope.label)} expired on {show(instant, ZoneInfo(project.timezone))}. {advise(project)}"
            )
            return _stop(scope, "key_expired", "expired", rule, reason)
    return None


def expiry(scope: Scope) -> tuple[str, datetime] | None:
    """Return where and when a scope expires; among defaults of several groups the earliest holds."""
    found = scope.spoken(lambda settings: settings.expires_at)
    if not found:
        return None
    path, instant = min(found, key=lambda entry: (entry[1], entry[0]))
    return join(path, "expires_at"), instant


def timetables(scopes: Sequence[Scope]) -> list[Timetable]:
    """Return all opening hours that bind the caller; each must be open."""
    return [
        Timetable(scope, join(path, "hours"), hours)
        for scope in scopes
        for path, hours in scope.spoken(lambda settings: settings.hours or None)
    ]


def hold_back(project: Project, scopes: Sequence[Scope], model: str | None, now: datetime) -> Stop | None:
    """Return what keeps a model, or everything when ``model`` is None, from being called now: a pause, or the hours."""
    return _paused(project, scopes, model) or _closed(project, scopes, now)


def _paused(project: Project, scopes: Sequence[Scope], model: str | None) -> Stop | None:
    for scope in scopes:
        patterns = [p for p in scope.own.pause if p == "*" or (model is not None and matches(p, model))]
        if not patterns:
            continue
        pattern = max(patterns, key=lambda p: (exactness(p), p))
        what = "Everything" if model is None else model
        message = scope.own.pause[pattern].strip()
        end = "" if message.endswith((".", "!", "?")) else "."
        reason = f"{what} is paused by {scope.label}: {message}{end} {advise(project)}"
        return _stop(scope, "paused", "paused", join(scope.path, "pause", pattern), reason, pattern)
    return None


def _closed(project: Project, scopes: Sequence[Scope], now: datetime) -> Stop | None:
    found = timetables(scopes)
    if not found:
        return None
    zone = ZoneInfo(project.timezone)
    closed = next((timetable for timetable in found if not open_at(timetable.hours, zone, now)), None)
    if not closed:
        return None
    opening = next_opening([timetable.hours for timetable in found], zone, now)
    then = (
        f"It opens next on {show(opening, zone)}."
        if opening
        else "It never opens: other hours that apply exclude these."
    )
    hours = f"{', '.join(closed.hours)} ({zone.key})"
    reason = f"{_capital(closed.scope.label)} is closed now; its hours are {hours}. {then} {advise(project)}"
    return _stop(closed.scope, "outside_hours", "closed", closed.rule, reason)


def _stop(scope: Scope, code: str, access: str, rule: str, reason: str, pattern: str | None = None) -> Stop:
    step = Step(scope.kind, scope.name, pattern, access, rule, DECIDES)
    return Stop(code, reason, step, f"{scope.label} ({access})")


def _capital(label: str) -> str:
    return label[0].upper() + label[1:]
