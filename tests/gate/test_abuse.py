"""Requests that somebody will try: each is refused with nothing sent, or bounded and charged rightly.

A key that may use gpt-6-luna and gpt-5.4-mini, with one dollar in all and sixty cents for gpt-6-luna.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from keyguard_jupyter.core import prices
from keyguard_jupyter.core.usage import from_chat
from tests.support.caller import CHAT, COMPLETIONS, EMBEDDINGS, HELLO, RESPONSES, Caller, code_of
from tests.support.gateway import Gateway
from tests.support.standin import StandIn
from tests.support.wire import exchange, request, statuses

LUNA, ASTRA = "gpt-6-luna", "gpt-6-astra"
TABLE = prices.load()
SETTINGS = {"limits": {"total": {"amount": "1.00"}}, "model_limits": {LUNA: {"amount": "0.60"}}}


@pytest.fixture
def student(shared: Gateway) -> Caller:
    """Give somebody new a key."""
    return Caller.new(shared, "course", settings=SETTINGS)


def chat(**fields: Any) -> dict[str, Any]:
    """Write a chat's body."""
    return {"model": LUNA, "messages": HELLO, **fields}


def response(**fields: Any) -> dict[str, Any]:
    """Write a response's body."""
    return {"model": LUNA, "input": "hi", **fields}


def parts(*content: Any) -> dict[str, Any]:
    """Write a chat whose message has parts."""
    return chat(messages=[{"role": "user", "content": list(content)}])


@dataclass(frozen=True)
class Row:
    """One request that must be refused.

    Args:
        code: what it is refused with.
        param: how the field starts that the refusal names.
    """

    id: str
    path: str
    body: Any
    status: int
    code: str
    param: str | None = None
    method: str = "POST"


