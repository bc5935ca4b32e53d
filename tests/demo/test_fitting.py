"""The smallest JSON that fits a schema."""

import enum
from typing import Annotated, Literal, Optional

import pytest
from annotated_types import Ge, Gt, Lt, MinLen, MultipleOf
from pydantic import BaseModel, Field

from keyguard_jupyter.demo.fitting import fit


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    value: int
    next: Optional["Node"]
    children: list["Node"]


class Everything(BaseModel):
    kind: Literal["everything"]
    colour: Colour
    many: Annotated[list[int], MinLen(3)]
    at_least: Annotated[int, Ge(5)]
    above: Annotated[float, Gt(2)]
    below: Annotated[int, Lt(0)]
    sevens: Annotated[int, Ge(10), MultipleOf(7)]
    long: Annotated[str, Field(min_length=20, max_length=21)]
    short: Annotated[str, Field(max_length=2)]
    flag: bool
    nothing: None
    either: int | str
    loose: dict[str, int]


@pytest.mark.parametrize("model", [Everything, Node], ids=lambda model: model.__name__)
def test_what_is_made_fits_the_schema_it_was_made_from(model: type[BaseModel]) -> None:
    """Whatever a structured output may ask for, bounds and recursion included, is answered with valid JSON."""
    assert isinstance(model.model_validate(fit(model.model_json_schema())), model)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"const": 2}}}], "$defs": {"a": {"type": "object"}}},
            {"y": 2},
        ),
        ({"type": ["string", "null"], "format": "date"}, "2026-01-31"),
        ({"type": "object", "required": ["x"]}, {}),
        ({"$ref": "#/nowhere"}, "text"),
        (True, "text"),
        ({}, "text"),
        ({"oneOf": [{"type": "integer"}]}, 1),
    ],
)
def test_less_usual_schemas_are_answered_too(schema: object, value: object) -> None:
    """Merged parts, several types, missing references and a schema of ``true`` all give a value."""
    assert fit(schema) == value  # type: ignore[arg-type]


def test_a_schema_that_never_ends_is_cut() -> None:
    """A recursion without a way out ends in null rather than in an error."""
    value = fit(
        {
            "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}},
            "$ref": "#/$defs/n",
        }
    )
    assert str(value).endswith("None" + "}" * str(value).count("{"))
