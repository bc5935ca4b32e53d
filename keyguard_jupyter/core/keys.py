"""Virtual keys: how they look, and how they are recognised without being stored.

A key is 256 random bits, so a plain SHA-256 is enough to store it by: there is nothing to guess and nothing to
slow down. People recognise a key by its last characters.
"""

import hashlib
import re
import secrets

PREFIX = "sk-kg-"
ADMIN_PREFIX = "sk-kg-admin-"
UNAVAILABLE = "keyguard-unavailable"
"""What a kernel gets as OPENAI_API_KEY when no key could be had; the gateway explains it when it sees it."""

_SHAPE = re.compile(r"sk-kg-(admin-)?[A-Za-z0-9_-]{43}")


def make_key(prefix: str = PREFIX) -> str:
    """Make a new key; show it once and store only :func:`hash_key` of it."""
    return prefix + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """Return the hex SHA-256 by which a key is stored and looked up."""
    return hashlib.sha256(key.encode()).hexdigest()


def looks_like_key(text: str) -> bool:
    """Tell whether the text has the shape of a key of ours, so that nonsense never reaches a look-up."""
    return _SHAPE.fullmatch(text) is not None


def suffix_of(key: str) -> str:
    """Return the last five characters, by which a person tells keys apart (``…35a3L``)."""
    return key[-5:]
