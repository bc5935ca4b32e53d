"""Which models a route serves, and which none does."""

from ..core.prices import Price
from ..core.providers import ProviderSpec
from ..errors import BadRequest, Forbidden
from .endpoints import ENDPOINTS, Endpoint

_BY_THEMSELVES = ("search-preview", "search-api", "deep-research")
"""Parts of the names of models that search or act at the provider whatever the request says: no bound holds."""
_SERVED = frozenset().union(*(endpoint.modes for endpoint in ENDPOINTS))


def check_suitable(endpoint: Endpoint, spec: ProviderSpec, price: Price) -> None:
    """Refuse a model that the route cannot serve, or that nobody could bound.

    Raises:
        BadRequest: the model is of another route.
        Forbidden: it acts by itself.
    """
    if endpoint.free or _is_unchecked(spec, price):
        return
    if any(part in price.model for part in _BY_THEMSELVES):
        raise Forbidden(
            f"{price.model} searches by itself, at a cost that has no bound. Choose another model.",
            code="tool_not_allowed",
            param="model",
        )
    if price.mode not in endpoint.modes:
        routes = [f"/v1{other.path}" for other in ENDPOINTS if price.mode in other.modes]
        where = f"use {' or '.join(routes)}" if routes else "it is not offered here"
        raise BadRequest(f"{price.model} is a model for {price.mode}: {where}.", code="invalid_request", param="model")


def is_served(spec: ProviderSpec, price: Price) -> bool:
    """Tell whether any route serves a model."""
    if _is_unchecked(spec, price):
        return True
    return price.mode in _SERVED and not any(part in price.model for part in _BY_THEMSELVES)


def _is_unchecked(spec: ProviderSpec, price: Price) -> bool:
    """Tell whether only the host knows what a model does: the server is theirs, or costs nothing."""
    return spec.kind == "compatible" or price.free
