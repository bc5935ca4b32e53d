"""The scopes that a caller stands in, wide to narrow: project, groups, person, key."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from .paths import join
from .people import Caller
from .settings import Project, Settings

T = TypeVar("T")
_SILENT = Settings()


class Layer(NamedTuple):
    """Settings, and the path at which they are written."""

    path: str
    settings: Settings


class Scope(NamedTuple):
    """One scope of a caller.

    Args:
        kind: ``"project"``, ``"group"``, ``"person"`` or ``"key"``.
        name: name of the project, group or person; id of the key.
        label: the scope in a sentence, like ``group team``.
        ranks: where its settings come from, in order: its own; for a person then the groups' defaults, side by side,
            and the project's. The first rank that speaks of a setting gives it.
    """

    kind: str
    name: str
    label: str
    ranks: tuple[tuple[Layer, ...], ...]

    @property
    def path(self) -> str:
        """Return where the scope's own settings are written."""
        return self.ranks[0][0].path

    @property
    def own(self) -> Settings:
        """Return the scope's own settings, without defaults."""
        return self.ranks[0][0].settings

    def spoken(self, read: Callable[[Settings], T | None]) -> list[tuple[str, T]]:
        """Return what the first rank that speaks of a setting says.

        Args:
            read: takes a setting out of settings; None is silence.

        Returns:
            The path of the settings and the value, for each layer of that rank that speaks; empty when none does.
        """
        for rank in self.ranks:
            found = [(layer.path, value) for layer in rank if (value := read(layer.settings)) is not None]
            if found:
                return found
        return []


def groups_in(project: Project, caller: Caller) -> list[str]:
    """Return those of the caller's groups that the project knows, sorted."""
    return sorted(name for name in set(caller.groups) if name in project.groups)


def scopes_of(project: Project, caller: Caller, key: Settings) -> list[Scope]:
    """Return the caller's scopes, wide to narrow.

    Args:
        project: the caller's project.
        caller: who calls; ``groups`` are believed.
        key: settings of the caller's key.
    """
    assert caller.project == project.name
    root = join("projects", project.name)
    path = join("keys", caller.key_id)
    groups = groups_in(project, caller)
    return [
        Scope("project", project.name, f"project {project.name}", ((Layer(root, project.settings),),)),
        *(_group(project, root, name) for name in groups),
        _person(project, root, caller.person, groups),
        Scope("key", caller.key_id, f"key …{caller.suffix}", ((Layer(path, key),),)),
    ]


def _group(project: Project, root: str, name: str) -> Scope:
    return Scope("group", name, f"group {name}", ((Layer(join(root, "groups", name), project.groups[name].settings),),))


def _person(project: Project, root: str, person: str, groups: list[str]) -> Scope:
    own = Layer(join(root, "people", person), project.people.get(person, _SILENT))
    shared = tuple(
        Layer(join(root, "groups", name, "person_defaults"), project.groups[name].person_defaults) for name in groups
    )
    common = Layer(join(root, "person_defaults"), project.person_defaults)
    return Scope("person", person, f"person {person}", ((own,), shared, (common,)))