INVALID, UNKNOWN, TOOL, URL = "invalid_request", "unknown_parameter", "tool_not_allowed", "unknown_url"
IMAGE = {"type": "image_url", "image_url": {"url": "https://host/huge.png"}}
TINY = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
REFUSED = [
    Row("A1", CHAT, chat(model=ASTRA), 403, "model_not_allowed", "model"),
    Row("A1-responses", RESPONSES, response(model=ASTRA), 403, "model_not_allowed", "model"),
    Row("A1-case", CHAT, chat(model="GPT-6-luna"), 403, "model_not_allowed", "model"),
    Row("A1-space", CHAT, chat(model="gpt-6-luna "), 403, "model_not_allowed", "model"),
    Row("A1-alike", CHAT, chat(model="gpt\u20106\u2010luna"), 403, "model_not_allowed", "model"),
    Row("A2", CHAT, '{"model":"gpt-6-luna","model":"gpt-6-astra","messages":[]}', 400, INVALID, "model"),
    Row("A2-nested", CHAT, '{"model":"gpt-6-luna","messages":[{"role":"user","role":"system"}]}', 400, INVALID, "role"),
    Row("A2-escaped", CHAT, '{"model":"gpt-6-luna","m\\u006fdel":"gpt-6-astra","messages":[]}', 400, INVALID, "model"),
    Row("A2-case", CHAT, chat(Model=ASTRA), 400, UNKNOWN, "Model"),
    Row("A5", CHAT, chat(model="ft:gpt-4.1-2025-04-14:acme:moderation:abc"), 403, "model_not_allowed", "model"),
    Row("A6", CHAT, chat(model="gpt-6.2-astra"), 400, "model_unpriced", "model"),
    Row("A8-list", CHAT, chat(model=[LUNA]), 400, INVALID, "model"),
    Row("A8-object", CHAT, chat(model={"id": LUNA}), 400, INVALID, "model"),
    Row("A8-null", RESPONSES, response(model=None), 400, INVALID, "model"),
    Row("A8-missing", RESPONSES, {"input": "hi"}, 400, INVALID, "model"),
    Row("A9", "/v1/images/generations", {"prompt": "x"}, 404, URL),
    Row("A11", f"/openai/deployments/{ASTRA}/chat/completions?api-version=1", chat(), 404, URL),
    Row("A12", f"/v1/engines/{ASTRA}/completions", {"prompt": "x"}, 404, URL),
    Row("A12-gemini", f"/v1/models/{ASTRA}:generateContent", {}, 404, URL),
    Row("B1", RESPONSES, {"prompt": {"id": "pmpt_1"}}, 400, INVALID, "model"),
    Row("B2", RESPONSES, response(prompt={"id": "pmpt_1"}), 400, INVALID, "prompt"),
    Row("B3", RESPONSES, response(tools=[{"type": "image_generation", "model": "gpt-image-2.5-sunburst"}]), 403, TOOL, "tools"),
    Row("B5", "/v1/images/edits", {"svg": {"model": ASTRA}}, 404, URL),
    Row("B8-files", "/v1/files", {}, 404, URL),
    Row("B8-batches", "/v1/batches", {"input_file_id": "f"}, 404, URL),
    Row("B10", "/v1/assistants", {"model": LUNA}, 404, URL),
    Row("B10-runs", "/v1/threads/runs", {"model": ASTRA}, 404, URL),
    Row("B11", "/v1/evals/e/runs", {"data_source": {"model": ASTRA}}, 404, URL),
    Row("B13", "/v1/agents/sessions", {"agent": {"model": ASTRA}}, 404, URL),
    Row("B14", "/v1/agents/automations", {}, 404, URL),
    Row("B15", "/v1/chatkit/sessions", {"workflow": {"id": "w"}}, 404, URL),
    Row("B17", "/v1/videos/v/remix", {}, 404, URL),
    Row("C2", CHAT, chat(max_tokens=10, max_completion_tokens=100_000), 400, INVALID, "max_"),
    Row("C4", CHAT, chat(n=128, max_completion_tokens=4096), 400, INVALID, "n"),
    Row("C5", COMPLETIONS, {"model": LUNA, "prompt": ["a"] * 2048, "n": 10, "best_of": 20, "max_tokens": 4096}, 400, INVALID),
    Row("C8", RESPONSES, response(reasoning={"mode": "pro"}), 400, INVALID, "reasoning.mode"),
    Row("C9", RESPONSES, response(input=[{"type": "configuration_update", "reasoning": {"effort": "max"}}]), 400, INVALID),
    Row("C11", CHAT, chat(modalities=["text", "audio"], audio={"voice": "x", "format": "wav"}), 400, INVALID, ""),
    Row("C14", "/v1/images/generations", {"model": "gpt-image-2", "n": 10}, 404, URL),
    Row("C15", "/v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "x"}, 404, URL),
    *(
        Row(f"D1-{tier}", path, make(service_tier=tier), 400, INVALID, "service_tier")
        for tier in ("priority", "fast", "ultrafast", "scale", "flex")
        for path, make in ((CHAT, chat), (RESPONSES, response))
    ),
    Row("D8", CHAT, chat(prompt_cache_options={"ttl": "12h"}), 400, INVALID, "prompt_cache_options"),
    Row("D8-deep", CHAT, parts({"type": "text", "text": "x", "prompt_cache_breakpoint": {"ttl": "12h"}}), 400, UNKNOWN),
    Row("D11", RESPONSES, response(prompt_cache_options={"prewarm": True}), 400, INVALID, "prompt_cache_options"),
    *(
        Row(f"E-{name}", RESPONSES, response(tools=[tool]), 403, TOOL, "tools[0]")
        for name, tool in {
            "1": {"type": "web_search"},
            "1-preview": {"type": "web_search_preview"},
            "1-dated": {"type": "web_search_2025_08_26"},
            "4": {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "64g"}},
            "5": {"type": "shell", "environment": {"type": "container_auto"}},
            "6": {"type": "mcp", "server_url": "https://evil.example"},
            "6-connector": {"type": "mcp", "connector_id": "c"},
            "7": {"type": "programmatic_tool_calling"},
            "7-search": {"type": "tool_search", "execution": "server"},
            "13": {"type": "moon_laser"},
        }.items()
    ),
    Row("E2", CHAT, chat(web_search_options={}), 403, TOOL, "web_search_options"),
    Row("E9", RESPONSES, response(input=[{"type": "tool_search_output", "tools": []}]), 403, TOOL, "input[0]"),
    Row("E11", RESPONSES, response(input=[{"type": "mcp_approval_response", "approve": True}]), 403, TOOL, "input[0]"),
    Row("E16", RESPONSES, response(background=True), 400, INVALID, "background"),
    Row("E17", RESPONSES, response(background_options={"completion_window": "8h"}), 400, INVALID, "background_options"),
    Row("E18", f"{RESPONSES}?beta=true", response(multi_agent={"enabled": True}), 400, UNKNOWN, "multi_agent"),
    Row("E20", CHAT, chat(thinking={"type": "enabled", "budget_tokens": 1_000_000}), 400, UNKNOWN, "thinking"),
    Row("E20-google", CHAT, chat(google={"thinking_config": {}}), 400, UNKNOWN, "google"),
    Row("E20-base", CHAT, chat(api_base="https://evil.example", api_key="x"), 400, UNKNOWN, "api_"),
    Row("F1", RESPONSES, response(previous_response_id="resp_of_bob"), 400, INVALID, "previous_response_id"),
    Row("F1-get", "/v1/responses/resp_of_bob", None, 404, URL, None, "GET"),
    Row("F3", RESPONSES, response(conversation="conv_x"), 400, INVALID, "conversation"),
    Row("F3-object", RESPONSES, response(conversation={"id": "conv_x"}), 400, INVALID, "conversation"),
    Row("F5", CHAT, parts({"type": "file", "file": {"file_id": "f"}}), 400, INVALID, "messages[0].content[0]"),
    Row("F6", CHAT, parts(IMAGE), 400, INVALID, "messages[0].content[0]"),
    Row("F8", CHAT, parts(*[TINY] * 500), 400, INVALID, "messages[0].content[0]"),
    Row("F11", CHAT, parts({"type": "input_audio", "input_audio": {"data": ""}}), 400, INVALID, "messages[0].content[0]"),
    Row("F12", CHAT, chat(messages=[{"role": "assistant", "audio": {"id": "a"}}]), 400, UNKNOWN, "messages[0].audio"),
    Row("F15", CHAT, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {"x": "y" * 2**22}}}]), 413, INVALID),
    Row("I1", "/v1/organization/costs", None, 404, URL, None, "GET"),
    Row("I1-delete", "/v1/organization/spend_limit", None, 404, URL, None, "DELETE"),
    *(Row(f"I2{path}", f"/v1{path}", None, 404, URL, None, "GET") for path in ("/files", "/batches", "/vector_stores", "/containers")),
    Row("I4", "/v1/realtime/client_secrets", {"session": {"model": "gpt-realtime"}}, 404, URL),
    Row("I4-chatkit", "/v1/chatkit/sessions", {}, 404, URL),
    Row("I18", "/v1/skills", {}, 404, URL),
    Row("embeddings", EMBEDDINGS, {"model": LUNA, "input": "x"}, 400, INVALID, "model"),
]  # fmt: skip


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.id)
def test_it_is_refused_and_nothing_is_sent(standin: StandIn, student: Caller, row: Row) -> None:
    """A refusal has OpenAI's shape, names the field, tells the SDK not to retry, costs nothing, and reaches nobody."""
    answer = student.send(row.path, row.body, row.method, headers={"Content-Type": "application/json"})
    assert code_of(answer) == (row.status, row.code)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert (error["param"] or "").startswith(row.param or "")
    assert answer.headers["x-should-retry"] == "false"
    assert len(answer.content) < 2000
    assert standin.requests == []
    assert student.rows() == []


