import asyncio

import pytest

from keyguard_jupyter.errors import LedgerUnavailable
from keyguard_jupyter.ledger import disk

from .ledgers import Ledger, make_call, make_limit, paid

ADA = make_limit(10**6)


async def test_nothing_is_held_on_a_disk_that_lost_something(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Once the log did not reach the disk, no more money is held, and the log says what to do; calls still end."""
    call = make_call(100)
    await ledger.hold(call, ADA)
    log = ledger.path.with_name("ledger.db-wal")
    away = log.rename(ledger.path.with_name("away"))
    async with asyncio.timeout(10):
        while not caplog.records:
            await ledger.book.void("none")  # the flush after a commit runs in a thread, and tells nobody but the log
    away.rename(log)
    assert "restart the gateway" in caplog.text
    with pytest.raises(LedgerUnavailable, match="disk"):
        ledger.book.revision()
    with pytest.raises(LedgerUnavailable, match="disk"):
        await ledger.book.hold(make_call(), [], 1)
    assert await ledger.book.settle(call, paid(40))
    assert ledger.balance(ADA) == (40, 0)


async def test_the_log_does_not_grow_for_ever(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log holds goes into the database file from time to time, and a long log is begun anew."""
    for name in ("FLUSH_SECONDS", "LOG_BYTES"):
        monkeypatch.setattr(disk, name, 0)
    monkeypatch.setattr(disk, "CHECKPOINT_FLUSHES", 1)
    log, sizes = ledger.path.with_name("ledger.db-wal"), []
    for _ in range(300):
        call = make_call(1)
        await ledger.hold(call, ADA)
        await ledger.book.settle(call, paid(1))
        await asyncio.sleep(0.001)  # lets the disk's thread work beside the calls, as it does in a gateway
        sizes.append(log.stat().st_size)
    assert sizes[-1] < 300 * 2 * 4096, "two commits of a call write a page each, at the least"
    assert ledger.balance(ADA) == (300, 0)


async def test_closing_leaves_no_thread_and_no_file(ledger: Ledger) -> None:
    """After a book was closed in the middle of its work, all of it is in the ledger."""
    another = Ledger(ledger.path)
    calls = [make_call(1) for _ in range(50)]
    another.open(ADA)
    await asyncio.gather(*(another.hold(call, ADA) for call in calls))
    await asyncio.gather(*(another.book.settle(call, paid(1)) for call in calls))
    await another.close()
    assert ledger.balance(ADA) == (50, 0)
