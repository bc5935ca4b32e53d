"""Which rule decides whether a caller may use a model, time apart."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from .decision import AGREES, BLOCKED, DECIDES, SILENT, Decision, Step, advise
from .matching import select
from .paths import join
from .scopes import Scope
from .settings import Project

_DEFAULT_SAYS = {
    "allow": "allows what no rule mentions",
    "members": "leaves what no rule mentions to members of its groups",
    "deny": "denies what no rule mentions",
}
_RULE_SAYS = {"allow": "allows it", "deny": "denies it", BLOCKED: "blocks it, and nothing lifts that"}


class _Voice(NamedTuple):
    """What one scope, or the project's default, says about the model.

    ``allows`` and ``access`` are None where nothing is said, ``pattern`` also for the default.
    """

    scope: str
    name: str
    label: str
    path: str
    allows: bool | None = None
    access: str | None = None
    pattern: str | None = None
    groups: tuple[str, ...] = ()


def judge(project: Project, scopes: Sequence[Scope], groups: Collection[str], person: str, model: str) -> Decision:
    """Decide by the rules about models alone.

    ``blocked`` at any scope decides. Else the narrowest of person, groups, project and the project's default that
    speaks; among several groups one that refuses. Then the key may refuse what its owner may use.

    Args:
        project: the caller's project.
        scopes: the caller's scopes, wide to narrow.
        groups: those of the caller's groups that the project knows.
        person: the caller's name.
        model: exact model id.
    """
    voices = [_default(project, groups), *(_hear(scope, groups, model) for scope in scopes)]
    decider = _decider(voices)
    steps = tuple(
        Step(voice.scope, voice.name, voice.pattern, voice.access, voice.path, _effect(voice, decider))
        for voice in voices
    )
    if decider.allows:
        return Decision(True, None, f"{model} is allowed for {person}: {_say(decider)}.", decider.path, steps)
    blocked = decider.access == BLOCKED
    refused = f"{model} is blocked" if blocked else f"{model} is not allowed for {person}"
    reason = f"{refused}: {_say(decider)}. {advise(project)}"
    return Decision(False, "model_blocked" if blocked else "model_not_allowed", reason, decider.path, steps)


def _default(project: Project, groups: Collection[str]) -> _Voice:
    allows = project.default == "allow" or (project.default == "members" and bool(groups))
    path = join("projects", project.name, "default")
    return _Voice("project", project.name, f"the default of project {project.name}", path, allows, project.default)


def _hear(scope: Scope, groups: Collection[str], model: str) -> _Voice:
    found = select(scope.own.models, model)
    if not found:
        return _Voice(scope.kind, scope.name, scope.label, scope.path)
    pattern, rule = found
    path = join(scope.path, "models", pattern)
    return _Voice(scope.kind, scope.name, scope.label, path, rule.admits(groups), rule.access, pattern, rule.groups)


def _decider(voices: Sequence[_Voice]) -> _Voice:
    for voice in voices:
        if voice.access == BLOCKED:
            return voice
    default, project, *groups, person, key = voices
    by_rank = ([person], groups, [project], [default])
    owner = next(loudest for loudest in map(_loudest, by_rank) if loudest)
    return key if owner.allows and key.allows is False else owner


def _loudest(equals: Sequence[_Voice]) -> _Voice | None:
    """Return the voice that counts among equals: one that refuses before one that allows."""
    spoken = [voice for voice in equals if voice.allows is not None]
    return min(spoken, key=lambda voice: bool(voice.allows), default=None)


def _effect(voice: _Voice, decider: _Voice) -> str:
    if voice is decider:
        return BLOCKED if voice.access == BLOCKED else DECIDES
    if voice.allows is None:
        return SILENT
    if voice.allows == decider.allows:
        return AGREES
    verb = "cannot lift" if voice.scope == "key" else "overridden by"
    return f"{verb} {decider.label}"


def _say(voice: _Voice) -> str:
    access = voice.access or ""
    if voice.pattern is None:
        return f"{voice.label} {_DEFAULT_SAYS[access]}"
    says = _RULE_SAYS.get(access) or f"admits members of {', '.join(voice.groups)} only"
    return f'the rule "{voice.pattern}" of {voice.label} {says}'
