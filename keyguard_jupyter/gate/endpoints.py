"""The routes that reach a provider: the table that says how each is read, bounded and metered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.usage import Usage, from_chat, from_completions, from_embeddings, from_responses
from .chat_fields import CHAT
from .fields import COMPLETIONS, EMBEDDINGS, MODERATIONS, Fields
from .responses_fields import RESPONSES


@dataclass(frozen=True)
class Endpoint:
    """One metered route.

    Args:
        path: below the provider's base URL, and below ``/v1`` here.
        cap_fields: the names under which a caller may name the output cap.
        usage: reads the provider's usage report; None for a route that is free of charge.
        prompts_field: the field that may carry several prompts.
        usage_on_request: whether a stream reports usage only when asked.
        default_model: what is meant when no model is named.
        modes: what kinds of models, in the price table's words, it serves.
        least_cap: the smallest output cap, in tokens, that providers take.
    """

    name: str
    path: str
    fields: Fields
    required: tuple[str, ...]
    usage: Callable[[Mapping[str, Any]], Usage] | None
    cap_fields: tuple[str, ...] = ()
    prompts_field: str | None = None
    streams: bool = False
    usage_on_request: bool = False
    default_model: str | None = None
    modes: frozenset[str] = frozenset()
    least_cap: int = 1

    @property
    def free(self) -> bool:
        """Whether the provider charges nothing for it."""
        return self.usage is None


ENDPOINTS = (
    Endpoint(
        name="chat",
        path="/chat/completions",
        fields=CHAT,
        required=("messages",),
        usage=from_chat,
        modes=frozenset({"chat"}),
        cap_fields=("max_completion_tokens", "max_tokens"),
        streams=True,
        usage_on_request=True,
    ),
    Endpoint(
        name="responses",
        path="/responses",
        fields=RESPONSES,
        required=("input",),
        usage=from_responses,
        modes=frozenset({"chat", "responses"}),
        cap_fields=("max_output_tokens",),
        least_cap=16,
        streams=True,
    ),
    Endpoint(
        name="completions",
        path="/completions",
        fields=COMPLETIONS,
        required=("prompt",),
        usage=from_completions,
        modes=frozenset({"completion"}),
        cap_fields=("max_tokens",),
        prompts_field="prompt",
        streams=True,
        usage_on_request=True,
    ),
    Endpoint(
        name="embeddings",
        path="/embeddings",
        fields=EMBEDDINGS,
        required=("input",),
        usage=from_embeddings,
        modes=frozenset({"embedding"}),
        prompts_field="input",
    ),
    Endpoint(
        name="moderations",
        path="/moderations",
        fields=MODERATIONS,
        required=("input",),
        usage=None,
        default_model="omni-moderation-latest",
    ),
)
