"""Putting and showing the policy."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.caller import Caller, code_of
from tests.support.gateway import OPEN_POLICY, Gateway
from tests.support.standin import StandIn


@pytest.fixture(scope="module")
def gateway(one_provider: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run a gateway whose policy may be changed."""
    with Gateway(tmp_path_factory.mktemp("policy"), one_provider.url) as running:
        yield running


@pytest.fixture
def host(gateway: Gateway) -> Caller:
    """Give the host, with the open policy in force."""
    gateway.apply(OPEN_POLICY)
    return Caller(gateway, gateway.admin_key)


def put(host: Caller, body: Any, query: str = "", content_type: str = "application/yaml") -> Any:
    """Put a policy; text is YAML."""
    headers = {"Content-Type": content_type if isinstance(body, str | bytes) else "application/json"}
    return host.send(f"/api/policy{query}", body, "PUT", headers=headers)


def test_applying_twice_changes_nothing(host: Caller) -> None:
    """The same policy again is no change and no new revision; as YAML and as JSON alike."""
    first = put(host, OPEN_POLICY).json()
    assert first == {"changes": [], "applied": False, "revision": first["revision"]}
    as_yaml = host.send("/api/policy", method="GET", headers={"Accept": "application/yaml"}).text
    as_json = host.send("/api/policy", method="GET", headers={"Accept": "application/json"}).text
    assert yaml.safe_load(as_yaml) == json.loads(as_json)
    for text, kind in ((as_yaml, "application/yaml"), (as_json, "application/json"), (as_json, "text/plain")):
        assert put(host, text, content_type=kind).json() == first


def test_a_dry_run_shows_and_does_nothing(host: Caller) -> None:
    """With `dry_run` the difference is shown, field by field, and stays a difference."""
    wanted = json.loads(json.dumps(OPEN_POLICY))
    wanted["projects"]["default"]["people"]["ada"]["limits"]["total"]["amount"] = "7.00"
    wanted["projects"]["default"]["models"]["gpt-4o"] = {"access": "allow"}
    expected = {
        "projects.default.people.ada.limits.total.amount": ("5.00", "7.00"),
        "projects.default.models.gpt-4o.access": (None, "allow"),
    }
    for flag in ("true", "1", "yes", "TRUE"):
        shown = put(host, wanted, f"?dry_run={flag}").json()
        assert shown["applied"] is False
    done = put(host, wanted, "?dry_run=false").json()
    assert done["applied"] is True
    assert done["changes"] == shown["changes"]
    assert done["revision"] == shown["revision"] + 1
    found = {change["path"]: (change["before"], change["after"]) for change in done["changes"]}
    for path, values in expected.items():
        near = [key for key in found if path.startswith(key)]
        assert near, found
        assert len(near) == 1
        if near[0] == path:
            assert found[path] == values


@pytest.mark.parametrize("flag", ["ture", "", "2", "dry"])
def test_a_misspelt_dry_run_applies_nothing(host: Caller, flag: str) -> None:
    """What is neither yes nor no is refused, rather than taken for no."""
    answer = put(host, {"projects": {}}, f"?dry_run={flag}")
    assert code_of(answer) == (400, "invalid_request")
    assert answer.json()["error"]["param"] == "dry_run"
    assert put(host, OPEN_POLICY).json()["changes"] == []


BROKEN: list[tuple[str, str | None, str]] = [
    # text, param, words
    ("projects: {default: {limits: {total: {amount: 5.0}}}}", "projects.default.limits.total.amount", "quote"),
    ("projects: {default: {limit: {}}}", "projects.default.limit", "limits"),
    ("projects: {default: {default: maybe}}", "projects.default.default", ""),
    ("projects: {default: {timezone: Mars/Olympus}}", "projects.default.timezone", ""),
    ("projects: {default: {models: {gpt-4: allow}}}", "projects.default.models.gpt-4", ""),
    ("projects: [default]", "projects", ""),
    ("project: {}", None, "projects"),
    ("", None, ""),
    ("- a", None, ""),
    ("just text", None, ""),
    ("projects: {default: {contact: a, contact: b}}", None, "stands twice"),
    ("projects:\n  default:\n    contact: a\n  default:\n    contact: b\n", None, "line 4"),
    ("projects: {default: {people: {ada: {expires_at: 2027-13-45}}}}", None, "month"),
    ("projects: {default: {people: {ada: {expires_at: soon}}}}", "projects.default.people.ada.expires_at", ""),
    ("projects: {default: {contact: !!python/object/apply:os.system [ls]}}", None, "not valid YAML"),
    ("projects: {default: {contact: &a [*a]}}", "projects.default.contact", ""),
    ("projects: {default: {contact: 'x", None, "line"),
    ("projects: {? [a] : b}", None, ""),
    ("a: &a [x]\nb: &b [*a,*a]\nprojects: *b", None, ""),
    ('projects: {default: {contact: "\\ud800"}}', None, "Unicode"),
    ("[" * 20_000, None, ""),
    ("projects: \t{}", None, ""),
]


