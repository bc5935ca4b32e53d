"""Reading from a provider's answer what the call cost."""

import re
from collections.abc import Mapping
from typing import Any

from ..core.usage import Usage
from ..errors import UsageError
from ..ledger.calls import SETTLED, Call, Settlement
from .endpoints import Endpoint
from .frames import data_of, parse_data
from .priced import Priced

_USAGE_GIVEN = re.compile(rb'"usage"\s*:\s*[^n\s]')
"""Only an object's own key can stand in a frame like this: within a JSON string the quotes would be escaped."""
_LAST_EVENTS = {"response.completed", "response.incomplete", "response.failed"}


class Meter:
    """What is known so far of one call's cost.

    Args:
        call: the call, with what is held for it.
    """

    def __init__(self, endpoint: Endpoint, priced: Priced | None, call: Call) -> None:
        self._endpoint = endpoint
        self._priced = priced
        self._call = call
        self._usage: Usage | None = None
        self._invalid = False
        self._looked = False
        self._model: str | None = None
        self._tier: str | None = None

    def read_answer(self, answer: Mapping[str, Any]) -> None:
        """Take model, tier and usage from a whole answer, or from the object that a stream's last event carries."""
        model, tier = answer.get("model"), answer.get("service_tier")
        self._model = _plain(model) if isinstance(model, str) else self._model
        self._tier = _plain(tier) if isinstance(tier, str) else self._tier
        usage = answer.get("usage")
        if usage is None or self._endpoint.usage is None:
            return
        try:
            self._usage = self._endpoint.usage(usage)
        except UsageError:
            self._invalid = True

    def read_frame(self, frame: bytes) -> tuple[bool, bool]:
        """Take what one frame of a stream tells.

        Returns:
            Whether it is the last one, after which the caller has everything, and whether it carries nothing but usage.
        """
        if self._looked and not _USAGE_GIVEN.search(frame):
            return frame.startswith(b"data:") and data_of(frame).strip() == b"[DONE]", False
        data = parse_data(frame)
        if data is None:
            return data_of(frame).strip() == b"[DONE]", False
        self._looked = True
        if self._endpoint.name == "responses":
            if isinstance(data.get("response"), Mapping):
                self.read_answer(data["response"])
            return data.get("type") in _LAST_EVENTS, False
        self.read_answer(data)
        return False, data.get("choices") == [] and data.get("usage") is not None

    def settlement(self, duration_ms: int, outcome: str = SETTLED) -> Settlement:
        """Return what the call came to: its true cost if the provider told it, else all that is held."""
        cost = self._call.held
        if self._priced is None or self._priced.price.free:
            cost = 0
        elif self._invalid:
            outcome = "invalid_usage"
        elif self._usage is None:
            outcome = outcome if outcome != SETTLED else "no_usage"
        else:
            cost = self._priced.cost(self._usage, self._tier, self._model)
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


def _plain(text: str) -> str:
    """Return a provider's word such that it can be kept: short, and nothing but Unicode."""
    return text[:200].encode(errors="replace").decode()
