"""Which fields a route knows: what is not listed is refused. Here the shape of such a list, and the simpler routes.

A field is *passed* after its check, *dropped* (Keyguard sets it itself, or it has no effect through Keyguard), or
*refused* with a sentence of its own. Everything else is unknown, and refused too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .checks import Check, a_text_or, an_object, anything, each, flag, number, numbers, one_of, refuse, text, whole

OUTPUT_MOST = 10_000_000
"""The largest output cap, in tokens, that can be named; far more than any model writes."""
PROMPTS_MOST = 2048
"""The most prompts in one call (OpenAI's own limit)."""


@dataclass(frozen=True)
class Fields:
    """The fields of one route."""

    passed: Mapping[str, Check]
    dropped: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> frozenset[str]:
        """Return every name that means something to the route."""
        return frozenset({*self.passed, *self.dropped, *self.refused})


def service_tier(value: object, path: str) -> str:
    """Pass the ordinary tier only: ``auto`` is what the provider's project is set to, which may cost a multiple."""
    one_of("auto", "default")(value, path)
    return "default"


def cap(value: object, path: str) -> int:
    """Pass an output cap."""
    return whole(value, path, 1, OUTPUT_MOST)


def positive(value: object, path: str) -> int:
    """Pass a whole number from 1."""
    return whole(value, path)


strings = a_text_or(each(text))


def prompts(value: object, path: str) -> object:
    """Pass a text, a list of texts, a list of token ids, or a list of such lists."""
    if isinstance(value, str):
        return value
    items = each(anything)(value, path)
    kinds = {type(item) for item in items}
    if len(kinds) != 1 or not kinds <= {str, int, list}:
        raise refuse(path, "must be a text, a list of texts, or token ids, and not empty")
    if kinds == {int}:
        return _token_ids(items, path)
    if len(items) > PROMPTS_MOST:
        raise refuse(path, f"must be at most {PROMPTS_MOST} prompts")
    return each(_token_ids)(items, path) if kinds == {list} else items


def _token_ids(value: Any, path: str) -> object:
    # All at once: there may be a million of them.
    if {*map(type, value)} != {int} or min(value) < 0 or max(value) >= 2**31:
        raise refuse(path, "must be token ids: whole numbers from 0, at least one")
    return value


GENERAL: Mapping[str, Check] = {
    "model": text,
    "temperature": number,
    "top_p": number,
    "stream": flag,
}
PENALTIES: Mapping[str, Check] = {
    "presence_penalty": number,
    "frequency_penalty": number,
    "logit_bias": numbers,
    "seed": number,
    "stop": strings,
}
STREAM_OPTIONS = an_object({"include_usage": flag, "include_obfuscation": flag})
OURS = frozenset({"store", "user", "safety_identifier", "metadata"})

COMPLETIONS = Fields(
    passed={
        **GENERAL,
        **PENALTIES,
        "prompt": prompts,
        "suffix": text,
        "max_tokens": cap,
        "n": positive,
        "best_of": positive,
        "echo": flag,
        "logprobs": number,
        "stream_options": STREAM_OPTIONS,
    },
    dropped=OURS,
)

EMBEDDINGS = Fields(
    passed={
        "model": text,
        "input": prompts,
        "dimensions": positive,
        "encoding_format": one_of("float", "base64"),
    },
    dropped=OURS,
)

MODERATIONS = Fields(
    passed={
        "model": one_of("omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest"),
        "input": strings,
    },
)
