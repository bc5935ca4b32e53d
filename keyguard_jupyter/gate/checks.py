"""Checks of single request fields. Each takes a value and its path, and returns what may be sent on, or refuses."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import BadRequest, Forbidden

Check = Callable[[Any, str], Any]

FUNCTION_TOOLS = ("function", "custom")
"""Tools that the caller runs: they cost tokens only."""


def refuse(path: str, problem: str) -> BadRequest:
    """Make the refusal of one field."""
    return BadRequest(f"{path}: {problem}", code="invalid_request", param=path)


def anything(value: Any, _path: str) -> Any:
    """Pass any JSON value: it has no influence on the cost beyond its size, which is counted."""
    return value


def text(value: Any, path: str) -> str:
    """Pass a string."""
    if not isinstance(value, str):
        raise refuse(path, "must be a string")
    return value


def flag(value: Any, path: str) -> bool:
    """Pass true or false."""
    if not isinstance(value, bool):
        raise refuse(path, "must be true or false")
    return value


def whole(value: Any, path: str, least: int = 1, most: int | None = None) -> int:
    """Pass a whole number within bounds; ``true`` is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(path, "must be a whole number")
    if value < least or (most is not None and value > most):
        raise refuse(path, f"must be at least {least}" + ("" if most is None else f" and at most {most}"))
    return value


def fields(value: Any, path: str, known: Mapping[str, Check], dropped: Collection[str] = ()) -> dict[str, Any]:
    """Pass an object of known fields. Nulls are left out: they mean the same, and hide nothing."""
    if not isinstance(value, dict):
        raise refuse(path, "must be an object")
    checked = {}
    for name, item in value.items():
        if name in known:
            if item is not None:
                checked[name] = known[name](item, f"{path}.{name}")
        elif name not in dropped and item is not None:
            raise unknown(f"{path}.{name}")
    return checked


def unknown(path: str) -> BadRequest:
    """Make the refusal of a field that is not known."""
    return BadRequest(
        f"{path} is not a field that Keyguard passes on: what it might cost is not known.",
        code="unknown_parameter",
        param=path,
    )


def each(check: Check) -> Check:
    """Make a check of a list from the check of an item."""

    def check_all(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise refuse(path, "must be a list")
        return [check(item, f"{path}[{index}]") for index, item in enumerate(value)]

    return check_all


def one_of(*choices: str) -> Check:
    """Make a check that passes only these strings."""

    def check(value: Any, path: str) -> Any:
        if value not in choices or not isinstance(value, str):
            raise refuse(path, f"must be one of {', '.join(choices)}")
        return value

    return check


def empty(value: Any, path: str) -> Any:
    """Pass only an empty list or object: what an SDK writes back of an answer that had none."""
    if value not in ([], {}, ""):
        raise unknown(path)
    return value


def by_type(kinds: Mapping[str, Check], what: str) -> Check:
    """Make a check that looks at ``type`` first."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise refuse(path, "must be an object")
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            raise refuse(f"{path}.type", f"{what} of type {kind!r} are not allowed here; allowed: {', '.join(kinds)}")
        return kinds[kind](value, path)

    return check


def tool(kinds: Mapping[str, Check]) -> Check:
    """Make a check of one tool: what the provider runs itself costs money that no output cap bounds."""

    def check(value: Any, path: str) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise Forbidden(
                f"{path}: tools of type {kind!r} are not allowed here, because the provider runs them at a cost that "
                f"has no bound. Allowed are {' and '.join(kinds)} tools, which your own code runs.",
                code="tool_not_allowed",
                param=path,
            )
        return kinds[kind](value, path)

    return check


def tool_choice(value: Any, path: str) -> Any:
    """Pass a choice among the caller's own tools."""
    if isinstance(value, str):
        return one_of("none", "auto", "required")(value, path)
    kinds = (*FUNCTION_TOOLS, "allowed_tools")
    if not isinstance(value, dict) or value.get("type") not in kinds:
        raise Forbidden(f"{path}: only {' and '.join(FUNCTION_TOOLS)} tools can be chosen.", code="tool_not_allowed")
    listed = value.get("allowed_tools", value)
    for index, chosen in enumerate(listed.get("tools", []) if isinstance(listed, dict) else []):
        if not isinstance(chosen, dict) or chosen.get("type") not in FUNCTION_TOOLS:
            raise Forbidden(f"{path}.tools[{index}] is not allowed.", code="tool_not_allowed", param=path)
    return value
