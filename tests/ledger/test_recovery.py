import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from keyguard_jupyter.ledger.calls import CALL_ID_BYTES, make_call_id
from keyguard_jupyter.ledger.database import Database
from keyguard_jupyter.ledger.presence import Presence, lock_path, sent_calls, try_lock
from keyguard_jupyter.ledger.recovery import recover

from .ledgers import Ledger, look, make_call, make_limit, paid
from .processes import Worker

AMOUNT = 10_000
ADA = make_limit(AMOUNT)
RATES = [make_limit(AMOUNT, unit) for unit in ("requests", "tokens", "concurrent")]

Start = Callable[[], Worker]


def process_files(path: Path) -> list[Path]:
    return sorted(path.parent.glob("ledger.db-process-*"))


def counted(ledger: Ledger) -> list[tuple[int, int] | None]:
    """Return what is spent and held: dollars, requests, tokens, calls in flight."""
    return [ledger.counter(limit) for limit in (ADA, *RATES)]


async def test_a_process_that_dies_before_a_hold_leaves_nothing(ledger: Ledger, start: Start) -> None:
    """Killed before it held anything, a process costs nobody anything, and its traces go."""
    worker = start()
    process = worker.do("open")
    assert ledger.rows("SELECT count(*) FROM processes") == [(2,)]
    worker.kill()
    assert ledger.recover() == (0, 0)
    assert ledger.rows("SELECT id FROM processes") == [(ledger.presence.id,)]
    assert not lock_path(ledger.database, process).exists()


async def test_what_was_not_sent_is_released(ledger: Ledger, start: Start) -> None:
    """Killed after the hold and before the first byte, a call cost nothing: all that it held is free again."""
    worker = start()
    worker.do("open")
    worker.do("hold", 300, AMOUNT)
    assert counted(ledger) == [(0, 300), (0, 1), (0, 300), (0, 1)]
    worker.kill()
    assert ledger.recover() == (0, 1)
    assert counted(ledger) == [(0, 0), (0, 0), (0, 0), (0, 0)]
    assert [len(rows) for rows in ledger.contents()[1:]] == [0, 0]


async def test_what_was_sent_is_charged_in_full(ledger: Ledger, start: Start) -> None:
    """Killed after the first byte may have gone out, a call may have cost its worst case: that is charged."""
    worker = start()
    worker.do("open")
    call = worker.do("hold", 300, AMOUNT)
    worker.do("send", call)
    worker.kill()
    assert ledger.recover() == (1, 0)
    assert counted(ledger) == [(300, 0), (1, 0), (300, 0), (0, 0)]
    row = ledger.rows("SELECT id, person, model, groups, cost, held, input_tokens, outcome FROM usage")
    assert row == [(call, "ada", "gpt-4.1", '["team"]', 300, 300, 0, "expired")]
    assert ledger.rows("SELECT * FROM holds") == []


async def test_what_was_settled_is_not_charged_again(ledger: Ledger, start: Start) -> None:
    """Killed right after a settlement, a call stays as it was settled."""
    worker = start()
    worker.do("open")
    call = worker.do("hold", 300, AMOUNT)
    worker.do("send", call)
    assert worker.do("settle", call, 120)
    worker.kill()
    before = ledger.contents()
    assert ledger.recover() == (0, 0)
    assert ledger.contents() == before
    assert ledger.rows("SELECT cost, outcome FROM usage") == [(120, "ok")]


async def test_each_call_of_a_dead_process_is_resolved_for_itself(ledger: Ledger, start: Start) -> None:
    """Of many calls in every state, those sent and not settled are charged, those not sent released.

    The place of a settled call's mark is used again by the next, which must not mark an older one as unsent.
    """
    worker = start()
    worker.do("open")
    calls = [worker.do("hold", 2**number, AMOUNT) for number in range(10)]
    for call in calls[:6]:
        worker.do("send", call)
    for call in calls[1:3]:
        worker.do("settle", call, 0)
    worker.do("send", calls[8])
    worker.kill()
    # Sent and open: 0, 3, 4, 5, 8. Held and not sent: 6, 7, 9.
    assert ledger.recover() == (5, 3)
    assert ledger.counter(ADA) == (1 + 8 + 16 + 32 + 256, 0)
    charged = ledger.rows("SELECT id FROM usage WHERE outcome = 'expired'")
    assert {name for (name,) in charged} == {calls[0], *calls[3:6], calls[8]}


