"""The fields of ``/v1/responses``."""

from .chat_fields import FUNCTION, tool_choice, web_search
from .checks import (
    Check,
    a_text_or,
    an_object,
    anything,
    by_type,
    each,
    empty,
    flag,
    hosted,
    one_of,
    text,
    tool,
    whole,
)
from .fields import GENERAL, OURS, Fields, cap, positive, service_tier

HIDDEN_INPUT = "would add input that Keyguard cannot see, and so cannot price"
STORED = "needs the provider to store conversations, which Keyguard turns off"
UNSEEN = "would run on after the answer, so that nobody would see what it cost"
_OF_HOSTED_TOOLS = (
    "mcp_",
    "computer_call",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "tool_search",
    "additional_tools",
    "shell_call",
    "program",
)

_PART = by_type(
    {
        "input_text": an_object({"type": text, "text": text}),
        # What the SDK adds to an answer that it has parsed is left out.
        "output_text": an_object({"type": text, "text": text, "annotations": empty}, {"logprobs", "parsed"}),
        "refusal": an_object({"type": text, "refusal": text}),
        "summary_text": an_object({"type": text, "text": text}),
        "reasoning_text": an_object({"type": text, "text": text}),
    },
    "parts",
)
_ITEM: dict[str, Check] = {"type": text, "id": text, "status": text}
_PARTS = a_text_or(each(_PART))
_ROLE = one_of("system", "developer", "user", "assistant")
_ITEMS = by_type(
    {
        "message": an_object({**_ITEM, "role": _ROLE, "content": _PARTS, "phase": text}),
        "function_call": an_object({**_ITEM, "call_id": text, "name": text, "arguments": text}, {"parsed_arguments"}),
        "function_call_output": an_object({**_ITEM, "call_id": text, "output": _PARTS}, {"created_by"}),
        "custom_tool_call": an_object({**_ITEM, "call_id": text, "name": text, "input": text}),
        "custom_tool_call_output": an_object({**_ITEM, "call_id": text, "output": _PARTS}),
        "reasoning": an_object({**_ITEM, "summary": each(_PART), "content": each(_PART), "encrypted_content": text}),
    },
    "items",
)


def _item(value: object, path: str) -> object:
    if not isinstance(value, dict):
        return _ITEMS(value, path)
    kind = value.get("type")
    if kind is None and "role" in value:
        return _ITEMS({**value, "type": "message"}, path)
    if isinstance(kind, str) and any(part in kind for part in _OF_HOSTED_TOOLS):
        raise hosted(path, kind)
    return _ITEMS(value, path)


def _input(value: object, path: str) -> object:
    if isinstance(value, str):
        return value
    items = each(_item)(value, path)
    # Nothing is stored at the provider, so a thought without its contents could not be found there again.
    return [item for item in items if item["type"] != "reasoning" or "encrypted_content" in item]


_FORMAT = an_object({"type": text, "definition": text, "syntax": text})
_TOOL = tool(
    {
        "function": an_object({"type": text, **FUNCTION}),
        "custom": an_object({"type": text, "name": text, "description": text, "format": _FORMAT}),
    }
)
_CHOSEN: dict[str, Check] = dict.fromkeys(("function", "custom"), an_object({"type": text, "name": text}))
_ALLOWED = an_object({"type": text, "mode": one_of("auto", "required"), "tools": each(tool(_CHOSEN))})
_SCHEMA: dict[str, Check] = {"name": text, "description": text, "schema": anything, "strict": flag}

RESPONSES = Fields(
    passed={
        **GENERAL,
        "input": _input,
        "instructions": text,
        "max_output_tokens": cap,
        "max_tool_calls": positive,
        "parallel_tool_calls": flag,
        "reasoning": an_object(
            {
                "effort": text,
                "summary": text,
                "generate_summary": text,
                "mode": one_of("standard"),
                "context": one_of("auto", "current_turn", "all_turns"),
            }
        ),
        "text": an_object({"format": an_object({"type": text, **_SCHEMA}), "verbosity": text}),
        "tools": each(_TOOL),
        "tool_choice": tool_choice(tool({**_CHOSEN, "allowed_tools": _ALLOWED})),
        "top_logprobs": lambda value, path: whole(value, path, 0, 20),
        "truncation": one_of("auto", "disabled"),
        "include": each(one_of("reasoning.encrypted_content", "message.output_text.logprobs")),
        "service_tier": service_tier,
        "prompt_cache_key": text,
        "prompt_cache_retention": text,
        "stream_options": an_object({"include_obfuscation": flag}),
        "web_search_options": web_search,
    },
    dropped=OURS,
    refused={
        "previous_response_id": STORED,
        "conversation": STORED,
        "prompt": "names a template at the provider that may choose another model and tools",
        "background": UNSEEN,
        "background_options": UNSEEN,
        "context_management": HIDDEN_INPUT,
        "prompt_cache_options": "changes what cached input costs; leave it out",
    },
)
