"""The listener: which routes there are, who may come in, and what it says of itself."""

from pathlib import Path

import pytest

from tests.support.caller import CHAT, HELLO, Caller, code_of
from tests.support.gateway import Gateway
from tests.support.standin import StandIn
from tests.support.wire import exchange, request, statuses

METERED = [CHAT, "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/moderations"]
UNKNOWN_KEY = "sk-kg-" + "x" * 43


@pytest.mark.parametrize("path", METERED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_routes_answer_to_their_own_method(standin: StandIn, caller: Caller, path: str, method: str) -> None:
    """Any other method is an unknown URL, as for OpenAI."""
    answer = caller.send(path, method=method)
    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers
    if method != "HEAD":
        assert code_of(answer) == (404, "unknown_url")
    assert standin.requests == []


CLOSED = [
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/chat/completions/chatcmpl_1"),
    ("GET", "/v1/responses/resp_of_bob"),
    ("POST", "/v1/responses/compact"),
    ("POST", "/v1/responses/input_tokens"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/assistants"),
    ("POST", "/v1/threads/runs"),
    ("POST", "/v1/evals/e/runs"),
    ("POST", "/v1/agents/sessions"),
    ("POST", "/v1/chatkit/sessions"),
    ("POST", "/v1/realtime/client_secrets"),
    ("POST", "/v1/videos/v/remix"),
    ("GET", "/v1/vector_stores"),
    ("POST", "/v1/containers"),
    ("GET", "/v1/organization/admin_api_keys"),
    ("DELETE", "/v1/organization/spend_limit"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("DELETE", "/v1/models/gpt-4.1-mini"),
    ("POST", "/v1/engines/gpt-6-astra/completions"),
    ("POST", "/v1/models/gpt-6-astra:generateContent"),
    ("POST", "/openai/deployments/gpt-6-astra/chat/completions?api-version=1"),
    ("POST", "/chat/completions"),
    ("GET", "/"),
    ("GET", "/v1"),
    ("GET", "/_control/requests"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_what_is_not_offered_is_not_found(standin: StandIn, caller: Caller, method: str, path: str) -> None:
    """Every other route is a 404 with a good key, and a 404 or 401 without; nothing is passed on."""
    assert code_of(caller.send(path, {"model": "gpt-6-astra"}, method)) == (404, "unknown_url")
    stranger = Caller(caller.gateway, None)
    assert stranger.send(path, {"model": "gpt-6-astra"}, method).status_code in {401, 404}
    assert standin.requests == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 401),
        ("127.0.0.1:8888", 401),
        ("localhost", 401),
        ("LocalHost:80", 401),
        ("[::1]", 401),
        ("[::1]:80", 401),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("", 403),
        (None, 403),
    ],
)
def test_a_name_that_a_web_page_made_point_here_is_refused(shared: Gateway, host: str | None, status: int) -> None:
    """On loopback the gateway answers to its own names only, so that a browser cannot be led here under another."""
    found = exchange(shared, request("/v1/models", method="GET", host=host))
    assert statuses(found)[0] in ({status, 400} if host is None else {status})


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/api/me", "/api/policy", "/metrics"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:8888", "null"])
def test_web_pages_may_not_call(standin: StandIn, caller: Caller, path: str, origin: str) -> None:
    """A request from a page, or the question whether one may come, is refused without a word about origins."""
    for method in ("POST" if path == CHAT else "GET", "OPTIONS"):
        answer = caller.send(path, method=method, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
        assert code_of(answer) == (403, "forbidden")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert standin.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {UNKNOWN_KEY}"},
        {"Authorization": "Bearer keyguard-unavailable"},
        {"Authorization": "Bearer sk-kg-short"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": b"Bearer sk-kg-\xc3\xa9"},
        {"Cookie": "key=KEY"},
        {"api-key": "KEY"},
        {"x-api-key": "KEY"},
        {"Authorization": "Basic KEY"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/api/me", "/api/keys"])
def test_who_shows_no_key_is_told_so(
    standin: StandIn, caller: Caller, path: str, headers: dict[str, str | bytes]
) -> None:
    """A key that is missing, unknown, or in any other place than the bearer header is a 401, before the body is read."""
    sent = {
        name: value.replace("KEY", str(caller.key)) if isinstance(value, str) else value
        for name, value in headers.items()
    }
    stranger = Caller(caller.gateway, None)
    answer = stranger.http.request("POST" if path == CHAT else "GET", f"{path}?key={caller.key}", headers=sent)  # type: ignore[arg-type]
    assert code_of(answer) == (401, "invalid_api_key")
    assert answer.headers["x-should-retry"] == "false"
    assert standin.requests == []


def test_keys_that_are_no_good_any_more_say_why(shared: Gateway) -> None:
    """Revoked and expired keys, and lapsed leases, are told apart."""
    revoked = Caller.new(shared)
    shared.admin.delete(f"/api/keys/{revoked.id}")
    assert code_of(revoked.chat()) == (401, "key_revoked")
    expired = Caller.new(shared, expires_at="2020-01-01T00:00:00Z")
    assert code_of(expired.chat()) == (401, "key_expired")
    assert expired.key not in expired.chat().text


def test_nobodys_body_is_read(shared: Gateway) -> None:
    """A stranger is sent away before a byte of the body is waited for."""
    headers = ("Content-Type: application/json", "Content-Length: 4000000")
    assert statuses(exchange(shared, request(CHAT, key=UNKNOWN_KEY, headers=headers))) == [401]


def test_health_and_metrics_tell_nothing_of_anybody(standin: StandIn, caller: Caller) -> None:
    """Whoever reaches the gateway may see that it lives, and counts with labels that no caller chooses."""
    stranger = Caller(caller.gateway, None)
    health = stranger.send("/health", method="GET")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    standin.script(status=404, body={"error": {"message": "x", "code": "made-up-by-the-provider"}})
    assert caller.chat().status_code == 404
    caller.chat("made-up-by-the-caller")
    page = stranger.send("/metrics", method="GET")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'keyguard_calls_total{endpoint="chat"}' in page.text
    assert 'keyguard_refusals_total{code="other"}' in page.text
    assert "made-up" not in page.text
    assert caller.person not in page.text


def test_models_are_those_that_can_be_used(caller: Caller) -> None:
    """The list holds priced models that some route serves, and one of them can be asked for by name."""
    names = [model["id"] for model in caller.send("/v1/models", method="GET").json()["data"]]
    assert {"gpt-4.1-mini", "gpt-5-codex", "babbage-002", "text-embedding-3-small"} <= set(names)
    assert names == sorted(set(names))
    assert not [
        name for name in names if "search-" in name or "realtime" in name or name.startswith(("gpt-image", "ft:"))
    ]
    one = caller.send("/v1/models/gpt-4.1-mini", method="GET").json()
    assert one == {"id": "gpt-4.1-mini", "object": "model", "created": 0, "owned_by": "openai"}
    for name in ("gpt-realtime", "gpt-9", "GPT-4.1-mini", "x/y", "%2e%2e", "gpt-4.1-mini/"):
        assert code_of(caller.send(f"/v1/models/{name}", method="GET")) == (404, "model_not_found")


def test_everything_lies_under_the_base_url(standin: StandIn, tmp_path: Path) -> None:
    """Under a prefix, as on a Hub, every route moves there, and nothing stays at the root."""
    with Gateway(tmp_path, standin.url, settings={"base_url": "/services/keyguard/"}) as gateway:
        assert gateway.url.endswith("/services/keyguard")
        ada = Caller.new(gateway, person="ada")
        body = {"model": "gpt-4.1-mini", "messages": HELLO, "max_tokens": 20}
        assert ada.http.post(f"{gateway.url}{CHAT}", json=body).status_code == 200
        for path in ("/v1/models", "/api/me", "/health", "/metrics"):
            assert ada.http.get(f"{gateway.url}{path}").status_code == 200
            outside = ada.http.get(f"http://127.0.0.1:{gateway.port}{path}")
            assert code_of(outside) == (404, "unknown_url")
        assert code_of(ada.http.get(f"{gateway.url}/v1/files")) == (404, "unknown_url")
        refused = ada.http.get(f"{gateway.url}/health", headers={"Origin": "https://x"})
        assert code_of(refused) == (403, "forbidden")
