"""The stand-in's tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.demo import tokens


@given(st.text())
def test_pieces_make_up_the_text_and_never_outnumber_its_bytes(text: str) -> None:
    """Cutting loses nothing, and a bound by bytes holds for any text."""
    pieces = tokens.split(text)
    assert "".join(pieces) == text
    assert tokens.count(text) == len(pieces) <= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("What is 2+2?", ["What", " is", " 2", "+", "2", "?"]),
        ("recursion", ["recursio", "n"]),
        ("a  b\n", ["a", "  ", "b", "\n"]),
        ("", []),
    ],
)
def test_a_piece_is_a_short_word_or_one_sign(text: str, pieces: list[str]) -> None:
    """A piece is up to eight letters or one sign, with at most one space before it."""
    assert tokens.split(text) == pieces


def test_an_image_weighs_no_more_than_its_address() -> None:
    """An image counts as 85 tokens, or as many as its URL has bytes if those are fewer."""
    short = [{"type": "image_url", "image_url": {"url": "data:,x"}}]
    long = [{"type": "input_image", "image_url": "data:image/png;base64," + "A" * 500}]
    assert tokens.weigh_content(short) == len("data:,x")
    assert tokens.weigh_content(long) == tokens.IMAGE


def test_other_values_weigh_what_their_texts_do() -> None:
    """Keys and strings count as text, other leaves as one, nothing as nothing."""
    assert tokens.weigh({"name": "add", "sizes": [1, 2.5, None, True]}) == 1 + 1 + 1 + 4
    assert tokens.weigh_content(None) == 0
    assert tokens.weigh_content([{"type": "file", "name": "a b"}, "loose"]) == 3 + 1
