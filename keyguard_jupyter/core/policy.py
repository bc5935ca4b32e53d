"""What a caller may do now: which models, within which limits, and for how long the answers hold.

Pure functions of a project, a caller, the settings of the caller's key and the time. The reference of the policy file
tells the order of the rules.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from .access import judge
from .decision import Decision, Step
from .hours import next_change
from .limits import Limit, window_bounds
from .matching import matches
from .paths import join
from .people import Caller
from .scopes import Scope, groups_in, scopes_of
from .settings import Budget, Group, ModelRule, Project, Settings
from .standing import expiry, hold_back, lapse, overrule, standing, timetables

__all__ = [
    "Budget",
    "Decision",
    "Group",
    "ModelRule",
    "Project",
    "Settings",
    "Step",
    "decide",
    "limits_for",
    "limits_of",
    "output_cap_for",
    "standing",
    "valid_until",
]

_LONGEST_VALIDITY = timedelta(days=1)
# Of budgets with the same amount, the one that lasts longer is stricter.
_FREQUENCY = {"lifetime": 0, "until": 0, "month": 1, "week": 2, "day": 3}
# Field of Settings, how to read it, unit and window of the limit that it sets.
_RATES: tuple[tuple[str, Callable[[Settings], int | None], str, str], ...] = (
    ("requests_per_minute", lambda settings: settings.requests_per_minute, "requests", "minute"),
    ("tokens_per_minute", lambda settings: settings.tokens_per_minute, "tokens", "minute"),
    ("max_concurrent", lambda settings: settings.max_concurrent, "concurrent", "lifetime"),
)


def decide(project: Project, caller: Caller, key: Settings, model: str, now: datetime) -> Decision:
    """Decide whether a caller may use a model now.

    A scope that is switched off or has expired refuses first, then the rules about models, then pauses and hours: what
    is not allowed at all is not promised for later.

    Args:
        project: the caller's project.
        caller: who calls; the name of the project is the project's.
        key: settings of the caller's key.
        model: exact model id.
        now: aware.
    """
    assert now.tzinfo is not None
    scopes = scopes_of(project, caller, key)
    decision = judge(project, scopes, groups_in(project, caller), caller.person, model)
    stop = lapse(project, scopes, now)
    if not stop and decision.allowed:
        stop = hold_back(project, scopes, model, now)
    return overrule(decision, stop) if stop else decision


def limits_for(project: Project, caller: Caller, key: Settings, model: str, now: datetime) -> tuple[Limit, ...]:
    """Return every limit that a call of a model counts against: money, requests, tokens, calls in flight.

    Args:
        project: the caller's project.
        caller: who calls.
        key: settings of the caller's key.
        model: exact model id.
        now: aware.

    Returns:
        The limits, sorted by counter; no two share one.
    """
    scopes = scopes_of(project, caller, key)
    clock = _Clock(project, now)
    money = (limit for scope in scopes for limit in _money(scope, clock) if matches(limit.pattern, model))
    rates = (limit for scope in scopes for limit in _rates(scope, clock))
    return tuple(sorted([*money, *rates], key=_counter))


def limits_of(project: Project, caller: Caller, key: Settings, now: datetime) -> tuple[Limit, ...]:
    """Return every limit of money that binds a caller, whatever the model, sorted by counter."""
    scopes = scopes_of(project, caller, key)
    clock = _Clock(project, now)
    return tuple(sorted((limit for scope in scopes for limit in _money(scope, clock)), key=_counter))


def output_cap_for(project: Project, caller: Caller, key: Settings) -> int | None:
    """Return the smallest ``max_output_tokens`` of the caller's scopes, in tokens; None when none names one."""
    caps = [
        value
        for scope in scopes_of(project, caller, key)
        for _, value in scope.spoken(lambda settings: settings.max_output_tokens)
    ]
    return min(caps, default=None)


def valid_until(project: Project, caller: Caller, key: Settings, now: datetime) -> datetime:
    """Return until when the other functions' answers hold, if the policy does not change.

    It is the next instant at which a window may reset, hours may begin or end, or something may expire; at most a day
    away.
    """
    scopes = scopes_of(project, caller, key)
    clock = _Clock(project, now)
    limits = [limit for scope in scopes for limit in (*_money(scope, clock), *_rates(scope, clock))]
    expiries = [found[1] for found in map(expiry, scopes) if found]
    changes = [next_change(timetable.hours, clock.zone, now) for timetable in timetables(scopes)]
    instants = [*(limit.resets_at for limit in limits), *expiries, *changes, now + _LONGEST_VALIDITY]
    return min(instant for instant in instants if instant is not None and instant > now)


class _Clock:
    """The windows that hold at one instant, each worked out once."""

    def __init__(self, project: Project, now: datetime) -> None:
        self.project = project.name
        self.zone = ZoneInfo(project.timezone)
        self.now = now
        self._bounds: dict[str, tuple[datetime | None, datetime | None]] = {}

    def bounds(self, window: str) -> tuple[datetime | None, datetime | None]:
        if window not in self._bounds:
            self._bounds[window] = window_bounds(window, self.zone, self.now)
        return self._bounds[window]


def _counter(limit: Limit) -> str:
    return limit.counter


def _money(scope: Scope, clock: _Clock) -> Iterator[Limit]:
    for pattern, rule, budget in _budgets(scope):
        if budget.amount is None:
            continue
        starts_at, resets_at = (None, budget.until) if budget.until else clock.bounds(budget.window)
        amount = 0 if budget.until and budget.until <= clock.now else budget.amount
        yield Limit(
            clock.project, scope.kind, scope.name, "usd", pattern, budget.window, amount, starts_at, resets_at, rule
        )


def _budgets(scope: Scope) -> Iterator[tuple[str, str, Budget]]:
    total = scope.spoken(lambda settings: settings.total)
    if total:
        path, budget = min(total, key=_strictness)
        yield "*", join(path, "limits", "total"), budget
    patterns = {name for rank in scope.ranks for layer in rank for name in layer.settings.model_limits}
    for pattern in patterns:
        path, budget = min(scope.spoken(_reader(pattern)), key=_strictness)
        yield pattern, join(path, "model_limits", pattern), budget


def _reader(pattern: str) -> Callable[[Settings], Budget | None]:
    return lambda settings: settings.model_limits.get(pattern)


def _strictness(entry: tuple[str, Budget]) -> tuple[bool, int, int, str]:
    path, budget = entry
    return budget.amount is None, budget.amount or 0, _FREQUENCY[budget.window], path


def _rates(scope: Scope, clock: _Clock) -> Iterator[Limit]:
    for name, read, unit, window in _RATES:
        found = scope.spoken(read)
        if found:
            path, amount = min(found, key=lambda entry: (entry[1], entry[0]))
            bounds = clock.bounds(window)
            yield Limit(clock.project, scope.kind, scope.name, unit, "*", window, amount, *bounds, join(path, name))
