"""What a caller asks for: the checked body, and what bounds its cost."""

from dataclasses import dataclass
from typing import Any

from ..core.bounds import HIDDEN_TOKENS, input_tokens
from ..core.prices import Price
from ..core.providers import ProviderSpec
from ..errors import BadRequest
from .checks import refuse, unknown, whole
from .endpoints import Endpoint
from .fields import Fields

LEGACY_DEFAULT_TOKENS = 16
"""What ``/v1/completions`` means when no cap is named (OpenAI's reference)."""


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
    checked = dict(body) if relaxed and price.free else _checked(endpoint.fields, body, relaxed=relaxed)
    checked["model"] = model_of(endpoint, body)
    for name in endpoint.required:
        if name not in checked:
            raise BadRequest(f"{name} is missing.", code="invalid_request", param=name)
    stream = bool(checked.get("stream", False))
    options = checked.pop("stream_options", None) or {}
    if options and not stream:
        raise refuse("stream_options", "is only allowed with stream: true")
    named = _take_cap(endpoint, checked)
    hidden = HIDDEN_TOKENS if spec.hidden_input_tokens is None else spec.hidden_input_tokens
    bound = input_tokens(checked, hidden * _prompts(endpoint, checked))
    _set_stream(endpoint, checked, stream=stream, options=options)
    return Ask(
        endpoint=endpoint,
        model=checked["model"],
        body=checked,
        input_tokens=bound if price.max_input is None else min(bound, price.max_input * _prompts(endpoint, checked)),
        named_cap=named,
        answers=_answers(endpoint, checked, max_choices),
        stream=stream,
        wants_usage=bool(options.get("include_usage", False)),
    )


def _checked(known: Fields, body: dict[str, Any], *, relaxed: bool) -> dict[str, Any]:
    checked = {}
    for name, value in body.items():
        if value is None or name in known.dropped:
            continue
        if name in known.passed:
            checked[name] = known.passed[name](value, name)
        elif name in known.refused:
            raise refuse(name, known.refused[name])
        elif name == "web_search_options":
            known.passed["tools"]([{"type": name}], name)
        elif relaxed:
            checked[name] = value
        else:
            raise unknown(name)
    return checked


def _take_cap(endpoint: Endpoint, body: dict[str, Any]) -> int | None:
    given = [name for name in endpoint.cap_fields if body.get(name) is not None]
    if len(given) > 1:
        raise refuse(given[0], f"give {given[0]} or {given[1]}, not both")
    if not given:
        return LEGACY_DEFAULT_TOKENS if endpoint.name == "completions" else None
    return whole(body[given[0]], given[0])


def _prompts(endpoint: Endpoint, body: dict[str, Any]) -> int:
    """Return how many prompts are in a body: each is its own call to the model."""
    prompts = body.get(endpoint.prompts_field) if endpoint.prompts_field else None
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
        return len(prompts)
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
