"""Virtual keys: random, recognisable, and stored by their hash."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.keys import (
    ADMIN_PREFIX,
    PREFIX,
    UNAVAILABLE,
    hash_key,
    looks_like_key,
    make_key,
    suffix_of,
)


@pytest.mark.parametrize("prefix", [PREFIX, ADMIN_PREFIX])
def test_a_new_key_looks_like_one(prefix):
    """It is the prefix and 43 characters that need no escaping, and no two are alike."""
    made = {make_key(prefix) for _ in range(1000)}
    assert len(made) == 1000
    assert all(looks_like_key(key) and key.startswith(prefix) and len(key) == len(prefix) + 43 for key in made)


def test_a_key_is_stored_by_its_hash():
    """The hash is SHA-256 in hex, and the same each time."""
    key = make_key()
    assert hash_key(key) == hash_key(key) == hashlib.sha256(key.encode()).hexdigest()
    assert key not in hash_key(key)


def test_a_person_tells_keys_by_their_ends():
    """The last five characters, as on the host's screen."""
    assert suffix_of(f"{PREFIX}{'x' * 38}35a3L") == "35a3L"


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREFIX,
        PREFIX + "A" * 42,
        PREFIX + "A" * 44,
        PREFIX + "A" * 42 + "=",
        PREFIX + "A" * 42 + "é",
        PREFIX.upper() + "A" * 43,
        " " + PREFIX + "A" * 43,
        PREFIX + "A" * 43 + "\n",
        "sk-" + "A" * 43,
        "sk-proj-" + "A" * 43,
        UNAVAILABLE,
    ],
)
def test_anything_else_does_not(text):
    """What cannot be a key is never looked up, a trailing line end included."""
    assert not looks_like_key(text)


@given(st.text(max_size=70))
def test_only_the_exact_shape_is_one(text):
    """Prefix and length decide."""
    assert not looks_like_key(text) or len(text) in {len(PREFIX) + 43, len(ADMIN_PREFIX) + 43}
