"""The fields of ``/v1/chat/completions``."""

from .checks import (
    Check,
    a_text_or,
    an_object,
    anything,
    by_type,
    each,
    empty,
    fields,
    flag,
    hosted,
    one_of,
    refuse,
    text,
    tool,
    whole,
)
from .fields import GENERAL, OURS, PENALTIES, STREAM_OPTIONS, Fields, cap, positive, service_tier

_PART = by_type(
    {
        "text": an_object({"type": text, "text": text}),
        "refusal": an_object({"type": text, "refusal": text}),
    },
    "parts",
)
_CALLED = an_object({"name": text, "arguments": text}, {"parsed_arguments"})
_CALL = by_type(
    {
        "function": an_object({"id": text, "type": text, "function": _CALLED}, {"index"}),
        "custom": an_object({"id": text, "type": text, "custom": an_object({"name": text, "input": text})}, {"index"}),
    },
    "tool calls",
)
_MESSAGE: dict[str, Check] = {
    "role": one_of("system", "developer", "user", "assistant", "tool", "function"),
    "content": a_text_or(each(_PART)),
    "name": text,
    "refusal": text,
    "tool_calls": each(_CALL),
    "tool_call_id": text,
    "function_call": _CALLED,
    "annotations": empty,
}


def _message(value: object, path: str) -> object:
    message = fields(value, path, _MESSAGE, {"parsed"})  # what the SDK adds to an answer that it has parsed
    if "role" not in message:
        raise refuse(f"{path}.role", "is missing")
    message.pop("annotations", None)
    return message


def _modalities(value: object, path: str) -> object:
    if value != ["text"]:
        raise refuse(path, 'only ["text"] is allowed')
    return value


FUNCTION: dict[str, Check] = {"name": text, "description": text, "parameters": anything, "strict": flag}
_GRAMMAR = an_object({"type": text, "grammar": an_object({"definition": text, "syntax": text})})
_TOOL = tool(
    {
        "function": an_object({"type": text, "function": an_object(FUNCTION)}),
        "custom": an_object(
            {"type": text, "custom": an_object({"name": text, "description": text, "format": _GRAMMAR})}
        ),
    }
)
_NAMED = an_object({"name": text})
_CHOSEN: dict[str, Check] = {
    "function": an_object({"type": text, "function": _NAMED}),
    "custom": an_object({"type": text, "custom": _NAMED}),
}
_CHOICE = tool(
    {
        **_CHOSEN,
        "allowed_tools": an_object(
            {
                "type": text,
                "allowed_tools": an_object({"mode": one_of("auto", "required"), "tools": each(tool(_CHOSEN))}),
            }
        ),
    }
)


def tool_choice(choice: Check) -> Check:
    """Make a check that passes a choice among the caller's own tools."""

    def check(value: object, path: str) -> object:
        if isinstance(value, str):
            return one_of("none", "auto", "required")(value, path)
        return choice(value, path)

    return check


def web_search(_value: object, path: str) -> object:
    """Refuse the provider's search."""
    raise hosted(path, "web_search")


_SCHEMA = an_object({"name": text, "description": text, "schema": anything, "strict": flag})

CHAT = Fields(
    passed={
        **GENERAL,
        **PENALTIES,
        "messages": each(_message),
        "max_tokens": cap,
        "max_completion_tokens": cap,
        "n": positive,
        "logprobs": flag,
        "top_logprobs": lambda value, path: whole(value, path, 0, 20),
        "response_format": an_object({"type": text, "json_schema": _SCHEMA, "schema": anything, "grammar": text}),
        "tools": each(_TOOL),
        "tool_choice": tool_choice(_CHOICE),
        "parallel_tool_calls": flag,
        "functions": each(an_object(FUNCTION)),
        "function_call": a_text_or(_NAMED),
        "reasoning_effort": text,
        "verbosity": text,
        "modalities": _modalities,
        "service_tier": service_tier,
        "prompt_cache_key": text,
        "prompt_cache_retention": text,
        "stream_options": STREAM_OPTIONS,
        "web_search_options": web_search,
    },
    dropped=OURS,
    refused={
        "prediction": "is billed as output even where it is rejected; leave it out",
        "audio": "audio is not allowed here",
        "moderation": "call /v1/moderations instead",
        "prompt_cache_options": "changes what cached input costs; leave it out",
    },
)
