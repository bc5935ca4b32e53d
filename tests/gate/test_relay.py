"""Whatever a provider does, the call ends once, is charged rightly, and tells nothing that is the host's business."""

import contextlib
import json
import socket
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.usage import from_chat
from tests.support.caller import CHAT, HELLO, RESPONSES, Caller, code_of, eventually, query
from tests.support.gateway import Gateway
from tests.support.standin import StandIn

PRICE = prices.load().lookup("openai", "gpt-4.1-mini")
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
COST = prices.cost(PRICE, from_chat(USAGE))
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": USAGE,
}
SSE = {"Content-Type": "text/event-stream"}
ACCOUNT = "org-abcdefgh12345678"
FREE, FULL, TRUE = "free", "full", "true"


def charged(caller: Caller) -> tuple[str, str]:
    """Return the outcome of the only call, and whether it cost nothing, all that was held, or the truth."""
    (row,) = caller.rows()
    cost, held = row["cost"], row["held"]
    return row["outcome"], FREE if cost == 0 else FULL if cost == held else TRUE


def events(text: str) -> list[dict[str, Any]]:
    """Return the JSON of a stream's events."""
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def said(text: str) -> str:
    """Return what the choices of a stream say together."""
    return "".join(choice["delta"].get("content") or "" for event in events(text) for choice in event["choices"])


# --- whole answers --------------------------------------------------------------------------------------------------

WHOLE: list[tuple[str, dict[str, Any], int, str, str]] = [
    # what, script, status, outcome, charge
    ("compressed", {"gzip": True}, 200, "ok", TRUE),
    ("in bytes", {"split": 1}, 200, "ok", TRUE),
    ("without usage", {"usage": False}, 200, "no_usage", FULL),
    ("usage is null", {"status": 200, "body": {**ANSWER, "usage": None}}, 200, "no_usage", FULL),
    ("usage is a text", {"status": 200, "body": {**ANSWER, "usage": "many"}}, 200, "invalid_usage", FULL),
    ("dropped", {"drop": "headers"}, 502, "interrupted", FULL),
    ("reset", {"drop": "headers", "reset": True}, 502, "interrupted", FULL),
    ("cut in the middle", {"drop": 20}, 502, "interrupted", FULL),
    ("silent", {"stall": "headers"}, 504, "interrupted", FULL),
    ("silent in the middle", {"stall": 20}, 504, "interrupted", FULL),
    ("a page", {"status": 200, "body": "<html>welcome</html>"}, 502, "interrupted", FULL),
    ("a list", {"status": 200, "body": [ANSWER]}, 502, "interrupted", FULL),
    ("nothing", {"status": 200, "body": None}, 502, "interrupted", FULL),
    ("endless nesting", {"status": 200, "body": "[" * 200_000}, 502, "interrupted", FULL),
    ("an error", {"status": 200, "body": {"error": {"message": f"for {ACCOUNT}"}}}, 502, "interrupted", FULL),
    ("another 2xx", {"status": 201, "body": ANSWER}, 502, "interrupted", FULL),
    ("a redirect", {"status": 307, "headers": {"Location": "/v1/models"}}, 502, "provider_307", FREE),
    (
        "a 400",
        {"status": 400, "body": {"error": {"message": "too long", "code": "too_long"}}},
        400,
        "provider_400",
        FREE,
    ),
    ("a 404", {"status": 404, "body": {"error": {"message": "no such", "code": "none"}}}, 404, "provider_404", FREE),
    ("a 401", {"status": 401, "body": {"error": {"message": "key {key} is bad"}}}, 502, "provider_401", FREE),
    ("a 403", {"status": 403, "body": {"error": {"message": ACCOUNT}}}, 502, "provider_403", FREE),
    ("a 429", {"status": 429, "body": {"error": {"message": ACCOUNT}}}, 429, "provider_429", FREE),
    ("a 500", {"status": 500, "body": {"error": {"message": ACCOUNT}}}, 502, "provider_500", FREE),
    ("a gateway's 503", {"status": 503, "body": "<html>"}, 502, "interrupted", FULL),
    ("a 400 that is cut", {"status": 400, "body": '{"error": {"mess', "drop": 3}, 502, "provider_400", FREE),
    (
        "a stream that nobody asked for",
        {"status": 200, "headers": SSE, "body": f"data: {json.dumps(ANSWER)}\n\ndata: [DONE]\n\n"},
        502,
        "interrupted",
        TRUE,
    ),
    (
        "a stream that nobody asked for, without usage",
        {"status": 200, "headers": SSE, "body": 'data: {"choices": []}\n\ndata: [DONE]\n\n'},
        502,
        "interrupted",
        FULL,
    ),
]


