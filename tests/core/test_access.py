from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.matching import matches
from keyguard_jupyter.core.policy import Group, Project, Settings, decide, limits_for

from . import policies
from .policies import ALLOW, BLOCKED, DENY, NOTHING, NOW, PATTERNS, call, members, models, people, usd

projects = policies.projects(policies.rights, st.just(NOTHING))
keys = policies.rights
patterns = st.sampled_from(PATTERNS)

# The screen that the project began with: ten models, by default denied.
SCREEN = Project(
    "default",
    default="deny",
    settings=Settings(
        total=usd("100"),
        models={
            "gpt-3.5-turbo-1106": ALLOW,
            "gpt-3.5-turbo": members("team"),
            "ft:gpt-3.5-turbo*": members("team"),
            "gpt-4-1106-preview": members("team"),
            "gpt-4": members("team"),
            "babbage-002": ALLOW,
            "ft:babbage-002:comp:38aa1134": BLOCKED,
            "davinci-002": ALLOW,
            "ft:davinci-002:comp:38n5h353": members("team"),
        },
        model_limits={
            "gpt-3.5-turbo-1106": usd("50"),
            "gpt-3.5-turbo": replace(usd("0"), amount=None),
            "gpt-3.5-turbo-16k": usd("20"),
            "gpt-4-1106-preview": usd("30"),
            "gpt-4": usd("40"),
            "babbage-002": usd("10"),
            "davinci-002": usd("10"),
        },
    ),
    groups={"team": Group(frozenset({"ada"}))},
)


