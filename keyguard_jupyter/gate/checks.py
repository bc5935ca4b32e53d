"""Checks of single request fields. Each takes a value and its path, and returns what may be sent on, or refuses."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import BadRequest, Forbidden
from .parse import SHOWN_MOST

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


def number(value: Any, path: str) -> int | float:
    """Pass a number; ``true`` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(path, "must be a number")
    return value


def numbers(value: Any, path: str) -> dict[str, int | float]:
    """Pass an object of numbers, whatever their names."""
    if not isinstance(value, dict):
        raise refuse(path, "must be an object of numbers")
    return {name: number(item, path) for name, item in value.items()}


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
            raise unknown(f"{path}.{name[:SHOWN_MOST]}")
    return checked


def an_object(known: Mapping[str, Check], dropped: Collection[str] = ()) -> Check:
    """Make a check of an object of known fields."""
    return lambda value, path: fields(value, path, known, dropped)


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
        if not isinstance(value, str) or value not in choices:
            raise refuse(path, f"must be one of {', '.join(choices)}")
        return value

    return check


def a_text_or(check: Check) -> Check:
    """Make a check that passes a string, and what another check passes."""
    return lambda value, path: value if isinstance(value, str) else check(value, path)


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
            allowed = ", ".join(kinds)
            raise refuse(f"{path}.type", f"{what} of type {_shown(kind)} are not allowed here; allowed: {allowed}")
        return kinds[kind](value, path)

    return check


def tool(kinds: Mapping[str, Check]) -> Check:
    """Make a check of one tool: what the provider runs itself costs money that no output cap bounds."""

    def check(value: Any, path: str) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise hosted(path, kind)
        return kinds[kind](value, path)

    return check


def hosted(path: str, kind: object) -> Forbidden:
    """Make the refusal of a tool that the provider runs."""
    return Forbidden(
        f"{path}: tools of type {_shown(kind)} are not allowed here, because the provider runs them at a cost that has "
        f"no bound. Allowed are {' and '.join(FUNCTION_TOOLS)} tools, which your own code runs.",
        code="tool_not_allowed",
        param=path,
    )


def _shown(value: object) -> str:
    return repr(value[:SHOWN_MOST]) if isinstance(value, str) else "that is no text"