@pytest.mark.parametrize(
    ("script", "status", "outcome", "charge"), [case[1:] for case in WHOLE], ids=[c[0] for c in WHOLE]
)
def test_a_whole_answer(
    standin: StandIn, caller: Caller, script: dict[str, Any], status: int, outcome: str, charge: str
) -> None:
    """Known work costs what it cost, unknown work what was held, no work nothing; the caller hears what helps."""
    standin.script(**script)
    answer = caller.chat(max_tokens=500)
    assert answer.status_code == status
    assert charged(caller) == (outcome, charge)
    assert len(standin.requests) == 1
    assert ACCOUNT not in answer.text
    if status != 200:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert answer.headers["x-should-retry"] == str(status == 429 or script.get("status") == 500).lower()
    elif charge == TRUE:
        assert caller.rows()[0]["cost"] == prices.cost(PRICE, from_chat(answer.json()["usage"]))


def test_a_failed_response_is_passed_on_clean(standin: StandIn, caller: Caller) -> None:
    """The Responses API reports failures within an answer: the caller gets it, without what is the host's business."""
    failed = {
        "object": "response",
        "status": "failed",
        "error": {"code": "e", "message": f"for {ACCOUNT}"},
        "usage": None,
    }
    standin.script(status=200, body=failed)
    answer = caller.send(RESPONSES, {"model": "gpt-4.1-mini", "input": "hi"})
    assert answer.json()["error"]["message"] == "for [removed]"
    assert charged(caller) == ("no_usage", FULL)


def test_headers_of_the_provider_stay_there(standin: StandIn, caller: Caller) -> None:
    """A caller gets the headers that Keyguard sets, and none that a provider sends."""
    theirs = {"openai-organization": ACCOUNT, "x-request-id": "req_1", "set-cookie": "a=b", "x-ratelimit-limit": "9"}
    for stream in (False, True):
        standin.script(headers=theirs)
        answer = caller.chat(stream=stream, max_tokens=50)
        assert answer.status_code == 200
        assert not set(theirs) & {name.lower() for name in answer.headers}
        ours = {name for name in answer.headers if name.startswith("x-keyguard-")}
        assert {"x-keyguard-request-id", "x-keyguard-remaining-usd"} <= ours
        assert ("x-keyguard-cost-usd" in ours) is not stream


# --- streams --------------------------------------------------------------------------------------------------------

TEXT = "one two three"
STREAMS: list[tuple[str, dict[str, Any], str, str]] = [
    ("usual", {}, "ok", TRUE),
    ("with CRLF", {"newline": "\r\n"}, "ok", TRUE),
    ("with CR", {"newline": "\r"}, "ok", TRUE),
    ("byte by byte", {"split": 1}, "ok", TRUE),
    ("byte by byte with CRLF", {"split": 1, "newline": "\r\n"}, "ok", TRUE),
    ("all at once", {"together": 1000}, "ok", TRUE),
    ("compressed", {"gzip": True}, "ok", TRUE),
    ("with comments", {"before": ": hello\n\n", "after": ": bye\n\n"}, "ok", TRUE),
    ("without end mark", {"done": False}, "ok", TRUE),
    ("usage in the last choice", {"usage_in_choice": True}, "ok", TRUE),
    ("usage in the last choice, no end mark", {"usage_in_choice": True, "done": False}, "ok", TRUE),
    ("without usage", {"usage": False}, "no_usage", FULL),
    ("without usage and end mark", {"usage": False, "done": False}, "no_usage", FULL),
]


@pytest.mark.parametrize(("script", "outcome", "charge"), [case[1:] for case in STREAMS], ids=[c[0] for c in STREAMS])
def test_a_stream(standin: StandIn, caller: Caller, script: dict[str, Any], outcome: str, charge: str) -> None:
    """However a stream is written, the caller reads the same, and pays what it came to."""
    standin.script(text=TEXT, **script)
    answer = caller.chat(stream=True, max_tokens=500)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert said(answer.text) == TEXT
    assert "\r" not in answer.text
    assert charged(caller) == (outcome, charge)
    if charge == TRUE:
        assert caller.rows()[0]["cost"] == COST


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("dropped", {"drop": 5}, "provider_error"),
    ("reset", {"drop": 5, "reset": True}, "provider_error"),
    ("silent", {"stall": 5}, "provider_timeout"),
    ("dropped before the usage", {"drop": "usage"}, "provider_error"),
    ("silent before the usage", {"stall": "usage"}, "provider_timeout"),
]


