"""What changes between two documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .paths import join


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is written differently.

    Args:
        path: where.
        before: its JSON value, or None when it was not there.
        after: its JSON value, or None when it is no longer there.
    """

    path: str
    before: object
    after: object


def compare(before: Mapping[str, object], after: Mapping[str, object], path: str = "") -> Iterator[Change]:
    """Yield what differs between two canonical documents, in the order of the paths.

    What appears or disappears is one change, with all that it holds. Members of a group are compared one by one: who
    joins goes from None to True, who leaves from True to None.

    Args:
        before: as :func:`keyguard_jupyter.core.document.write` returns it.
        after: likewise.
        path: where both stand.
    """
    for key in sorted(before.keys() | after.keys()):
        yield from _compare_values(before.get(key), after.get(key), join(path, key))


def _compare_values(before: object, after: object, path: str) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from compare(before, after, path)
    elif path.endswith(".members") and isinstance(before, list) and isinstance(after, list):
        yield from compare(dict.fromkeys(before, True), dict.fromkeys(after, True), path)
    elif before != after:
        yield Change(path, before, after)
