import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.document import read, read_settings, write, write_settings
from keyguard_jupyter.core.policy import Budget, Group, Project, Settings
from keyguard_jupyter.errors import PolicyError

from .policies import ALLOW, BLOCKED, NOTHING, members, projects, settings, usd

REFERENCE = Path(__file__).parents[2] / "docs" / "policy.md"

SCREEN = """
projects:
  default:
    default: deny
    timezone: Europe/Berlin
    contact: Ada <ada@example.org>
    notice: "Exam on Friday"
    limits: {total: {amount: "100.00", window: lifetime}}
    models:
      gpt-3.5-turbo-1106:         {access: allow}
      gpt-3.5-turbo:              {access: members, groups: [team]}
      "ft:babbage-002:comp:38aa1134": {access: blocked}
    model_limits:
      gpt-3.5-turbo-1106:         {amount: "50.00"}
      gpt-4-1106-preview:         {amount: "30.00", window: month}
      gpt-3.5-turbo:              {amount: disabled}
      gpt-4:                      {amount: 40, until: 2027-01-31}
    hours: ["Mon-Fri 09:00-18:00"]
    pause: {"gpt-5*": "Not this week."}
    groups:
      team:
        members: [grace, ada]
        limits: {total: {amount: "40.00", window: month}}
        person_defaults: {max_concurrent: 2}
    people:
      ada:  {limits: {total: {amount: "5.00", window: week}}, models: {gpt-4: {access: allow}}}
      bob:  {expires_at: 2027-01-31T00:00:00Z, active: false, max_output_tokens: 1024}
      eve:
    person_defaults:
      limits: {total: {amount: "2.00", window: month}}
      requests_per_minute: 60
      tokens_per_minute: 9000
"""


def test_the_whole_format_is_read():
    """Every setting of the format arrives where it belongs."""
    assert read(yaml.safe_load(SCREEN)) == {
        "default": Project(
            "default",
            default="deny",
            timezone="Europe/Berlin",
            contact="Ada <ada@example.org>",
            notice="Exam on Friday",
            settings=Settings(
                total=usd("100"),
                models={
                    "gpt-3.5-turbo-1106": ALLOW,
                    "gpt-3.5-turbo": members("team"),
                    "ft:babbage-002:comp:38aa1134": BLOCKED,
                },
                model_limits={
                    "gpt-3.5-turbo-1106": usd("50"),
                    "gpt-4-1106-preview": usd("30", "month"),
                    "gpt-3.5-turbo": Budget(None),
                    "gpt-4": usd("40", until=datetime(2027, 1, 31, 23, tzinfo=UTC)),
                },
                hours=("Mon-Fri 09:00-18:00",),
                pause={"gpt-5*": "Not this week."},
            ),
            groups={
                "team": Group(
                    frozenset({"ada", "grace"}), Settings(total=usd("40", "month")), Settings(max_concurrent=2)
                )
            },
            people={
                "ada": Settings(total=usd("5", "week"), models={"gpt-4": ALLOW}),
                "bob": Settings(expires_at=datetime(2027, 1, 31, tzinfo=UTC), active=False, max_output_tokens=1024),
                "eve": NOTHING,
            },
            person_defaults=Settings(total=usd("2", "month"), requests_per_minute=60, tokens_per_minute=9000),
        )
    }


def test_a_new_project_denies():
    """What is not written is the safe thing: deny, UTC, nobody, nothing."""
    assert read({"projects": {"course": {}}}) == {"course": Project("course", default="deny", timezone="UTC")}


