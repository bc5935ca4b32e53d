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
LOG_BYTES = 64 * 1024 * 1024
"""Size from which the log is begun anew even if that makes writers wait for a moment."""
CHECKPOINT_FLUSHES = 64
"""After how many flushes the log's contents are moved into the database file."""

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class Disk:
    """The write-ahead log of one database, and the thread that brings it to the disk.

    Attributes:
        problem: what the disk lost; None as long as it lost nothing. From then on nothing should be held.
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
        self._closed = False

    def touch(self) -> None:
        """Take note that something was committed."""
        if self._running:
            self._again = True
        elif self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._start)

    async def close(self) -> None:
        """Bring everything to the disk, and end the thread."""
        self._closed = True
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
        if work.cancelled() or self._closed:
            return
        error = work.exception()
        if error is not None:
            # The system tells of a lost write once only: what comes later says nothing about what is missing.
            self.problem = f"{type(error).__name__}: {error}"
            log.error("the ledger's disk lost what was written; restart the gateway: %s", self.problem)
        elif self._again:
            self.touch()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._sync()
        self._flushes += 1
        if self._flushes % CHECKPOINT_FLUSHES == 0:
            self._checkpoint()

    def _sync(self) -> None:
        now = self._log.stat()
        if self._file is None:
            self._file = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        then = os.fstat(self._file)
        if (now.st_ino, now.st_dev) != (then.st_ino, then.st_dev):
            raise OSError(f"{self._log} was replaced while it was in use")
        _sync_data(self._file)

    def _checkpoint(self) -> None:
        """Move the log into the database file; a long log is also begun anew, for which writers wait a moment."""
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=0.25, isolation_level=None, check_same_thread=False)
        mode = "RESTART" if self._log.stat().st_size > LOG_BYTES else "PASSIVE"
        with contextlib.suppress(sqlite3.OperationalError):  # busy: the next one does it
            self._connection.execute(f"PRAGMA wal_checkpoint({mode})")

    def _finish(self) -> None:
        with contextlib.suppress(OSError):
            self._sync()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._connection is not None:
            self._connection.close()