async def test_a_second_recovery_finds_nothing(ledger: Ledger, start: Start) -> None:
    """What is resolved is resolved once."""
    worker = start()
    worker.do("open")
    worker.do("send", worker.do("hold", 300, AMOUNT))
    worker.kill()
    assert ledger.recover() == (1, 0)
    after = ledger.contents()
    assert ledger.recover() == (0, 0)
    assert ledger.contents() == after


async def test_a_living_process_is_left_alone(ledger: Ledger, start: Start) -> None:
    """However long its calls take, a process that lives settles them itself."""
    worker = start()
    worker.do("open")
    call = worker.do("hold", 300, AMOUNT)
    worker.do("send", call)
    mine = make_call(50)
    await ledger.hold(mine, ADA)
    before = ledger.contents()
    assert ledger.recover() == (0, 0)
    assert ledger.contents() == before
    assert worker.do("settle", call, 10)
    assert ledger.counter(ADA) == (10, 50)


async def test_the_living_are_left_alone_while_the_dead_are_resolved(ledger: Ledger, start: Start) -> None:
    """One of two processes dies: only its calls are resolved."""
    living, dead = start(), start()
    for worker in (living, dead):
        worker.do("open")
    kept, lost = living.do("hold", 100, AMOUNT), dead.do("hold", 300, AMOUNT)
    living.do("send", kept)
    dead.do("send", lost)
    dead.kill()
    assert ledger.recover() == (1, 0)
    assert ledger.counter(ADA) == (300, 100)
    assert living.do("settle", kept, 1)
    living.do("close")
    assert ledger.counter(ADA) == (301, 0)


async def test_after_a_restart_of_the_machine_everything_is_charged(ledger: Ledger, start: Start) -> None:
    """Marks may not have reached the disk when the machine stopped: nobody knows what was sent, so all is charged."""
    worker = start()
    process = worker.do("open")
    worker.do("hold", 100, AMOUNT)
    worker.do("send", worker.do("hold", 300, AMOUNT))
    worker.kill()
    look(ledger.path, "UPDATE processes SET boot = 'another' WHERE id = ?", process)
    assert ledger.recover() == (2, 0)
    assert counted(ledger) == [(400, 0), (2, 0), (400, 0), (0, 0)]


async def test_without_the_marks_everything_is_charged(ledger: Ledger, start: Start) -> None:
    """Where the file of marks is gone, nobody knows what was sent, so all is charged; a late end changes nothing."""
    worker = start()
    process = worker.do("open")
    call = worker.do("hold", 100, AMOUNT)
    lock_path(ledger.database, process).unlink()
    assert ledger.recover() == (1, 0)
    assert not worker.do("settle", call, 10)
    assert ledger.counter(ADA) == (100, 0)
    assert ledger.rows("SELECT cost, outcome FROM usage") == [(100, "expired")]


async def test_a_counter_opened_meanwhile_is_resolved_too(ledger: Ledger, start: Start) -> None:
    """A limit that was set while the dead process's calls were in flight gets them charged or released as well."""
    worker = start()
    worker.do("open")
    worker.do("send", worker.do("hold", 300, AMOUNT))
    worker.do("hold", 50, AMOUNT)
    late = make_limit(AMOUNT, scope="group", name="team")
    ledger.open(late)
    assert ledger.counter(late) == (0, 350)
    worker.kill()
    assert ledger.recover() == (1, 1)
    assert ledger.counter(late) == (300, 0)


async def test_recoverers_at_once_resolve_once(ledger: Ledger, start: Start) -> None:
    """However many processes find the dead one at the same time, each of its calls is charged or released once."""
    workers = [start() for _ in range(2)]
    for worker in workers:
        worker.do("open")
        for number in range(6):
            call = worker.do("hold", 10, AMOUNT)
            if number % 2:
                worker.do("send", call)
        worker.kill()
    databases = [Database(f"sqlite:///{ledger.path}") for _ in range(4)]
    barrier = threading.Barrier(len(databases))

    def resolve(database: Database) -> tuple[int, int]:
        barrier.wait()
        return recover(database, ledger.presence.id)

    with ThreadPoolExecutor(len(databases)) as threads:
        counts = list(threads.map(resolve, databases))
    for database in databases:
        database.close()
    # Who comes second finds either the lock or nothing; who finds the lock leaves the rest to whoever has it.
    assert (sum(count[0] for count in counts), sum(count[1] for count in counts)) == (6, 6)
    assert ledger.counter(ADA) == (60, 0)
    assert process_files(ledger.path) == [lock_path(ledger.database, ledger.presence.id)]


