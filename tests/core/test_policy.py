from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core import policy
from keyguard_jupyter.core.matching import matches
from keyguard_jupyter.core.policy import (
    Budget,
    Group,
    Project,
    Settings,
    decide,
    limits_for,
    limits_of,
    output_cap_for,
    standing,
    valid_until,
)

from .policies import NOTHING, NOW, call, instants, models, people, projects, settings, usd

WEEK = datetime(2026, 11, 22, 23, tzinfo=UTC)


def team(*, group=NOTHING, group_defaults=NOTHING, ada=NOTHING, defaults=NOTHING, project=NOTHING):
    """Return a project with ada in one group, and settings at the places that are given."""
    return Project(
        "default",
        timezone="Europe/Berlin",
        settings=project,
        groups={"team": Group(frozenset({"ada"}), group, group_defaults)},
        people={"ada": ada},
        person_defaults=defaults,
    )


def limits(project, key=NOTHING, *, person="ada", model="gpt-4", now=NOW):
    """Return where each limit of a call is written, with its amount."""
    return {limit.rule: limit.amount for limit in limits_for(project, call(project, person), key, model, now)}


def test_the_names_that_others_import_are_there():
    """The page of interfaces names them at this place."""
    assert [name for name in policy.__all__ if not hasattr(policy, name)] == []


def test_a_limit_of_every_scope_applies():
    """A call counts against the project's pool, the group's pool, the person and the key, all at once."""
    project = team(project=Settings(total=usd("100")), group=Settings(total=usd("40", "month")))
    project = replace(project, people={"ada": Settings(total=usd("5", "week"))})
    found = limits_for(project, call(project), Settings(total=usd("1")), "gpt-4", NOW)
    assert [(limit.scope, limit.name, limit.window, limit.amount // 10**9) for limit in found] == [
        ("group", "team", "month", 40),
        ("key", "key-1", "lifetime", 1),
        ("person", "ada", "week", 5),
        ("project", "default", "lifetime", 100),
    ]
    assert [limit.counter for limit in found] == sorted(limit.counter for limit in found)
    assert {limit.rule for limit in found} == {
        "projects.default.groups.team.limits.total",
        "keys.key-1.limits.total",
        "projects.default.people.ada.limits.total",
        "projects.default.limits.total",
    }
    assert found[2].starts_at == WEEK
    assert found[2].resets_at == WEEK + timedelta(days=7)


def test_every_limit_for_a_model_applies_beside_the_total():
    """All patterns that match count; one that is disabled sets no limit and takes none away."""
    project = team(
        project=Settings(
            total=usd("100"),
            model_limits={"gpt-*": usd("50"), "gpt-4": Budget(None), "gpt-4*": usd("30", "day"), "o3": usd("1")},
        )
    )
    assert limits(project) == {
        "projects.default.limits.total": 100 * 10**9,
        "projects.default.model_limits.gpt-*": 50 * 10**9,
        "projects.default.model_limits.gpt-4*": 30 * 10**9,
    }


def test_rates_are_limits_of_their_own_units():
    """Requests and tokens count by the minute, calls in flight without a window; a group's are shared."""
    rates = Settings(requests_per_minute=60, tokens_per_minute=9000, max_concurrent=4)
    project = team(group=rates, ada=replace(rates, requests_per_minute=6))
    found = limits_for(project, call(project), NOTHING, "gpt-4", NOW)
    assert [(limit.scope, limit.unit, limit.window, limit.amount) for limit in found] == [
        ("group", "concurrent", "lifetime", 4),
        ("group", "requests", "minute", 60),
        ("group", "tokens", "minute", 9000),
        ("person", "concurrent", "lifetime", 4),
        ("person", "requests", "minute", 6),
        ("person", "tokens", "minute", 9000),
    ]
    assert {limit.pattern for limit in found} == {"*"}
    assert found[1].resets_at == NOW + timedelta(minutes=1)
    assert found[1].rule == "projects.default.groups.team.requests_per_minute"
    assert limits_of(project, call(project), NOTHING, NOW) == ()


def test_after_its_date_a_budget_grants_nothing():
    """The limit still applies, with nothing in it, so that the calls are refused and not free."""
    project = team(ada=Settings(total=usd("5", until=NOW)))
    before, after = (
        limits_for(project, call(project), NOTHING, "o3", now) for now in (NOW - timedelta(seconds=1), NOW)
    )
    assert (before[0].amount, after[0].amount) == (5 * 10**9, 0)
    assert after[0].resets_at == NOW
    assert before[0].counter == after[0].counter


@pytest.mark.parametrize(
    ("own", "group", "project", "expected"),
    [
        (usd("9"), usd("3"), usd("2"), {"projects.default.people.ada.limits.total": 9}),
        (Budget(None), usd("3"), usd("2"), {}),
        (None, usd("3"), usd("2"), {"projects.default.groups.team.person_defaults.limits.total": 3}),
        (None, Budget(None), usd("2"), {}),
        (None, None, usd("2"), {"projects.default.person_defaults.limits.total": 2}),
        (None, None, None, {}),
    ],
)
def test_ones_own_total_replaces_the_defaults(own, group, project, expected):
    """One's own comes first, also when it is higher or disabled; then the group's default, then the project's."""
    found = team(ada=Settings(total=own), group_defaults=Settings(total=group), defaults=Settings(total=project))
    assert limits(found) == {rule: dollars * 10**9 for rule, dollars in expected.items()}


def two_groups(one, other):
    """Return a project with ada in two groups, each with a default total."""
    return Project(
        "default",
        groups={
            "a": Group(frozenset({"ada"}), person_defaults=Settings(total=one)),
            "b": Group(frozenset({"ada"}), person_defaults=Settings(total=other)),
        },
    )


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [
        (usd("3"), usd("2"), "b"),
        (Budget(None), usd("20"), "b"),
        (usd("2", "day"), usd("2", "month"), "b"),
        (usd("2", "week"), usd("2", "lifetime"), "b"),
        (usd("2"), usd("2"), "a"),
    ],
)
def test_of_several_default_totals_the_smallest_amount_holds(one, other, winner):
    """A disabled one is the largest; of equal amounts the one that lasts longer holds."""
    assert list(limits(two_groups(one, other))) == [f"projects.default.groups.{winner}.person_defaults.limits.total"]