# --- what passes, bounded -------------------------------------------------------------------------------------------


def test_c1_a_cap_is_set(standin: StandIn, student: Caller) -> None:
    """C1: who names no cap gets the host's, and is told."""
    answer = student.send(CHAT, chat())
    assert standin.last.json["max_completion_tokens"] == 4096
    assert answer.headers["x-keyguard-max-output-tokens"] == "4096"
    student.send(RESPONSES, response())
    assert standin.last.json["max_output_tokens"] == 4096


def test_c1_a_cap_is_lowered_to_what_is_left(standin: StandIn, student: Caller) -> None:
    """C1: a cap beyond the model's, or beyond the money, is lowered."""
    student.send(CHAT, chat(max_completion_tokens=1_000_000))
    assert standin.last.json["max_completion_tokens"] == 128_000
    poor = Caller.new(student.gateway, "course", settings={"limits": {"total": {"amount": "0.0005"}}})
    answer = poor.send(RESPONSES, response(max_output_tokens=4000))
    sent = standin.last.json["max_output_tokens"]
    assert 16 <= sent < 1000
    assert answer.headers["x-keyguard-max-output-tokens"] == str(sent)


def test_c2_a_null_names_nothing(standin: StandIn, student: Caller) -> None:
    """C2: the reduced form of two caps, one of them null, passes."""
    assert student.send(CHAT, chat(max_tokens=None, max_completion_tokens=20)).status_code == 200
    assert "max_tokens" not in standin.last.json


