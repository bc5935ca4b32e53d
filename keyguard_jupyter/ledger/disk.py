"""Brings what was committed to the disk, in the background.

SQLite's ``synchronous=FULL`` waits for the disk within each commit, with the write lock held and everybody waiting.
Here commits do not wait: they survive the death of the process (``kill -9`` included), and a thread brings the
write-ahead log to the disk at most :data:`FLUSH_SECONDS` later. So a power cut may lose that much, and no more; the
log's frames carry checksums, and what the disk has of them is what counts afterwards.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

log = logging.getLogger("keyguard.ledger")

FLUSH_SECONDS = 0.01
"""How long a commit may wait until it is brought to the disk."""
RETRY_SECONDS = 1.0
CHECKPOINT_FLUSHES = 256
"""After how many flushes the log's contents are moved into the database file."""

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class Disk:
    """The write-ahead log of one database, and the thread that brings it to the disk.

    Attributes:
        problem: why the disk cannot be written to; None while it can. Nothing should be held meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keyguard-disk")
        self._file: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._flushes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._again = False

    def touch(self) -> None:
        """Take note that something was committed."""
        if self._running:
            self._again = True
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._start)

    async def close(self) -> None:
        """Bring everything to the disk, and end the thread."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
        self._thread.shutdown()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer, self._running, self._again = None, True, False
        loop.run_in_executor(self._thread, self._flush).add_done_callback(self._done)

    def _done(self, work: "asyncio.Future[None]") -> None:
        self._running = False
        if work.cancelled():
            return
        error = work.exception()
        if error is not None and self.problem is None:
            log.error("the ledger's disk does not take what is written to it: %s", error)
        self.problem = None if error is None else str(error)
        if error is not None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._start)
        elif self._again:
            self.touch()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._sync()
        self._flushes += 1
        if self._flushes % CHECKPOINT_FLUSHES == 0:
            self._checkpoint()

    def _sync(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # no log: everything is in the database file already
            _sync_data(self._open())

    def _open(self) -> int:
        """Return the log's descriptor; it is opened anew when SQLite has replaced the file."""
        if self._file is not None:
            now, then = self._log.stat(), os.fstat(self._file)
            if (now.st_ino, now.st_dev) == (then.st_ino, then.st_dev):
                return self._file
            os.close(self._file)
            self._file = None
        self._file = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def _checkpoint(self) -> None:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        # PASSIVE never makes a writer wait; what readers still need is moved the next time.
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _finish(self) -> None:
        with contextlib.suppress(OSError):
            self._sync()
        if self._file is not None:
            os.close(self._file)
        if self._connection is not None:
            self._connection.close()
