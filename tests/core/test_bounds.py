"""The bound of a request's input holds for every tokenizer that is worth its name."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.bounds import (
    HIDDEN_TOKENS,
    HIDDEN_TOOL_TOKENS,
    READ_BY_THE_MODEL,
    RENDERED_BY_THE_PROVIDER,
    input_tokens,
    text_tokens,
)

MESSAGE = {"role": "user", "content": "hi"}


@given(st.text())
def test_a_text_has_at_most_its_bytes_as_tokens(text):
    """Neither the bytes of a text nor those of its normal form exceed the bound."""
    bound = text_tokens(text)
    assert bound >= len(text.encode())
    assert bound >= len(unicodedata.normalize("NFKC", text).encode())


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abc", 3), ("é", 2), ("語", 3), ("🙂", 4), ("\ufdfa", 33), ("\ufb01", 3)]
)
def test_the_bound_is_no_larger_than_it_must_be(text, tokens):
    """It is the larger of both, and not their sum; U+FDFA becomes eighteen letters."""
    assert text_tokens(text) == tokens


@given(st.lists(st.text(max_size=30), max_size=8))
def test_a_chat_is_bounded_with_its_frame(texts):
    """Every message's text, its five special tokens and the call's own fit the bound."""
    body = {"messages": [{"role": "user", "content": text} for text in texts]}
    assert input_tokens(body) >= sum(text_tokens(text) + 5 for text in texts) + 3


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_lists_of_prompts_are_bounded_together(texts):
    """All texts of a call count."""
    assert input_tokens({"prompt": texts}) >= sum(map(text_tokens, texts))


@given(st.lists(st.integers(min_value=0, max_value=200_000), min_size=1))
def test_token_ids_count_as_tokens(ids):
    """As many numbers, at least as many tokens."""
    assert input_tokens({"input": ids}, 0) >= len(ids)


@pytest.mark.parametrize("name", READ_BY_THE_MODEL)
def test_everything_that_a_model_reads_counts(name):
    """A kilobyte more in any of these fields is a kilobyte more."""
    small, large = ({"messages": [MESSAGE], name: "x" * size} for size in (10, 1010))
    assert input_tokens(large) == input_tokens(small) + 1000


@pytest.mark.parametrize("name", RENDERED_BY_THE_PROVIDER)
def test_what_a_provider_writes_around_tools_counts(name):
    """Tools and schemas come with words of the provider's."""
    body = {"messages": [MESSAGE]}
    assert input_tokens({**body, name: []}) >= input_tokens(body) + HIDDEN_TOOL_TOKENS


def test_settings_do_not_count():
    """What steers a call is not read."""
    assert input_tokens({"input": "hi", "model": "m" * 1000, "temperature": 1}) == input_tokens({"input": "hi"})


def test_what_the_provider_adds_is_configured():
    """The default is added when nothing is said."""
    assert input_tokens({"input": "hi"}, 0) + HIDDEN_TOKENS == input_tokens({"input": "hi"})
    assert input_tokens({"input": "hi"}, 500) == input_tokens({"input": "hi"}, 0) + 500


@given(
    st.recursive(st.text(max_size=9) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_nested_schemas_count_by_their_bytes(schema):
    """However deep it is, a schema is at most its JSON."""
    assert input_tokens({"tools": [schema]}, 0) >= text_tokens(
        json.dumps([schema], ensure_ascii=False, separators=(",", ":"))
    )
