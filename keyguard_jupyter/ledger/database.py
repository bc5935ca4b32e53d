"""The database file: where it is, its migrations, its connections."""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..errors import ConfigurationError, LedgerUnavailable
from . import migrations

T = TypeVar("T")


class Database:
    """One SQLite file, made and migrated when opened.

    Everything but the book's holds and settlements goes through here, in worker threads: policy, keys, reports.

    Args:
        url: ``sqlite:///path``.

    Raises:
        ConfigurationError: the URL is not SQLite's, or the file cannot be made or opened.
    """

    def __init__(self, url: str) -> None:
        self.path = path_of(url)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_private()
            self.engine = _engine(self.path)
            try:
                self._migrate()
            except BaseException:
                self.engine.dispose()
                raise
        except (OSError, sqlite3.Error, SQLAlchemyError) as error:
            raise ConfigurationError(
                f"The ledger {self.path} cannot be opened ({_cause(error)}). Set Keyguard.database_url to a file "
                "in a folder that you may write to."
            ) from error

    async def read(self, report: Callable[[Connection], T]) -> T:
        """Run a report in a worker thread, on a connection that cannot write."""
        return await asyncio.to_thread(self._run, report, write=False)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in a worker thread, in one transaction."""
        return await asyncio.to_thread(self.change, change)

    def change(self, change: Callable[[Connection], T]) -> T:
        """Run a change in one transaction that has the write lock from its start."""
        return self._run(change, write=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        try:
            with self.engine.connect().execution_options(write=write) as connection, connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            raise LedgerUnavailable(f"The ledger did not answer: {_cause(error)}") from error

    def _make_private(self) -> None:
        # Only when it is new: to open and close a file that SQLite has open would drop SQLite's locks on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _migrate(self) -> None:
        with _locked(self.path.with_name(self.path.name + "-migrate")):
            version = _version_of(self.path)
            if version is not None and version > migrations.HEAD:
                raise ConfigurationError(f"The ledger {self.path} was made by a newer Keyguard: upgrade this one.")
            if version != migrations.HEAD:
                _upgrade(self.engine)


def path_of(url: str) -> Path:
    """Return the file of a database URL.

    Raises:
        ConfigurationError: it is not SQLite's.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(f"Keyguard.database_url {url!r} is not a URL; write sqlite:////path/to/file") from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigurationError(
            f"Keyguard.database_url {parsed.render_as_string()} cannot be used: write sqlite:////path/to/file"
        )
    return Path(parsed.database).expanduser().absolute()


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we write BEGIN ourselves
        if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise sqlite3.OperationalError("this file system cannot hold a write-ahead log")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later cannot wait for the write lock: take it at once.
        write = connection.get_execution_options().get("write", True)
        connection.exec_driver_sql("PRAGMA query_only=" + ("OFF" if write else "ON"))
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _version_of(path: Path) -> str | None:
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
        return row[0] if row else None


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cause(error: BaseException) -> str:
    """Say what the driver said, without the statement and its parameters."""
    original = getattr(error, "orig", None) or error
    return str(original) or type(original).__name__
