"""``/chat/completions``, plain and as a stream, of OpenAI and of an Azure deployment."""

import time
from typing import Any

from . import asked as asking
from .asked import Asked
from .fields import Body
from .said import Answer, Frame, Said, bend, dumps, encode, say, usage_of_chat
from .script import Script

_SAFE = {"filtered": False, "severity": "safe"}
FILTERS = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), _SAFE)


def answer(body: Body, script: Script, serial: int, *, azure: bool = False) -> Answer:
    """Answer a chat.

    Args:
        body: the request.
        script: what the test wants.
        serial: makes the id of the answer.
        azure: add the reports of the content filter that a deployment adds.

    Raises:
        BadRequest: the request is not one.
    """
    asked = asking.read_chat(body)
    said = [say(asked, script, variant) for variant in range(asked.choices)]
    written = sum(one.tokens for one in said)
    usage = usage_of_chat(asked, written, script)
    head = {
        "id": f"chatcmpl-standin{serial:08d}",
        "object": "chat.completion.chunk" if asked.stream else "chat.completion",
        "created": int(time.time()),
        "model": script.answers_as or asked.model,
        "service_tier": script.tier or asked.tier,
        "system_fingerprint": "fp_standin",
    }
    if asked.stream:
        frames = bend(list(_stream(asked, said, head, usage, script, serial, azure)), script)
        return Answer(frames=frames, seed=asked.question, tokens=written)
    choices = [_choose(asked, one, index, script, serial) for index, one in enumerate(said)]
    document: dict[str, Any] = {**head, "choices": choices}
    if azure:
        document["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": FILTERS}]
        for choice in choices:
            choice["content_filter_results"] = FILTERS
    if usage is not None:
        document["usage"] = usage
    return Answer(payload=encode({**document, **script.extra}), seed=asked.question, tokens=written)


def _choose(asked: Asked, said: Said, index: int, script: Script, serial: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if asked.tool is not None:
        message["content"] = None
        message["tool_calls"] = [_call(asked.tool[0], said.text, index, serial)]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(asked, said, script)}


def _call(name: str, arguments: str, index: int, serial: int) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_standin{serial:08d}{index:02d}", "type": "function", "function": function}


def _finish(asked: Asked, said: Said, script: Script) -> str:
    if script.finish is not None:
        return script.finish
    if said.cut:
        return "length"
    return "stop" if asked.tool is None else "tool_calls"


def _stream(
    asked: Asked, said: list[Said], head: dict[str, Any], usage: Any, script: Script, serial: int, azure: bool
) -> Any:
    """Yield the events: the role, the text, the reason for the end, the usage to whom asked, and the end mark."""
    before = dumps(head)[:-1] + ',"choices":['
    after = "]}" if not asked.include_usage else '],"usage":null}'

    if azure:
        results = [{"prompt_index": 0, "content_filter_results": FILTERS}]
        yield Frame(
            "other",
            dumps({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": results}),
        )
    for index, one in enumerate(said):
        first: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        if asked.tool is not None:
            call = _call(asked.tool[0], "", index, serial)
            first = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}], "refusal": None}
        yield Frame("other", before + _delta(index, dumps(first)) + after)
        opening, closing = ('{"content":', "}")
        if asked.tool is not None:
            opening, closing = ('{"tool_calls":[{"index":0,"function":{"arguments":', "}}]}")
        for piece in one.pieces:
            yield Frame("token", before + _delta(index, opening + dumps(piece) + closing) + after)
        last = index == len(said) - 1
        if last and script.usage_in_choice and usage is not None:
            ending = "]," + dumps({"usage": usage, **script.extra})[1:]
            yield Frame("usage", before + _delta(index, "{}", _finish(asked, one, script)) + ending)
        else:
            yield Frame("other", before + _delta(index, "{}", _finish(asked, one, script)) + after)
    if asked.include_usage and usage is not None and not script.usage_in_choice:
        yield Frame("usage", dumps({**head, "choices": [], "usage": usage, **script.extra}))
    yield Frame("done", "[DONE]")


def _delta(index: int, delta: str, finish: str | None = None) -> str:
    reason = "null" if finish is None else dumps(finish)
    return f'{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'