async def test_a_process_that_leaves_in_order_leaves_nothing(ledger: Ledger, start: Start) -> None:
    """Signing off removes the process's row and file; there is nothing to recover."""
    worker = start()
    process = worker.do("open")
    worker.do("settle", worker.do("hold", 100, AMOUNT), 10)
    worker.do("close")
    assert ledger.rows("SELECT id FROM processes") == [(ledger.presence.id,)]
    assert not lock_path(ledger.database, process).exists()
    assert ledger.recover() == (0, 0)


async def test_calls_that_could_not_be_settled_are_left_to_others(ledger: Ledger, start: Start) -> None:
    """A process that leaves with open calls keeps its traces, and whoever recovers resolves them by its marks."""
    worker = start()
    worker.do("open")
    worker.do("hold", 100, AMOUNT)
    worker.do("send", worker.do("hold", 300, AMOUNT))
    worker.do("close")
    assert ledger.counter(ADA) == (0, 400)
    assert ledger.recover() == (1, 1)
    assert ledger.counter(ADA) == (300, 0)


async def test_marks_are_found_by_whoever_reads_them(path: Path) -> None:
    """The marks of sent calls are in the file at once, and the place of a forgotten one is used again."""
    database = Database(f"sqlite:///{path}")
    presence = Presence(database)
    ids = [make_call_id() for _ in range(5)]
    file = lock_path(database, presence.id)
    assert try_lock(file) is None, "it lives"
    for call_id in ids[:3]:
        presence.mark_sent(call_id)
    presence.forget(ids[1])
    presence.forget("not marked")
    presence.mark_sent(ids[3])
    presence.mark_sent(ids[4])
    presence.leave()
    assert not file.exists()
    database.close()
    descriptor = os.open(path.with_name("marks"), os.O_CREAT | os.O_RDWR)
    os.pwrite(descriptor, "".join(ids).encode(), 0)
    assert sent_calls(descriptor) == set(ids)
    os.close(descriptor)


async def test_places_are_used_again(ledger: Ledger) -> None:
    """The file of marks grows with the calls at once, not with the calls."""
    file = lock_path(ledger.database, ledger.presence.id)
    for _ in range(100):
        call = make_call(1)
        await ledger.hold(call, ADA)
        ledger.book.mark_sent(call.id)
        await ledger.book.settle(call, paid(1))
    assert file.stat().st_size <= CALL_ID_BYTES


async def test_a_mark_that_was_cut_off_is_none(ledger: Ledger, start: Start) -> None:
    """A process that died while it wrote a mark had not sent that call."""
    worker = start()
    process = worker.do("open")
    worker.do("send", worker.do("hold", 100, AMOUNT))
    unsent = worker.do("hold", 30, AMOUNT)
    worker.kill()
    with lock_path(ledger.database, process).open("ab") as file:
        file.write(unsent[:-1].encode())
    assert ledger.recover() == (1, 1)
    assert ledger.counter(ADA) == (100, 0)


async def test_a_damaged_mark_does_not_stop_the_recovery(ledger: Ledger, start: Start) -> None:
    """Whatever stands in the file of marks, the calls are resolved, and those that are known as sent are charged."""
    worker = start()
    process = worker.do("open")
    worker.do("send", worker.do("hold", 100, AMOUNT))
    worker.do("hold", 30, AMOUNT)
    worker.kill()
    with lock_path(ledger.database, process).open("ab") as file:
        file.write(b"\xff" * CALL_ID_BYTES)
    charged, released = ledger.recover()
    assert charged + released == 2
    assert charged >= 1
    assert ledger.rows("SELECT * FROM holds") == []


async def test_the_dead_of_another_ledger_are_not_ours(ledger: Ledger, tmp_path: Path) -> None:
    """Files beside the ledger that no process of it owns are left as they are."""
    stray = tmp_path / "ledger.db-process-of-nobody"
    stray.write_text("x")
    assert ledger.recover() == (0, 0)
    assert stray.exists()


@pytest.mark.parametrize("sent", [False, True])
async def test_a_call_whose_counter_is_gone_is_resolved(ledger: Ledger, start: Start, sent: bool) -> None:
    """A limit that no longer exists does not stop the recovery, and history knows the charge when it comes back."""
    worker = start()
    worker.do("open")
    call = worker.do("hold", 300, AMOUNT)
    if sent:
        worker.do("send", call)
    worker.kill()
    ledger.report(lambda db: db.execute(text("DELETE FROM counters")))
    assert ledger.recover() == ((1, 0) if sent else (0, 1))
    assert ledger.balance(ADA) == (300 if sent else 0, 0)
