"""What the stand-in provider says: short, pleasant, and the same every time."""

import functools
import math
import re
import zlib
from array import array

from . import tokens

_TOPICS: tuple[tuple[str, str], ...] = (
    (
        r"stand-?in|who are you|what are you|are you (?:a )?(?:real|model|human|chatgpt)|which model|what model",
        (
            "I am a stand-in for a language model. I speak the same API, count tokens and stream like one, but "
            "nobody trained me: my answers are written down beforehand. Give the guard a real key, and this very "
            "cell talks to a real model."
        ),
    ),
    (
        r"\btokens?\b",
        (
            "A token is a short piece of text: often a word, sometimes only part of one. A model reads tokens and "
            "writes tokens, and both are what a provider bills. As a rule of thumb, four English characters make "
            "one token."
        ),
    ),
    (
        r"\b(?:budget|cost|costs|price|limit|limits|spend|spending|money)\b",
        (
            "Every call costs a little: the tokens that you send and the tokens that come back, each at the price "
            "of the model. Your limit says how much you may spend in all. Try %keyguard status to see what is "
            "left."
        ),
    ),
    (
        r"\brecursi\w+",
        (
            "Recursion means that a function calls itself on a smaller problem, until the problem is so small "
            "that the answer is plain. The factorial is the classic: n! is n times (n - 1)!, and 0! is 1."
        ),
    ),
    (
        r"\b(?:pandas|dataframe|data frame)\b",
        (
            "A pandas DataFrame is a table with named columns and an index. Select a column with frame['name'], "
            "filter rows with frame[frame['age'] > 30], and summarise with "
            "frame.groupby('city').mean(numeric_only=True)."
        ),
    ),
    (
        r"\b(?:python|list comprehension|loop)\b",
        (
            "In Python a list comprehension builds a list in one readable line: squares = [n * n for n in "
            "range(10)]. Read it from the middle: for each n in the range, take n times n."
        ),
    ),
    (
        r"\b(?:regression|least squares|fit a line)\b",
        (
            "Linear regression draws the straight line that lies closest to the points: it makes the sum of the "
            "squared vertical distances as small as it can be. The slope says how much y changes when x grows by "
            "one."
        ),
    ),
    (
        r"\b(?:neural|deep learning|machine learning|gradient)\b",
        (
            "A neural network is a long chain of simple sums, each followed by a bend. Training nudges the "
            "weights step by step in the direction that makes the error smaller; that direction is the gradient."
        ),
    ),
    (
        r"\b(?:embedding|embeddings|vector)\b",
        (
            "An embedding turns a text into a list of numbers, so that texts with like meaning lie close "
            "together. Compare two of them by the cosine of the angle between them: one means the same direction, "
            "zero means nothing in common."
        ),
    ),
    (
        r"\b(?:photosynthesis|plants?|leaves)\b",
        (
            "Plants make sugar from light, water and carbon dioxide, and give off oxygen. The light is caught by "
            "chlorophyll, which keeps red and blue for itself and sends the green back: that is why leaves look "
            "green."
        ),
    ),
    (
        r"\b(?:haiku|poem|verse)\b",
        ("Cells wait in a row,\na cursor blinks, a key turns:\nanswers, paid in full."),
    ),
    (
        r"\bjoke\b",
        ("Why did the notebook go to the doctor? It had been run out of order."),
    ),
    (
        r"^\W*(?:hello|hi|hey|good (?:morning|afternoon|evening)|guten tag|bonjour)\b",
        (
            "Hello! It is good to see you here. Ask me anything about Python, data or language models, and I will "
            "do my best to answer in a few plain sentences."
        ),
    ),
)
_KNOWN = tuple((re.compile(pattern, re.IGNORECASE), answer) for pattern, answer in _TOPICS)
_SAY = re.compile(
    r"^\W*(?:say|repeat|reply with|answer with)(?: exactly| only| just)?[:,]?\s+(.+)$", re.IGNORECASE | re.DOTALL
)
_COUNT = re.compile(r"\bcount (?:from 1 |up )?to (\d{1,5})\b", re.IGNORECASE)
_SUM = re.compile(r"(?<![\w.])(\d{1,9})\s*([-+*x×])\s*(\d{1,9})(?![\w.])")  # noqa: RUF001 — people write the sign
_REMARKS = (
    "The short answer: it depends on what you want to do with it, so start with a small example.",
    "The idea is simpler than it looks: split it into parts, name each, and put them together again one at a time.",
    "A good first step is to write down what you know, what you want to know, and how you would notice a mistake.",
    "Think of it as a trade: what makes it faster usually makes it harder to read, so measure before you decide.",
)
_VARIANTS = ("", "Put differently: ", "Another way to say it: ", "One more try: ")
_SHOWN = 90


def reply(question: str, variant: int = 0) -> tuple[str, ...]:
    """Answer a question.

    Args:
        question: the last thing that the person said.
        variant: which of several answers to the same question this is, from 0; each begins in another way.

    Returns:
        the tokens of the answer.
    """
    # A pattern over a novel would cost more than the answer is worth; what is asked stands at the start or at the end.
    return _reply(question if len(question) < 2000 else f"{question[:1000]} {question[-1000:]}", variant)


@functools.lru_cache(maxsize=256)
def _reply(question: str, variant: int) -> tuple[str, ...]:
    opening = _VARIANTS[variant] if variant < len(_VARIANTS) else f"Answer {variant + 1}: "
    return tuple(tokens.split(opening + _find(question)))


def _find(question: str) -> str:
    asked = _SAY.match(question)
    if asked:
        return asked[1].strip().strip("\"'“”")
    up_to = _COUNT.search(question)
    if up_to:
        return ", ".join(map(str, range(1, int(up_to[1]) + 1))) + "."
    problem = _SUM.search(question)
    if problem:
        return _calculate(int(problem[1]), problem[2], int(problem[3]))
    for pattern, answer in _KNOWN:
        if pattern.search(question):
            return answer
    return _echo(question)


def _calculate(left: int, sign: str, right: int) -> str:
    result = left + right if sign == "+" else left - right if sign == "-" else left * right
    return f"{left} {sign} {right} = {result}."


def _echo(question: str) -> str:
    words = " ".join(question.split())
    if not words:
        return "I am listening. What would you like to know?"
    shown = words if len(words) <= _SHOWN else words[:_SHOWN].rsplit(" ", 1)[0] + " …"
    remark = _REMARKS[zlib.crc32(words.encode("utf-8", "replace")) % len(_REMARKS)]
    return f"You asked: “{shown}” {remark}"


def embedding(pieces: list[str], dimensions: int) -> "array[float]":
    """Turn a text into a vector of length one.

    Each piece votes for three directions that its spelling picks, so texts that share words lie close together.

    Args:
        pieces: the tokens of the text.
        dimensions: how many numbers the vector has.

    Returns:
        32-bit floats.
    """
    vector = [0.0] * dimensions
    vector[0] = 1.0
    for piece in pieces:
        seed = zlib.crc32(piece.strip().lower().encode("utf-8", "replace"))
        for turn in range(3):
            vector[(seed >> (9 * turn)) % dimensions] += -1.0 if seed >> (29 + turn) & 1 else 1.0
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return array("f", (number / length for number in vector))


def is_violent(text: str) -> bool:
    """Tell whether a text would be flagged; a handful of words is all that the stand-in knows."""
    return any(piece.strip().lower() in {"kill", "murder", "attack", "bomb"} for piece in tokens.split(text))