def test_c4_choices_are_held_for_each(standin: StandIn, student: Caller) -> None:
    """C4: with n answers, n times the cap is held."""
    for n in (1, 4):
        assert student.send(CHAT, chat(n=n, max_completion_tokens=1000)).status_code == 200
    one, four = (row["held"] for row in student.rows())
    price = TABLE.lookup("openai", LUNA)
    assert four - one == prices.worst(price, 0, 3000)


def test_c5_prompts_are_held_for_each(standin: StandIn, shared: Gateway) -> None:
    """C5: prompts times the larger of n and best_of, and a refusal where that does not fit."""
    ada = Caller.new(shared, settings={"limits": {"total": {"amount": "0.10"}}})
    body = {"model": "davinci-002", "prompt": ["a"] * 2048, "n": 4, "best_of": 8, "max_tokens": 4096}
    assert code_of(ada.send(COMPLETIONS, body)) == (402, "budget_exceeded")
    assert ada.send(COMPLETIONS, {**body, "prompt": ["a"] * 3, "max_tokens": 20}).status_code == 200
    (row,) = ada.rows()
    assert row["held"] >= prices.worst(TABLE.lookup("openai", "davinci-002"), 0, 3 * 8 * 20)
    assert row["cost"] <= row["held"]


@pytest.mark.parametrize(
    ("tier", "factor"),
    [("default", "default"), ("flex", "flex"), ("priority", "priority"), ("fast", "fast"), ("unheard-of", "ultrafast")],
)
def test_d_the_tier_that_answered_is_charged(standin: StandIn, student: Caller, tier: str, factor: str) -> None:
    """D4, D5: whatever was asked, the reported tier has its price, beyond the hold if need be."""
    usage = {"prompt_tokens": 10, "completion_tokens": 900, "total_tokens": 910}
    standin.script(usage=usage, tier=tier)
    assert student.send(CHAT, chat(max_completion_tokens=900, service_tier="auto")).status_code == 200
    assert standin.last.json["service_tier"] == "default"
    (row,) = student.rows()
    assert row["tier"] == tier
    assert row["cost"] == prices.cost(TABLE.lookup("openai", LUNA), from_chat(usage), tier=factor)
    assert (row["outcome"] == "overrun") is (row["cost"] > row["held"])


