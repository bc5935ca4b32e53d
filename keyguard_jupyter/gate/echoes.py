"""Finding a key in what a provider says, however it is escaped."""

import re

_ESCAPED = frozenset("\"'/\\")
"""Characters that a backslash may stand before."""


def pattern_of(key: str) -> re.Pattern[bytes]:
    """Return a pattern of a key as JSON and URLs may escape it, once or several times over.

    Args:
        key: printable ASCII.
    """
    return re.compile("".join(map(_forms, key)).encode())


def marks_of(key: str) -> tuple[bytes, ...]:
    """Return what stands in a text in which a key may be escaped; without any of it, there is no need to search."""
    return (b"\\u00", b"%", b"\\") if set(key) & _ESCAPED else (b"\\u00", b"%")


def _forms(char: str) -> str:
    both = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(char):02x}")
    # Bounded, for a text may hold any number of backslashes.
    before = r"\\{0,8}" if char in _ESCAPED else ""
    return rf"(?:{before}{re.escape(char)}|\\{{1,8}}u00{both}|%{both})"
