"""Which models a route serves, and which none does."""

import re
from functools import lru_cache

from ..core.prices import Price
from ..core.providers import ProviderSpec
from ..errors import BadRequest, Forbidden, Refused
from .endpoints import ENDPOINTS, Endpoint

_BY_THEMSELVES = re.compile(
    r"(?<![a-z0-9])(?:search-preview|search-api|deep-research|realtime|live|computer-use|agents?)(?![a-z0-9])",
    re.IGNORECASE,
)
"""Words in the names of models that search or act at the provider whatever the request says: no bound holds."""
_TEXT = frozenset({"chat", "responses", "completion"})
SERVED = frozenset().union(*(endpoint.modes for endpoint in ENDPOINTS))
"""The modes that some route serves."""


def check_suitable(endpoint: Endpoint, spec: ProviderSpec, price: Price, model: str) -> None:
    """Refuse a model that the route cannot serve, or that nobody could bound.

    Args:
        price: the model's row; that of its base model, for a deployment.
        model: the id that the caller named.

    Raises:
        BadRequest: the model is of another route.
        Forbidden: it acts by itself.
    """
    if endpoint.free:
        return
    refusal = why_not(endpoint.modes, spec, price, model)
    if refusal is not None:
        raise refusal


def why_not(modes: frozenset[str], spec: ProviderSpec, price: Price, model: str) -> Refused | None:
    """Return why a model is not served by what serves these modes; None if it is."""
    if _acts_by_itself(price, model):
        message = f"{model} searches or acts by itself, at a cost that has no bound. Choose another model."
        return Forbidden(message, code="tool_not_allowed", param="model")
    if _serves(modes, spec, price):
        return None
    routes = [f"/v1{other.path}" for other in ENDPOINTS if price.mode in other.modes]
    where = f"use {' or '.join(routes)}" if routes else "it is not offered here"
    kind = price.mode.replace("_", " ")
    return BadRequest(f"{model} is a model for {kind}: {where}.", code="invalid_request", param="model")


def _serves(modes: frozenset[str], spec: ProviderSpec, price: Price) -> bool:
    if price.mode in modes:
        return True
    if spec.kind == "compatible":  # such servers often serve a text model on every route
        return price.mode in _TEXT
    return price.kind == "configured" and price.mode == "chat"  # which is what it is called when nothing is said


def _acts_by_itself(price: Price, model: str) -> bool:
    return not price.free and (_is_told_by(model) or _is_told_by(price.model))


@lru_cache(maxsize=4096)
def _is_told_by(name: str) -> bool:
    return _BY_THEMSELVES.search(name) is not None
