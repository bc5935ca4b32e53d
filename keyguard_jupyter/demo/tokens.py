"""How the stand-in provider counts tokens.

The rule is simple enough to check by eye: a piece is up to eight letters or digits, or one other sign, each with at
most one space before it; what white space is left over is a piece of its own. The pieces together are the text again.
Every piece holds at least one character, so a text never has more tokens than bytes.
"""

import re
from collections.abc import Mapping

PER_MESSAGE = 4
PER_CALL = 3
IMAGE = 85

_PIECE = re.compile(r"\s?\w{1,8}|\s?[^\w\s]|\s+")


def split(text: str) -> list[str]:
    """Cut a text into tokens.

    Returns:
        the pieces in order; joined, they are the text.
    """
    return _PIECE.findall(text)


def count(text: str) -> int:
    """Count the tokens of a text: never more than its bytes in UTF-8."""
    return len(_PIECE.findall(text))


def weigh(value: object) -> int:
    """Count the tokens of a JSON value: its keys and strings as text, any other leaf as one token."""
    if isinstance(value, str):
        return count(value)
    if isinstance(value, Mapping):
        return sum(count(key) + weigh(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(weigh, value))
    return 1


def weigh_content(content: object) -> int:
    """Count the tokens of what a message holds: text, or a list of parts.

    An image counts as 85 tokens, as a small one does for the real provider, but never more than its URL has bytes.
    """
    if not isinstance(content, list):
        return 0 if content is None else weigh(content)
    return sum(map(_weigh_part, content))


def _weigh_part(part: object) -> int:
    if not isinstance(part, Mapping):
        return weigh(part)
    text = part.get("text")
    if isinstance(text, str):
        return count(text)
    image = part.get("image_url")
    if image is not None:
        address = image.get("url", "") if isinstance(image, Mapping) else image
        return min(IMAGE, len(str(address)))
    return weigh({key: item for key, item in part.items() if key != "type"})
