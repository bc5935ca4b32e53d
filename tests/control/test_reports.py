"""Usage, and what a caller may know of itself and of others."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyguard_jupyter.errors import GatewayError
from keyguard_jupyter.money import parse
from tests.support.caller import EMBEDDINGS, Caller, code_of
from tests.support.gateway import Gateway
from tests.support.standin import StandIn

POLICY: dict[str, Any] = {
    "projects": {
        "default": {
            "default": "deny",
            "contact": "grace@example.org",
            "notice": "Welcome.",
            "timezone": "Europe/Berlin",
            "limits": {"total": {"amount": "100.00"}},
            "models": {
                "gpt-4.1-mini": {"access": "allow"},
                "gpt-4.1": {"access": "members", "groups": ["team"]},
                "text-embedding-3-small": {"access": "allow"},
                "gpt-4o-search-preview": {"access": "allow"},
                "gpt-6.2-astra": {"access": "allow"},
                "gpt-4": {"access": "blocked"},
            },
            "groups": {
                "team": {"members": ["ada", "grace"], "limits": {"total": {"amount": "50.00", "window": "month"}}}
            },
            "people": {"ada": {"limits": {"total": {"amount": "5.00", "window": "week"}}}},
        },
        "other": {"default": "allow"},
        "pool": {
            "default": "allow",
            "groups": {"team": {"members": ["ada"], "limits": {"total": {"amount": "0.01", "window": "month"}}}},
        },
    }
}


@pytest.fixture(scope="module")
def gateway(one_provider: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run a gateway with a small course."""
    with Gateway(tmp_path_factory.mktemp("reports"), one_provider.url, policy=POLICY) as running:
        yield running


@pytest.fixture(scope="module")
def course(gateway: Gateway, one_provider: StandIn) -> dict[str, Caller]:
    """Let ada, bob and another project's ada make calls."""
    one_provider.clear()
    people = {
        "ada": Caller.new(gateway, person="ada", label="one"),
        "ada2": Caller.new(gateway, person="ada", kind="kernel", kernel_id="k1", notebook="a.ipynb"),
        "bob": Caller.new(gateway, person="bob"),
        "stranger": Caller.new(gateway, "other", person="ada"),
    }
    for caller in people.values():
        for _ in range(3):
            assert caller.chat(max_tokens=5).status_code == 200
    people["ada"].chat("gpt-4.1", max_tokens=5)
    people["ada"].chat(max_tokens=5, stream=True)
    people["bob"].send(EMBEDDINGS, {"model": "text-embedding-3-small", "input": "hi"})
    return people


def cost(rows: list[dict[str, Any]]) -> int:
    """Return what rows cost together."""
    return sum(parse(row["cost_usd"]) for row in rows)


def test_everybody_sees_their_own_calls(course: dict[str, Caller]) -> None:
    """A person's rows are those of all of their keys in their project, oldest first; or of the key that asks."""
    ada = course["ada"].send("/api/me/usage", method="GET").json()["rows"]
    assert len(ada) == 8
    assert ada == course["ada2"].send("/api/me/usage?key=all", method="GET").json()["rows"]
    assert {row["key_id"] for row in ada} == {course["ada"].id, course["ada2"].id}
    assert [int(row["id"]) for row in ada] == sorted(int(row["id"]) for row in ada)
    assert len(course["ada2"].send("/api/me/usage?key=self", method="GET").json()["rows"]) == 3
    assert len(course["stranger"].send("/api/me/usage", method="GET").json()["rows"]) == 3
    assert not [row for row in ada if {"person", "project", "groups"} & set(row)]
    kernel = next(row for row in ada if row["key_id"] == course["ada2"].id)
    assert (kernel["notebook"], kernel["kernel_id"]) == ("a.ipynb", "k1")
    assert [row["stream"] for row in ada].count(True) == 1


def test_rows_come_page_by_page(course: dict[str, Caller], gateway: Gateway) -> None:
    """Whatever the page, every row comes once, in order."""
    whole = gateway.admin.get("/api/usage")["rows"]
    assert len(whole) == 15
    for limit in (1, 4, 14, 15, 16):
        found: list[dict[str, Any]] = []
        after = None
        while True:
            page = gateway.admin.get("/api/usage", limit=limit, after=after)
            found += page["rows"]
            after = page["next"]
            if after is None:
                break
        assert found == whole
    last = whole[-1]["id"]
    assert gateway.admin.get("/api/usage", after=last) == {"rows": [], "next": None}


