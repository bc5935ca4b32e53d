"""Reading from a provider's answer what the call cost."""

import re
from collections.abc import Mapping
from typing import Any

from ..core.usage import Usage
from ..errors import UsageError
from ..ledger.calls import SETTLED, Call, Settlement
from ..money import LARGEST
from .endpoints import Endpoint
from .frames import data_of, parse_data
from .priced import Priced

_USAGE_GIVEN = re.compile(rb'"usage"\s*:\s*[^n\s]')
"""Only an object's own key can stand in a frame like this: within a JSON string the quotes would be escaped."""
_LAST_EVENTS = {"response.completed", "response.incomplete", "response.failed"}
_NAME_MOST = 256


class Meter:
    """What is known so far of one call's cost.

    Args:
        call: the call, with what is held for it.
    """

    def __init__(self, endpoint: Endpoint, priced: Priced, call: Call) -> None:
        self._endpoint = endpoint
        self._priced = priced
        self._call = call
        self._usage: Usage | None = None
        self._invalid = False
        self._final = False
        self._looked = False
        self._model: str | None = None
        self._tier: str | None = None

    @property
    def knows(self) -> bool:
        """Whether the provider has said what the call used, and will not say otherwise."""
        return self._final and (self._usage is not None or self._invalid)

    def read_answer(self, answer: Mapping[str, Any]) -> None:
        """Take model, tier and usage from a whole answer."""
        self._final = True
        self._read(answer)

    def read_frame(self, frame: bytes) -> tuple[bool, bool]:
        """Take what one frame of a stream tells.

        Returns:
            Whether it is the last one, after which the caller has everything, and whether it carries nothing but usage.
        """
        if self._looked and not _USAGE_GIVEN.search(frame):
            return self._is_done(frame), False
        data = parse_data(frame)
        if data is None:
            return self._is_done(frame), False
        self._looked = True
        if self._endpoint.name == "responses":
            return self._read_event(data), False
        self._read(data)
        choices = data.get("choices")
        if data.get("usage") is not None:
            # Some servers count aloud in every chunk: what they say before the end is not what the call came to.
            self._final = self._final or not choices or any(map(_is_finished, choices))
        return False, choices == [] and data.get("usage") is not None

    def settlement(self, duration_ms: int, outcome: str = SETTLED) -> Settlement:
        """Return what the call came to: its true cost if the provider told it, else all that is held."""
        cost = self._call.held
        if self._priced.price.free:
            cost = 0
        elif self._invalid:
            outcome = "invalid_usage"
        elif self._usage is None or not self._final:
            outcome = outcome if outcome == "interrupted" else "no_usage"
        else:
            cost = min(self._priced.cost(self._usage, self._tier, self._model), LARGEST)
            if cost > self._call.held:
                outcome = "overrun"
        return Settlement(
            cost=cost,
            outcome=outcome,
            usage=self._usage or Usage(),
            model_answered=self._model,
            tier=self._tier,
            duration_ms=duration_ms,
        )

    def _read_event(self, event: Mapping[str, Any]) -> bool:
        last = event.get("type") in _LAST_EVENTS
        response = event.get("response")
        if isinstance(response, Mapping):
            self._final = self._final or last
            self._read(response if last else {**response, "usage": None})
        return last

    def _read(self, answer: Mapping[str, Any]) -> None:
        self._model = _name(answer.get("model")) or self._model
        self._tier = _name(answer.get("service_tier")) or self._tier
        usage = answer.get("usage")
        if usage is None or self._endpoint.usage is None:
            return
        try:
            self._usage = self._endpoint.usage(usage)
        except UsageError:
            self._invalid = True

    def _is_done(self, frame: bytes) -> bool:
        done = frame.startswith(b"data:") and data_of(frame).strip() == b"[DONE]"
        self._final = self._final or done
        return done


def _is_finished(choice: object) -> bool:
    return isinstance(choice, Mapping) and choice.get("finish_reason") is not None


def _name(value: object) -> str | None:
    """Pass what may be kept: a short text of one line."""
    return value if isinstance(value, str) and 0 < len(value) <= _NAME_MOST and value.isprintable() else None
