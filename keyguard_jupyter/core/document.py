"""The policy file, as the plain dicts and lists that YAML and JSON are read into.

``read`` is strict: what it does not understand it refuses, so that a misspelt limit is never no limit. ``write`` is
canonical: the same policy is always written the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from .. import money
from ..errors import PolicyError
from . import fields
from .changes import Change, compare
from .paths import join
from .settings import ACCESS, BUDGET_WINDOWS, DEFAULTS, Budget, Group, ModelRule, Project, Settings

__all__ = ["Change", "difference", "read", "read_settings", "write", "write_settings"]

_COUNTS = ("requests_per_minute", "tokens_per_minute", "max_concurrent", "max_output_tokens")
_SETTINGS = ("limits", "models", "model_limits", "expires_at", "active", *_COUNTS, "hours", "pause")
_NOT_DEFAULTS = ("models", "active", "pause")
_DEFAULT_SETTINGS = tuple(name for name in _SETTINGS if name not in _NOT_DEFAULTS)
_GROUP = ("members", *_SETTINGS, "person_defaults")
_PROJECT = ("default", "timezone", "contact", "notice", *_SETTINGS, "groups", "people", "person_defaults")


@dataclass(frozen=True, slots=True)
class _Context:
    """What the fields of a project depend on; ``groups`` is None when they are not known."""

    zone: ZoneInfo
    groups: frozenset[str] | None


def read(document: object) -> dict[str, Project]:
    """Read a policy.

    Args:
        document: what a YAML or JSON parser made of the file.

    Returns:
        The projects by name.

    Raises:
        PolicyError: something in it cannot be used; ``path`` names the field, the message what to write instead.
    """
    top = fields.mapping(document, "", ("projects",))
    if "projects" not in top:
        raise PolicyError("", 'write "projects:" first, and the projects by name below it')
    projects = fields.named(top["projects"], "projects")
    return {name: _read_project(name, value, join("projects", name)) for name, value in projects.items()}


def read_settings(
    document: object, path: str, *, timezone: str = "UTC", groups: frozenset[str] | None = None
) -> Settings:
    """Read the settings of one scope, such as a key.

    Args:
        document: the settings as a dict.
        path: where they stand, for messages.
        timezone: for dates and times that name none.
        groups: the groups that rules may name; None when they are not to be checked.

    Raises:
        PolicyError: something in it cannot be used.
    """
    context = _Context(ZoneInfo(timezone), groups)
    return _read_settings(fields.mapping(document, path, _SETTINGS), path, context)


def write(projects: Mapping[str, Project]) -> dict[str, object]:
    """Write a policy as a document that JSON and YAML can hold; ``read(write(projects)) == projects``."""
    return {"projects": {name: _write_project(project) for name, project in sorted(projects.items())}}


def write_settings(settings: Settings) -> dict[str, object]:
    """Write the settings of one scope; what they leave out is left out."""
    total = {"total": _write_budget(settings.total)} if settings.total else None
    everything: dict[str, object] = {
        "limits": total,
        "models": {pattern: _write_rule(rule) for pattern, rule in sorted(settings.models.items())},
        "model_limits": {pattern: _write_budget(budget) for pattern, budget in sorted(settings.model_limits.items())},
        "expires_at": _write_instant(settings.expires_at) if settings.expires_at else None,
        "active": None if settings.active else False,
        **{name: getattr(settings, name) for name in _COUNTS},
        "hours": list(settings.hours),
        "pause": dict(sorted(settings.pause.items())),
    }
    return {name: value for name, value in everything.items() if value not in (None, {}, [])}


def difference(old: Mapping[str, Project], new: Mapping[str, Project]) -> list[Change]:
    """Return what a new policy changes, sorted by path; empty when nothing does."""
    return list(compare(write(old), write(new)))


def _read_project(name: str, value: object, path: str) -> Project:
    entry = fields.mapping(value, path, _PROJECT)
    timezone = fields.timezone(entry.get("timezone", "UTC"), join(path, "timezone"))
    groups = fields.named(entry.get("groups", {}), join(path, "groups"))
    people = fields.named(entry.get("people", {}), join(path, "people"))
    context = _Context(ZoneInfo(timezone), frozenset(groups))
    return Project(
        name=name,
        default=fields.choice(entry.get("default", "deny"), join(path, "default"), DEFAULTS),
        timezone=timezone,
        settings=_read_settings(entry, path, context),
        groups={group: _read_group(item, join(path, "groups", group), context) for group, item in groups.items()},
        people={person: _read_person(item, join(path, "people", person), context) for person, item in people.items()},
        person_defaults=_read_defaults(entry, path, context),
        contact=fields.text(entry["contact"], join(path, "contact")) if "contact" in entry else None,
        notice=fields.text(entry["notice"], join(path, "notice")) if "notice" in entry else None,
    )


def _read_group(value: object, path: str, context: _Context) -> Group:
    entry = fields.mapping(value, path, _GROUP)
    return Group(
        members=frozenset(fields.names(entry.get("members", []), join(path, "members"))),
        settings=_read_settings(entry, path, context),
        person_defaults=_read_defaults(entry, path, context),
    )


def _read_person(value: object, path: str, context: _Context) -> Settings:
    # "ada:" with nothing behind it is a person without settings of their own.
    return _read_settings(fields.mapping({} if value is None else value, path, _SETTINGS), path, context)


def _read_defaults(entry: Mapping[str, object], path: str, context: _Context) -> Settings:
    path = join(path, "person_defaults")
    defaults = fields.mapping(entry.get("person_defaults", {}), path)
    for name in _NOT_DEFAULTS:
        if name in defaults:
            raise PolicyError(join(path, name), "defaults carry none: write it at the project, the group or the person")
    return _read_settings(fields.mapping(defaults, path, _DEFAULT_SETTINGS), path, context)


def _read_settings(entry: Mapping[str, object], path: str, context: _Context) -> Settings:
    values: dict[str, Any] = {
        _FIELDS[name][0]: _FIELDS[name][1](entry[name], join(path, name), context)
        for name in _SETTINGS
        if name in entry
    }
    return Settings(**values)


def _read_total(value: object, path: str, context: _Context) -> Budget:
    entry = fields.mapping(value, path, ("total",))
    if "total" not in entry:
        raise PolicyError(path, 'write "total:" and an amount; limits of some models stand in model_limits')
    return _read_budget(entry["total"], join(path, "total"), context)


def _read_budget(value: object, path: str, context: _Context) -> Budget:
    entry = fields.mapping(value, path, ("amount", "window", "until"))
    if "amount" not in entry:
        raise PolicyError(path, f'write "amount:" with dollars, like "5.00", or {fields.DISABLED}')
    amount = fields.amount(entry["amount"], join(path, "amount"))
    if "until" not in entry:
        window = fields.choice(entry.get("window", "lifetime"), join(path, "window"), BUDGET_WINDOWS)
        return Budget(amount, window)
    if "window" in entry:
        raise PolicyError(path, "write a window or until, not both")
    return Budget(amount, until=fields.instant(entry["until"], join(path, "until"), context.zone))


def _read_models(value: object, path: str, context: _Context) -> dict[str, ModelRule]:
    entries = fields.patterned(value, path)
    return {pattern: _read_rule(item, join(path, pattern), context) for pattern, item in entries.items()}


def _read_rule(value: object, path: str, context: _Context) -> ModelRule:
    if isinstance(value, str):
        raise PolicyError(path, f"write {{access: {value}}}")
    entry = fields.mapping(value, path, ("access", "groups"))
    if "access" not in entry:
        raise PolicyError(path, f'write "access:" with one of {", ".join(ACCESS)}')
    access = fields.choice(entry["access"], join(path, "access"), ACCESS)
    groups = fields.names(entry.get("groups", []), join(path, "groups"))
    if bool(groups) != (access == "members"):
        raise PolicyError(join(path, "groups"), "name groups with access: members, at least one, and only with it")
    for group in groups:
        if context.groups is not None and group not in context.groups:
            known = f"; the project has {', '.join(sorted(context.groups))}" if context.groups else ""
            raise PolicyError(join(path, "groups"), f'there is no group "{group}"{known}')
    return ModelRule(access, tuple(groups))


def _read_model_limits(value: object, path: str, context: _Context) -> dict[str, Budget]:
    entries = fields.patterned(value, path)
    if "*" in entries:
        raise PolicyError(join(path, "*"), "a limit for every model is limits.total")
    return {pattern: _read_budget(item, join(path, pattern), context) for pattern, item in entries.items()}


def _read_expiry(value: object, path: str, context: _Context) -> datetime:
    return fields.instant(value, path, context.zone)


def _read_pause(value: object, path: str, _: _Context) -> dict[str, str]:
    return {pattern: fields.text(item, join(path, pattern)) for pattern, item in fields.patterned(value, path).items()}


def _read_count(value: object, path: str, _: _Context) -> int:
    return fields.count(value, path)


# Field of the document: field of Settings, and what reads it.
_FIELDS: dict[str, tuple[str, Callable[[object, str, _Context], object]]] = {
    "limits": ("total", _read_total),
    "models": ("models", _read_models),
    "model_limits": ("model_limits", _read_model_limits),
    "expires_at": ("expires_at", _read_expiry),
    "active": ("active", lambda value, path, _: fields.flag(value, path)),
    **{name: (name, _read_count) for name in _COUNTS},
    "hours": ("hours", lambda value, path, _: fields.hours(value, path)),
    "pause": ("pause", _read_pause),
}


def _write_project(project: Project) -> dict[str, object]:
    everything: dict[str, object] = {
        "default": project.default,
        "timezone": project.timezone,
        "contact": project.contact,
        "notice": project.notice,
        **write_settings(project.settings),
        "groups": {name: _write_group(group) for name, group in sorted(project.groups.items())},
        "people": {name: write_settings(settings) for name, settings in sorted(project.people.items())},
        "person_defaults": write_settings(project.person_defaults),
    }
    return {name: value for name, value in everything.items() if value not in (None, {})}


def _write_group(group: Group) -> dict[str, object]:
    defaults = write_settings(group.person_defaults)
    entry = {"members": sorted(group.members), **write_settings(group.settings)}
    return {**entry, "person_defaults": defaults} if defaults else entry


def _write_rule(rule: ModelRule) -> dict[str, object]:
    return {"access": rule.access, "groups": list(rule.groups)} if rule.groups else {"access": rule.access}


def _write_budget(budget: Budget) -> dict[str, object]:
    amount = fields.DISABLED if budget.amount is None else money.usd(budget.amount)
    if budget.until:
        return {"amount": amount, "until": _write_instant(budget.until)}
    return {"amount": amount, "window": budget.window}


def _write_instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
