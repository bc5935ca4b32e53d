from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given

from keyguard_jupyter.core.policy import Group, Project, Settings, decide, standing

from .policies import ALLOW, DENY, NOTHING, NOW, call, instants, models, people, projects, settings

OPEN = Settings(models={"*": ALLOW})
ASK = "Ask the host if you need it."
LATER = NOW + timedelta(days=400)


def course(*, project=NOTHING, team=NOTHING, ada=NOTHING, defaults=NOTHING, team_defaults=NOTHING):
    """Return a project that allows every model, with settings at the scopes that are given."""
    return Project(
        "default",
        default="allow",
        timezone="Europe/Berlin",
        settings=project,
        groups={"team": Group(frozenset({"ada"}), team, team_defaults)},
        people={"ada": ada},
        person_defaults=defaults,
    )


def ask(project, key=NOTHING, *, person="ada", model="gpt-4", now=NOW):
    return decide(project, call(project, person), key, model, now)


PLACES = [
    ("project", "projects.default", "Project default"),
    ("team", "projects.default.groups.team", "Group team"),
    ("ada", "projects.default.people.ada", "Person ada"),
    ("key", "keys.key-1", "Key …35a3"),
]


def place(where, value):
    """Return a project and a key with settings at one place."""
    return (course(), value) if where == "key" else (course(**{where: value}), NOTHING)


@pytest.mark.parametrize(("where", "path", "label"), PLACES)
def test_each_scope_can_be_switched_off(where, path, label):
    """An inactive project, group, person or key refuses with key_revoked, and the message names it."""
    decision = ask(*place(where, Settings(active=False)))
    assert (decision.code, decision.rule) == ("key_revoked", f"{path}.active")
    assert decision.reason == f"{label} is switched off. {ASK}"


@pytest.mark.parametrize(("where", "path", "label"), PLACES)
def test_each_scope_can_expire(where, path, label):
    """From the instant on, the call is refused with key_expired; just before, it is not."""
    project, key = place(where, Settings(expires_at=NOW))
    decision = ask(project, key)
    assert (decision.code, decision.rule) == ("key_expired", f"{path}.expires_at")
    assert decision.reason == f"{label} expired on Mon 2026-11-23 13:00 (Europe/Berlin). {ASK}"
    assert ask(project, key, now=NOW - timedelta(microseconds=1)).allowed


@pytest.mark.parametrize(("where", "path", "label"), PLACES)
def test_each_scope_can_pause(where, path, label):
    """A pause shows the host's message."""
    decision = ask(*place(where, Settings(pause={"gpt-4*": "Budget talk at noon"})))
    assert (decision.code, decision.rule) == ("paused", f"{path}.pause.gpt-4*")
    name = label[0].lower() + label[1:]
    assert decision.reason == f"gpt-4 is paused by {name}: Budget talk at noon. {ASK}"


@pytest.mark.parametrize(("where", "path", "label"), PLACES)
def test_each_scope_can_have_hours(where, path, label):
    """Outside them the call is refused, and the message says when it opens next."""
    decision = ask(*place(where, Settings(hours=("Mon-Fri 08:00-12:00", "Tue 14:00-15:00"))))
    assert (decision.code, decision.rule) == ("outside_hours", f"{path}.hours")
    assert decision.reason == (
        f"{label} is closed now; its hours are Mon-Fri 08:00-12:00, Tue 14:00-15:00 (Europe/Berlin). "
        f"It opens next on Tue 2026-11-24 08:00 (Europe/Berlin). {ASK}"
    )


def test_a_pause_of_other_models_does_not_bind():
    """Only the models that the pattern names are paused."""
    project = course(project=Settings(pause={"gpt-5*": "Later."}))
    assert ask(project).allowed
    assert standing(project, call(project), NOTHING, NOW).allowed


def test_the_most_exact_pause_speaks():
    """Of several messages at one scope the one that fits best is shown, and its full stop is kept."""
    decision = ask(course(project=Settings(pause={"*": "All.", "gpt-4": "This one!"})))
    assert decision.reason == f"gpt-4 is paused by project default: This one! {ASK}"


def test_nothing_narrower_lifts_a_refusal():
    """A person's allow, hours or later expiry changes nothing about the project's."""
    free = Settings(models={"*": ALLOW}, expires_at=LATER, hours=("Mon-Sun 00:00-24:00",))
    for closed, code in (
        (Settings(active=False), "key_revoked"),
        (Settings(expires_at=NOW), "key_expired"),
        (Settings(pause={"*": "Off."}), "paused"),
        (Settings(hours=("Sun 10:00-11:00",)), "outside_hours"),
    ):
        assert ask(course(project=closed, ada=free), free).code == code


def test_hours_of_several_scopes_all_bind():
    """The opening that is told is when all are open."""
    project = course(project=Settings(hours=("Mon-Fri 09:00-18:00",)), team=Settings(hours=("Wed 16:00-20:00",)))
    assert "opens next on Wed 2026-11-25 16:00" in ask(project).reason
    assert ask(project, now=datetime(2026, 11, 25, 16, 59, tzinfo=UTC)).allowed
    assert not ask(project, now=datetime(2026, 11, 25, 17, 0, tzinfo=UTC)).allowed


