"""The most that a request can count as input tokens, without a tokenizer.

Every token of a byte-level tokenizer covers at least one byte, so the UTF-8 length of what the model reads bounds
its tokens. Tokenizers that normalise first (NFKC: one character may become many) are covered by measuring the
normalised text too. JSON syntax, role names and keys only make the measured text longer than what is rendered: a
message costs at most five special tokens and at least twenty-five bytes.
"""

import json
import unicodedata
from collections.abc import Mapping

READ_BY_THE_MODEL = (
    "messages",
    "input",
    "instructions",
    "prompt",
    "suffix",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "text",
)
RENDERED_BY_THE_PROVIDER = ("tools", "functions", "response_format", "text")

HIDDEN_TOKENS = 24
"""Priming and separators that a provider adds to every call (7 tokens were seen for a one-word message)."""
HIDDEN_TOOL_TOKENS = 512
"""What a provider writes around tools and schemas (a few hundred tokens were seen)."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def input_tokens(body: Mapping[str, object], hidden: int = HIDDEN_TOKENS) -> int:
    """Return an upper bound of the input tokens of a parsed request body, all prompts together.

    Args:
        body: the request as it will be sent.
        hidden: tokens that the provider adds to every call.
    """
    read = {name: body[name] for name in READ_BY_THE_MODEL if name in body}
    bound = text_tokens(_encode(read)) + hidden
    if any(name in body for name in RENDERED_BY_THE_PROVIDER):
        bound += HIDDEN_TOOL_TOKENS
    return bound


def text_tokens(text: str) -> int:
    """Return an upper bound of the tokens of one text."""
    if text.isascii():
        return len(text)
    normal = unicodedata.normalize("NFKC", text)
    return max(len(text.encode()), len(normal.encode()))