def test_sums_add_up(course: dict[str, Caller], gateway: Gateway) -> None:
    """Whichever way usage is grouped, it is all of it; a call of somebody in no group counts under none."""
    whole = gateway.admin.get("/api/usage")["rows"]
    for by in ("person", "model", "project", "key", "notebook", "day", "person,model", "model,person,day,notebook"):
        sums = gateway.admin.get("/api/usage", group_by=by)["rows"]
        assert cost(sums) == cost(whole), by
        assert sum(row["requests"] for row in sums) == 15
        assert {name for row in sums for name in row} >= set(by.split(","))
        costs = [parse(row["cost_usd"]) for row in sums]
        assert costs == sorted(costs, reverse=True)
    groups = {row["group"]: row for row in gateway.admin.get("/api/usage", group_by="group", project="default")["rows"]}
    assert {name: row["requests"] for name, row in groups.items()} == {"team": 8, None: 4}
    by_person = gateway.admin.get("/api/usage", group_by="person", project="default")["rows"]
    assert {row["person"]: row["requests"] for row in by_person} == {"ada": 8, "bob": 4}


def test_a_report_covers_what_is_asked_for(course: dict[str, Caller], gateway: Gateway) -> None:
    """Project, person and time narrow it; a time without zone is UTC, and the end is not included."""
    assert len(gateway.admin.get("/api/usage", project="other")["rows"]) == 3
    assert len(gateway.admin.get("/api/usage", person="ada")["rows"]) == 11
    assert len(gateway.admin.get("/api/usage", person="ada", project="default")["rows"]) == 8
    now = datetime.now(UTC)
    for since, until, count in (
        (now - timedelta(hours=1), None, 15),
        (now + timedelta(hours=1), None, 0),
        (None, now, 15),
    ):
        times = {"since": since and since.isoformat(), "until": until and until.isoformat().replace("+00:00", "Z")}
        assert len(gateway.admin.get("/api/usage", **times)["rows"]) == count
    first = gateway.admin.get("/api/usage")["rows"][0]["at"]
    assert gateway.admin.get("/api/usage", until=first)["rows"] == []
    assert len(gateway.admin.get("/api/usage", since=first.removesuffix("Z"))["rows"]) == 15


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=5001", "limit"),
        ("limit=-1", "limit"),
        ("limit=²", "limit"),
        ("limit=1e3", "limit"),
        ("limit=" + "0" * 5000 + "1", "limit"),
        ("limit=0000000010000000", "limit"),
        ("limit=", "limit"),
        ("after=x", "after"),
        ("after=²", "after"),
        ("after=-1", "after"),
        ("after=" + "9" * 30, "after"),
        ("since=yesterday", "since"),
        ("until=2027-02-30", "until"),
        ("since=", "since"),
    ],
    ids=lambda value: value[:24],
)
def test_a_question_that_is_wrong_is_explained(
    course: dict[str, Caller], gateway: Gateway, query: str, param: str
) -> None:
    """Numbers and times that are none are a 400 that names the parameter, for hosts and for callers."""
    for who, path in ((Caller(gateway, gateway.admin_key), "/api/usage"), (course["ada"], "/api/me/usage")):
        answer = who.send(f"{path}?{query}", method="GET")
        assert code_of(answer) == (400, "invalid_request")
        assert answer.json()["error"]["param"] == param


def test_unknown_groupings_are_explained(gateway: Gateway) -> None:
    """What usage cannot be grouped by is said, with what it can."""
    for by in ("nonsense", "person,nonsense", "cost", "usage.person"):
        with pytest.raises(GatewayError, match="group") as refused:
            gateway.admin.get("/api/usage", group_by=by)
        assert (refused.value.status, refused.value.code) == (400, "invalid_request")


# --- oneself --------------------------------------------------------------------------------------------------------


def test_me_shows_ones_own_figures_and_no_others(course: dict[str, Caller]) -> None:
    """Limits of one's own come with figures, shared pools with a state only, and nobody else is mentioned."""
    answer = course["ada"].send("/api/me", method="GET")
    me = answer.json()
    assert (me["person"], me["project"], me["groups"]) == ("ada", "default", ["team"])
    assert (me["contact"], me["notice"], me["state"], me["message"]) == ("grace@example.org", "Welcome.", "ok", None)
    assert me["key"]["id"] == course["ada"].id
    (own,) = me["limits"]
    assert (own["scope"], own["amount_usd"], own["window"]) == ("person", "5.00", "week")
    total = cost(course["ada"].send("/api/me/usage", method="GET").json()["rows"])
    assert parse(own["spent_usd"]) == total == parse(me["spent_usd"]["total"]) == parse(me["spent_usd"]["today"])
    assert parse(own["remaining_usd"]) == 5 * 10**9 - total
    assert own["fraction"] == pytest.approx(total / (5 * 10**9))
    assert parse(me["spent_usd"]["key"]) == cost(
        course["ada"].send("/api/me/usage?key=self", method="GET").json()["rows"]
    )
    pools = {pool["scope"]: pool for pool in me["pools"]}
    assert set(pools) == {"group", "project"}
    assert not [name for pool in pools.values() for name in pool if "usd" in name or name == "fraction"]
    assert pools["project"]["state"] == "ok"
    assert {"bob", "grace"}.isdisjoint(answer.text.replace("grace@example.org", "").replace('"', " ").split())
    assert [model["id"] for model in me["models"]] == ["gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small"]
    assert parse(me["remaining_usd"]) <= 5 * 10**9
    bob = course["bob"].send("/api/me", method="GET").json()
    assert bob["limits"] == []
    assert [pool["scope"] for pool in bob["pools"]] == ["project"]


