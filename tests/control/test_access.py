"""Who may ask for what: every route, with every kind of key."""

import pytest

from tests.support.caller import Caller, code_of
from tests.support.gateway import Gateway

HOSTS = [
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("POST", "/api/keys/renew"),
    ("DELETE", "/api/keys/x"),
    ("GET", "/api/policy"),
    ("PUT", "/api/policy"),
    ("PUT", "/api/policy?dry_run=true"),
    ("GET", "/api/usage"),
    ("GET", "/api/usage?group_by=person"),
]
OWN = [("GET", "/api/me"), ("GET", "/api/me/usage"), ("GET", "/api/explain?model=gpt-4.1-mini")]
BODY = {"person": "ada", "ids": ["x"], "lease_seconds": 60, "projects": {}}


@pytest.mark.parametrize(("method", "path"), HOSTS + OWN)
@pytest.mark.parametrize(
    "key", [None, "sk-kg-" + "x" * 43, "sk-kg-admin-" + "x" * 43, "nonsense", "keyguard-unavailable"]
)
def test_strangers_get_nothing(shared: Gateway, method: str, path: str, key: str | None) -> None:
    """Without a key that is known, every route of the API is a 401."""
    answer = Caller(shared, key).send(path, BODY if method != "GET" else None, method)
    assert code_of(answer) == (401, "invalid_api_key")


@pytest.mark.parametrize(("method", "path"), HOSTS)
def test_the_hosts_verbs_need_the_hosts_key(caller: Caller, method: str, path: str) -> None:
    """A caller's key, however good, is a 403 there, and changes nothing."""
    before = caller.gateway.admin.get("/api/policy"), caller.gateway.admin.get("/api/keys")
    assert code_of(caller.send(path, BODY if method != "GET" else None, method)) == (403, "forbidden")
    assert (caller.gateway.admin.get("/api/policy"), caller.gateway.admin.get("/api/keys")) == before


@pytest.mark.parametrize(("method", "path"), OWN)
def test_a_caller_may_ask_about_itself(caller: Caller, method: str, path: str) -> None:
    """The routes about oneself are open to every key that lives, and to no other."""
    assert caller.send(path, method=method).status_code == 200
    caller.gateway.admin.delete(f"/api/keys/{caller.id}")
    assert code_of(caller.send(path, method=method)) == (401, "key_revoked")


def test_the_host_is_nobody_in_particular(shared: Gateway) -> None:
    """The admin key is no virtual key: it has no self to ask about, and calls no model."""
    host = Caller(shared, shared.admin_key)
    for path in ("/api/me", "/api/me/usage", "/v1/models"):
        assert code_of(host.send(path, method="GET")) == (401, "invalid_api_key")
    assert code_of(host.chat()) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/policy"),
        ("POST", "/api/me"),
        ("GET", "/api/projects"),
        ("GET", "/api"),
        ("PATCH", "/api/keys/x"),
    ],
)
def test_other_routes_are_unknown(shared: Gateway, method: str, path: str) -> None:
    """What the API does not have is a 404, for the host too."""
    assert code_of(Caller(shared, shared.admin_key).send(path, method=method)) == (404, "unknown_url")
