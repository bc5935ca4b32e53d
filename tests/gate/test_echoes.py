"""A key that a provider repeats is found however it is written."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.gate.echoes import marks_of, pattern_of

WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "json": lambda key: json.dumps(key)[1:-1],
    "json in json": lambda key: json.dumps(json.dumps(key))[1:-1],
    "php": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "every character": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "capital digits": lambda key: "".join(f"\\u{ord(char):04X}" for char in key),
    "html in json": lambda key: json.dumps(key)[1:-1].replace("+", "\\u002B").replace("<", "\\u003c"),
    "url": lambda key: quote(key, safe=""),
    "every byte of a url": lambda key: "".join(f"%{ord(char):02X}" for char in key),
}
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40).map("sk-".__add__)


@pytest.mark.parametrize("how", WRITTEN)
@given(key=KEYS, before=st.text(max_size=5), after=st.text(max_size=5))
def test_a_key_is_removed_however_it_is_escaped(how: str, key: str, before: str, after: str) -> None:
    """JSON, JSON within JSON, URLs: nothing of the key is left."""
    written = WRITTEN[how](key)
    text = f"{before} {written} {after}".encode()
    found = pattern_of(key).sub(b"[removed]", text)
    assert b"[removed]" in found
    assert key in written or any(mark in text for mark in marks_of(key))
    assert written.encode() not in found or written in f"{before} [removed] {after}"


@given(KEYS.filter(lambda key: not key.endswith("\\")), st.text())
def test_json_stays_json(key: str, said: str) -> None:
    """What remains of an answer can still be read."""
    answer = json.dumps({"message": f"{said}{key}{said}", "n": [said]})
    read = json.loads(pattern_of(key).sub(b"[removed]", answer.encode()))
    assert read == {"message": f"{said}[removed]{said}", "n": [said]} or key in said


def test_text_full_of_escapes_is_read_quickly() -> None:
    """A megabyte of backslashes takes no longer than a megabyte of anything."""
    pattern = pattern_of('/a"b\\c+d%e')
    for text in (b"\\" * 1_000_000, b"\\u0061" * 150_000, b"%" * 1_000_000):
        assert pattern.sub(b"", text) == text
