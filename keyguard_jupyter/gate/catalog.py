"""Which models a caller sees: those that have a price, and that the policy allows now."""

from collections.abc import Iterator
from datetime import datetime

from ..core.people import Caller
from ..core.policy import Project
from ..errors import Unpriced
from ..ledger.directory import Directory, KeyRecord
from .priced import Priced
from .providers import Providers
from .rights import plan
from .suitable import SERVED, why_not

_WILDCARDS = frozenset("*?")


def allowed_models(
    directory: Directory,
    providers: Providers,
    project: Project,
    caller: Caller,
    record: KeyRecord,
    now: datetime,
) -> dict[str, Priced]:
    """Return the models that a caller may use now, with their prices, by exact id and sorted.

    A fine-tuned model is listed when a rule names it exactly: nobody else could know its id.
    """
    known = set(providers.models()) | set(_named(project, record))
    found = {}
    for model in sorted(known):
        if plan(directory, project, caller, record, model, now).decision.allowed:
            priced = price_of(providers, model)
            if priced is not None and why_not(SERVED, priced.spec, priced.price, model) is None:
                found[model] = priced
    return found


def price_of(providers: Providers, model: str) -> Priced | None:
    """Return a model's price at the provider that serves it; None if nobody does, or it has none."""
    provider = providers.route(model)
    if provider is None:
        return None
    try:
        return Priced.find(providers.table, provider.spec, model)
    except Unpriced:
        return None


def _named(project: Project, record: KeyRecord) -> Iterator[str]:
    scopes = [project.settings, record.settings, *project.people.values()]
    scopes += [group.settings for group in project.groups.values()]
    for settings in scopes:
        yield from (pattern for pattern in settings.models if not _WILDCARDS & set(pattern))
