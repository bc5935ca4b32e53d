import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from keyguard_jupyter.errors import ConfigurationError, LedgerUnavailable
from keyguard_jupyter.ledger import migrations
from keyguard_jupyter.ledger.database import Database
from keyguard_jupyter.ledger.schema import metadata

from .ledgers import Ledger, look, make_call, make_limit
from .processes import PACKAGE_HOME

OPENER = """
import sys
from keyguard_jupyter.ledger.database import Database
print("ready", flush=True)
sys.stdin.readline()
Database("sqlite:///" + sys.argv[1]).close()
"""


def open_database(path: Path) -> Database:
    return Database(f"sqlite:///{path}")


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the columns, keys and indexes of each table, as SQLite understands them."""
    shape = {}
    for name, sql in look(path, "SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
        if name.startswith("sqlite_") or name == "alembic_version":
            continue
        found = look(path, f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{name}')")
        for index, unique in look(path, f"SELECT name, \"unique\" FROM pragma_index_list('{name}')"):
            parts = look(path, f"SELECT name FROM pragma_index_info('{index}')")
            found.append((index, unique, *(part for (part,) in parts)))
        shape[name] = [*sorted(found), ("WITHOUT ROWID" in sql, "CHECK" in sql, "AUTOINCREMENT" in sql)]
    return shape


def test_a_ledger_is_made_and_migrated_when_it_is_opened(tmp_path: Path) -> None:
    """Opening a ledger that is not there makes the folders, the file, and the tables of the newest version."""
    path = tmp_path / "new" / "folder" / "ledger.db"
    open_database(path).close()
    assert look(path, "SELECT version_num FROM alembic_version") == [(migrations.HEAD,)]
    assert look(path, "SELECT value FROM state WHERE name = 'revision'") == [(1,)]


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """A process may have died between making the file and migrating it: the next one completes it."""
    path = tmp_path / "ledger.db"
    path.touch(0o600)
    open_database(path).close()
    assert look(path, "SELECT count(*) FROM usage") == [(0,)]


def test_nobody_else_may_read_a_ledger(tmp_path: Path) -> None:
    """The database, its log and the files beside it are the owner's alone, whatever the umask; a new folder too."""
    path = tmp_path / "new" / "ledger.db"
    database = open_database(path)
    look(path, "UPDATE state SET value = value")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("ledger.db*")}
    database.close()
    assert modes.pop("ledger.db-migrate", None) is not None
    assert set(modes) >= {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_file_of_a_process_is_its_owners_alone(ledger: Ledger) -> None:
    """The file that tells which calls were sent is for nobody else."""
    (file,) = ledger.path.parent.glob("ledger.db-process-*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_ledger_that_is_opened_again_is_as_it_was(path: Path) -> None:
    """What was written is there after closing and opening."""
    async with Ledger(path) as first:
        call = make_call(100)
        await first.hold(call, make_limit())
        before = first.contents()
        assert len(before[1]) == 1
    async with Ledger(path) as second:
        assert second.contents() == before


def test_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """Several processes that open a ledger that is not there yet make one, and all succeed."""
    path = tmp_path / "ledger.db"
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": PACKAGE_HOME},
            text=True,
        )
        for _ in range(3)
    ]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    errors = [opener.communicate()[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0, 0, 0], errors
    assert look(path, "SELECT count(*) FROM alembic_version") == [(1,)]
    assert look(path, "SELECT count(*) FROM state") == [(1,)]


def test_a_ledger_of_a_newer_version_is_refused(path: Path) -> None:
    """An older Keyguard does not touch what it cannot understand, and says what to do."""
    look(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="upgrade"):
        open_database(path)
    assert look(path, "SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@localhost/ledger",
        "mysql://localhost/ledger",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "/var/lib/ledger.db",
        "ledger.db",
        "",
    ],
)
def test_only_a_url_of_a_file_will_do(url: str) -> None:
    """Anything but a SQLite file is refused with what to write instead, and a password in it is not repeated."""
    with pytest.raises(ConfigurationError, match="sqlite:////path/to/file") as caught:
        Database(url)
    assert "Keyguard.database_url" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["file/ledger.db", "file/folder/ledger.db", "folder", "text"])
def test_a_path_that_cannot_be_a_ledger_is_a_configuration_error(tmp_path: Path, name: str) -> None:
    """Where no ledger can be made or opened, the message names the path and the setting."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("this is a letter, and no database at all\n" * 100)
    with pytest.raises(ConfigurationError, match="database_url") as caught:
        open_database(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_folder_that_may_not_be_written_to_is_a_configuration_error() -> None:
    """Where the system lets nobody write, not even its administrator, the message names the path and the setting."""
    with pytest.raises(ConfigurationError, match=r"/proc/keyguard/ledger\.db cannot be opened .*database_url"):
        open_database(Path("/proc/keyguard/ledger.db"))


def test_the_schema_is_what_the_migrations_make(tmp_path: Path, path: Path) -> None:
    """The tables that the code names are those of a migrated file: columns, types, keys and indexes."""
    plain = tmp_path / "plain.db"
    engine = create_engine(f"sqlite:///{plain}")
    metadata.create_all(engine)
    engine.dispose()
    assert columns(path) == columns(plain)


async def test_a_report_cannot_write(ledger: Ledger) -> None:
    """Reports run on connections that cannot change anything."""
    with pytest.raises(LedgerUnavailable, match="readonly"):
        await ledger.database.read(lambda db: db.exec_driver_sql("UPDATE state SET value = 7"))
    await ledger.database.write(lambda db: db.exec_driver_sql("UPDATE state SET value = 8"))
    assert ledger.book.revision() == 8


async def test_a_change_that_fails_changes_nothing(ledger: Ledger) -> None:
    """A change is one transaction: all of it or nothing."""

    def change(db: object) -> None:
        db.exec_driver_sql("UPDATE state SET value = 7")  # type: ignore[attr-defined]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ledger.database.write(change)
    assert ledger.book.revision() == 1


async def test_an_error_says_nothing_of_the_values(ledger: Ledger) -> None:
    """What goes wrong in the database is told without the statement, in which hashes and names stand."""
    statement = "INSERT INTO nowhere VALUES ('a secret')"
    with pytest.raises(LedgerUnavailable) as caught:
        await ledger.database.write(lambda db: db.exec_driver_sql(statement))
    assert "secret" not in str(caught.value)


def test_the_write_ahead_log_is_on(path: Path) -> None:
    """Readers never wait for writers: the file is in write-ahead mode for whoever opens it."""
    open_database(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
