"""What a test may make the provider do: faults and odd answers, call by call."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Place = int | Literal["headers", "usage"]
"""Before the headers, before the chunk with the usage, or after so many chunks (bytes, of a plain answer)."""

KEY = "{key}"
"""Stands for the key that came with the call, wherever a script holds text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One odd behaviour, used by the next calls that match.

    Args:
        model: only calls that name this model.
        path: only calls whose path, without the query, ends so.
        having: only calls with these header values; names are compared without case.
        stream: only streams (True), only plain calls (False).
        times: for so many calls; None for all that follow.

        status: answer with this status, ``body`` and ``headers`` and nothing else.
        body: text is sent as it is (HTML, broken JSON), None is empty, anything else is sent as JSON.
        headers: added to whatever is answered. ``{key}`` in body, headers, text or error becomes the caller's key.

        delay: seconds before the headers.
        pause: seconds before each token of a stream, in place of the provider's pace.
        stall: where to fall silent for ever.
        drop: where to close the connection.
        reset: drop with a TCP reset rather than an orderly close.
        hold: where to wait until the provider is told to release.

        text: say this. It is still cut by the caller's cap.
        whole: all of the text in one chunk.
        finish: ``finish_reason`` of a chat; for a response ``failed``, or the reason why it is ``incomplete``.
        usage: report exactly this in place of the true counts; False reports none.
        usage_in_choice: report the usage in the last chunk that has a choice, asked or not, and in no chunk of its own.
        done: False leaves out ``data: [DONE]``.
        extra: further fields beside the usage.
        answers_as: the model that the answer names.
        tier: the service tier that the answer names.
        error: an error event in a stream with this message (or this whole error object); the stream ends there.
        error_after: after so many chunks.

        newline: line ends of a stream.
        split: cut the bytes of a stream every so many, wherever that falls.
        together: so many events in one write.
        gzip: compress the answer although nobody asked.
        before: sent as it is before a stream's first event, as some servers send comments.
        after: sent as it is after its last.
    """

    model: str | None = None
    path: str | None = None
    having: Mapping[str, str] = field(default_factory=dict)
    stream: bool | None = None
    times: int | None = 1

    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    delay: float = 0.0
    pause: float | None = None
    stall: Place | None = None
    drop: Place | None = None
    reset: bool = False
    hold: Place | None = None

    text: str | None = None
    whole: bool = False
    finish: str | None = None
    usage: Mapping[str, Any] | Literal[False] | None = None
    usage_in_choice: bool = False
    done: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    answers_as: str | None = None
    tier: str | None = None
    error: str | Mapping[str, Any] | None = None
    error_after: int = 0

    newline: str = "\n"
    split: int | None = None
    together: int = 1
    gzip: bool = False
    before: str = ""
    after: str = ""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Make a script from JSON; the names are those of the arguments.

        Raises:
            ValueError: a name is unknown.
        """
        unknown = document.keys() - {item.name for item in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"a script has no {', '.join(sorted(unknown))}")
        return cls(**document)

    def matches(self, path: str, model: str, stream: bool, headers: Mapping[str, str]) -> bool:
        """Tell whether a call is one that this script is for."""
        return (
            (self.model is None or self.model == model)
            and (self.path is None or path.endswith(self.path))
            and (self.stream is None or self.stream == stream)
            and all(headers.get(name) == value for name, value in self.having.items())
        )

    def told(self, key: str) -> "Script":
        """Return the script with the caller's key in every place that asks for it."""
        return dataclasses.replace(
            self,
            body=_tell(self.body, key),
            headers=_tell(dict(self.headers), key),
            text=_tell(self.text, key),
            error=_tell(self.error, key),
        )


PLAIN = Script(times=None)
"""The script of a call that nothing was scripted for."""


def _tell(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return value.replace(KEY, key)
    if isinstance(value, Mapping):
        return {name: _tell(item, key) for name, item in value.items()}
    return [_tell(item, key) for item in value] if isinstance(value, list) else value


class Playbook:
    """The scripts that wait for their call, in order: the first that matches is used, and used up."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, script: Script) -> None:
        """Put a script at the end of the queue."""
        self._waiting.append(_Waiting(script, script.times))

    def clear(self) -> None:
        """Forget all scripts."""
        self._waiting.clear()

    def take(self, path: str, model: str, stream: bool, headers: Mapping[str, str]) -> Script:
        """Return the script for a call, or the plain one."""
        for entry in self._waiting:
            if entry.script.matches(path, model, stream, headers):
                if entry.left is not None:
                    entry.left -= 1
                    if entry.left <= 0:
                        self._waiting.remove(entry)
                return entry.script
        return PLAIN


@dataclass(slots=True, eq=False)
class _Waiting:
    script: Script
    left: int | None