def test_a_pool_says_when_it_is_nearly_used(one_provider: StandIn, gateway: Gateway) -> None:
    """A group's pool is ok, nearly used or used up; its figures are its owner's."""
    ada = Caller.new(gateway, "pool", person="ada")
    states = []
    for tokens in (10, 5800, 500):  # $1.60 per 1M
        one_provider.script(usage={"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens})
        states += [pool["state"] for pool in ada.send("/api/me", method="GET").json()["pools"]]
        assert ada.chat(max_tokens=10).status_code == 200
    states += [pool["state"] for pool in ada.send("/api/me", method="GET").json()["pools"]]
    assert states == ["ok", "ok", "nearly_used", "used_up"]
    refused = ada.chat(max_tokens=10)
    assert code_of(refused) == (402, "budget_exceeded")
    assert "group's monthly limit" in refused.json()["error"]["message"]
    assert "used up" in refused.json()["error"]["message"]
    assert "$" not in refused.text


@pytest.mark.parametrize(
    ("who", "model", "allowed", "code"),
    [
        ("ada", "gpt-4.1", True, None),
        ("bob", "gpt-4.1", False, "model_not_allowed"),
        ("bob", "gpt-4", False, "model_blocked"),
        ("bob", "gpt-5", False, "model_not_allowed"),
        ("bob", "gpt-6.2-astra", False, "model_unpriced"),
        ("bob", "gpt-4o-search-preview", False, "tool_not_allowed"),
        ("stranger", "gpt-4", True, None),
        ("stranger", "gpt-image-1", False, "invalid_request"),
    ],
)
def test_explain_says_what_a_call_would_meet(
    course: dict[str, Caller], who: str, model: str, allowed: bool, code: str | None
) -> None:
    """Allowed or not, why, by which rule, and what it costs; the same as a call would be told."""
    caller = course[who]
    told = caller.send(f"/api/explain?model={model}", method="GET").json()
    assert (told["model"], told["allowed"], told["code"]) == (model, allowed, code)
    assert told["reason"]
    assert told["rule"].startswith("projects.")
    assert told["steps"]
    if not allowed:
        assert caller.chat(model).json()["error"]["code"] == code
    if allowed:
        assert told["price"]["version"]
        assert parse(told["worst_case_usd"]) > 0
    amounts = [limit for limit in told["limits"] if "amount_usd" in limit]
    assert {limit["scope"] for limit in amounts} <= {"person", "key"}


def test_hosts_explain_anybody(course: dict[str, Caller], gateway: Gateway) -> None:
    """A host asks for a person, sees every figure, and is told what is missing."""
    told = gateway.admin.get("/api/explain", model="gpt-4.1", person="grace")
    assert told["allowed"] is True
    assert {limit["scope"] for limit in told["limits"] if "amount_usd" in limit} == {"group", "project"}
    assert gateway.admin.get("/api/explain", model="gpt-4.1", person="nobody")["allowed"] is False
    for query, status in (
        ({"model": "gpt-4.1"}, 400),
        ({"person": "ada"}, 400),
        ({"model": "m", "person": "a", "project": "x"}, 404),
    ):
        with pytest.raises(GatewayError) as refused:
            gateway.admin.get("/api/explain", **query)
        assert refused.value.status == status


def test_nobody_explains_somebody_else(course: dict[str, Caller]) -> None:
    """A caller that names another person is told about itself."""
    plain = course["bob"].send("/api/explain?model=gpt-4.1", method="GET").json()
    assert course["bob"].send("/api/explain?model=gpt-4.1&person=ada&project=other", method="GET").json() == plain
    assert code_of(course["bob"].send("/api/explain", method="GET")) == (400, "invalid_request")