def test_of_several_default_rates_the_smallest_holds():
    """The same goes for each other setting."""
    project = two_groups(None, None)
    slow = replace(project.groups["b"], person_defaults=Settings(requests_per_minute=5, max_output_tokens=100))
    fast = replace(project.groups["a"], person_defaults=Settings(requests_per_minute=50, max_output_tokens=900))
    project = replace(project, groups={"a": fast, "b": slow})
    assert limits(project) == {"projects.default.groups.b.person_defaults.requests_per_minute": 5}
    assert output_cap_for(project, call(project), NOTHING) == 100


def test_a_default_for_a_model_is_replaced_pattern_by_pattern():
    """A setting of one's own for one model leaves the defaults for others."""
    project = team(
        ada=Settings(model_limits={"gpt-4": usd("9")}),
        group_defaults=Settings(model_limits={"gpt-4": usd("1"), "gpt-*": usd("2")}),
        defaults=Settings(model_limits={"*4": usd("3")}),
    )
    assert limits(project) == {
        "projects.default.people.ada.model_limits.gpt-4": 9 * 10**9,
        "projects.default.groups.team.person_defaults.model_limits.gpt-*": 2 * 10**9,
        "projects.default.person_defaults.model_limits.*4": 3 * 10**9,
    }


def test_a_person_limit_from_a_default_is_ones_own_pool():
    """The default says how much; it is counted per person."""
    project = team(defaults=Settings(total=usd("2")))
    (limit,) = limits_for(project, call(project, "stranger"), NOTHING, "gpt-4", NOW)
    assert (limit.scope, limit.name) == ("person", "stranger")


