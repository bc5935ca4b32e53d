"""Checks of single fields: what passes is what was meant, and a refusal names the field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.errors import BadRequest, Forbidden, Refused
from keyguard_jupyter.gate.checks import (
    Check,
    a_text_or,
    an_object,
    by_type,
    each,
    empty,
    fields,
    flag,
    number,
    numbers,
    one_of,
    text,
    tool,
    whole,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TOOLS = tool({"function": an_object({"type": text, "name": text}), "custom": an_object({"type": text})})
PARTS = by_type({"text": an_object({"type": text, "text": text})}, "parts")
EVERY: dict[str, Check] = {
    "text": text,
    "flag": flag,
    "number": number,
    "numbers": numbers,
    "whole": whole,
    "each": each(text),
    "one_of": one_of("a", "b"),
    "a_text_or": a_text_or(each(flag)),
    "empty": empty,
    "by_type": PARTS,
    "tool": TOOLS,
    "an_object": an_object({"a": text}, {"b"}),
}


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ("text", ["", "x"], [None, 1, True, ["x"], {}]),
        ("flag", [True, False], [0, 1, "true", None, []]),
        ("number", [0, -1, 1.5], [True, "1", None, [1]]),
        ("numbers", [{}, {"1": 5, "x": -1.5}], [[], {"a": True}, {"a": "1"}, 5]),
        ("whole", [1, 10**9], [0, -1, True, 1.0, "1", None]),
        ("each", [[], ["a", ""]], ["a", [1], {"0": "a"}, None]),
        ("one_of", ["a", "b"], ["A", "c", "", None, ["a"], 1]),
        ("a_text_or", ["x", [True]], [["x"], 5, True]),
        ("empty", [[], {}, ""], [[1], {"a": 1}, "x", 0, False]),
        (
            "by_type",
            [{"type": "text", "text": "x"}],
            [{"type": "image"}, {"text": "x"}, {"type": ["text"]}, "text", None],
        ),
    ],
)
def test_values_of_the_right_kind_pass_as_they_are(check: str, good: list[Any], bad: list[Any]) -> None:
    """Nothing is converted: what is not of the kind is refused, and ``true`` is no number."""
    for value in good:
        assert EVERY[check](value, "f") == value
    for value in bad:
        with pytest.raises(BadRequest) as refused:
            EVERY[check](value, "f")
        assert (refused.value.param or "").startswith("f")


@pytest.mark.parametrize("name", EVERY)
@given(value=JSON)
def test_a_check_passes_or_refuses(name: str, value: Any) -> None:
    """Whatever JSON is given, there is a value to send on, or a refusal that names the field."""
    try:
        EVERY[name](value, "f")
    except Refused as refused:
        assert (refused.param or "").startswith("f")
        assert len(refused.message) < 1000


def test_bounds_are_within() -> None:
    """The least and the most pass; one less and one more do not."""
    assert [whole(value, "f", 2, 4) for value in (2, 3, 4)] == [2, 3, 4]
    for value in (1, 5):
        with pytest.raises(BadRequest, match="at least 2 and at most 4"):
            whole(value, "f", 2, 4)


def test_an_object_holds_known_fields_only() -> None:
    """Nulls hide nothing and are left out, dropped ones too; an unknown one is refused by its name."""
    known: dict[str, Check] = {"a": text, "b": flag}
    assert fields({"a": "x", "b": None, "c": 1, "d": None}, "f", known, {"c"}) == {"a": "x"}
    with pytest.raises(BadRequest) as refused:
        fields({"a": "x", "e": 0}, "f", known)
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", "f.e")
    with pytest.raises(BadRequest, match="must be an object"):
        fields([], "f", known)


def test_places_are_named_down_to_the_last() -> None:
    """A refusal says where in a list of objects the fault is."""
    with pytest.raises(BadRequest) as refused:
        each(an_object({"a": each(text)}))([{"a": []}, {"a": ["x", 5]}], "f")
    assert refused.value.param == "f[1].a[1]"


@pytest.mark.parametrize("value", [{"type": "web_search"}, {"type": None}, {"type": {}}, {}, "function", None, 5])
def test_what_the_provider_runs_is_forbidden(value: Any) -> None:
    """A tool of any other type than the caller's own is a 403, known or not."""
    with pytest.raises(Forbidden) as refused:
        TOOLS(value, "tools[0]")
    assert (refused.value.code, refused.value.param) == ("tool_not_allowed", "tools[0]")
    assert TOOLS({"type": "function", "name": "f"}, "tools[0]") == {"type": "function", "name": "f"}


def test_long_values_are_not_repeated_at_length() -> None:
    """A type of a megabyte is named by its beginning."""
    for check in (PARTS, TOOLS):
        with pytest.raises(Refused) as refused:
            check({"type": "x" * 1_000_000}, "f")
        assert len(refused.value.message) < 500