@pytest.mark.parametrize(("text", "param", "words"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_policy_that_cannot_be_used_is_explained(host: Caller, text: str, param: str | None, words: str) -> None:
    """The answer names the field or the line; what was in force stays in force."""
    answer = put(host, text)
    assert code_of(answer) == (400, "invalid_request")
    error = answer.json()["error"]
    assert error["param"] == param or param is None
    assert words in error["message"]
    assert len(error["message"]) < 2000
    assert put(host, OPEN_POLICY).json()["changes"] == []


def test_a_name_that_stands_twice_is_shown_with_its_line(host: Caller) -> None:
    """YAML would take the last of two, and say nothing."""
    answer = put(host, "projects:\n  default:\n    contact: a\n    contact: b\n")
    assert answer.json()["error"]["message"] == "line 4: 'contact' stands twice in one mapping"


def test_json_is_read_as_json(host: Caller) -> None:
    """What means something else in YAML, or nothing, arrives as it was written: tabs, pairs of escapes, doubled names."""
    text = '{"projects":\t{"default": {"notice": "caf\\u00e9 \\ud83c\\udf93 \\/"}}}'
    assert put(host, text, content_type="application/json").json()["applied"] is True
    shown = host.send("/api/policy", method="GET", headers={"Accept": "application/json"}).json()
    assert shown["projects"]["default"]["notice"] == "café \U0001f393 /"
    yaml_text = host.send("/api/policy", method="GET").text
    assert put(host, yaml_text).json()["changes"] == []
    twice = put(host, '{"projects": {}, "projects": {}}', content_type="application/json")
    assert code_of(twice) == (400, "invalid_request")


def test_a_policy_has_a_size(host: Caller) -> None:
    """More than eight megabytes are not read, and not UTF-8 is not guessed at."""
    assert code_of(put(host, b"#" * (8 * 2**20 + 1))) == (400, "invalid_request")
    assert code_of(put(host, b"projects: {\xff: {}}")) == (400, "invalid_request")


def test_a_large_course_is_applied(host: Caller) -> None:
    """Two thousand people with limits of their own are a policy like another."""
    people = {f"person-{number}": {"limits": {"total": {"amount": "1.00"}}} for number in range(2000)}
    policy = {"projects": {"default": {"default": "allow", "people": people}}}
    assert put(host, policy).json()["applied"] is True
    again = put(host, yaml.safe_dump(policy)).json()
    assert again["changes"] == []


def test_a_project_that_is_left_out_is_gone_with_its_keys(host: Caller, gateway: Gateway) -> None:
    """A policy is the whole policy: keys of a project that it does not name open nothing, until it is back."""
    more = {"projects": {**OPEN_POLICY["projects"], "course": {"default": "allow"}}}
    put(host, more)
    ada = Caller.new(gateway, "course", person="ada")
    assert ada.send("/v1/models", method="GET").status_code == 200
    put(host, OPEN_POLICY)
    assert code_of(ada.send("/v1/models", method="GET")) == (401, "invalid_api_key")
    put(host, more)
    assert ada.send("/v1/models", method="GET").status_code == 200


RULES: list[tuple[dict[str, Any], int, str]] = [
    ({"default": "deny"}, 403, "model_not_allowed"),
    ({"models": {"gpt-4.1*": {"access": "deny"}}}, 403, "model_not_allowed"),
    ({"models": {"gpt-4.1-mini": {"access": "blocked"}}}, 403, "model_blocked"),
    ({"default": "members"}, 403, "model_not_allowed"),
    ({"pause": {"*": "Back after lunch."}}, 403, "paused"),
    ({"hours": ["Mon 00:00-00:01"], "timezone": "UTC"}, 403, "outside_hours"),
    ({"expires_at": "2020-01-01"}, 401, "key_expired"),
    ({"active": False}, 401, "key_revoked"),
    ({"people": {"ada": {"expires_at": "2020-01-01"}}}, 401, "key_expired"),
    ({"people": {"ada": {"active": False}}}, 401, "key_revoked"),
    ({"limits": {"total": {"amount": "0.00"}}}, 402, "budget_exceeded"),
    ({"model_limits": {"gpt-*": {"amount": "0.000001"}}}, 402, "budget_exceeded"),
    ({"limits": {"total": {"amount": "5.00", "until": "2020-01-01"}}}, 402, "budget_exceeded"),
    ({"person_defaults": {"limits": {"total": {"amount": "0.00", "window": "month"}}}}, 402, "budget_exceeded"),
    ({"groups": {"team": {"members": ["ada"], "limits": {"total": {"amount": "0.00"}}}}}, 402, "budget_exceeded"),
    ({"tokens_per_minute": 5}, 429, "rate_limit_exceeded"),
]


@pytest.mark.parametrize(("rules", "status", "code"), RULES, ids=lambda value: str(value)[:50])
def test_a_rule_is_in_force_for_the_next_call(
    standin: StandIn, host: Caller, gateway: Gateway, rules: dict[str, Any], status: int, code: str
) -> None:
    """Whatever a policy says is what the next call meets, and `explain` and `me` agree with it."""
    put(host, {"projects": {"default": {"default": "allow"}}})
    ada = Caller.new(gateway, person="ada")
    assert ada.chat(max_tokens=5).status_code == 200
    put(host, {"projects": {"default": {"default": "allow", "contact": "grace@example.org", **rules}}})
    answer = ada.chat(max_tokens=5)
    assert code_of(answer) == (status, code)
    assert len(standin.requests) == 1
    told = ada.send("/api/explain?model=gpt-4.1-mini", method="GET").json()
    if status in {401, 403}:
        assert (told["allowed"], told["code"]) == (False, code)
        assert told["rule"].startswith("projects.default")
        assert answer.json()["error"]["message"] == told["reason"]
    me = ada.send("/api/me", method="GET").json()
    states = {"paused": "paused", "outside_hours": "outside_hours", "key_expired": "expired", "key_revoked": "revoked"}
    assert me["state"] == states.get(code, "ok")
    if status == 402:
        message = answer.json()["error"]["message"]
        assert "grace@example.org" in message
        assert "limit" in message
        assert answer.headers["x-should-retry"] == "false"
