"""What a caller asks for: the checked body, and what bounds its cost."""

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

from ..core.bounds import HIDDEN_TOKENS, READ_BY_THE_MODEL, input_tokens, text_tokens
from ..core.prices import Price
from ..core.providers import ProviderSpec
from ..errors import BadRequest
from .checks import refuse, unknown, whole
from .endpoints import Endpoint
from .fields import OUTPUT_MOST, PROMPTS_MOST
from .parse import SHOWN_MOST

LEGACY_DEFAULT_TOKENS = 16
"""What ``/v1/completions`` means when no cap is named (OpenAI's reference)."""
_OF_STREAMS = frozenset({"stream", "stream_options"})
"""Fields that are checked even where nothing else is: Keyguard itself goes by them."""


@dataclass(slots=True)
class Ask:
    """A checked request.

    Args:
        body: what will be sent, but for the output cap and what the provider's module adds.
        input_tokens: an upper bound of the input tokens.
        named_cap: the output cap, in tokens per answer, that the caller named.
        answers: how many answers (prompts times alternatives) may each use the cap.
        wants_usage: whether a stream's caller asked for the usage chunk.
    """

    endpoint: Endpoint
    model: str
    body: dict[str, Any]
    input_tokens: int
    named_cap: int | None
    answers: int
    stream: bool
    wants_usage: bool


def model_of(endpoint: Endpoint, body: dict[str, Any]) -> str:
    """Return the model that a body names.

    Raises:
        BadRequest: none, or not one string.
    """
    model = body.get("model")
    if model is None and endpoint.default_model:
        return endpoint.default_model
    if not isinstance(model, str) or not 0 < len(model) <= 256 or not model.isprintable():
        raise BadRequest('model must be one model id, as "gpt-4.1-mini".', code="invalid_request", param="model")
    return model


def read_ask(endpoint: Endpoint, body: dict[str, Any], spec: ProviderSpec, price: Price, max_choices: int) -> Ask:
    """Check a body field by field.

    Args:
        max_choices: the most alternatives that a call may ask for.

    Raises:
        BadRequest: an unknown field, a field that is not allowed, or a value that is not.
        Forbidden: a tool that the provider would run.
    """
    relaxed = spec.unknown_fields == "pass"
    checked = _checked(endpoint, body, relaxed=relaxed, free=price.free)
    checked["model"] = model_of(endpoint, body)
    for name in endpoint.required:
        if name not in checked:
            raise BadRequest(f"{name} is missing.", code="invalid_request", param=name)
    stream = bool(checked.get("stream", False))
    options = checked.pop("stream_options", None) or {}
    if options and not stream:
        raise refuse("stream_options", "is only allowed with stream: true")
    named = _take_cap(endpoint, checked)
    _set_stream(endpoint, checked, stream=stream, options=options)
    return Ask(
        endpoint=endpoint,
        model=checked["model"],
        body=checked,
        input_tokens=_bound(endpoint, checked, spec, price, relaxed=relaxed),
        named_cap=named,
        answers=_answers(endpoint, checked, max_choices),
        stream=stream,
        wants_usage=bool(options.get("include_usage", False)),
    )


def _checked(endpoint: Endpoint, body: dict[str, Any], *, relaxed: bool, free: bool) -> dict[str, Any]:
    """Check each field; where the host lets unknown ones pass, a free model's known ones may hold what they will."""
    known = endpoint.fields
    checked = {}
    for name, value in body.items():
        if value is None or name in known.dropped:
            continue
        if name in known.passed:
            unchecked = relaxed and free and name not in _OF_STREAMS
            checked[name] = value if unchecked else known.passed[name](value, name)
        elif name in known.refused:
            if value is not False:
                raise refuse(name, known.refused[name])
        elif relaxed and name not in _OF_STREAMS:
            checked[_unmistakable(endpoint, name)] = value
        else:
            raise unknown(name[:SHOWN_MOST])
    return checked


def _unmistakable(endpoint: Endpoint, name: str) -> str:
    """Pass a name unless some server may take it for another: many read ``Model`` as ``model``, and the last counts."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    if plain != name and plain in endpoint.fields.names():
        raise unknown(name[:SHOWN_MOST])
    return name


def _take_cap(endpoint: Endpoint, body: dict[str, Any]) -> int | None:
    given = [name for name in endpoint.cap_fields if body.get(name) is not None]
    if len(given) > 1:
        raise refuse(given[0], f"give {given[0]} or {given[1]}, not both")
    if not given:
        return LEGACY_DEFAULT_TOKENS if endpoint.name == "completions" else None
    return whole(body[given[0]], given[0], 1, OUTPUT_MOST)


def _bound(endpoint: Endpoint, body: dict[str, Any], spec: ProviderSpec, price: Price, *, relaxed: bool) -> int:
    """Return the most input tokens that a body can count as."""
    prompts = _prompts(endpoint, body)
    hidden = HIDDEN_TOKENS if spec.hidden_input_tokens is None else spec.hidden_input_tokens
    bound = input_tokens(body, hidden * prompts)
    if relaxed:  # whatever a server does with what nobody knows
        others = {name: body[name] for name in body if name not in READ_BY_THE_MODEL}
        bound += text_tokens(json.dumps(others, ensure_ascii=False))
    return bound if price.max_input is None else min(bound, price.max_input * prompts)


def _prompts(endpoint: Endpoint, body: dict[str, Any]) -> int:
    """Return how many prompts are in a body: each is its own call to the model."""
    prompts = body.get(endpoint.prompts_field) if endpoint.prompts_field else None
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
        return whole(len(prompts), str(endpoint.prompts_field), 1, PROMPTS_MOST)
    return 1


def _answers(endpoint: Endpoint, body: dict[str, Any], max_choices: int) -> int:
    alternatives = [whole(body[name], name, 1, max_choices) for name in ("n", "best_of") if name in body]
    return _prompts(endpoint, body) * max(alternatives, default=1)


def _set_stream(endpoint: Endpoint, body: dict[str, Any], *, stream: bool, options: dict[str, Any]) -> None:
    if not endpoint.streams:
        body.pop("stream", None)
        return
    body["stream"] = stream
    if stream and endpoint.usage_on_request:
        # Without it a stream ends without saying what it cost.
        body["stream_options"] = {**options, "include_usage": True}
    elif options:
        body["stream_options"] = options
