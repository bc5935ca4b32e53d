"""Issuing keys: what a host's program may ask for."""

from collections.abc import Mapping
from typing import Any

from ..core.document import read_settings
from ..core.policy import Project, Settings
from ..errors import BadRequest, NotFound, PolicyError
from ..ledger.directory import Directory, NewKey
from .answers import read_time

LEASE_SECONDS_MOST = 24 * 60 * 60
RENEWALS_MOST = 1000
_NAME_MOST = 200
_FIELDS = frozenset(
    {"person", "project", "label", "expires_at", "settings", "kind", "kernel_id", "notebook", "lease_seconds"}
)


def read_new_key(directory: Directory, body: Mapping[str, Any]) -> NewKey:
    """Read a request for a key.

    Raises:
        BadRequest: a field is missing, unknown or malformed.
        NotFound: there is no such project.
    """
    if unknown := sorted(set(body) - _FIELDS):
        raise _bad(unknown[0][:_NAME_MOST], f"is not a field of a key; known are {', '.join(sorted(_FIELDS))}")
    project = _name(body, "project") or "default"
    if project not in directory.projects:
        raise NotFound(f"There is no project {project!r}.", code="not_found", param="project")
    person = _name(body, "person")
    if person is None:
        raise _bad("person", "is missing: whose key is it?")
    kind = body.get("kind", "personal")
    if kind not in ("personal", "kernel"):
        raise _bad("kind", "must be personal or kernel")
    lease = read_lease(body)
    if lease is not None and kind != "kernel":
        raise _bad("lease_seconds", "is for kernel keys; give a personal key expires_at")
    return NewKey(
        project=project,
        person=person,
        kind=kind,
        label=_name(body, "label"),
        kernel_id=_name(body, "kernel_id"),
        notebook=_name(body, "notebook"),
        settings=_settings(body, directory.projects[project]),
        expires_at=read_time(body.get("expires_at"), "expires_at"),
        lease_ms=lease,
    )


def read_renewal(body: Mapping[str, Any]) -> tuple[list[str], int]:
    """Read which keys' leases are to be renewed, and for how many milliseconds.

    Raises:
        BadRequest: a field is missing, unknown or malformed.
    """
    if unknown := sorted(set(body) - {"ids", "lease_seconds"}):
        raise _bad(unknown[0][:_NAME_MOST], "is not a field of a renewal; known are ids, lease_seconds")
    ids, lease = body.get("ids"), read_lease(body)
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids) or len(ids) > RENEWALS_MOST:
        raise _bad("ids", f"must be a list of at most {RENEWALS_MOST} key ids")
    if lease is None:
        raise _bad("lease_seconds", "is missing")
    return ids, lease


def read_lease(body: Mapping[str, Any]) -> int | None:
    """Return a lease in milliseconds.

    Raises:
        BadRequest: not a number of seconds, or more than a day.
    """
    seconds = body.get("lease_seconds")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= LEASE_SECONDS_MOST:
        raise _bad("lease_seconds", f"must be a whole number of seconds up to {LEASE_SECONDS_MOST}")
    return seconds * 1000


def _settings(body: Mapping[str, Any], project: Project) -> Settings:
    try:
        return read_settings(
            {} if body.get("settings") is None else body["settings"],
            "settings",
            timezone=project.timezone,
            groups=frozenset(project.groups),
        )
    except PolicyError as error:
        raise BadRequest(str(error), code="invalid_request", param=error.path) from None


def _name(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _NAME_MOST or not value.isprintable():
        raise _bad(field, "must be a text of at most 200 printable characters")
    return value


def _bad(field: str, problem: str) -> BadRequest:
    return BadRequest(f"{field} {problem}", code="invalid_request", param=field)
