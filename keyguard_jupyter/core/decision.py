"""The answer to "may this caller use this model now?", with its reasons."""

from dataclasses import dataclass

from .settings import Project

DECIDES = "decides"
BLOCKED = "blocked"
AGREES = "agrees"
SILENT = "says nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """What one scope says.

    Args:
        scope: ``"project"``, ``"group"``, ``"person"`` or ``"key"``.
        name: name of the scope; id of a key.
        pattern: the pattern that matched the model; None for what is not about models.
        access: what the scope says: an access, ``revoked``, ``expired``, ``paused`` or ``closed``; None for nothing.
        rule: path of the rule, or of the scope that says nothing.
        effect: what came of it: ``decides``, ``blocked``, ``agrees``, ``says nothing``, ``overridden by …`` or
            ``cannot lift …``.
    """

    scope: str
    name: str
    pattern: str | None
    access: str | None
    rule: str
    effect: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call is allowed, and why.

    Args:
        allowed: whether it is.
        code: None when allowed; else ``model_not_allowed``, ``model_blocked``, ``paused``, ``outside_hours``,
            ``key_expired`` or ``key_revoked``.
        reason: sentences for a person.
        rule: path of the deciding rule.
        steps: what each scope says, wide to narrow; exactly one of them ``decides`` or is ``blocked``.
    """

    allowed: bool
    code: str | None
    reason: str
    rule: str
    steps: tuple[Step, ...]


def advise(project: Project) -> str:
    """Say whom to ask."""
    return f"Ask {project.contact or 'the host'} if you need it."
