"""The smallest JSON value that a schema accepts, for structured outputs and tool calls."""

from collections.abc import Mapping
from typing import Any

_DEEPEST = 12
_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "P1D",
    "email": "ada@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org/",
}


def fit(schema: Mapping[str, Any]) -> Any:
    """Make a small value that fits a JSON schema.

    Covers what structured outputs allow: objects, arrays, enums, constants, formats, bounds, ``anyOf``, ``allOf`` and
    references within the schema. A regular expression (``pattern``) is not solved.
    """
    return _fit(schema, schema, 0)


def _fit(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if depth > 3 * _DEEPEST:
        return None
    if not isinstance(schema, Mapping):
        return "text"
    if "$ref" in schema:
        return _fit(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _fit(_choose(schema[word], depth), root, depth + 1)
    if schema.get("allOf"):
        return _fit(_merge(schema, root), root, depth + 1)
    return _fit_type(schema, root, depth)


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.lstrip("#").split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found


def _choose(options: list[Any], depth: int) -> Any:
    """Take the first option, but from a certain depth on one that ends a recursion, if there is one."""
    if depth >= _DEEPEST:
        for option in options:
            if isinstance(option, Mapping) and option.get("type") not in {"object", "array", None}:
                return option
    return options[0]


def _merge(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        found = _resolve(str(part["$ref"]), root) if "$ref" in part else part
        for key, value in found.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                merged[key] = {**merged[key], **value}
            else:
                merged[key] = value
    return merged


def _fit_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = "null" if depth >= _DEEPEST and "null" in kind else kind[0]
    if kind == "object":
        return _fit_object(schema, root, depth)
    if kind == "array":
        least = 0 if depth >= _DEEPEST else max(int(schema.get("minItems", 0)), 1)
        return [_fit(schema.get("items", {}), root, depth + 1) for _ in range(least)]
    if kind in {"integer", "number"}:
        return _fit_number(schema)
    if kind == "boolean":
        return True
    return None if kind == "null" else _fit_string(schema)


def _fit_object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    needed = schema.get("required", ()) if depth >= _DEEPEST else properties
    return {name: _fit(properties.get(name, {}), root, depth + 1) for name in needed}


def _fit_number(schema: Mapping[str, Any]) -> int | float:
    step = schema.get("multipleOf", 1)
    value = schema.get("minimum", schema.get("maximum", 1))
    if "exclusiveMinimum" in schema:
        value = schema["exclusiveMinimum"] + step
    elif "exclusiveMaximum" in schema and "minimum" not in schema:
        value = schema["exclusiveMaximum"] - step
    if value % step:
        value += step - value % step
    return int(value) if schema.get("type") == "integer" else value


def _fit_string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), str(schema.get("title", "text")))
    text += "." * (int(schema.get("minLength", 0)) - len(text))
    return text[: schema.get("maxLength", len(text))]