@pytest.mark.parametrize(("script", "code"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_stream_that_breaks_off(
    standin: StandIn, caller: Caller, path: str, script: dict[str, Any], code: str
) -> None:
    """The caller gets what came, then an error event that the SDK raises; the whole hold is charged."""
    standin.script(text=TEXT, **script)
    ask = {"messages": HELLO, "max_tokens": 500} if path == CHAT else {"input": "hi", "max_output_tokens": 500}
    answer = caller.send(path, {"model": "gpt-4.1-mini", "stream": True, **ask})
    assert answer.status_code == 200
    assert events(answer.text)[-1]["error"]["code"] == code
    assert len(events(answer.text)) > 1
    assert charged(caller) == ("interrupted", FULL)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_providers_error_in_a_stream_is_passed_on_clean(standin: StandIn, caller: Caller, path: str) -> None:
    """An error event keeps its words but for account and key."""
    standin.script(text=TEXT, error={"message": f"sorry {ACCOUNT}, {{key}}", "code": "e"}, error_after=4)
    ask = {"messages": HELLO} if path == CHAT else {"input": "hi"}
    answer = caller.send(path, {"model": "gpt-4.1-mini", "stream": True, **ask})
    last = events(answer.text)[-1]
    assert (last.get("error") or last)["message"] == "sorry [removed], [removed]"
    assert charged(caller) == ("no_usage", FULL)


def test_a_stream_is_answered_although_the_provider_sends_none(standin: StandIn, caller: Caller) -> None:
    """A server that cannot stream answers whole, and is charged exactly."""
    standin.script(status=200, body=ANSWER)
    answer = caller.chat(stream=True)
    assert answer.json() == ANSWER
    assert charged(caller) == ("ok", TRUE)
    assert caller.rows()[0]["cost"] == COST


def test_a_refusal_of_a_stream_is_an_ordinary_one(standin: StandIn, caller: Caller) -> None:
    """A provider's 429 or 401 is no stream for the caller either."""
    standin.script(status=429, headers={"Retry-After": "9"}, body={"error": {"message": ACCOUNT}})
    answer = caller.chat(stream=True)
    assert code_of(answer) == (429, "rate_limit_exceeded")
    assert answer.headers["retry-after"] == "9"
    assert charged(caller) == ("provider_429", FREE)


def test_a_frame_without_end_is_given_up(standin: StandIn, caller: Caller) -> None:
    """Seventeen megabytes without a line's end are no event of a stream."""
    standin.script(status=200, headers=SSE, body="data: " + "x" * (17 * 2**20))
    answer = caller.chat(stream=True, max_tokens=500)
    assert events(answer.text)[-1]["error"]["code"] == "provider_error"
    assert charged(caller) == ("interrupted", FULL)


def test_an_event_that_is_cut_off_is_not_passed_on(standin: StandIn, caller: Caller) -> None:
    """Half an event at the end of a stream would break the reader: it is left out, a whole one without its empty line is not."""
    whole, half = "data: " + json.dumps({"choices": []}), 'data: {"choi'
    for end, count in ((whole, 2), (half, 1)):
        standin.script(status=200, headers=SSE, body=f"{whole}\n\n{end}")
        assert len(events(caller.chat(stream=True, max_tokens=20).text)) == count
    assert [row["outcome"] for row in caller.rows()] == ["no_usage"] * 2


def test_usage_is_shown_exactly_to_those_who_ask(standin: StandIn, caller: Caller) -> None:
    """Who asks for the usage gets the provider's stream as it is; who does not gets it without the usage chunk."""
    direct: list[Any] = []
    for options in ({"include_usage": True}, {"include_usage": False}, None):
        standin.script(text=TEXT)
        answer = caller.chat(stream=True, stream_options=options, max_tokens=50)
        assert standin.last.json["stream_options"]["include_usage"] is True
        found = [{**event, "id": "", "created": 0} for event in events(answer.text)]
        direct = direct or found
        assert answer.text.endswith("data: [DONE]\n\n")
        if options and options["include_usage"]:
            assert (found[-1]["choices"], found[-1]["usage"]["completion_tokens"]) == ([], 3)
        else:
            assert found == direct[:-1]


# --- callers who go away --------------------------------------------------------------------------------------------


def _open(caller: Caller, body: dict[str, Any]) -> socket.socket:
    """Send a request by hand."""
    raw = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {caller.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", caller.gateway.port), timeout=10)
    connection.sendall(head.encode() + raw)
    return connection


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("abort", [False, True], ids=["closed", "reset"])
def test_who_leaves_before_the_first_word_is_charged_exactly(
    standin: StandIn, caller: Caller, stream: bool, abort: bool
) -> None:
    """What was sent is read to its end without its caller, and costs what it cost."""
    standin.hold()
    standin.script(text=TEXT)
    connection = _open(caller, {"model": "gpt-4.1-mini", "messages": HELLO, "max_tokens": 500, "stream": stream})
    standin.until(held=1)
    if abort:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    standin.release()
    standin.until(finished=1)
    eventually(lambda: bool(caller.rows()))
    (row,) = caller.rows()
    assert row["cost"] == COST
    assert row["outcome"] in {"ok", "client_gone"}
    assert standin.requests[0].gone is False


def test_who_leaves_in_the_middle_is_charged_exactly(standin: StandIn, caller: Caller) -> None:
    """A stream that nobody reads any more is read to its end."""
    standin.hold(after=3)
    standin.script(text="word " * 5000)
    body = {"model": "gpt-4.1-mini", "messages": HELLO, "max_tokens": 5000, "stream": True}
    connection = _open(caller, body)
    standin.until(held=1)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    standin.release()
    standin.until(finished=1)
    eventually(lambda: bool(caller.rows()))
    (row,) = caller.rows()
    assert (row["outcome"], row["output_tokens"]) == ("client_gone", 5000)


def test_who_leaves_before_the_body_is_whole_costs_nothing(standin: StandIn, caller: Caller) -> None:
    """Half a request reaches nobody."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {caller.key}\r\n"
    head += 'Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"model": "gpt-4.1-mini", '
    with socket.create_connection(("127.0.0.1", caller.gateway.port), timeout=10) as connection:
        connection.sendall(head.encode())
    assert caller.chat(max_tokens=20).status_code == 200
    assert len(standin.requests) == len(caller.rows()) == 1


# --- a ledger that does not answer ----------------------------------------------------------------------------------


def test_a_settlement_that_cannot_be_written_is_written_later(standin: StandIn, caller: Caller) -> None:
    """If the ledger is locked when the answer has come, the caller gets it, and the true cost is entered afterwards."""
    standin.hold()
    standin.script(text=TEXT)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(caller.chat(max_tokens=500).status_code))
    thread.start()
    standin.until(held=1)
    with contextlib.closing(sqlite3.connect(caller.gateway.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        standin.release()
        thread.join(20)
        other.execute("ROLLBACK")
    assert found == [200]
    assert charged(caller) == ("ok", TRUE)
    assert caller.rows()[0]["cost"] == COST


def test_a_ledger_that_was_taken_away_is_noticed(standin: StandIn, tmp_path: Path) -> None:
    """Without its file the gateway soon refuses everything, and says that it is not healthy."""
    with Gateway(tmp_path, standin.url) as gateway:
        ada = Caller.new(gateway, person="ada")
        assert ada.chat(max_tokens=5).status_code == 200
        for path in tmp_path.glob("ledger.sqlite*"):
            path.unlink()
        ada.chat(max_tokens=5)
        eventually(lambda: ada.send("/health", method="GET").status_code == 503)
        before = len(standin.requests)
        for _ in range(3):
            assert code_of(ada.chat(max_tokens=5)) == (503, "ledger_unavailable")
        assert len(standin.requests) == before


# --- the gateway's own end ------------------------------------------------------------------------------------------


def test_calls_in_flight_at_the_end_are_finished_or_charged(standin: StandIn, tmp_path: Path) -> None:
    """Told to stop, the gateway lets calls finish that can, and charges what it must cut off; nothing stays held."""
    with Gateway(tmp_path, standin.url) as gateway:
        ada = Caller.new(gateway, person="ada")
        standin.script(text=TEXT, stall=3, stream=True)
        body = {"model": "gpt-4.1-mini", "messages": HELLO, "max_tokens": 500}
        stuck = _open(ada, {**body, "stream": True})
        standin.until(open=1, received=1)
        assert stuck.recv(100).startswith(b"HTTP/1.1 200")
        standin.hold()
        slow = _open(ada, body)
        standin.until(held=1)
        standin.release()
        gateway.stop()
        answer = b""
        while part := slow.recv(4096):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        stuck.close()
        slow.close()
        rows = {row["outcome"]: row for row in query(gateway, "SELECT * FROM usage")}
        assert set(rows) == {"ok", "interrupted"}
        assert rows["ok"]["cost"] < rows["interrupted"]["cost"] == rows["interrupted"]["held"]
        assert query(gateway, "SELECT * FROM holds") == []
        assert query(gateway, "SELECT * FROM counters WHERE held != 0") == []