def test_hours_that_never_meet_promise_nothing():
    """The message says that it never opens, rather than a time."""
    project = course(project=Settings(hours=("Tue 09:00-10:00",)), team=Settings(hours=("Wed 09:00-10:00",)))
    assert "It never opens: other hours that apply exclude these." in ask(project).reason


def test_defaults_give_expiry_and_hours_to_those_without_their_own():
    """An extension for one person is their own setting."""
    project = course(team_defaults=Settings(expires_at=NOW, hours=("Sun 10:00-11:00",)))
    assert ask(project).rule == "projects.default.groups.team.person_defaults.expires_at"
    extended = replace(project, people={"ada": Settings(expires_at=LATER)})
    assert ask(extended).rule == "projects.default.groups.team.person_defaults.hours"
    free = replace(project, people={"ada": Settings(expires_at=LATER, hours=("Mon-Sun 00:00-24:00",))})
    assert ask(free).allowed
    assert ask(project, person="bob").allowed


def test_the_earliest_of_several_default_expiries_holds():
    """Of the groups' defaults the strictest counts, and all their hours do."""

    def group(expires_at, hours):
        return Group(frozenset({"ada"}), person_defaults=Settings(expires_at=expires_at, hours=hours))

    project = Project(
        "default",
        default="allow",
        groups={"a": group(LATER, ("Mon 08:00-13:00",)), "b": group(NOW + timedelta(hours=1), ("Mon 11:00-20:00",))},
    )
    assert ask(project, now=NOW).allowed
    assert ask(project, now=NOW + timedelta(hours=1)).code == "key_expired"
    assert ask(project, now=NOW - timedelta(hours=2)).rule == "projects.default.groups.b.person_defaults.hours"


def test_what_is_not_allowed_is_not_promised_for_later():
    """A model that is denied is refused as such during a pause and outside hours; an expired key as expired."""
    shut = Settings(models={"gpt-4": DENY}, pause={"*": "Off."}, hours=("Sun 10:00-11:00",))
    assert ask(course(project=shut)).code == "model_not_allowed"
    assert ask(course(project=shut), model="o3").code == "paused"
    assert ask(course(project=shut), Settings(expires_at=NOW)).code == "key_expired"
    assert ask(course(project=shut), Settings(expires_at=NOW, active=False)).code == "key_revoked"


def test_the_chain_ends_with_what_refuses():
    """The rule that would have decided is shown as overridden."""
    decision = ask(course(project=Settings(models={"gpt-4": ALLOW}, pause={"*": "Off."})))
    assert [(step.scope, step.access, step.effect) for step in decision.steps] == [
        ("project", "allow", "agrees"),
        ("project", "allow", "overridden by project default (paused)"),
        ("group", None, "says nothing"),
        ("person", None, "says nothing"),
        ("key", None, "says nothing"),
        ("project", "paused", "decides"),
    ]
    assert decision.steps[-1].pattern == "*"


def test_standing_without_a_model():
    """A caller who may call has no code; one who may not is told why, without a model in the message."""
    project = course()
    decision = standing(project, call(project), NOTHING, NOW)
    assert (decision.allowed, decision.code, decision.rule, decision.steps) == (True, None, "projects.default", ())
    assert decision.reason == "ada may call models now."
    paused = course(project=Settings(pause={"*": "Exam until 14:00."}))
    decision = standing(paused, call(paused), NOTHING, NOW)
    assert (decision.code, len(decision.steps)) == ("paused", 1)
    assert decision.reason == f"Everything is paused by project default: Exam until 14:00. {ASK}"


def test_times_without_a_zone_are_refused():
    """A naive time is never guessed to be of some zone."""
    naive = datetime(2026, 11, 23)
    with pytest.raises(AssertionError):
        ask(course(), now=naive)
    with pytest.raises(AssertionError):
        standing(course(), call(course()), NOTHING, naive)


@given(projects(), people, settings, models, instants())
def test_a_refusal_of_everything_refuses_each_model(project, person, key, model, now):
    """Who may not call at all may call no model, and every refusal has one deciding step, a reason and a rule."""
    general = standing(project, call(project, person), key, now)
    decision = ask(project, key, person=person, model=model, now=now)
    assert general.allowed or not decision.allowed
    assert decision.reason
    assert [step.rule for step in decision.steps if step.effect in ("decides", "blocked")] == [decision.rule]
    assert decision.allowed == (decision.code is None)


@given(projects(), people, settings, models, instants())
def test_no_key_opens_what_is_closed_to_its_owner(project, person, key, model, now):
    """A key narrows the time too."""
    if ask(project, key, person=person, model=model, now=now).allowed:
        assert ask(project, person=person, model=model, now=now).allowed
