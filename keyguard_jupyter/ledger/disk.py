"""Waits until what was committed is on the disk, once for everybody who is waiting.

SQLite's ``synchronous=FULL`` does the same within each commit, one after the other, with the write lock held. Here the
commits themselves do not wait, so others go on; :meth:`Disk.flush` then brings the write-ahead log to the disk in a
thread. The log's frames carry checksums, so what the disk has of it is what counts after a power cut.
"""

import asyncio
import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import LedgerUnavailable

CHECKPOINT_FLUSHES = 512
"""After how many flushes the log's contents are moved into the database file."""

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class Disk:
    """The write-ahead log of one database, and the thread that waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keyguard-disk")
        self._mover = ThreadPoolExecutor(1, thread_name_prefix="keyguard-checkpoint")
        self._flushes = 0
        self._file: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._running: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    async def flush(self) -> None:
        """Return when everything committed before this call is on the disk.

        Raises:
            LedgerUnavailable: the disk refused.
        """
        loop = asyncio.get_running_loop()
        if self._running is None:
            self._running = loop.create_future()
            self._start(loop, self._running)
            await asyncio.shield(self._running)
            return
        # The flush that runs may have begun before our commit: the next one counts.
        if self._next is None:
            self._next = loop.create_future()
        await asyncio.shield(self._next)

    def _start(self, loop: asyncio.AbstractEventLoop, waiting: "asyncio.Future[None]") -> None:
        def done(work: "asyncio.Future[None]") -> None:
            error = None if work.cancelled() else work.exception()
            self._running, self._next = self._next, None
            if self._running is not None:
                self._start(loop, self._running)
            if not waiting.done():
                if error is None:
                    waiting.set_result(None)
                else:
                    waiting.set_exception(LedgerUnavailable(f"The ledger's disk did not answer: {error}"))
                    waiting.exception()  # if nobody waits any more, nobody need hear of it

        loop.run_in_executor(self._thread, self._sync).add_done_callback(done)

    def _sync(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # no log: everything is in the database file already
            _sync_data(self._open())
        self._flushes += 1
        if self._flushes % CHECKPOINT_FLUSHES == 0:
            self._mover.submit(self._checkpoint)

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

    async def close(self) -> None:
        """Flush, and end the thread."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._sync()
        self._mover.shutdown()
        if self._file is not None:
            os.close(self._file)
        if self._connection is not None:
            self._connection.close()
