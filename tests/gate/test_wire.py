"""Requests as no client writes them: each is refused, or means to the provider what it meant to us."""

import gzip
import json

import pytest

from tests.support.caller import CHAT, HELLO, Caller, code_of
from tests.support.standin import StandIn
from tests.support.wire import exchange, request, statuses

BODY = json.dumps({"model": "gpt-4.1-mini", "messages": HELLO, "max_tokens": 20}).encode()


def _chunked(body: bytes, size: int = 7) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_plain_request_passes(standin: StandIn, caller: Caller) -> None:
    """A request by hand is answered, in one piece or in many, chunked or with its length."""
    chunked = request(key=caller.key, headers=("Transfer-Encoding: chunked",), body=_chunked(BODY), length=False)
    for raw, pieces in (
        (request(key=caller.key, body=BODY), 1),
        (request(key=caller.key, body=BODY), 40),
        (chunked, 5),
    ):
        assert statuses(exchange(caller.gateway, raw, pieces=pieces)) == [200]
    assert [call.json["messages"] for call in standin.requests] == [HELLO] * 3
    assert {call.header("transfer-encoding") for call in standin.requests} == {None}


@pytest.mark.parametrize(
    "headers",
    [
        ("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}"),
        (f"Content-Length: {len(BODY)}", "Content-Length: 5"),
        ("Content-Length: 5, 10",),
        ("Content-Length: -5",),
        ("Content-Length: +5",),
        ("Content-Length: 0x10",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("X-Odd: a\x00b",),
        ("Nonsense",),
        ("X-Long: " + "x" * 100_000,),
        ("Expect: something",),
    ],
    ids=lambda headers: headers[0][:30],
)
def test_a_body_without_one_clear_end_is_refused(standin: StandIn, caller: Caller, headers: tuple[str, ...]) -> None:
    """Two lengths, odd codings, broken lines: refused, and what follows is not read as another request."""
    inner = request("/v1/models", key=caller.key, method="GET")
    raw = request(key=caller.key, headers=headers, body=_chunked(BODY) + inner, length=False)
    found = exchange(caller.gateway, raw)
    assert statuses(found)[0] in {400, 417, 431}
    assert len(statuses(found)) == 1
    assert standin.requests == []


def test_a_client_that_waits_to_be_told_is_told(standin: StandIn, caller: Caller) -> None:
    """`Expect: 100-continue` is answered as HTTP says."""
    raw = request(key=caller.key, headers=("Expect: 100-continue",), body=BODY)
    assert statuses(exchange(caller.gateway, raw)) == [100, 200]
    assert len(standin.requests) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "application/x-json", ""])
def test_only_json_is_read(standin: StandIn, caller: Caller, content_type: str) -> None:
    """A body of any other media type, or of none, is a 415."""
    answer = caller.send(CHAT, BODY, headers={"Content-Type": content_type} if content_type else {})
    assert code_of(answer) == (415, "invalid_request")
    assert standin.requests == []


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "identity, gzip", "GZIP"])
def test_compressed_bodies_are_not_read(standin: StandIn, caller: Caller, coding: str) -> None:
    """What a body inflates to is not known before: 415, also for the second of two headers."""
    body = gzip.compress(BODY)
    for headers in ((f"Content-Encoding: {coding}",), ("Content-Encoding: identity", f"Content-Encoding: {coding}")):
        raw = request(key=caller.key, headers=(*headers, "Content-Type: application/json"), body=body)
        assert statuses(exchange(caller.gateway, raw))[0] == 415
    assert standin.requests == []


def test_a_large_body_is_refused_before_it_is_read(standin: StandIn, caller: Caller) -> None:
    """More than four megabytes are a 413: at once when the length is told, else when they have come."""
    told = request(key=caller.key, headers=("Content-Length: 5000000000", "Content-Type: application/json"), body=b"")
    assert statuses(exchange(caller.gateway, told)) == [413]
    body = b'{"model": "' + b"x" * (5 * 2**20)
    untold = request(key=caller.key, headers=("Transfer-Encoding: chunked",), body=_chunked(body, 2**16), length=False)
    assert statuses(exchange(caller.gateway, untold))[:1] in ([413], [])  # reset while it was still sending
    assert code_of(caller.send(CHAT, body, headers={"Content-Type": "application/json"})) == (413, "invalid_request")
    assert standin.requests == []
    assert caller.chat(max_tokens=20).status_code == 200


