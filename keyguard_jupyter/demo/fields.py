"""The fields of a request, one at a time, as the real provider reads and refuses them."""

from collections.abc import Mapping
from typing import Any

from ..errors import BadRequest
from . import tokens

Body = Mapping[str, Any]

_TIERS = {"flex": "flex", "priority": "priority", "fast": "priority", "scale": "scale"}


def read_texts(body: Body, name: str) -> tuple[list[str], int]:
    """Read one text, several, one list of token numbers, or several.

    Returns:
        the texts and the tokens of all of them.
    """
    given = body.get(name)
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise BadRequest(f"'{name}' must be a text or a list that is not empty.", code="invalid_type", param=name)
    if all(type(item) is int for item in given):
        given = [given]
    texts, weight = [], 0
    for item in given:
        if isinstance(item, list) and all(type(number) is int for number in item):
            texts.append(f"[{len(item)} tokens]")
            weight += len(item)
        elif isinstance(item, str):
            texts.append(item)
            weight += tokens.count(item)
        else:
            raise BadRequest(f"'{name}' must hold texts or token numbers.", code="invalid_type", param=name)
    return texts, weight


def need_model(body: Body) -> str:
    """Return the model that a body names."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", code="missing_required_parameter", param="model")
    return model


def read_stop(body: Body) -> tuple[str, ...]:
    """Return the texts before which an answer ends."""
    stop = body.get("stop")
    given = [stop] if isinstance(stop, str) else stop or []
    return tuple(text for text in given if text)


def wants_usage(body: Body) -> bool:
    """Tell whether a stream is to end with a chunk that holds the usage."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def read_tier(body: Body) -> str:
    """Return the tier that the provider reports: ``priority`` for ``fast`` too, ``default`` for ``auto``."""
    return _TIERS.get(str(body.get("service_tier")), "default")


def weigh_tools(body: Body, form: str) -> int:
    """Count the tokens of the tools, and of the form that the answer must have."""
    return sum(tokens.weigh(body[name]) for name in ("tools", form) if body.get(name))


def need_list(body: Body, name: str) -> list[Any]:
    """Return a list of objects that must not be empty."""
    given = body.get(name)
    if not isinstance(given, list) or not given or not all(isinstance(item, Mapping) for item in given):
        raise BadRequest(f"Missing or invalid parameter: '{name}'.", code="invalid_type", param=name)
    return given


def read_count(body: Body, name: str, least: int = 1) -> int | None:
    """Return a whole number of at least ``least``, or None when it is not given."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise BadRequest(f"Invalid type for '{name}': expected an integer.", code="invalid_type", param=name)
    if value < least:
        raise BadRequest(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead.",
            code="integer_below_min_value",
            param=name,
        )
    return value


def text_of(content: object) -> str:
    """Return the text of a message, the parts of it joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)


def read_schema(form: object, inside: str | None) -> Body | None:
    """Read the form of the answer; a chat keeps its schema one level deeper than a response."""
    if not isinstance(form, Mapping) or form.get("type") not in {"json_schema", "json_object"}:
        return None
    if form["type"] == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    holder = form.get(inside) if inside else form
    schema = holder.get("schema") if isinstance(holder, Mapping) else None
    return schema if isinstance(schema, Mapping) else {"type": "object"}


def read_tool(body: Body) -> tuple[str, Body] | None:
    """Return name and parameters of the function that must be called, or None when none must."""
    choice = body.get("tool_choice")
    names: list[Any] | None = None
    if isinstance(choice, Mapping):
        inner = choice.get("allowed_tools", choice)
        if choice.get("type") == "allowed_tools":
            if inner.get("mode") != "required":
                return None
            names = [_name_of(tool) for tool in inner.get("tools", [])]
        else:
            names = [_name_of(choice)]
    elif choice != "required":
        return None
    for tool in body.get("tools") or []:
        if tool.get("type") == "function" and (names is None or _name_of(tool) in names):
            return str(_name_of(tool)), tool.get("function", tool).get("parameters") or {"type": "object"}
    raise BadRequest("Tool choice not found in 'tools' parameter.", code="invalid_value", param="tool_choice")


def _name_of(tool: Body) -> Any:
    return tool.get("function", tool).get("name")
