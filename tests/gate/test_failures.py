"""What a provider's refusal means for the caller, and for the money."""

import json
from typing import Any

import pytest

from keyguard_jupyter.core.providers import ProviderSpec, read_providers
from keyguard_jupyter.gate.failures import Failure, clean, clean_answer, clean_frame, failure_of

SPECS = read_providers(
    {
        "openai": "env:X",
        "azure": {"kind": "azure", "base_url": "https://x.example", "deployments": {"d": "gpt-4.1"}},
        "campus": {"base_url": "http://h/v1", "models": ["q"]},
    }
)


def failure(status: int, body: Any = None, provider: str = "openai", **headers: str) -> Failure:
    """Read a refusal."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    spec: ProviderSpec = SPECS[provider]
    return failure_of(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw, spec)


def error(message: str = "no", **fields: Any) -> dict[str, Any]:
    """Write an error as OpenAI does."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


PAGE = b"<html><h1>Bad Gateway</h1></html>"


@pytest.mark.parametrize(
    ("status", "body", "told", "code", "charged"),
    [
        (400, error(code="context_length_exceeded"), 400, "context_length_exceeded", False),
        (404, error(code="model_not_found"), 404, "model_not_found", False),
        (413, error(), 400, "invalid_request", False),
        (422, {"detail": [{"loc": ["body"]}]}, 400, "invalid_request", False),
        (422, {"detail": "no such field"}, 400, "invalid_request", False),
        (400, PAGE, 502, "provider_error", False),
        (401, error("Incorrect API key provided: sk-re****1234"), 502, "provider_error", False),
        (403, error("org-abcdefgh12345678 may not"), 502, "provider_error", False),
        (402, error("account balance 3.50"), 502, "provider_error", False),
        (429, error("org-abcdefgh12345678 on tokens per min"), 429, "rate_limit_exceeded", False),
        (429, PAGE, 429, "rate_limit_exceeded", False),
        (500, error("server"), 502, "provider_error", False),
        (500, b"Internal Server Error", 502, "provider_error", False),
        (502, PAGE, 502, "provider_error", True),
        (503, PAGE, 502, "provider_error", True),
        (503, error("overloaded"), 502, "provider_error", False),
        (504, b"", 502, "provider_error", True),
        (524, PAGE, 502, "provider_error", True),
        (529, error("overloaded"), 502, "provider_error", False),
        (201, {"choices": []}, 502, "provider_error", True),
        (204, b"", 502, "provider_error", True),
        (301, b"", 502, "provider_error", False),
        (307, b"", 502, "provider_error", False),
    ],
)
def test_a_refusal_is_told_and_charged_by_its_kind(status: int, body: Any, told: int, code: str, charged: bool) -> None:
    """What the caller can mend is passed on; what the host must mend is a 502; unknown work is charged, no work is not."""
    found = failure(status, body)
    assert (found.refusal.status, found.refusal.code, found.charged) == (told, code, charged)


def test_a_filtered_prompt_costs_its_input_at_azure_only() -> None:
    """Azure bills the prompts that its filter refuses; nobody else does."""
    body = error("filtered", code="content_filter")
    assert failure(400, body, "azure").input_only
    assert failure(400, body, "azure").charged
    assert not failure(400, body).charged


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("", 5), ("soon", 5), ("-1", 5), ("²", 5), ("9999999", 5)])
def test_the_wait_that_a_provider_asks_for_is_passed_on(header: str, seconds: int) -> None:
    """A Retry-After in whole seconds is kept; anything else means a few seconds."""
    assert failure(429, error(), Retry_After=header).refusal.retry_after == seconds
    assert failure(503, error(), Retry_After=header).refusal.retry_after == seconds


def test_only_what_passes_by_itself_is_tried_again() -> None:
    """The SDK is told to retry a 429 and a provider's own failure, and nothing else."""
    for status, again in ((429, "true"), (500, "true"), (503, "true"), (400, "false"), (401, "false"), (404, "false")):
        assert failure(status, error()).refusal.headers()["x-should-retry"] == again
    assert failure(502, PAGE).refusal.headers()["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "secret",
    [
        "org-abcdefgh12345678",
        "proj_AbCdEfGh12345678",
        "user-abcdefgh12345678",
        "req_0123456789abcdef",
        "sk-real************wxyz",
        "sk-proj-abcdef...wxyz",
        "abcd****wxyz",
        "/home/host/models/llama.gguf",
        "/opt/venv/lib/python3.11/site.py",
    ],
)
def test_the_hosts_business_is_removed(secret: str) -> None:
    """Account, project, request and key, even masked, and the server's files, are not passed on."""
    for message in (f"Denied for {secret}.", f"({secret})", f"key={secret}, sorry"):
        assert secret not in clean(message)
        assert secret not in failure(400, error(message, param=secret)).refusal.message
        assert secret not in str(failure(400, error(message, param=secret, code=secret)).refusal.body())


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        "Invalid 'messages[0].content': expected a string. See https://platform.openai.com/docs/api-reference/chat.",
        "The model `gpt-9` does not exist. Use /v1/chat/completions instead.",
        "user-defined functions and and/or choices are * fine **",
    ],
)
def test_what_helps_is_left_alone(message: str) -> None:
    """Ordinary messages pass unchanged."""
    assert clean(message) == message


def test_long_messages_are_cut() -> None:
    """A provider's page of text does not become ours."""
    assert len(failure(400, error("x" * 100_000)).refusal.message) < 1100


def test_errors_within_answers_are_cleaned() -> None:
    """An error event of a stream, in each of its shapes, loses what is the host's business and nothing else."""
    secret = "org-abcdefgh12345678"
    chat = {"error": {"message": f"for {secret}", "type": "t", "param": None, "code": 5, "account": secret}}
    assert clean_answer(chat) == {"error": {"message": "for [removed]", "type": "t", "param": None, "code": None}}
    event = {"type": "error", "code": "c", "message": f"for {secret}", "sequence_number": 3}
    assert clean_answer(event) == {**event, "message": "for [removed]"}
    failed = {"type": "response.failed", "response": {"error": {"code": "c", "message": secret}, "output": []}}
    assert secret not in str(clean_answer(failed))
    assert clean_answer({"error": secret}) == {"error": "[removed]"}
    assert clean_answer({"error": None, "usage": {}}) == {"error": None, "usage": {}}


def test_frames_without_errors_are_not_touched() -> None:
    """What a model says passes byte by byte, whatever it looks like."""
    for data in ({"error": None, "x": 1.50}, {"said": '"error": {"message": "org-abcdefgh12345678"}'}):
        frame = b"data: " + json.dumps(data).encode() + b"\n\n"
        assert clean_frame(frame) is frame
    assert clean_frame(b"data: [DONE]\n\n") == b"data: [DONE]\n\n"
    assert clean_frame(b'data: "error":1\n\n') == b'data: "error":1\n\n'
    frame = b'event: error\ndata: {"type": "error", "message": "org-abcdefgh12345678"}\n\n'
    assert clean_frame(frame) == b'event: error\ndata: {"type": "error", "message": "[removed]"}\n\n'