def test_a_policy_is_written_in_one_way():
    """Entries are sorted, amounts and times are text, and what says nothing is left out."""
    document = write(read(yaml.safe_load(SCREEN)))
    assert list(document["projects"]["default"]) == [
        *("default", "timezone", "contact", "notice", "limits", "models", "model_limits", "hours", "pause"),
        *("groups", "people", "person_defaults"),
    ]
    assert document["projects"]["default"]["model_limits"] == {
        "gpt-3.5-turbo": {"amount": "disabled", "window": "lifetime"},
        "gpt-3.5-turbo-1106": {"amount": "50.00", "window": "lifetime"},
        "gpt-4": {"amount": "40.00", "until": "2027-01-31T23:00:00Z"},
        "gpt-4-1106-preview": {"amount": "30.00", "window": "month"},
    }
    assert document["projects"]["default"]["groups"]["team"] == {
        "members": ["ada", "grace"],
        "limits": {"total": {"amount": "40.00", "window": "month"}},
        "person_defaults": {"max_concurrent": 2},
    }
    assert document["projects"]["default"]["people"]["bob"] == {
        "expires_at": "2027-01-31T00:00:00Z",
        "active": False,
        "max_output_tokens": 1024,
    }
    assert document["projects"]["default"]["people"]["eve"] == {}


@given(projects())
def test_what_is_written_is_read_back(project):
    """Through JSON and through YAML, a policy comes back as it was."""
    policy = {project.name: project}
    document = write(policy)
    assert read(document) == policy
    assert read(json.loads(json.dumps(document))) == policy
    assert read(yaml.load(yaml.dump(document, Dumper=yaml.CSafeDumper), Loader=yaml.CSafeLoader)) == policy


@given(settings)
def test_the_settings_of_a_key_are_written_and_read_back(any_settings):
    """The ledger keeps them as JSON."""
    assert read_settings(json.loads(json.dumps(write_settings(any_settings))), "keys.k1") == any_settings


def test_settings_that_say_nothing_are_an_empty_document():
    """A plain key is stored as nothing."""
    assert write_settings(NOTHING) == {}
    assert read_settings({}, "keys.k1") == NOTHING


