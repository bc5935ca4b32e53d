from datetime import datetime

import pytest

from keyguard_jupyter.core.settings import Budget, Group, ModelRule, Project, Settings

from .policies import ALLOW, NOW, members


def test_the_order_of_groups_in_a_rule_does_not_matter():
    """Two rules that name the same groups are equal."""
    assert ModelRule("members", ("b", "a", "b")) == ModelRule("members", ("a", "b"))


@pytest.mark.parametrize(("access", "groups"), [("maybe", ()), ("members", ()), ("allow", ("team",))])
def test_a_rule_is_one_of_four(access, groups):
    """A rule with an unknown access, or with groups that it does not use, cannot be made."""
    with pytest.raises(ValueError):
        ModelRule(access, groups)


def test_a_rule_admits_members_of_any_group_it_names():
    """One of the groups is enough; allow needs none; deny admits nobody."""
    assert members("a", "b").admits(["b", "c"])
    assert not members("a", "b").admits(["c"])
    assert ALLOW.admits([])
    assert not ModelRule("deny").admits(["a"])
    assert not ModelRule("blocked").admits(["a"])


def test_a_budget_until_a_date_has_that_window():
    """It need not be said twice."""
    assert Budget(5, until=NOW).window == "until"
    assert Budget(5, "until", NOW) == Budget(5, until=NOW)


@pytest.mark.parametrize(
    ("amount", "window", "until"),
    [
        (-1, "lifetime", None),
        (1, "minute", None),
        (1, "until", None),
        (1, "week", NOW),
        (1, "lifetime", datetime(2026, 1, 1)),
    ],
)
def test_a_budget_that_means_nothing_cannot_be_made(amount, window, until):
    """Amounts are not negative, windows are known, and a date goes with no window."""
    with pytest.raises(ValueError):
        Budget(amount, window, until)


def test_a_limit_for_every_model_is_the_total():
    """There is one way to write it, so that no call counts twice against it."""
    with pytest.raises(ValueError, match="total"):
        Settings(model_limits={"*": Budget(5)})


def test_expiry_has_a_zone():
    """A naive time is never guessed to be of some zone."""
    with pytest.raises(ValueError, match="aware"):
        Settings(expires_at=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "settings", [Settings(models={"*": ALLOW}), Settings(active=False), Settings(pause={"*": "x"})]
)
def test_defaults_carry_no_rights(settings):
    """What defaults cannot do is refused rather than ignored."""
    with pytest.raises(ValueError, match="person_defaults"):
        Group(person_defaults=settings)
    with pytest.raises(ValueError, match="person_defaults"):
        Project("default", person_defaults=settings)


def test_a_project_has_one_of_three_defaults():
    """Anything else is refused, and a new project denies."""
    assert Project("default").default == "deny"
    with pytest.raises(ValueError, match="blocked"):
        Project("default", default="blocked")


def test_groups_of_a_person():
    """They are those that name the person, sorted."""
    project = Project("default", groups={"b": Group(frozenset({"ada"})), "a": Group(frozenset({"ada", "bob"}))})
    assert project.groups_of("ada") == ("a", "b")
    assert project.groups_of("eve") == ()