@pytest.mark.parametrize("read", [272_000, 272_001])
def test_d7_the_long_context_step_is_exact(standin: StandIn, student: Caller, read: int) -> None:
    """D7: at the step the ordinary rate, one token beyond it the long one, for all tokens; the hold covers both."""
    usage = {"prompt_tokens": read, "completion_tokens": 10, "total_tokens": read + 10}
    standin.script(usage=usage)
    body = chat(messages=[{"role": "user", "content": "x" * 280_000}], max_completion_tokens=10)
    assert student.send(CHAT, body).status_code == 200
    (row,) = student.rows()
    assert row["cost"] == prices.cost(TABLE.lookup("openai", LUNA), from_chat(usage))
    assert row["outcome"] == "ok"
    assert row["cost"] <= row["held"]


def test_d10_unasked_cache_writes_are_charged(standin: StandIn, student: Caller) -> None:
    """D10: tokens written for twelve hours have their price although nobody asked for them."""
    details = {"cache_write_tokens": 900, "cache_write_tokens_details": {"ttl_12h_tokens": 900}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001, "prompt_tokens_details": details}
    standin.script(usage=usage)
    student.send(CHAT, chat(max_completion_tokens=1))
    (row,) = student.rows()
    plain = prices.cost(TABLE.lookup("openai", LUNA), from_chat({**usage, "prompt_tokens_details": None}))
    assert row["cost"] == prices.cost(TABLE.lookup("openai", LUNA), from_chat(usage)) > plain


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a14_the_dearer_model_is_charged(standin: StandIn, student: Caller, stream: bool) -> None:
    """A14: if another model answers, the dearer of both prices counts, and the name is kept."""
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    standin.script(answers_as=ASTRA, usage=usage)
    student.send(CHAT, chat(max_completion_tokens=10, stream=stream))
    (row,) = student.rows()
    assert (row["model"], row["model_answered"], row["outcome"]) == (LUNA, ASTRA, "overrun")
    assert row["cost"] == prices.cost(TABLE.lookup("openai", ASTRA), from_chat(usage))


