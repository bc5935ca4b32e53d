"""This process, as others see it: alive as long as it holds its lock, and which of its calls it has sent.

Each process has a file of its own beside the database. The system drops the lock on it when the process ends, however
it ends, so a lock that can be had belongs to a dead one. In the file stand the ids of the calls that were sent: they
are written before the first byte goes out, cost one system call, and are there after a ``kill -9``.
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from sqlalchemy import delete, insert, select

from .calls import CALL_ID_BYTES, make_call_id
from .database import Database
from .schema import holds, processes


def boot_id() -> str:
    """Return a name for the time since the machine started; a random one where the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown-" + secrets.token_hex(8)


class Presence:
    """The presence of this process.

    Args:
        database: the ledger.
    """

    def __init__(self, database: Database) -> None:
        self.id = make_call_id()
        self._database = database
        self._path = lock_path(database, self.id)
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        database.change(lambda db: db.execute(insert(processes).values(id=self.id, boot=boot_id())))

    def mark_sent(self, call_id: str) -> None:
        """Write that a call is about to be sent.

        Raises:
            OSError: the disk is full.
        """
        data = call_id.encode()
        assert len(data) == CALL_ID_BYTES
        place = self._free.pop() if self._free else len(self._places)
        self._places[call_id] = place
        try:
            written = os.pwrite(self._file, data, place * CALL_ID_BYTES)
        except OSError:
            self.forget(call_id)
            raise
        if written != CALL_ID_BYTES:
            self.forget(call_id)
            raise OSError("the disk is full")

    def forget(self, call_id: str) -> None:
        """Let the place of a call that is resolved be used again."""
        place = self._places.pop(call_id, None)
        if place is not None:
            self._free.append(place)

    def leave(self) -> None:
        """Sign off. Calls that could not be settled stay, for whoever recovers them."""
        mine = select(holds.c.id).where(holds.c.process == self.id).exists()
        gone = self._database.change(
            lambda db: db.execute(delete(processes).where(processes.c.id == self.id, ~mine)).rowcount
        )
        if gone:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def lock_path(database: Database, process: str) -> Path:
    """Return the path of a process's file."""
    return database.path.with_name(f"{database.path.name}-process-{process}")


def try_lock(path: Path) -> int | None:
    """Take the lock of a process that may be dead.

    Returns:
        A descriptor that holds the lock; None if the process lives, or its file is gone.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def sent_calls(file: int) -> set[str]:
    """Return the ids of the calls that a dead process had sent (and perhaps settled)."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    return {data[at : at + CALL_ID_BYTES].decode(errors="replace") for at in range(0, len(data), CALL_ID_BYTES)}