def test_the_smallest_output_cap_holds():
    """A cap at any scope binds; a person's own replaces the defaults only."""
    project = team(project=Settings(max_output_tokens=800), defaults=Settings(max_output_tokens=100))
    assert output_cap_for(project, call(project), NOTHING) == 100
    project = replace(project, people={"ada": Settings(max_output_tokens=900)})
    assert output_cap_for(project, call(project), NOTHING) == 800
    assert output_cap_for(project, call(project), Settings(max_output_tokens=64)) == 64
    assert output_cap_for(team(), call(team()), NOTHING) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (NOTHING, NOW + timedelta(days=1)),
        (Settings(total=usd("5", "day")), datetime(2026, 11, 23, 23, tzinfo=UTC)),
        (Settings(model_limits={"o3": usd("5", "day")}), datetime(2026, 11, 23, 23, tzinfo=UTC)),
        (Settings(total=usd("5", until=NOW + timedelta(hours=1))), NOW + timedelta(hours=1)),
        (Settings(total=usd("5", until=NOW)), NOW + timedelta(days=1)),
        (Settings(expires_at=NOW + timedelta(minutes=2)), NOW + timedelta(minutes=2)),
        (Settings(expires_at=NOW), NOW + timedelta(days=1)),
        (Settings(hours=("Mon 09:00-18:00",)), datetime(2026, 11, 23, 17, tzinfo=UTC)),
        (Settings(requests_per_minute=5), NOW + timedelta(minutes=1)),
        (Settings(max_concurrent=5), NOW + timedelta(days=1)),
    ],
)
def test_answers_hold_until_the_next_change(settings, expected):
    """A reset, an expiry, an opening or the next minute ends them; a day does at the latest."""
    for project, key in ((team(ada=settings), NOTHING), (team(), settings)):
        assert valid_until(project, call(project), key, NOW) == expected


@given(projects(), people, settings, models, instants(), st.floats(0, 1, exclude_max=True))
def test_answers_do_not_change_before_they_are_said_to(project, person, key, model, now, part):
    """What is decided now can be used, word for word, until that instant."""
    caller = call(project, person)
    end = valid_until(project, caller, key, now)
    assert now < end <= now + timedelta(days=1)
    later = min(now + part * (end - now), end - timedelta(microseconds=1))
    for answer in (
        lambda at: decide(project, caller, key, model, at),
        lambda at: standing(project, caller, key, at),
        lambda at: limits_for(project, caller, key, model, at),
        lambda at: limits_of(project, caller, key, at),
    ):
        assert answer(now) == answer(later)


@given(projects(), people, settings, models, instants())
def test_every_limit_that_is_written_for_the_caller_applies(project, person, key, model, now):
    """No amount of a scope is left out, none that is disabled or for other models is in, no counter comes twice."""
    caller = call(project, person)
    found = limits_for(project, caller, key, model, now)
    scopes = {("project", project.name): project.settings, ("key", caller.key_id): key}
    scopes |= {("group", name): project.groups[name].settings for name in caller.groups}
    scopes |= {("person", person): project.people.get(person, NOTHING)}
    for (scope, name), written in scopes.items():
        mine = {(limit.unit, limit.pattern) for limit in found if (limit.scope, limit.name) == (scope, name)}
        for pattern, budget in {"*": written.total, **written.model_limits}.items():
            if budget and matches(pattern, model):
                assert (("usd", pattern) in mine) == (budget.amount is not None)
        if written.requests_per_minute:
            assert ("requests", "*") in mine
        if written.max_concurrent:
            assert ("concurrent", "*") in mine
    assert len({limit.counter for limit in found}) == len(found)
    assert all(matches(limit.pattern, model) for limit in found)
    assert {limit for limit in found if limit.unit == "usd"} <= set(limits_of(project, caller, key, now))


@given(projects(), people, settings, models, instants())
def test_a_key_takes_no_limit_away(project, person, key, model, now):
    """With any key, all limits of its owner still apply, and no cap grows."""
    caller = call(project, person)
    assert set(limits_for(project, caller, NOTHING, model, now)) <= set(limits_for(project, caller, key, model, now))
    owner, narrowed = output_cap_for(project, caller, NOTHING), output_cap_for(project, caller, key)
    assert owner is None or (narrowed is not None and narrowed <= owner)
