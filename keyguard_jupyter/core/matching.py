"""Model patterns: exact ids in which ``*`` stands for any characters and ``?`` for one.

Nothing else is special and nothing is normalised: ``GPT-4`` is not ``gpt-4``.
"""

from collections.abc import Mapping

from .settings import ModelRule

_STRICTNESS = {"allow": 0, "members": 1, "deny": 2, "blocked": 3}


def matches(pattern: str, model: str) -> bool:
    """Tell whether a pattern names a model."""
    if "?" in pattern:
        return _match_glob(pattern, model)
    star = pattern.find("*")
    if star < 0:
        return pattern == model
    if star == len(pattern) - 1:
        return model.startswith(pattern[:-1])
    return _match_glob(pattern, model)


def _match_glob(pattern: str, text: str) -> bool:
    """Match in one pass that goes back to the last star only, so that no pattern is slow."""
    at = seen = 0
    star, taken = -1, 0
    while seen < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, taken, at = at, seen, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[seen]):
            at, seen = at + 1, seen + 1
        elif star >= 0:
            taken += 1
            at, seen = star + 1, taken
        else:
            return False
    return not pattern[at:].strip("*")


def exactness(pattern: str) -> tuple[bool, int, int]:
    """Return a key that sorts patterns from vague to exact.

    An id without wildcards is most exact; then the pattern with more literal characters; then the one with fewer stars.
    """
    stars, marks = pattern.count("*"), pattern.count("?")
    return stars + marks == 0, len(pattern) - stars - marks, -stars


def select(models: Mapping[str, ModelRule], model: str) -> tuple[str, ModelRule] | None:
    """Return the rule of one scope that speaks about a model, with its pattern.

    ``blocked`` comes first whatever its pattern, then the most exact pattern, then the stricter rule.

    Args:
        models: pattern to rule.
        model: an exact model id.

    Returns:
        None when no pattern matches.
    """
    found = [(pattern, rule) for pattern, rule in models.items() if matches(pattern, model)]
    if not found:
        return None
    return max(found, key=_weight)


def _weight(entry: tuple[str, ModelRule]) -> tuple[bool, tuple[bool, int, int], int, str]:
    pattern, rule = entry
    return rule.access == "blocked", exactness(pattern), _STRICTNESS[rule.access], pattern
