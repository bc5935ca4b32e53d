"""What happens from time to time: calls of dead processes are resolved, counters of ended windows forgotten."""

import asyncio
import logging

from ..errors import LedgerUnavailable
from ..ledger.calls import now_ms
from ..ledger.database import Database
from ..ledger.recovery import forget_ended_counters, recover

log = logging.getLogger("keyguard.sweep")

SWEEP_SECONDS = 5.0
KEEP_COUNTERS_MS = 60 * 60 * 1000


async def sweep(database: Database, myself: str) -> None:
    """Resolve what dead processes left, once.

    Args:
        myself: this process's id.

    Raises:
        LedgerUnavailable: the database did not answer.
    """
    charged, released = await asyncio.to_thread(recover, database, myself)
    if charged or released:
        log.warning(
            "another gateway process ended without settling: %d calls it had sent are charged in full, %d it had not "
            "sent are released",
            charged,
            released,
        )
    await database.write(lambda db: forget_ended_counters(db, now_ms() - KEEP_COUNTERS_MS))


async def sweep_for_ever(database: Database, myself: str) -> None:
    """Sweep every few seconds until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await sweep(database, myself)
        except (LedgerUnavailable, OSError) as error:
            log.error("the sweep failed, and is tried again: %s", error)
