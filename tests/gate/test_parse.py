"""Reading a body: one meaning, or none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.errors import BadRequest
from keyguard_jupyter.gate.parse import DEPTH_MOST, parse_body, write_body

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"a":{"b":1,"c":2,"b":1}}',
        b'{"a":[{"x":1,"\\u0078":2}]}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b"[]",
        b'"text"',
        b"null",
        b"",
        b'{"a":1}{"b":2}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":"line\nbreak"}',
        _nested(DEPTH_MOST + 1),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_two_readers_may_read_differently_is_refused(raw: bytes) -> None:
    """Keys that stand twice, no numbers, half characters, other encodings, endless nesting: none is passed on."""
    with pytest.raises(BadRequest) as refused:
        parse_body(raw)
    assert refused.value.code == "invalid_request"


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_plain_json_survives_reading_and_writing(body: dict[str, Any]) -> None:
    """What is plain means the same before and after."""
    assert parse_body(write_body(body)) == body
    assert parse_body(json.dumps(body).encode()) == body


@given(st.lists(st.sampled_from(["{", "}", "[", "]", '"', "\\", "a", ","]), max_size=40))
def test_only_refusals_are_raised(pieces: list[str]) -> None:
    """No sequence of signs does anything but parse, or be refused."""
    try:
        found = parse_body("".join(pieces).encode())
    except BadRequest as refused:
        found = refused.body()
    assert isinstance(found, dict)


def test_the_deepest_nesting_passes_and_brackets_in_text_do_not_count() -> None:
    """Sixty-four levels are read; a text may hold any number of brackets, quotes and backslashes."""
    assert parse_body(_nested(DEPTH_MOST))
    text = '\\"[[{{' * 1000
    assert parse_body(json.dumps({"a": text}).encode()) == {"a": text}


def test_large_documents_are_read_quickly() -> None:
    """Work grows with the size, not with its square: two million brackets, a hundred thousand keys with one twice."""
    assert parse_body(b'{"a":[' + b"[]," * 700_000 + b"[]]}")
    names = ",".join(f'"{number}":0' for number in range(100_000))
    with pytest.raises(BadRequest, match="'0' occurs twice"):
        parse_body(f'{{{names},"0":0}}'.encode())


def test_a_long_name_is_not_repeated_at_length() -> None:
    """A refusal does not send a megabyte back."""
    name = "x" * 1_000_000
    with pytest.raises(BadRequest) as refused:
        parse_body(f'{{"{name}":1,"{name}":2}}'.encode())
    assert len(refused.value.message) < 200
    assert refused.value.param == "x" * 100
