from dataclasses import replace

import pytest

from keyguard_jupyter.core.policy import Group, Project, Settings
from keyguard_jupyter.core.scopes import groups_in, scopes_of

from .policies import NOTHING, call

COURSE = Project(
    "default",
    settings=Settings(max_concurrent=9),
    groups={
        "b": Group(frozenset({"ada"}), Settings(max_concurrent=8), Settings(max_concurrent=3)),
        "a": Group(frozenset({"ada"}), person_defaults=Settings(max_concurrent=2)),
        "c": Group(frozenset({"bob"})),
    },
    people={"eve": Settings(max_concurrent=1)},
    person_defaults=Settings(max_concurrent=4),
)


def concurrency(person):
    """Return what is said of calls in flight at the person's own scope."""
    scope = scopes_of(COURSE, call(COURSE, person), NOTHING)[-2]
    return scope.spoken(lambda settings: settings.max_concurrent)


def test_scopes_run_from_wide_to_narrow():
    """The project, the caller's groups by name, the person, the key."""
    scopes = scopes_of(COURSE, call(COURSE), NOTHING)
    assert [(scope.kind, scope.name) for scope in scopes] == [
        ("project", "default"),
        ("group", "a"),
        ("group", "b"),
        ("person", "ada"),
        ("key", "key-1"),
    ]
    assert [scope.path for scope in scopes][1:] == [
        "projects.default.groups.a",
        "projects.default.groups.b",
        "projects.default.people.ada",
        "keys.key-1",
    ]


def test_a_setting_of_ones_own_replaces_the_defaults():
    """Defaults are for who has none."""
    assert concurrency("eve") == [("projects.default.people.eve", 1)]


def test_defaults_of_groups_come_before_those_of_the_project():
    """Those of several groups stand side by side."""
    assert concurrency("ada") == [
        ("projects.default.groups.a.person_defaults", 2),
        ("projects.default.groups.b.person_defaults", 3),
    ]


def test_a_stranger_has_the_defaults_of_the_project():
    """A person whom the project does not list, and whose groups have no default, has the project's."""
    assert concurrency("stranger") == [("projects.default.person_defaults", 4)]
    assert concurrency("bob") == [("projects.default.person_defaults", 4)]


def test_what_nobody_mentions_is_not_spoken():
    """Silence at every rank is an empty answer."""
    scope = scopes_of(COURSE, call(COURSE), NOTHING)[-2]
    assert scope.spoken(lambda settings: settings.max_output_tokens) == []


def test_groups_that_the_project_does_not_know_do_not_count():
    """Groups from elsewhere give no rights, and one that is named twice counts once."""
    assert groups_in(COURSE, call(COURSE, groups=("b", "hub", "b", "a"))) == ["a", "b"]


def test_a_caller_of_another_project_is_refused():
    """Rights of one project are never worked out for a caller of another."""
    with pytest.raises(AssertionError):
        scopes_of(COURSE, replace(call(COURSE), project="other"), NOTHING)
