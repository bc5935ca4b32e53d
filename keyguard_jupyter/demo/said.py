"""Putting an answer into words, and the parts that all endpoints share."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import answers, fitting, tokens
from .asked import Asked
from .script import Script

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Write JSON as the real provider does: compact, and not escaped beyond need."""


class Frame(NamedTuple):
    """One event of a stream.

    Args:
        kind: ``token`` is paced; ``usage``, ``done`` and ``error`` can be left out or moved by a script; ``other``.
        data: a JSON text, or ``[DONE]``.
        event: the name of the event, for the endpoints that name theirs.
    """

    kind: str
    data: str
    event: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One answer.

    Args:
        pieces: its text in the chunks in which a stream brings it.
        tokens: how many tokens it has, never more than the cap.
        cut: whether the cap cut it short.
    """

    pieces: Sequence[str]
    tokens: int
    cut: bool

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller.

    Args:
        status: HTTP status.
        payload: the body of a plain answer, or empty.
        frames: the events of a stream, or None for a plain answer.
        seed: what the pace is drawn from.
        tokens: how many the model wrote.
        media: the media type of the payload.
    """

    status: int = 200
    payload: bytes = b""
    frames: list[Frame] | None = None
    seed: str = ""
    tokens: int = 0
    media: str = "application/json"


def encode(document: object) -> bytes:
    """Write JSON in UTF-8; half a surrogate pair, which has no bytes, becomes a question mark."""
    return dumps(document).encode("utf-8", "replace")


def say(asked: Asked, script: Script, variant: int = 0, *, opening: str = "") -> Said:
    """Answer: with what is scripted, with arguments for the tool, with JSON that fits the schema, or in words.

    Args:
        asked: what the caller wants.
        script: what the test wants.
        variant: which of several answers to the same question.
        opening: stands before the answer and counts as part of it.
    """
    pieces: Sequence[str] = _find_pieces(asked, script, variant)
    if opening or asked.stop:
        text = opening + "".join(pieces)
        for stop in asked.stop:
            text = text.split(stop, 1)[0]
        pieces = tokens.split(text)
    cut = asked.cap is not None and len(pieces) > asked.cap
    if cut:
        pieces = pieces[: asked.cap]
    return Said(["".join(pieces)] if script.whole else pieces, len(pieces), cut)


def _find_pieces(asked: Asked, script: Script, variant: int) -> Sequence[str]:
    if script.text is not None:
        return tokens.split(script.text)
    schema = asked.schema if asked.tool is None else asked.tool[1]
    if schema is not None:
        return tokens.split(dumps(fitting.fit(schema)))
    return answers.reply(asked.question, variant)


def usage_of_chat(asked: Asked, written: int, script: Script) -> Any:
    """Return the usage in the shape of chats and completions; None when the script reports none."""
    if script.usage is not None:
        return script.usage or None
    return {
        "prompt_tokens": asked.input_tokens,
        "completion_tokens": written,
        "total_tokens": asked.input_tokens + written,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def bend(frames: list[Frame], script: Script) -> list[Frame]:
    """Leave out ``[DONE]``, or end with an error, as the script says."""
    if script.error is not None:
        error = script.error
        if isinstance(error, str):
            error = {"message": error, "type": "server_error", "param": None, "code": None}
        return [*frames[: script.error_after], _frame_error(frames[0].event is not None, error, script.error_after)]
    return frames if script.done else [frame for frame in frames if frame.kind != "done"]


def _frame_error(named: bool, error: Any, number: int) -> Frame:
    """Make an error event; the endpoint whose events have names has another shape for it."""
    if not named:
        return Frame("error", dumps({"error": error}))
    event = {"type": "error", "code": error.get("code"), "message": error.get("message"), "param": error.get("param")}
    return Frame("error", dumps({**event, "sequence_number": number}), "error")