def test_g15_after_an_overrun_nothing_is_left(standin: StandIn, shared: Gateway) -> None:
    """G15: more than was held is recorded even past the limit, and the key spends nothing more."""
    poor = Caller.new(shared, "course", settings={"limits": {"total": {"amount": "0.01"}}})
    standin.script(usage={"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 2 * 10**6})
    assert poor.send(CHAT, chat(max_completion_tokens=10)).status_code == 200
    assert code_of(poor.send(CHAT, chat(max_completion_tokens=10))) == (402, "budget_exceeded")
    assert len(standin.requests) == 1


def test_f13_normalised_text_is_bounded(standin: StandIn, student: Caller) -> None:
    """F13: a character that becomes many under NFKC is counted as the many."""
    assert (
        student.send(
            CHAT, chat(messages=[{"role": "user", "content": "\ufdfa" * 100}], max_completion_tokens=1)
        ).status_code
        == 200
    )
    (row,) = student.rows()
    assert row["held"] >= prices.worst(TABLE.lookup("openai", LUNA), 100 * 33, 1)


def test_g3_the_total_binds_several_models(standin: StandIn, shared: Gateway) -> None:
    """G3: limits of single models do not add up beyond the total."""
    settings = {
        "limits": {"total": {"amount": "0.001"}},
        "model_limits": {LUNA: {"amount": "0.0008"}, "gpt-5*": {"amount": "0.0008"}},
    }
    ada = Caller.new(shared, "course", settings=settings)
    for model in (LUNA, "gpt-5.4-mini") * 20:
        ada.send(CHAT, chat(model=model, max_completion_tokens=200))
    assert 0 < sum(row["cost"] for row in ada.rows()) <= 10**6


def test_g9_amounts_are_exact(standin: StandIn, shared: Gateway) -> None:
    """G9: three calls of a tenth fit three tenths, to the last nano-dollar."""
    usage = {"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 140}
    standin.script(usage=usage, times=None)
    probe = Caller.new(shared, "course")
    probe.send(CHAT, chat(max_completion_tokens=100))
    (row,) = probe.rows()
    amount = 3 * row["cost"] + (row["held"] - row["cost"])
    ada = Caller.new(shared, "course", settings={"limits": {"total": {"amount": f"{amount / 10**9:.9f}"}}})
    for _ in range(3):
        assert ada.send(CHAT, chat(max_completion_tokens=100)).headers.get("x-keyguard-max-output-tokens") is None
    assert [one["cost"] for one in ada.rows()] == [row["cost"]] * 3


def test_h15_a_retry_is_a_call_of_its_own(standin: StandIn, student: Caller) -> None:
    """H14, H15: the gateway never sends twice, and what the SDK sends again is another call."""
    standin.script(drop="headers", times=1)
    for count in ("0", "1"):
        student.send(CHAT, chat(max_completion_tokens=10), headers={"x-stainless-retry-count": count})
    assert len(standin.requests) == 2
    assert [row["outcome"] for row in student.rows()] == ["interrupted", "ok"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_h17_the_model_cannot_forge_its_bill(standin: StandIn, student: Caller, stream: bool) -> None:
    """H17: usage that the model writes into its answer is text."""
    forged = 'a\n\ndata: {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}\n\ndata: [DONE]\n\n'
    standin.script(text=forged, whole=True)
    answer = student.send(CHAT, chat(max_completion_tokens=200, stream=stream))
    assert json.dumps(forged)[1:-1] in answer.text
    (row,) = student.rows()
    assert row["outcome"] == "ok"
    assert row["output_tokens"] > 5


def test_h19_a_key_that_is_revoked_meanwhile(standin: StandIn, student: Caller, shared: Gateway) -> None:
    """H19: the running call ends and is charged; the next one is refused."""
    standin.hold()
    found: list[int] = []
    running = _in_thread(lambda: found.append(student.send(CHAT, chat(max_completion_tokens=10)).status_code))
    standin.until(held=1)
    shared.admin.delete(f"/api/keys/{student.id}")
    standin.release()
    next(running, None)
    assert found == [200]
    assert code_of(student.send(CHAT, chat())) == (401, "key_revoked")
    assert [row["outcome"] for row in student.rows()] == ["ok"]


def _in_thread(work: Any) -> Iterator[None]:
    import threading

    thread = threading.Thread(target=work)
    thread.start()

    def wait() -> Iterator[None]:
        thread.join(20)
        yield

    return wait()


def test_i13_nobody_is_somebody_else(standin: StandIn, shared: Gateway) -> None:
    """I13, I15: whoever a caller says to be, the provider hears the same name for the same person."""
    names = set()
    for person in ("ada", "bob"):
        for _ in range(2):
            one = Caller.new(shared, "course", person=person)
            one.send(CHAT, chat(user="carol", safety_identifier="carol", metadata={"who": "carol"}))
            sent = standin.last.json
            assert not {"user", "metadata"} & set(sent)
            names.add(sent["safety_identifier"])
    assert len(names) == 2
    assert not [name for name in names if "ada" in name or "bob" in name or "carol" in name]


def test_i16_a_cookie_is_no_key(standin: StandIn, student: Caller) -> None:
    """I16: what a browser would send along opens nothing."""
    body = json.dumps(chat()).encode()
    found = exchange(student.gateway, request(headers=(f"Cookie: token={student.key}",), body=body))
    assert statuses(found) == [401]


def test_j7_a_deployments_name_has_no_price_here(standin: StandIn, shared: Gateway) -> None:
    """J7: a name that nothing prices is refused, with what a host can write."""
    ada = Caller.new(shared)
    answer = ada.send(CHAT, chat(model="prod-chat"))
    assert code_of(answer) == (400, "model_unpriced")
    assert 'c.Keyguard.prices = {"openai/prod-chat"' in answer.json()["error"]["message"]
