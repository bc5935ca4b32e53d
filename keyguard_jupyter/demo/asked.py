"""Reading what a caller asks for: text, by whichever endpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadRequest
from . import fields, tokens
from .fields import Body

_REASONING = re.compile(r"(?:o\d|gpt-[5-9])")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for text.

    Args:
        model: as named.
        input_tokens: all that the caller sent.
        question: the last thing that the person said.
        cap: the most tokens that one answer may have; None when the caller named none.
        choices: how many answers are shown.
        drafts: how many are written, and billed; more than ``choices`` with ``best_of``.
        stop: texts before which an answer ends.
        stream: whether it is to come in chunks.
        include_usage: whether a stream of a chat or completion is to report its usage.
        tier: the service tier that it runs in.
        schema: what the answer must fit, when it must be JSON.
        tool: name and parameters of the function that must be called.
    """

    model: str
    input_tokens: int
    question: str
    cap: int | None
    choices: int = 1
    drafts: int = 1
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    tier: str = "default"
    schema: Body | None = None
    tool: tuple[str, Body] | None = None


def read_chat(body: Body) -> Asked:
    """Read the body of ``/chat/completions``.

    Raises:
        BadRequest: as the real provider would refuse it, among others for both names of the output cap at once, and for
            ``max_tokens`` with a reasoning model.
    """
    messages = fields.need_list(body, "messages")
    choices = fields.read_count(body, "n") or 1
    return Asked(
        model=fields.need_model(body),
        input_tokens=tokens.PER_CALL + sum(map(_weigh_message, messages)) + fields.weigh_tools(body, "response_format"),
        question=_last_said(messages),
        cap=_read_chat_cap(body),
        choices=choices,
        drafts=choices,
        stop=fields.read_stop(body),
        stream=body.get("stream") is True,
        include_usage=fields.wants_usage(body),
        tier=fields.read_tier(body),
        schema=fields.read_schema(body.get("response_format"), "json_schema"),
        tool=fields.read_tool(body),
    )


def read_responses(body: Body) -> Asked:
    """Read the body of ``/responses``.

    Raises:
        BadRequest: as the real provider would refuse it, among others for a cap under 16 and for stored state, of which
            there is none.
    """
    given = body.get("input")
    items: list[Any] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else fields.need_list(body, "input")
    )
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name) is not None:
            raise BadRequest(f"{name} with id '{body[name]}' not found.", code=f"{name}_not_found", param=name)
    instructions = body.get("instructions")
    weight = tokens.PER_MESSAGE + tokens.weigh(instructions) if instructions else 0
    text = body.get("text")
    return Asked(
        model=fields.need_model(body),
        input_tokens=tokens.PER_CALL + weight + sum(map(_weigh_message, items)) + fields.weigh_tools(body, "text"),
        question=_last_said(items),
        cap=fields.read_count(body, "max_output_tokens", least=16),
        stream=body.get("stream") is True,
        tier=fields.read_tier(body),
        schema=fields.read_schema(text.get("format") if isinstance(text, Mapping) else None, None),
        tool=fields.read_tool(body),
    )


def read_completions(body: Body) -> tuple[Asked, list[str]]:
    """Read the body of the legacy ``/completions``.

    Returns:
        what is asked, with the tokens of all prompts, and the prompts; one given as token numbers is shown as a
        bracketed count, and weighs as many tokens.

    Raises:
        BadRequest: as the real provider would refuse it.
    """
    prompts, weight = fields.read_texts(body, "prompt")
    choices = fields.read_count(body, "n") or 1
    drafts = fields.read_count(body, "best_of") or choices
    if drafts < choices:
        raise BadRequest(
            "You requested that the server return more choices than it will generate.", code="invalid_value"
        )
    cap = fields.read_count(body, "max_tokens", least=0)
    asked = Asked(
        model=fields.need_model(body),
        input_tokens=weight,
        question="",
        cap=16 if cap is None else cap,
        choices=choices,
        drafts=drafts,
        stop=fields.read_stop(body),
        stream=body.get("stream") is True,
        include_usage=fields.wants_usage(body),
    )
    return asked, prompts


def _read_chat_cap(body: Body) -> int | None:
    old, new = fields.read_count(body, "max_tokens"), fields.read_count(body, "max_completion_tokens")
    if old is not None and new is not None:
        raise BadRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
            param="max_tokens",
        )
    if old is not None and _REASONING.match(str(body.get("model"))):
        raise BadRequest(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param="max_tokens",
        )
    return new if old is None else old


def _weigh_message(message: Body) -> int:
    content = message.get("content")
    if len(message) == 2 and isinstance(content, str) and "role" in message:
        return tokens.PER_MESSAGE + tokens.count(content)
    weight = tokens.PER_MESSAGE
    for name, value in message.items():
        if name in {"content", "output"}:
            weight += tokens.weigh_content(value)
        elif name not in {"role", "type", "status", "id"} and value is not None:
            weight += tokens.weigh(value)
    return weight


def _last_said(messages: list[Any]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return fields.text_of(message.get("content"))
    return fields.text_of(messages[-1].get("content"))
