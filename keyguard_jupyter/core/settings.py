"""What a host can write down: rules, budgets, settings, groups, projects.

A policy file is read into these by :mod:`keyguard_jupyter.core.document`. They are values: nothing here changes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

ACCESS = ("allow", "deny", "members", "blocked")
DEFAULTS = ("allow", "deny", "members")
BUDGET_WINDOWS = ("lifetime", "day", "week", "month")


@dataclass(frozen=True, slots=True)
class ModelRule:
    """Who may use the models that a pattern names.

    Args:
        access: one of ``ACCESS``.
        groups: for ``members``, the groups whose members may; kept sorted.

    Raises:
        ValueError: unknown access, ``members`` without groups, or groups without ``members``.
    """

    access: str
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.access not in ACCESS:
            raise ValueError(f"no access is called {self.access!r}")
        if bool(self.groups) != (self.access == "members"):
            raise ValueError("a rule names groups exactly when its access is 'members'")
        object.__setattr__(self, "groups", tuple(sorted(set(self.groups))))

    def admits(self, groups: Collection[str]) -> bool:
        """Tell whether somebody in ``groups`` may use the models."""
        return self.access == "allow" or any(group in groups for group in self.groups)


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of money for each window.

    Args:
        amount: nano-dollars; None sets no limit, and spending is still counted.
        window: one of ``BUDGET_WINDOWS``, or ``until``.
        until: aware; from this instant the budget grants nothing. Makes the window ``until``.

    Raises:
        ValueError: a negative amount, an unknown window, or both a window and ``until``.
    """

    amount: int | None
    window: str = "lifetime"
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.amount is not None and self.amount < 0:
            raise ValueError("a budget is not negative")
        if self.until is None and self.window not in BUDGET_WINDOWS:
            raise ValueError(f"no budget has the window {self.window!r}")
        if self.until is not None:
            if self.window not in ("lifetime", "until") or self.until.tzinfo is None:
                raise ValueError("until is an aware datetime and goes with no window")
            object.__setattr__(self, "window", "until")


@dataclass(frozen=True, slots=True)
class Settings:
    """What any scope (project, group, person, key) may carry; what it leaves out is inherited.

    Args:
        models: pattern to rule.
        total: money for all models together.
        model_limits: pattern to money for the models it names; each applies beside the total.
        expires_at: aware; from this instant nothing is allowed.
        active: False switches the scope off.
        requests_per_minute: calls that may start in one minute.
        tokens_per_minute: tokens, in and out, in one minute.
        max_concurrent: calls in flight at once.
        max_output_tokens: the largest output of one call, in tokens.
        hours: when it is open, each like ``"Mon-Fri 09:00-18:00"``, in the project's zone; empty is always.
        pause: pattern to the message that callers of those models see; ``"*"`` pauses everything.

    Raises:
        ValueError: a model limit for every model, which is ``total``, or an ``expires_at`` without a zone.
    """

    models: Mapping[str, ModelRule] = field(default_factory=dict)
    total: Budget | None = None
    model_limits: Mapping[str, Budget] = field(default_factory=dict)
    expires_at: datetime | None = None
    active: bool = True
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    max_output_tokens: int | None = None
    hours: tuple[str, ...] = ()
    pause: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "*" in self.model_limits:  # would share the counter of the total, and be charged twice
            raise ValueError("a limit for every model is the total")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise ValueError("expires_at is an aware datetime")


def _refuse_rights(defaults: Settings) -> None:
    if defaults.models or defaults.pause or not defaults.active:
        raise ValueError("person_defaults carry no models, pause or active: write them at the project or the group")


@dataclass(frozen=True, slots=True)
class Group:
    """Some people of a project, who share what the settings grant.

    Args:
        members: names of people.
        settings: bind the group; its limits are one pool for all members.
        person_defaults: for each member who has no setting of their own. No ``models``, ``pause`` or ``active``.

    Raises:
        ValueError: ``person_defaults`` carry one of those three.
    """

    members: frozenset[str] = frozenset()
    settings: Settings = field(default_factory=Settings)
    person_defaults: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        _refuse_rights(self.person_defaults)


@dataclass(frozen=True, slots=True)
class Project:
    """One course, team or deployment: its people and what they may do.

    Args:
        name: as in ``projects.<name>`` of the policy file.
        default: what holds for a model that no scope mentions: ``allow``, ``deny``, or ``members`` (of any group).
        timezone: IANA name; days, weeks, months and hours follow it.
        settings: bind everybody; the limits are one pool for the project.
        groups: by name.
        people: by name; whoever is not listed has the defaults.
        person_defaults: for each person who has no setting of their own, nor one from a group.
        contact: whom to ask, for messages.
        notice: message of the day.

    Raises:
        ValueError: an unknown ``default``, or ``person_defaults`` that carry ``models``, ``pause`` or ``active``.
    """

    name: str
    default: str = "deny"
    timezone: str = "UTC"
    settings: Settings = field(default_factory=Settings)
    groups: Mapping[str, Group] = field(default_factory=dict)
    people: Mapping[str, Settings] = field(default_factory=dict)
    person_defaults: Settings = field(default_factory=Settings)
    contact: str | None = None
    notice: str | None = None

    def __post_init__(self) -> None:
        if self.default not in DEFAULTS:
            raise ValueError(f"no default is called {self.default!r}")
        _refuse_rights(self.person_defaults)

    def groups_of(self, person: str) -> tuple[str, ...]:
        """Return the names of the groups that a person is in, sorted."""
        return tuple(sorted(name for name, group in self.groups.items() if person in group.members))
