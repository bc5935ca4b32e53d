"""Issuing, listing, renewing and revoking keys."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyguard_jupyter.errors import GatewayError
from tests.support.caller import Caller, code_of, query
from tests.support.gateway import Gateway


def refused(shared: Gateway, body: Any, path: str = "/api/keys") -> tuple[int, str, str | None]:
    """Return status, code and field of a refusal."""
    answer = Caller(shared, shared.admin_key).send(path, body)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def test_a_key_is_shown_once(shared: Gateway) -> None:
    """A new key is told whole, then only by its end; the ledger holds its hash."""
    made = shared.admin.post("/api/keys", {"person": "ada", "label": "laptop", "expires_at": "2099-01-31"})
    assert made["key"].endswith(made["suffix"])
    assert (made["person"], made["project"], made["label"], made["kind"]) == ("ada", "default", "laptop", "personal")
    assert made["expires_at"] == "2099-01-31T00:00:00.000Z"
    assert (made["active"], made["revoked_at"], made["leased_until"]) == (True, None, None)
    listed = [one for one in _all_keys(shared) if one["id"] == made["id"]]
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    assert not query(shared, f"SELECT 1 FROM keys WHERE hash = '{made['key']}' OR settings LIKE '%{made['key']}%'")


def _all_keys(gateway: Gateway, limit: int = 1000) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = gateway.admin.get("/api/keys", after=after, limit=limit)
        found += page["keys"]
        after = page["next"]
        if after is None:
            return found


def test_keys_are_listed_page_by_page(shared: Gateway) -> None:
    """Pages of any size give every key once, in the same order."""
    for _ in range(7):
        shared.admin.post("/api/keys", {"person": "ada"})
    whole = _all_keys(shared)
    ids = [one["id"] for one in whole]
    assert ids == sorted(set(ids))
    for limit in (1, 3, len(ids) - 1, len(ids), len(ids) + 1):
        assert _all_keys(shared, limit) == whole


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"person": None}, "person"),
        ({"person": ""}, "person"),
        ({"person": 5}, "person"),
        ({"person": "a\nb"}, "person"),
        ({"person": "x" * 201}, "person"),
        ({"nonsense": 1}, "nonsense"),
        ({"key": "sk-kg-mine"}, "key"),
        ({"kind": "admin"}, "kind"),
        ({"kind": ["personal"]}, "kind"),
        ({"kind": {}}, "kind"),
        ({"lease_seconds": 60}, "lease_seconds"),
        ({"kind": "kernel", "lease_seconds": 0}, "lease_seconds"),
        ({"kind": "kernel", "lease_seconds": True}, "lease_seconds"),
        ({"kind": "kernel", "lease_seconds": 10**9}, "lease_seconds"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": 5}, "expires_at"),
        ({"expires_at": "2027-13-45"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"settings": {"limits": {"total": {"amount": 5.5}}}}, "settings.limits.total.amount"),
        ({"settings": {"nonsense": 1}}, "settings.nonsense"),
        ({"settings": [1]}, "settings"),
        ({"settings": []}, "settings"),
        ({"settings": {"models": {"gpt-4": {"access": "members", "groups": ["nobody"]}}}}, "settings.models.gpt-4"),
        ({"label": "\ud800"}, None),
    ],
    ids=str,
)
def test_a_field_that_is_wrong_is_named(shared: Gateway, fields: dict[str, Any], param: str | None) -> None:
    """Whatever is missing, unknown or malformed is a 400 that says which field."""
    import json

    status, code, named = refused(shared, json.dumps({"person": "ada", **fields}).encode())
    assert (status, code) in {(400, "invalid_request"), (415, "invalid_request")}
    if status == 400:
        assert (named or "").startswith(param or "")


def test_a_project_that_is_not_there_is_not_found(shared: Gateway) -> None:
    """Keys are issued within a project that exists."""
    assert refused(shared, {"person": "ada", "project": "nowhere"}) == (404, "not_found", "project")


def test_revoking_is_at_once_and_for_good(shared: Gateway) -> None:
    """A revoked key is refused by the next call; to revoke it again changes nothing; what is not there is not found."""
    ada = Caller.new(shared)
    assert ada.send("/v1/models", method="GET").status_code == 200
    first = shared.admin.delete(f"/api/keys/{ada.id}")
    assert code_of(ada.send("/v1/models", method="GET")) == (401, "key_revoked")
    assert shared.admin.delete(f"/api/keys/{ada.id}") == first
    (row,) = [one for one in _all_keys(shared) if one["id"] == ada.id]
    assert (row["active"], row["revoked_at"]) == (False, first["revoked_at"])
    for wrong in ("nothing", ada.key, "%2e%2e", "x" * 5000):
        with pytest.raises(GatewayError) as missing:
            shared.admin.delete(f"/api/keys/{wrong}")
        assert missing.value.status == 404


def test_kernels_live_on_leases(shared: Gateway) -> None:
    """A kernel's key is told what it belongs to, lapses without its lease, and comes back with it; not when revoked."""
    kernel = {"kind": "kernel", "kernel_id": "k-1", "notebook": "work/a.ipynb", "lease_seconds": 86400}
    ada = Caller.new(shared, **kernel)
    me = ada.send("/api/me", method="GET").json()["key"]
    assert (me["kind"], me["notebook"]) == ("kernel", "work/a.ipynb")
    other, personal = Caller.new(shared, **kernel), Caller.new(shared)
    shared.admin.delete(f"/api/keys/{other.id}")
    asked = {"ids": [ada.id, other.id, personal.id, "unknown"], "lease_seconds": 900}
    done = shared.admin.post("/api/keys/renew", asked)
    assert done["renewed"] == [ada.id]
    assert done["refused"] == sorted([other.id, personal.id, "unknown"])
    (row,) = [one for one in _all_keys(shared) if one["id"] == ada.id]
    left = datetime.fromisoformat(row["leased_until"]) - datetime.now(UTC)
    assert timedelta(seconds=800) < left < timedelta(seconds=910)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"lease_seconds": 60}, "ids"),
        ({"ids": "x", "lease_seconds": 60}, "ids"),
        ({"ids": [1], "lease_seconds": 60}, "ids"),
        ({"ids": ["x"] * 1001, "lease_seconds": 60}, "ids"),
        ({"ids": ["x"]}, "lease_seconds"),
        ({"ids": ["x"], "lease_seconds": "60"}, "lease_seconds"),
        ({"ids": ["x"], "lease_seconds": 60, "seconds": 1}, "seconds"),
    ],
)
def test_a_renewal_that_is_wrong_is_named(shared: Gateway, body: dict[str, Any], param: str) -> None:
    """What is missing or malformed in a renewal is said."""
    assert refused(shared, body, "/api/keys/renew") == (400, "invalid_request", param)


def test_a_keys_own_settings_narrow(shared: Gateway) -> None:
    """A key may carry limits, models and caps of its own, below those of its owner."""
    settings = {"models": {"gpt-4.1": {"access": "deny"}}, "max_output_tokens": 33, "requests_per_minute": 2}
    ada = Caller.new(shared, settings=settings)
    assert code_of(ada.chat("gpt-4.1")) == (403, "model_not_allowed")
    answer = ada.chat("gpt-4.1-mini", max_tokens=100)
    assert answer.headers["x-keyguard-max-output-tokens"] == "33"
    assert ada.chat("gpt-4.1-mini", max_tokens=20).status_code == 200
    limited = ada.chat("gpt-4.1-mini", max_tokens=20)
    assert code_of(limited) == (429, "rate_limit_exceeded")
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert limited.headers["x-should-retry"] == "true"