@pytest.mark.parametrize(
    ("model", "member", "stranger", "dollars"),
    [
        ("gpt-3.5-turbo-1106", None, None, 50),
        ("gpt-3.5-turbo", None, "model_not_allowed", None),
        ("gpt-3.5-turbo-16k", "model_not_allowed", "model_not_allowed", 20),
        ("ft:gpt-3.5-turbo-0613:comp::7p4lURel", None, "model_not_allowed", None),
        ("gpt-4-1106-preview", None, "model_not_allowed", 30),
        ("gpt-4", None, "model_not_allowed", 40),
        ("babbage-002", None, None, 10),
        ("ft:babbage-002:comp:38aa1134", "model_blocked", "model_blocked", None),
        ("davinci-002", None, None, 10),
        ("ft:davinci-002:comp:38n5h353", None, "model_not_allowed", None),
    ],
)
def test_the_screen_of_ten_models(model, member, stranger, dollars):
    """Each row holds for a member of the group and for somebody who is in none, and has its limit beside the total."""
    for person, code in (("ada", member), ("bob", stranger)):
        decision = decide(SCREEN, call(SCREEN, person), NOTHING, model, NOW)
        assert (decision.code, decision.allowed) == (code, code is None)
    limits = limits_for(SCREEN, call(SCREEN, "ada"), NOTHING, model, NOW)
    assert [limit.amount // 10**9 for limit in limits] == [100, *([dollars] if dollars else [])]


def ask(project, key=NOTHING, *, person="ada", model="gpt-4", groups=None):
    return decide(project, call(project, person, groups=groups), key, model, NOW)


def deciding(decision):
    """Return the only step that decides."""
    (step,) = [step for step in decision.steps if step.effect in ("decides", "blocked")]
    assert step.rule == decision.rule
    return step


def course(*, project=None, red=None, green=None, person=None, default="deny"):
    """Return a project with ada in two groups, and rules for gpt-4 at the scopes that are given."""

    def settings(rule):
        return Settings(models={"gpt-4": rule}) if rule else NOTHING

    return Project(
        "default",
        default=default,
        settings=settings(project),
        groups={
            "red": Group(frozenset({"ada"}), settings(red)),
            "green": Group(frozenset({"ada"}), settings(green)),
        },
        people={"ada": settings(person)},
    )


@pytest.mark.parametrize(
    ("rules", "key", "allowed", "scope", "rule"),
    [
        ({}, None, False, "project", "projects.default.default"),
        ({"default": "allow"}, None, True, "project", "projects.default.default"),
        ({"default": "members"}, None, True, "project", "projects.default.default"),
        ({"project": ALLOW}, None, True, "project", "projects.default.models.gpt-4"),
        ({"project": DENY, "default": "allow"}, None, False, "project", "projects.default.models.gpt-4"),
        ({"project": DENY, "red": ALLOW}, None, True, "group", "projects.default.groups.red.models.gpt-4"),
        ({"project": ALLOW, "red": DENY}, None, False, "group", "projects.default.groups.red.models.gpt-4"),
        ({"red": DENY, "green": ALLOW}, None, False, "group", "projects.default.groups.red.models.gpt-4"),
        ({"red": ALLOW, "green": DENY}, None, False, "group", "projects.default.groups.green.models.gpt-4"),
        ({"red": ALLOW, "green": members("staff")}, None, False, "group", "projects.default.groups.green.models.gpt-4"),
        ({"red": DENY, "person": ALLOW}, None, True, "person", "projects.default.people.ada.models.gpt-4"),
        ({"red": ALLOW, "person": DENY}, None, False, "person", "projects.default.people.ada.models.gpt-4"),
        (
            {"project": ALLOW, "person": members("red")},
            None,
            True,
            "person",
            "projects.default.people.ada.models.gpt-4",
        ),
        ({"project": ALLOW}, DENY, False, "key", "keys.key-1.models.gpt-4"),
        ({"project": ALLOW}, members("staff"), False, "key", "keys.key-1.models.gpt-4"),
        ({"project": ALLOW}, members("red"), True, "project", "projects.default.models.gpt-4"),
        ({"project": ALLOW}, ALLOW, True, "project", "projects.default.models.gpt-4"),
        ({"project": DENY}, ALLOW, False, "project", "projects.default.models.gpt-4"),
        ({}, ALLOW, False, "project", "projects.default.default"),
        ({"project": BLOCKED, "person": ALLOW}, ALLOW, False, "project", "projects.default.models.gpt-4"),
        ({"red": BLOCKED, "person": ALLOW}, None, False, "group", "projects.default.groups.red.models.gpt-4"),
        ({"person": BLOCKED}, ALLOW, False, "person", "projects.default.people.ada.models.gpt-4"),
        ({"project": ALLOW}, BLOCKED, False, "key", "keys.key-1.models.gpt-4"),
    ],
)
def test_which_scope_decides(rules, key, allowed, scope, rule):
    """The narrowest scope that speaks decides, among groups a refusal; a key only narrows; blocked always wins."""
    decision = ask(course(**rules), Settings(models={"gpt-4": key} if key else {}))
    assert (decision.allowed, deciding(decision).scope, decision.rule) == (allowed, scope, rule)
    blocked = BLOCKED in [*rules.values(), key]
    assert decision.code == (None if allowed else "model_blocked" if blocked else "model_not_allowed")


def test_the_default_members_needs_a_group_of_the_project():
    """Who is in none of its groups, or in groups of somebody else, is not a member."""
    project = course(default="members")
    assert ask(project, groups=("red",)).allowed
    assert not ask(project, groups=()).allowed
    assert not ask(project, groups=("jupyter-users",)).allowed


def test_a_rule_for_members_refuses_everybody_else_by_itself():
    """A rule that names groups decides for those outside too, even where the default allows."""
    project = course(project=members("red"), default="allow")
    assert ask(project).allowed
    decision = ask(project, person="bob")
    assert (decision.code, decision.rule) == ("model_not_allowed", "projects.default.models.gpt-4")


def test_a_key_without_a_rule_for_the_model_inherits():
    """A key's rules speak of what they name; a key for one model denies the rest itself."""
    project = course(project=ALLOW)
    assert ask(project, Settings(models={"gpt-4o": DENY})).allowed
    assert not ask(project, Settings(models={"*": DENY, "gpt-4o": ALLOW})).allowed


def test_the_chain_tells_what_every_scope_says():
    """Steps run wide to narrow, with those that say nothing, that agree, and that are overridden and by what."""
    decision = ask(course(project=ALLOW, red=DENY, person=ALLOW), Settings(models={"gpt-?": ALLOW}))
    assert [(s.scope, s.name, s.pattern, s.access, s.effect) for s in decision.steps] == [
        ("project", "default", None, "deny", "overridden by person ada"),
        ("project", "default", "gpt-4", "allow", "agrees"),
        ("group", "green", None, None, "says nothing"),
        ("group", "red", "gpt-4", "deny", "overridden by person ada"),
        ("person", "ada", "gpt-4", "allow", "decides"),
        ("key", "key-1", "gpt-?", "allow", "agrees"),
    ]
    assert decision.steps[2].rule == "projects.default.groups.green"


def test_a_key_that_asks_for_more_is_told_what_it_cannot_lift():
    """The step of the key names what stands above it."""
    decision = ask(course(red=DENY), Settings(models={"gpt-4": ALLOW}))
    assert decision.steps[-1].effect == "cannot lift group red"


def test_nothing_overrides_blocked():
    """Its step says so, and those that would allow are overridden by it."""
    decision = ask(course(project=BLOCKED, person=ALLOW))
    assert deciding(decision).effect == "blocked"
    assert decision.steps[-2].effect == "overridden by project default"


@pytest.mark.parametrize(
    ("rules", "person", "reason"),
    [
        ({"project": DENY}, "ada", 'not allowed for ada: the rule "gpt-4" of project default denies it'),
        (
            {"project": members("red", "green")},
            "bob",
            'not allowed for bob: the rule "gpt-4" of project default admits members of green, red only',
        ),
        ({"red": BLOCKED}, "ada", 'blocked: the rule "gpt-4" of group red blocks it, and nothing lifts that'),
        ({}, "ada", "not allowed for ada: the default of project default denies what no rule mentions"),
        (
            {"default": "members"},
            "bob",
            "not allowed for bob: the default of project default leaves what no rule mentions to members of its groups",
        ),
        ({"person": ALLOW}, "ada", 'allowed for ada: the rule "gpt-4" of person ada allows it'),
        (
            {"default": "members"},
            "ada",
            "allowed for ada: the default of project default leaves what no rule mentions to members of its groups",
        ),
    ],
)
def test_the_reason_says_what_and_why_and_whom_to_ask(rules, person, reason):
    """A person who is refused reads what was refused, by which rule, and where to turn."""
    decision = ask(course(**rules), person=person)
    assert decision.reason == f"gpt-4 is {reason}." + ("" if decision.allowed else " Ask the host if you need it.")


def test_the_reason_names_the_contact():
    """Where the project has a contact, that is whom to ask."""
    project = replace(course(), contact="Ada <ada@example.org>")
    assert ask(project).reason.endswith("Ask Ada <ada@example.org> if you need it.")


@given(projects, people, keys, models)
def test_every_decision_has_a_reason_and_one_rule(project, person, key, model):
    """There is a sentence, the path of a rule, and exactly one step that decides."""
    decision = ask(project, key, person=person, model=model)
    assert decision.reason.startswith(model)
    assert deciding(decision).rule == decision.rule
    assert decision.allowed == (decision.code is None)


@given(projects, people, keys, models)
def test_a_key_never_widens(project, person, key, model):
    """Whatever a key says, it opens nothing that its owner may not use."""
    if ask(project, key, person=person, model=model).allowed:
        assert ask(project, person=person, model=model).allowed


def _change_rule(project, scope, pattern, rule):
    """Return the project with one rule more, at the project, at a group or at ada."""

    def change(settings):
        return replace(settings, models={**settings.models, pattern: rule})

    if scope == "project":
        return replace(project, settings=change(project.settings))
    if scope == "ada":
        return replace(project, people={**project.people, "ada": change(project.people.get("ada", NOTHING))})
    group = project.groups[scope]
    return replace(project, groups={**project.groups, scope: replace(group, settings=change(group.settings))})


scopes = st.sampled_from(["project", *policies.GROUPS, "ada"])


@given(projects, keys, scopes, patterns, models)
def test_a_block_is_never_lifted(project, key, scope, pattern, model):
    """Whatever else is written, a model that a scope of the caller blocks is refused as blocked."""
    project = _change_rule(project, scope, pattern, BLOCKED)
    groups = ("red", "green", "blue")
    if matches(pattern, model):
        assert ask(project, key, model=model, groups=groups).code == "model_blocked"


@given(projects, keys, scopes, patterns, models)
def test_one_more_deny_never_allows_more(project, key, scope, pattern, model):
    """To write a deny anywhere, also beside or in place of another rule but a block, only narrows."""
    changed = _change_rule(project, scope, pattern, DENY)
    lifted = any(
        settings.models.get(pattern) == BLOCKED
        for settings in (
            project.settings,
            project.people.get("ada", NOTHING),
            *(group.settings for group in project.groups.values()),
        )
    )
    if not lifted and ask(changed, key, model=model).allowed:
        assert ask(project, key, model=model).allowed


@given(projects, people, keys, models)
def test_the_order_of_lines_does_not_matter(project, person, key, model):
    """Rules are a set: the file may list them, groups and people in any order."""
    turned = replace(
        project,
        settings=replace(project.settings, models=dict(reversed(project.settings.models.items()))),
        groups=dict(reversed(project.groups.items())),
        people=dict(reversed(project.people.items())),
    )
    assert ask(project, key, person=person, model=model) == ask(turned, key, person=person, model=model)
