"""``/responses``, plain and as a stream."""

import time
from collections.abc import Iterator
from typing import Any

from . import asked as asking
from .asked import Asked
from .fields import Body
from .said import Answer, Frame, Said, bend, dumps, encode, say
from .script import Script

_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def answer(body: Body, script: Script, serial: int) -> Answer:
    """Answer a response request.

    Args:
        body: the request.
        script: what the test wants.
        serial: makes the id of the answer.

    Raises:
        BadRequest: the request is not one.
    """
    asked = asking.read_responses(body)
    said = say(asked, script)
    opened = _open(body, asked, script, serial)
    closed = _close(opened, asked, said, script, serial)
    if not asked.stream:
        return Answer(payload=encode(closed), seed=asked.question, tokens=said.tokens)
    frames = [
        Frame(kind, dumps({"type": name, "sequence_number": number, **event}), name)
        for number, (kind, name, event) in enumerate(_stream(asked, said, opened, closed, serial))
    ]
    return Answer(frames=bend(frames, script), seed=asked.question, tokens=said.tokens)


def _open(body: Body, asked: Asked, script: Script, serial: int) -> dict[str, Any]:
    """Make the response as it stands before its first word."""
    echoed = {name: body[name] if body.get(name) is not None else value for name, value in _ECHOED.items()}
    return {
        "id": f"resp_standin{serial:08d}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": script.answers_as or asked.model,
        "output": [],
        **echoed,
        "service_tier": script.tier or asked.tier,
        "usage": None,
    }


def _close(opened: dict[str, Any], asked: Asked, said: Said, script: Script, serial: int) -> dict[str, Any]:
    """Make the response as it stands at the end."""
    status, reason, error = "completed", None, None
    if script.finish == "failed":
        status, error = "failed", {"code": "server_error", "message": "The model produced an error."}
    elif script.finish is not None or said.cut:
        status, reason = "incomplete", {"reason": script.finish or "max_output_tokens"}
    item = _item(asked, said.text, "incomplete" if status == "incomplete" else "completed", serial)
    return {
        **opened,
        "status": status,
        "error": error,
        "incomplete_details": reason,
        "output": [] if status == "failed" else [item],
        "usage": _usage(asked, said, script, status),
        **script.extra,
    }


def _usage(asked: Asked, said: Said, script: Script, status: str) -> Any:
    if script.usage is not None:
        return script.usage or None
    if status == "failed":
        return None
    return {
        "input_tokens": asked.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": said.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked.input_tokens + said.tokens,
    }


def _item(asked: Asked, text: str | None, status: str, serial: int) -> dict[str, Any]:
    """Make the one thing that is put out: a message, or the call of a function; empty when there is no text yet."""
    if asked.tool is not None:
        item = {"id": f"fc_standin{serial:08d}", "type": "function_call", "status": status, "name": asked.tool[0]}
        return {**item, "call_id": f"call_standin{serial:08d}", "arguments": text or ""}
    content = [] if text is None else [_part(text)]
    return {
        "id": f"msg_standin{serial:08d}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


_Event = tuple[str, str, dict[str, Any]]


def _stream(asked: Asked, said: Said, opened: dict[str, Any], closed: dict[str, Any], serial: int) -> Iterator[_Event]:
    yield "other", "response.created", {"response": opened}
    yield "other", "response.in_progress", {"response": opened}
    empty = _item(asked, None, "in_progress", serial)
    yield "other", "response.output_item.added", {"output_index": 0, "item": empty}
    yield from _say(said, {"item_id": empty["id"], "output_index": 0}, asked.tool is not None)
    if closed["status"] != "failed":
        yield "other", "response.output_item.done", {"output_index": 0, "item": closed["output"][0]}
    yield "usage", f"response.{closed['status']}", {"response": closed}


def _say(said: Said, place: dict[str, Any], is_call: bool) -> Iterator[_Event]:
    if is_call:
        for piece in said.pieces:
            yield "token", "response.function_call_arguments.delta", {**place, "delta": piece}
        yield "other", "response.function_call_arguments.done", {**place, "arguments": said.text}
        return
    place = {**place, "content_index": 0}
    yield "other", "response.content_part.added", {**place, "part": _part("")}
    for piece in said.pieces:
        yield "token", "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield "other", "response.output_text.done", {**place, "text": said.text, "logprobs": []}
    yield "other", "response.content_part.done", {**place, "part": _part(said.text)}
