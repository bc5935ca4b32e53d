"""How fast the provider speaks."""

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST = 3.0
_RULE = re.compile(r"(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds, each between two bounds.

    Args:
        first: until the first token.
        token: between tokens.
    """

    first: tuple[float, float]
    token: tuple[float, float]

    def pauses(self, seed: str) -> Iterator[float]:
        """Yield the pause before each token without end; the same seed gives the same pauses."""
        chance = random.Random(zlib.crc32(seed.encode("utf-8", "replace")))  # noqa: S311 — a stage effect
        yield chance.uniform(*self.first)
        while True:
            yield chance.uniform(*self.token)

    def whole(self, seed: str, tokens: int) -> float:
        """Return the pause before an answer that comes in one piece: as long as its tokens take, or three seconds."""
        pauses = self.pauses(seed)
        return min(sum(next(pauses) for _ in range(max(tokens, 1))), _LONGEST)


REALISTIC = Pace((0.150, 0.400), (0.020, 0.040))


def read(rule: str) -> Pace | None:
    """Read a pace.

    Args:
        rule: ``realistic`` (150 to 400 ms to the first token, 20 to 40 ms a token), ``none``, or milliseconds of one's
            own as ``FIRST:TOKEN``, each a number or a range: ``100:20``, ``150-400:20-40``.

    Returns:
        None when nothing is to wait.

    Raises:
        ValueError: the rule is none of these.
    """
    if rule in {"realistic", "none"}:
        return REALISTIC if rule == "realistic" else None
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ValueError(f"pace is realistic, none or FIRST:TOKEN in milliseconds, not {rule!r}")
    first, first_to, token, token_to = (int(part) / 1000 if part else None for part in found.groups())
    assert first is not None
    assert token is not None
    return Pace((first, first_to or first), (token, token_to or token))
