"""Projects, people and keys: kept in the database, read from memory.

Every change makes the database's ``revision`` grow in the same transaction. Each process compares that number with its
own at every call, and takes over what is newer before it decides anything.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Row, delete, insert, select, text, update

from ..core.document import read, read_settings, write, write_settings
from ..core.keys import hash_key, make_key, suffix_of
from ..core.limits import Limit
from ..core.policy import Project, Settings
from .calls import make_call_id, now_ms
from .database import Database
from .schema import counters, keys, projects, scopes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A virtual key as stored: everything but the key. Times are milliseconds since 1970 (UTC)."""

    id: str
    hash: str
    suffix: str
    project: str
    person: str
    label: str | None
    kind: str
    kernel_id: str | None
    notebook: str | None
    settings: Settings
    created_at: int
    expires_at: int | None
    leased_until: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is issued with."""

    project: str
    person: str
    kind: str = "personal"
    label: str | None = None
    kernel_id: str | None = None
    notebook: str | None = None
    settings: Settings = Settings()
    expires_at: int | None = None
    lease_ms: int | None = None


class Directory:
    """Who there is and what they may, as of ``revision``.

    Args:
        database: the ledger's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refreshing = asyncio.Lock()
        self.revision = 0
        self.projects: dict[str, Project] = {}
        self._by_hash: dict[str, KeyRecord] = {}
        self._by_id: dict[str, KeyRecord] = {}
        self.memo: dict[object, Any] = {}
        """What others derived from this state; emptied when the state changes."""

    def key(self, key: str) -> KeyRecord | None:
        """Return the record of a key that a caller presented."""
        return self._by_hash.get(hash_key(key))

    def key_by_id(self, key_id: str) -> KeyRecord | None:
        """Return the record of a key by its id."""
        return self._by_id.get(key_id)

    def all_keys(self) -> list[KeyRecord]:
        """Return the records of all keys, oldest first."""
        return sorted(self._by_id.values(), key=lambda record: record.id)

    async def refresh(self) -> None:
        """Take over what changed in the database since the last time."""
        async with self._refreshing:
            self._take_over(await self._database.read(self._changes))

    async def put_projects(self, changed: Mapping[str, Project | None]) -> int:
        """Write projects as a whole; None removes one. Usage and keys stay.

        Returns:
            The new revision.
        """
        kept = {name: project for name, project in changed.items() if project is not None}
        documents = cast("dict[str, Any]", write(kept)["projects"])
        return await self._change(lambda db: _put_projects(db, list(changed), documents))

    async def issue(self, new: NewKey) -> tuple[KeyRecord, str]:
        """Make a key and store its hash.

        Returns:
            The record, and the key itself: it cannot be had again.
        """
        key, now = make_key(), now_ms()
        record = KeyRecord(
            id=make_call_id(),
            hash=hash_key(key),
            suffix=suffix_of(key),
            project=new.project,
            person=new.person,
            label=new.label,
            kind=new.kind,
            kernel_id=new.kernel_id,
            notebook=new.notebook,
            settings=new.settings,
            created_at=now,
            expires_at=new.expires_at,
            leased_until=None if new.lease_ms is None else now + new.lease_ms,
            revoked_at=None,
        )
        await self._change(lambda db: _insert_key(db, record))
        return record, key

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Revoke a key for good; None if there is none of that id. Revoking twice keeps the first time."""

        def change(db: Connection) -> None:
            alive = (keys.c.id == key_id) & keys.c.revoked_at.is_(None)
            if db.execute(select(keys.c.id).where(alive)).first():
                db.execute(update(keys).where(alive).values(revoked_at=now_ms(), revision=_grow(db)))

        await self._change(change)
        return self._by_id.get(key_id)

    async def renew(self, key_ids: list[str], lease_ms: int) -> list[str]:
        """Extend the leases of kernel keys that are not revoked, also of lapsed ones.

        Returns:
            The ids that were renewed.
        """

        def change(db: Connection) -> list[str]:
            columns = keys.c
            able = columns.id.in_(key_ids) & columns.revoked_at.is_(None) & columns.leased_until.is_not(None)
            renewed = list(db.execute(select(columns.id).where(able)).scalars())
            if renewed:
                values = {"leased_until": now_ms() + lease_ms, "revision": _grow(db)}
                db.execute(update(keys).where(columns.id.in_(renewed)).values(values))
            return renewed

        return await self._change(change)

    async def _change(self, change: Callable[[Connection], T]) -> T:
        result = await self._database.write(change)
        await self.refresh()
        return result

    def _changes(self, db: Connection) -> tuple[int, dict[str, Project | None], list[KeyRecord]]:
        since = self.revision
        revision = db.execute(text("SELECT value FROM state WHERE name = 'revision'")).scalar_one()
        names = db.execute(select(projects.c.name).where(projects.c.revision > since)).scalars()
        records = [_record(row) for row in db.execute(select(keys).where(keys.c.revision > since))]
        return revision, {name: _load_project(db, name) for name in names}, records

    def _take_over(self, changes: tuple[int, dict[str, Project | None], list[KeyRecord]]) -> None:
        revision, changed, records = changes
        for name, project in changed.items():
            if project is None:
                self.projects.pop(name, None)
            else:
                self.projects[name] = project
        for record in records:
            self._by_hash[record.hash] = self._by_id[record.id] = record
        self.memo.clear()
        self.revision = revision


def _grow(db: Connection) -> int:
    statement = "UPDATE state SET value = value + 1 WHERE name = 'revision' RETURNING value"
    return int(db.execute(text(statement)).scalar_one())


def _put_projects(db: Connection, names: list[str], documents: Mapping[str, Any]) -> int:
    revision = _grow(db)
    for name in names:
        before = _load_project(db, name)
        if (
            before is None
            or name not in documents
            or _limits_written(_write(before)) != _limits_written(documents[name])
        ):
            _forget_counters(db, name)
        db.execute(delete(scopes).where(scopes.c.project == name))
        db.execute(delete(projects).where(projects.c.name == name))
        db.execute(insert(projects).values(name=name, revision=revision))
        if name in documents:
            db.execute(insert(scopes), _rows(name, documents[name]))
    return revision


def _limits_written(document: Any) -> Any:
    """Return what a document says about which limits there are, without their amounts."""
    if not isinstance(document, Mapping):
        return document
    told = {}
    for field, value in document.items():
        if field in {"limits", "model_limits"}:
            told[field] = {
                name: {**budget, "amount": budget.get("amount") == "disabled"} for name, budget in value.items()
            }
        elif field in {"groups", "people", "person_defaults", "members", "timezone"} or isinstance(value, Mapping):
            told[field] = _limits_written(value)
    return told


def _forget_counters(db: Connection, project: str) -> None:
    """Delete a project's counters of dollars: they are computed anew from usage and holds when they are needed.

    A limit that is lifted for a while is not charged meanwhile; its counter must not be believed when it comes back.
    """
    start = Limit(project, "", "", "", "", "", 0, None, None, "").counter.partition("|")[0] + "|"
    ids = db.execute(select(counters.c.id).where(counters.c.id.startswith(start, autoescape=True))).scalars()
    # Names are escaped in a counter's id, so the unit is the fourth part; LIKE does not mind upper and lower case.
    mine = [name for name in ids if name.startswith(start) and name.split("|")[3] == "usd"]
    for name in mine:
        db.execute(delete(counters).where(counters.c.id == name))


def _write(project: Project) -> Mapping[str, Any]:
    return cast("dict[str, Any]", write({project.name: project})["projects"])[project.name]  # type: ignore[no-any-return]


def _rows(name: str, document: Mapping[str, Any]) -> list[dict[str, str]]:
    own = {field: value for field, value in document.items() if field not in {"groups", "people"}}
    parts = [("project", name, own)]
    parts += [("group", group, value) for group, value in document.get("groups", {}).items()]
    parts += [("person", person, value) for person, value in document.get("people", {}).items()]
    return [{"project": name, "kind": kind, "name": part, "document": json.dumps(doc)} for kind, part, doc in parts]


def _load_project(db: Connection, name: str) -> Project | None:
    document: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {"group": {}, "person": {}}
    rows = db.execute(select(scopes).where(scopes.c.project == name)).all()
    for row in rows:
        if row.kind == "project":
            document = json.loads(row.document)
        else:
            parts[row.kind][row.name] = json.loads(row.document)
    if not rows:
        return None
    whole = {**document, "groups": parts["group"], "people": parts["person"]}
    return read({"projects": {name: whole}})[name]


def _insert_key(db: Connection, record: KeyRecord) -> None:
    values = {name: getattr(record, name) for name in KeyRecord.__slots__}
    values |= {"settings": json.dumps(write_settings(record.settings)), "revision": _grow(db)}
    db.execute(insert(keys).values(values))


def _record(row: Row[Any]) -> KeyRecord:
    values = {name: getattr(row, name) for name in KeyRecord.__slots__}
    return KeyRecord(**{**values, "settings": read_settings(json.loads(row.settings), f"keys.{row.id}")})
