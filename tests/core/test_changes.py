from dataclasses import replace

import pytest
from hypothesis import given, settings

from keyguard_jupyter.core.changes import Change
from keyguard_jupyter.core.document import difference, read

from .policies import projects


def course(**fields):
    return read({"projects": {"default": fields}})


def test_equal_policies_have_no_difference():
    """Applying the same file twice changes nothing."""
    assert difference(course(), course()) == []


def test_a_new_amount_is_one_change():
    """The path leads to the value, with what it was and what it becomes."""
    old, new = (course(limits={"total": {"amount": amount, "window": "week"}}) for amount in ("5.00", "6"))
    assert difference(old, new) == [Change("projects.default.limits.total.amount", "5.00", "6.00")]


def test_what_is_new_or_gone_is_one_change_with_all_it_holds():
    """None stands for what is not there, and an empty entry is not nothing."""
    old, new = course(people={"bob": {}}), course(people={"ada": {"max_concurrent": 2}, "eve": {}})
    assert difference(old, new) == [
        Change("projects.default.people.ada", None, {"max_concurrent": 2}),
        Change("projects.default.people.bob", {}, None),
        Change("projects.default.people.eve", None, {}),
    ]


def test_members_come_and_go_one_by_one():
    """A group of three hundred is not shown twice for one who joins."""
    old, new = (course(groups={"team": {"members": members}}) for members in (["ada", "bob"], ["eve", "bob"]))
    assert difference(old, new) == [
        Change("projects.default.groups.team.members.ada", True, None),
        Change("projects.default.groups.team.members.eve", None, True),
    ]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_order_of_members_and_groups_does_not_matter(turn):
    """They are sets."""
    rule = {"gpt-4": {"access": "members", "groups": ["a", "b"][::turn]}}
    groups = {"a": {"members": ["ada", "bob"][::turn]}, "b": {}}
    assert difference(course(models=rule, groups=groups), course(models=rule, groups=groups)) == []
    other = {"gpt-4": {"access": "members", "groups": ["b", "a"]}}
    assert difference(course(models=rule, groups=groups), course(models=other, groups=groups)) == []


def test_a_project_that_goes_is_shown():
    """Nothing that a file leaves out goes unnoticed."""
    assert [change.path for change in difference(course(), read({"projects": {}}))] == ["projects.default"]


@settings(max_examples=50)  # two whole policies each
@given(projects(), projects())
def test_there_is_a_difference_exactly_between_different_policies(one, other):
    """No change is hidden, each path comes once, and the way back is the same with the sides exchanged."""
    one, other = {"p": replace(one, name="p")}, {"p": replace(other, name="p")}
    forth, back = difference(one, other), difference(other, one)
    assert bool(forth) == (one != other)
    assert [(change.path, change.before, change.after) for change in forth] == [
        (change.path, change.after, change.before) for change in back
    ]
    assert len({change.path for change in forth}) == len(forth)
    assert all(change.before != change.after for change in forth)