@pytest.mark.parametrize(
    "target",
    ["/v1//chat/completions", "/v1/chat/completions/", "/V1/chat/completions", "/v1/chat/completions;x", "/v1/./chat/completions",
     "/v1/models/../chat/completions", "/v1/chat%2Fcompletions", "/v1/chat/completions%00", "//v1/chat/completions", "*"],
)  # fmt: skip
def test_only_exact_paths_are_routes(standin: StandIn, caller: Caller, target: str) -> None:
    """A path that some server may take for a route is none."""
    found = exchange(caller.gateway, request(target, key=caller.key, body=BODY))
    assert statuses(found)[0] in {400, 404}
    assert standin.requests == []


def test_the_query_and_the_callers_headers_stay_here(standin: StandIn, caller: Caller) -> None:
    """Neither a query nor a header of the caller reaches the provider."""
    ours = {
        "OpenAI-Organization": "org-other",
        "OpenAI-Project": "proj",
        "OpenAI-Beta": "responses_multi_agent=v1",
        "Idempotency-Key": "1",
        "Cookie": "a=b",
        "X-Forwarded-For": "10.0.0.1",
        "X-Api-Key": "mine",
        "Api-Key": "mine",
        "X-HTTP-Method-Override": "DELETE",
        "X-Stainless-Retry-Count": "2",
        "User-Agent": "me",
        "Accept-Language": "de",
    }
    body = {"model": "gpt-4.1-mini", "messages": HELLO, "max_tokens": 20}
    answer = caller.send(f"{CHAT}?beta=true&model=gpt-6-astra&api-version=1", body, headers=ours)
    assert answer.status_code == 200
    (sent,) = standin.requests
    assert sent.path == CHAT
    names = {name.decode().lower() for name, _ in sent.raw_headers}
    assert names == {
        "host",
        "authorization",
        "content-type",
        "accept-encoding",
        "user-agent",
        "accept",
        "content-length",
    }
    assert sent.header("user-agent") == "keyguard"


def test_the_provider_gets_our_words(standin: StandIn, caller: Caller) -> None:
    """The body is written anew: escapes, spaces and the order of a caller's JSON are not passed on."""
    raw = b'{ "max_tokens":20,\r\n\t"messages":[{"role":"user","content":"\\u0053ay: \\u00e9\\/"}], "model" : "gpt-4.1\\u002dmini"}'
    assert caller.send(CHAT, raw, headers={"Content-Type": "application/json"}).status_code == 200
    body = standin.last.body
    assert b'"model":"gpt-4.1-mini"' in body
    assert 'Say: é/"'.encode() in body
    assert b"\\u" not in body


@pytest.mark.parametrize("path", ["/v1/realtime?model=gpt-realtime", "/v1/responses", CHAT, "/v1/live/sessions", "/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_websockets_are_refused(standin: StandIn, caller: Caller, path: str, method: str) -> None:
    """No route becomes a WebSocket."""
    headers = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    found = exchange(caller.gateway, request(path, key=caller.key, method=method, headers=headers))
    assert statuses(found)[0] in {400, 404, 415}
    assert standin.requests == []


def test_a_request_to_another_server_is_none_to_us(standin: StandIn, caller: Caller) -> None:
    """This is no proxy: an absolute address is one of our own routes or none, and CONNECT leads nowhere."""
    elsewhere = request("http://example.org/v1/files", key=caller.key, method="GET")
    assert statuses(exchange(caller.gateway, elsewhere)) == [404]
    tunnel = request(f"127.0.0.1:{standin.root.rpartition(':')[2]}", key=caller.key, method="CONNECT")
    assert statuses(exchange(caller.gateway, tunnel))[0] in {400, 404}
    assert standin.requests == []


def test_two_requests_on_one_connection_are_two(standin: StandIn, caller: Caller) -> None:
    """What is sent ahead is answered in turn, each with its own key."""
    one = request(key=caller.key, body=BODY).replace(b"Connection: close\r\n", b"")
    two = request(key="sk-kg-" + "x" * 43, body=BODY)
    assert statuses(exchange(caller.gateway, one + two)) == [200, 401]
    assert len(standin.requests) == 1


def test_a_broken_request_is_not_quoted_in_the_log(standin: StandIn, caller: Caller) -> None:
    """The log says that somebody sent nonsense, and not what: a key may be in it."""
    exchange(caller.gateway, request(headers=(f"Authorization: Bearer {caller.key}\x00",), body=BODY))
    exchange(caller.gateway, request(headers=(f"Bearer {caller.key}",), body=BODY))
    log = caller.gateway.log.read_text()
    assert "Error handling request" in log
    assert str(caller.key) not in log
    assert "Traceback" not in log
