"""Which fields each route knows: what is not listed here is refused.

A field is *passed* after its check, *dropped* (Keyguard sets it itself, or it has no effect through Keyguard), or
*refused* with a sentence of its own. Everything else is unknown, and refused too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .checks import (
    Check,
    anything,
    by_type,
    each,
    empty,
    fields,
    flag,
    one_of,
    refuse,
    text,
    tool,
    tool_choice,
    whole,
)

HIDDEN_INPUT = "would add input that Keyguard cannot see, and so cannot price"
STORED = "needs the provider to store conversations, which Keyguard turns off"


@dataclass(frozen=True)
class Fields:
    """The fields of one route."""

    passed: Mapping[str, Check]
    dropped: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)


def _text_or_parts(parts: Check) -> Check:
    def check(value: object, path: str) -> object:
        return value if isinstance(value, str) else each(parts)(value, path)

    return check


def _service_tier(value: object, path: str) -> str:
    # "auto" is whatever the provider's project is set to, which may cost twice as much.
    one_of("auto", "default")(value, path)
    return "default"


def _modalities(value: object, path: str) -> object:
    if value != ["text"]:
        raise refuse(path, 'only ["text"] is allowed')
    return value


def _positive(value: object, path: str) -> int:
    return whole(value, path)


def _strings(value: object, path: str) -> object:
    return value if isinstance(value, str) else each(text)(value, path)


def _prompts(value: object, path: str) -> object:
    """Pass a text, a list of texts, a list of token ids, or a list of such lists."""
    if isinstance(value, str):
        return value
    items = each(anything)(value, path)
    if not items:
        raise refuse(path, "must not be empty")
    kinds = {type(item) for item in items}
    if len(kinds) > 1 or not kinds <= {str, int, list}:
        raise refuse(path, "must be a text, a list of texts, or token ids")
    if kinds == {list}:
        each(each(lambda item, where: whole(item, where, 0)))(value, path)
    return value


_GENERAL = {
    "model": text,
    "temperature": anything,
    "top_p": anything,
    "stream": flag,
}
_OURS = frozenset({"store", "user", "safety_identifier", "metadata"})

# --- chat ---------------------------------------------------------------------------------------------------------

_CHAT_PART = by_type(
    {
        "text": lambda value, path: fields(value, path, {"type": text, "text": text}),
        "refusal": lambda value, path: fields(value, path, {"type": text, "refusal": text}),
    },
    "parts",
)
_CHAT_CALL = by_type(
    {
        "function": lambda value, path: fields(
            value,
            path,
            {
                "id": text,
                "type": text,
                "function": lambda v, p: fields(v, p, {"name": text, "arguments": text}),
            },
            {"index"},
        ),
        "custom": lambda value, path: fields(
            value,
            path,
            {"id": text, "type": text, "custom": lambda v, p: fields(v, p, {"name": text, "input": text})},
            {"index"},
        ),
    },
    "tool calls",
)
_MESSAGE = {
    "role": one_of("system", "developer", "user", "assistant", "tool", "function"),
    "content": _text_or_parts(_CHAT_PART),
    "name": text,
    "refusal": text,
    "tool_calls": each(_CHAT_CALL),
    "tool_call_id": text,
    "function_call": lambda value, path: fields(value, path, {"name": text, "arguments": text}),
    "annotations": empty,
}


def _message(value: object, path: str) -> object:
    message = fields(value, path, _MESSAGE)
    if "role" not in message:
        raise refuse(f"{path}.role", "is missing")
    message.pop("annotations", None)
    return message


_FUNCTION = {"name": text, "description": text, "parameters": anything, "strict": flag}
_CHAT_TOOL = tool(
    {
        "function": lambda value, path: fields(
            value, path, {"type": text, "function": lambda v, p: fields(v, p, _FUNCTION)}
        ),
        "custom": lambda value, path: fields(
            value,
            path,
            {
                "type": text,
                "custom": lambda v, p: fields(v, p, {"name": text, "description": text, "format": anything}),
            },
        ),
    }
)

CHAT = Fields(
    passed={
        **_GENERAL,
        "messages": each(_message),
        "max_tokens": _positive,
        "max_completion_tokens": _positive,
        "n": _positive,
        "stop": _strings,
        "presence_penalty": anything,
        "frequency_penalty": anything,
        "logit_bias": anything,
        "logprobs": flag,
        "top_logprobs": lambda value, path: whole(value, path, 0, 20),
        "seed": anything,
        "response_format": anything,
        "tools": each(_CHAT_TOOL),
        "tool_choice": tool_choice,
        "parallel_tool_calls": flag,
        "functions": each(lambda value, path: fields(value, path, _FUNCTION)),
        "function_call": anything,
        "reasoning_effort": text,
        "verbosity": text,
        "modalities": _modalities,
        "service_tier": _service_tier,
        "prompt_cache_key": text,
        "prompt_cache_retention": text,
        "stream_options": lambda value, path: fields(value, path, {"include_usage": flag, "include_obfuscation": flag}),
    },
    dropped=_OURS,
    refused={
        "prediction": "is billed as output even where it is rejected; leave it out",
        "audio": "audio is not allowed here",
        "moderation": "call /v1/moderations instead",
        "prompt_cache_options": "changes what cached input costs; leave it out",
    },
)

# --- responses ----------------------------------------------------------------------------------------------------

_RESPONSE_PART = by_type(
    {
        "input_text": lambda value, path: fields(value, path, {"type": text, "text": text}),
        "output_text": lambda value, path: fields(
            value, path, {"type": text, "text": text, "annotations": empty}, {"logprobs"}
        ),
        "refusal": lambda value, path: fields(value, path, {"type": text, "refusal": text}),
        "summary_text": lambda value, path: fields(value, path, {"type": text, "text": text}),
        "reasoning_text": lambda value, path: fields(value, path, {"type": text, "text": text}),
    },
    "parts",
)
_ITEM = {"type": text, "id": text, "status": text}
_PARTS = _text_or_parts(_RESPONSE_PART)
_ITEMS = by_type(
    {
        "message": lambda value, path: fields(
            value,
            path,
            {
                **_ITEM,
                "role": one_of("system", "developer", "user", "assistant"),
                "content": _PARTS,
                "phase": text,
            },
        ),
        "function_call": lambda value, path: fields(
            value,
            path,
            {**_ITEM, "call_id": text, "name": text, "arguments": text},
            {"parsed_arguments"},
        ),
        "function_call_output": lambda value, path: fields(
            value, path, {**_ITEM, "call_id": text, "output": _PARTS}, {"created_by"}
        ),
        "custom_tool_call": lambda value, path: fields(
            value, path, {**_ITEM, "call_id": text, "name": text, "input": text}
        ),
        "custom_tool_call_output": lambda value, path: fields(
            value, path, {**_ITEM, "call_id": text, "output": _PARTS}
        ),
        "reasoning": lambda value, path: fields(
            value,
            path,
            {**_ITEM, "summary": each(_RESPONSE_PART), "content": each(_RESPONSE_PART), "encrypted_content": text},
        ),
    },
    "items",
)


def _item(value: object, path: str) -> object:
    if isinstance(value, dict) and value.get("type") is None and "role" in value:
        value = {**value, "type": "message"}
    return _ITEMS(value, path)


def _input(value: object, path: str) -> object:
    if isinstance(value, str):
        return value
    items = each(_item)(value, path)
    # Nothing is stored at the provider, so a thought without its contents could not be found there again.
    return [item for item in items if item["type"] != "reasoning" or "encrypted_content" in item]


_RESPONSE_TOOL = tool(
    {
        "function": lambda value, path: fields(value, path, {"type": text, **_FUNCTION}),
        "custom": lambda value, path: fields(
            value, path, {"type": text, "name": text, "description": text, "format": anything}
        ),
    }
)

RESPONSES = Fields(
    passed={
        **_GENERAL,
        "input": _input,
        "instructions": text,
        "max_output_tokens": _positive,
        "max_tool_calls": _positive,
        "parallel_tool_calls": flag,
        "reasoning": lambda value, path: fields(
            value, path, {"effort": text, "summary": text, "generate_summary": text}
        ),
        "text": lambda value, path: fields(value, path, {"format": anything, "verbosity": text}),
        "tools": each(_RESPONSE_TOOL),
        "tool_choice": tool_choice,
        "top_logprobs": lambda value, path: whole(value, path, 0, 20),
        "truncation": one_of("auto", "disabled"),
        "include": each(one_of("reasoning.encrypted_content", "message.output_text.logprobs")),
        "service_tier": _service_tier,
        "prompt_cache_key": text,
        "prompt_cache_retention": text,
        "stream_options": lambda value, path: fields(value, path, {"include_obfuscation": flag}),
    },
    dropped=_OURS,
    refused={
        "previous_response_id": STORED,
        "conversation": STORED,
        "prompt": "names a template at the provider that may choose another model and tools",
        "background": "would run on after the answer, so that nobody would see what it cost",
        "background_options": "would run on after the answer, so that nobody would see what it cost",
        "context_management": HIDDEN_INPUT,
        "prompt_cache_options": "changes what cached input costs; leave it out",
    },
)

# --- the rest -----------------------------------------------------------------------------------------------------

COMPLETIONS = Fields(
    passed={
        **_GENERAL,
        "prompt": _prompts,
        "suffix": text,
        "max_tokens": _positive,
        "n": _positive,
        "best_of": _positive,
        "echo": flag,
        "logprobs": anything,
        "stop": _strings,
        "presence_penalty": anything,
        "frequency_penalty": anything,
        "logit_bias": anything,
        "seed": anything,
        "stream_options": lambda value, path: fields(value, path, {"include_usage": flag, "include_obfuscation": flag}),
    },
    dropped=_OURS,
)

EMBEDDINGS = Fields(
    passed={
        "model": text,
        "input": _prompts,
        "dimensions": _positive,
        "encoding_format": one_of("float", "base64"),
    },
    dropped=_OURS,
)

MODERATIONS = Fields(
    passed={"model": one_of("omni-moderation-latest", "text-moderation-latest"), "input": _strings},
)
