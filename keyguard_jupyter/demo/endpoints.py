"""The smaller endpoints, and which path leads to which."""

import base64
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import BadRequest
from . import answers, chat, fields, responses, tokens
from . import asked as asking
from .asked import Asked
from .fields import Body
from .said import Answer, Frame, Said, bend, dumps, encode, say, usage_of_chat
from .script import Script

MODELS = (
    "babbage-002",
    "davinci-002",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-1106",
    "gpt-3.5-turbo-16k",
    "gpt-4",
    "gpt-4-1106-preview",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-6-astra",
    "gpt-6-luna",
    "omni-moderation-latest",
    "text-embedding-3-large",
    "text-embedding-3-small",
)
_DIMENSIONS = {"text-embedding-3-large": 3072}
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)

Endpoint = Callable[[Body, Script, int], Answer]


def complete(body: Body, script: Script, serial: int) -> Answer:
    """Answer the legacy ``/completions``: every prompt ``n`` times, and bill ``best_of`` drafts of each."""
    asked, prompts = asking.read_completions(body)
    said: list[Said] = []
    written = 0
    for prompt in prompts:
        drafts = [
            _draft(dataclasses.replace(asked, question=prompt), script, turn, body) for turn in range(asked.drafts)
        ]
        written += sum(draft.tokens for draft in drafts)
        said += drafts[: asked.choices]
    usage = usage_of_chat(asked, written, script)
    head = {
        "id": f"cmpl-standin{serial:08d}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": script.answers_as or asked.model,
        "system_fingerprint": "fp_standin",
    }
    if asked.stream:
        return Answer(
            frames=bend(list(_stream(asked, said, head, usage, script)), script), seed=prompts[-1], tokens=written
        )
    choices = [_choice(one.text, index, script.finish or _finish(one)) for index, one in enumerate(said)]
    document = {**head, "choices": choices, **({} if usage is None else {"usage": usage}), **script.extra}
    return Answer(payload=encode(document), seed=prompts[-1], tokens=written)


def _draft(asked: Asked, script: Script, turn: int, body: Body) -> Said:
    """Write one draft; an echoed prompt stands before it, and is not billed as output."""
    draft = say(asked, script, turn, opening=" ")
    if body.get("echo") is True:
        return dataclasses.replace(draft, pieces=[asked.question, *draft.pieces])
    return draft


def _finish(said: Said) -> str:
    return "length" if said.cut else "stop"


def _choice(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _stream(asked: Asked, said: list[Said], head: dict[str, Any], usage: Any, script: Script) -> Iterator[Frame]:
    rest: dict[str, Any] = {"usage": None} if asked.include_usage else {}
    for index, one in enumerate(said):
        for piece in one.pieces:
            yield Frame("token", dumps({**head, "choices": [_choice(piece, index, None)], **rest}))
        ending = {**head, "choices": [_choice("", index, script.finish or _finish(one))], **rest}
        if script.usage_in_choice and usage is not None and index == len(said) - 1:
            yield Frame("usage", dumps({**ending, "usage": usage, **script.extra}))
        else:
            yield Frame("other", dumps(ending))
    if asked.include_usage and usage is not None and not script.usage_in_choice:
        yield Frame("usage", dumps({**head, "choices": [], "usage": usage, **script.extra}))
    yield Frame("done", "[DONE]")


def embed(body: Body, script: Script, _serial: int) -> Answer:
    """Answer ``/embeddings``, in numbers or in base64."""
    model = fields.need_model(body)
    texts, weight = fields.read_texts(body, "input")
    dimensions = body.get("dimensions") or _DIMENSIONS.get(model, 1536)
    if type(dimensions) is not int or dimensions < 1:
        raise BadRequest("Invalid 'dimensions': expected a positive integer.", code="invalid_type", param="dimensions")
    data = []
    for index, text in enumerate(texts):
        vector = answers.embedding(tokens.split(text), dimensions)
        if body.get("encoding_format") == "base64":
            if sys.byteorder == "big":
                vector.byteswap()
            data.append(
                {"object": "embedding", "index": index, "embedding": base64.b64encode(vector.tobytes()).decode()}
            )
        else:
            data.append({"object": "embedding", "index": index, "embedding": vector.tolist()})
    usage: Any = {"prompt_tokens": weight, "total_tokens": weight} if script.usage is None else script.usage
    document = {
        "object": "list",
        "data": data,
        "model": script.answers_as or model,
        **({"usage": usage} if usage else {}),
    }
    return Answer(payload=encode({**document, **script.extra}), seed=texts[-1])


def moderate(body: Body, script: Script, serial: int) -> Answer:
    """Answer ``/moderations``; a handful of violent words is all that is flagged."""
    given = body.get("input")
    texts = given if isinstance(given, list) else [given]
    if not texts or given is None:
        raise BadRequest("Missing required parameter: 'input'.", code="missing_required_parameter", param="input")
    results = [_judge(item.get("text", "") if isinstance(item, dict) else str(item)) for item in texts]
    model = script.answers_as or body.get("model") or "omni-moderation-latest"
    return Answer(
        payload=encode({"id": f"modr-standin{serial:08d}", "model": model, "results": results, **script.extra})
    )


def _judge(text: str) -> dict[str, Any]:
    flagged = answers.is_violent(text)
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == "violence" for name in _CATEGORIES},
        "category_scores": {name: 0.98 if flagged and name == "violence" else 0.0001 for name in _CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }


def describe_model(model: str) -> dict[str, Any]:
    """Describe a model as ``/models`` does."""
    return {"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "stand-in"}


ENDPOINTS: dict[str, Endpoint] = {
    "chat/completions": chat.answer,
    "responses": responses.answer,
    "completions": complete,
    "embeddings": embed,
    "moderations": moderate,
}
"""By path, under ``/v1/``."""

AZURE: dict[str, Endpoint] = {**ENDPOINTS, "chat/completions": functools.partial(chat.answer, azure=True)}
"""By path, under ``/openai/deployments/NAME/``."""