def test_the_settings_of_a_key_are_checked_against_what_is_known():
    """Groups are checked when they are known; local times follow the zone that is given."""
    rule = {"models": {"gpt-4": {"access": "members", "groups": ["team"]}}}
    assert read_settings(rule, "settings").models == {"gpt-4": members("team")}
    with pytest.raises(PolicyError, match=r'settings\.models\.gpt-4\.groups: there is no group "team"$'):
        read_settings(rule, "settings", groups=frozenset())
    expiry = read_settings({"expires_at": date(2027, 1, 31)}, "settings", timezone="Europe/Berlin").expires_at
    assert expiry == datetime(2027, 1, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"limit": {}}, "limit", 'did you mean "limits"'),
        ({"members": ["ada"]}, "members", "there is no such setting"),
        ({"default": "blocked"}, "default", "write one of allow, deny, members"),
        ({"timezone": "Berlin"}, "timezone", '"Berlin" is not a time zone'),
        ({"contact": None}, "contact", "write a text here, not nothing"),
        ({"notice": ""}, "notice", "write a text here, not nothing"),
        ({"limits": None}, "limits", "write a mapping here, not nothing"),
        ({"limits": {}}, "limits", 'write "total:"'),
        ({"limits": {"week": {}}}, "limits.week", "there is no such setting"),
        ({"limits": {"total": "5.00"}}, "limits.total", "write a mapping here"),
        ({"limits": {"total": {}}}, "limits.total", 'write "amount:"'),
        ({"limits": {"total": {"amount": 5.0}}}, "limits.total.amount", "quote it"),
        ({"limits": {"total": {"amount": "-1"}}}, "limits.total.amount", "negative"),
        ({"limits": {"total": {"amount": "1", "window": "year"}}}, "limits.total.window", "lifetime, day, week, month"),
        ({"limits": {"total": {"amount": "1", "windw": "day"}}}, "limits.total.windw", 'did you mean "window"'),
        (
            {"limits": {"total": {"amount": "1", "window": "day", "until": "2027-01-01"}}},
            "limits.total",
            "write a window or until, not both",
        ),
        ({"limits": {"total": {"amount": "1", "until": "soon"}}}, "limits.total.until", "is not a date"),
        ({"models": {"gpt-3.5": "allow"}}, 'models."gpt-3.5"', "write {access: allow}"),
        ({"models": {"gpt-4": {}}}, "models.gpt-4", 'write "access:" with one of allow, deny, members, blocked'),
        ({"models": {"gpt-4": {"access": "yes"}}}, "models.gpt-4.access", "write one of"),
        ({"models": {"gpt-4": {"access": "members"}}}, "models.gpt-4.groups", "at least one"),
        ({"models": {"gpt-4": {"access": "allow", "groups": ["team"]}}}, "models.gpt-4.groups", "only with it"),
        (
            {"models": {"gpt-4": {"access": "members", "groups": ["taem"]}}, "groups": {"team": {}, "red": {}}},
            "models.gpt-4.groups",
            'there is no group "taem"; the project has red, team',
        ),
        ({"models": {"gpt-[4]": {"access": "deny"}}}, "models", "is not a model pattern"),
        ({"model_limits": {"*": {"amount": "1"}}}, "model_limits.*", "limits.total"),
        ({"pause": "now"}, "pause", "write a mapping here"),
        ({"pause": {"*": ""}}, "pause.*", "write a text here"),
        ({"hours": ["Mon 25:00-26:00"]}, "hours", "25:00 is not a time of day"),
        ({"active": "no"}, "active", "write true or false"),
        ({"max_concurrent": 0}, "max_concurrent", "at least 1"),
        ({"people": ["ada"]}, "people", "write a mapping here, not a list"),
        ({"people": {"ada": {"people": {}}}}, "people.ada.people", "there is no such setting"),
        ({"people": {"ada": {"expires_at": None}}}, "people.ada.expires_at", "not nothing"),
        ({"people": {42: {}}}, "people", "42 is not read as text"),
        ({"groups": {"team": None}}, "groups.team", "write a mapping here, not nothing"),
        ({"groups": {"team": {"members": "ada"}}}, "groups.team.members", "write a list here"),
        ({"groups": {"team": {"members": [7]}}}, "groups.team.members", "in quotes"),
        ({"person_defaults": {"models": {}}}, "person_defaults.models", "at the project, the group or the person"),
        ({"groups": {"a": {"person_defaults": {"active": True}}}}, "groups.a.person_defaults.active", "at the project"),
        ({"person_defaults": {"limts": {}}}, "person_defaults.limts", 'did you mean "limits"'),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_path(fields, path, problem):
    """The error names the field and says what to write."""
    with pytest.raises(PolicyError) as caught:
        read({"projects": {"default": fields}})
    assert caught.value.path == f"projects.default.{path}"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        ({"projects": None}, "projects"),
        ({"project": {}}, "project"),
        ({"projects": {}, "people": {}}, "people"),
        ({"projects": {"default": None}}, "projects.default"),
        ({"projects": {"": {}}}, "projects"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(document, path):
    """An empty file does not delete everything."""
    with pytest.raises(PolicyError) as caught:
        read(document)
    assert caught.value.path == path


words = st.sampled_from(
    [*re.findall(r"[a-z_]+", SCREEN), "*", "-1", "1e999999", "2027-01-31", "Mon 09:00-10:00", "UTC", "disabled"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_nothing_else_goes_wrong(value):
    """Whatever the document holds, it is read, or refused as a policy."""
    for document in (value, {"projects": {"default": value}}, {"projects": value}):
        try:
            projects = read(document)
        except PolicyError:
            continue
        assert read(write(projects)) == projects


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(projects:.*?)```", REFERENCE.read_text("utf-8"), re.DOTALL))
def test_the_examples_of_the_reference_are_read(example):
    """What the documentation shows can be applied as it stands."""
    projects = read(yaml.safe_load(example))
    assert projects
    assert read(write(projects)) == projects
