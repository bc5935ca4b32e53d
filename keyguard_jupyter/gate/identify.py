"""Who calls: from a bearer key to a caller."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ..core.keys import UNAVAILABLE, looks_like_key
from ..core.people import Caller
from ..core.policy import Project
from ..errors import Unauthorized
from ..ledger.directory import Directory, KeyRecord


def bearer_of(headers: Mapping[str, str]) -> str:
    """Return the bearer key of a request.

    Raises:
        Unauthorized: there is none.
    """
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip() or not key.isascii():
        raise Unauthorized(
            "No key was sent. In a notebook, leave OPENAI_API_KEY as it is; elsewhere, use the key your host gave you.",
            code="invalid_api_key",
        )
    return key.strip()


def identify(directory: Directory, headers: Mapping[str, str], now: datetime) -> tuple[Caller, KeyRecord, Project]:
    """Find out who calls.

    Raises:
        Unauthorized: no key, an unknown key, or one that is revoked or expired.
    """
    presented = bearer_of(headers)
    if presented == UNAVAILABLE:
        raise Unauthorized(
            "This kernel was started while Keyguard could not be reached, so it has no key. Restart the kernel.",
            code="invalid_api_key",
        )
    record = directory.key(presented) if looks_like_key(presented) else None
    project = directory.projects.get(record.project) if record else None
    if record is None or project is None:
        raise Unauthorized("This key is not known here. Ask your host for a new one.", code="invalid_api_key")
    check_alive(record, now)
    return caller_of(directory, record, project), record, project


class Identity:
    """Who sent a request, found once for as long as keys and policy stay as they are."""

    __slots__ = ("_directory", "_found", "_headers", "_revision")

    def __init__(self, directory: Directory, headers: Mapping[str, str]) -> None:
        self._directory = directory
        self._headers = headers
        self._revision = -1
        self._found: tuple[Caller, KeyRecord, Project]

    def find(self) -> tuple[Caller, KeyRecord, Project]:
        """Return who it was.

        Raises:
            Unauthorized: as :func:`identify`.
        """
        if self._revision != self._directory.revision:
            self._found = identify(self._directory, self._headers, datetime.now(UTC))
            self._revision = self._directory.revision
        return self._found


def caller_of(directory: Directory, record: KeyRecord, project: Project) -> Caller:
    """Return the caller that a key stands for."""
    found = directory.memo.get(record.id)
    if found is None:
        found = directory.memo[record.id] = Caller(
            project=record.project,
            person=record.person,
            groups=project.groups_of(record.person),
            key_id=record.id,
            suffix=record.suffix,
            kind=record.kind,
            kernel_id=record.kernel_id,
            notebook=record.notebook,
        )
    return found


def check_alive(record: KeyRecord, now: datetime) -> None:
    """Refuse a key that is revoked or expired.

    Raises:
        Unauthorized: with ``key_revoked`` or ``key_expired``.
    """
    moment = now.timestamp() * 1000
    if record.revoked_at is not None:
        raise Unauthorized(f"This key (…{record.suffix}) was revoked. {_advice(record)}", code="key_revoked")
    if record.expires_at is not None and record.expires_at <= moment:
        raise Unauthorized(f"This key (…{record.suffix}) has expired. {_advice(record)}", code="key_expired")
    if record.leased_until is not None and record.leased_until <= moment:
        raise Unauthorized(
            f"This kernel's key (…{record.suffix}) was not renewed by its Jupyter server. {_advice(record)}",
            code="key_expired",
        )


def _advice(record: KeyRecord) -> str:
    return "Restart the kernel to get a new one." if record.kind == "kernel" else "Ask your host for a new one."
