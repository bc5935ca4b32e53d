"""A gateway process without the gateway: reads one order a line, and answers each with a line when it is done."""

import asyncio
import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

from ledgers import NOW, Ledger, make_call, make_limit, ms, paid

from keyguard_jupyter.ledger.book import NoRoom
from keyguard_jupyter.ledger.calls import Call

PEOPLE = ("ada", "bob", "eve")
UNDER_WAY = 10


class Orders:
    """What a worker can be told to do.

    Args:
        path: the ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ledger: Ledger
        self._calls: dict[str, Call] = {}

    async def open(self) -> str:
        self._ledger = Ledger(self._path)
        return self._ledger.presence.id

    async def hold(self, held: int, amount: int) -> str:
        call = make_call(held)
        limits = [make_limit(amount), *(make_limit(amount, unit) for unit in ("requests", "tokens", "concurrent"))]
        await self._ledger.hold(call, *limits)
        self._calls[call.id] = call
        return call.id

    async def send(self, call_id: str) -> None:
        self._ledger.book.mark_sent(call_id)

    async def settle(self, call_id: str, cost: int) -> bool:
        return await self._ledger.book.settle(self._calls[call_id], paid(cost))

    async def close(self) -> None:
        await self._ledger.close()

    async def hammer(self, seed: int, count: int, pool: int, share: int) -> dict[str, int]:
        """Make many calls, some at once; tell when some are done, and in the end what they came to."""
        dice, tries = random.Random(seed), itertools.count()
        came = {"settled": 0, "voided": 0, "refused": 0, "cost": 0}
        limits = [make_limit(pool, scope="project", name="course"), make_limit(4, "concurrent", scope="project")]

        async def call_often() -> None:
            for _ in range(count):
                # Counted by tries: what is settled depends on how much the others left of the pool.
                if next(tries) == UNDER_WAY:
                    print(json.dumps("under way"), flush=True)
                person, held = dice.choice(PEOPLE), dice.randint(1, 40)
                call = make_call(held, person=person, at=ms(NOW) + dice.randrange(1000))
                try:
                    await self._ledger.hold(call, make_limit(share, name=person), *limits)
                except NoRoom:
                    came["refused"] += 1
                    continue
                await asyncio.sleep(0)
                if dice.random() < 0.2:
                    done = await self._ledger.book.void(call.id)
                    came["voided"] += done
                    continue
                self._ledger.book.mark_sent(call.id)
                cost = dice.randint(0, held)
                done = await self._ledger.book.settle(call, paid(cost))
                came["settled"] += done
                came["cost"] += cost

        await asyncio.gather(*(call_often() for _ in range(3)))
        return came


def main() -> None:
    """Do what the lines say until there are no more."""
    orders = Orders(Path(sys.argv[1]))
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            name, *values = json.loads(line)
            done: Any = runner.run(getattr(orders, name)(*values))
            print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
