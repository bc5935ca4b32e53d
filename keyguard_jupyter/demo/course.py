"""A small course with a week of past usage, so that a first look finds tables that are not empty."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert

from ..control.policies import parse_policy
from ..core import prices
from ..core.people import Caller
from ..core.policy import Project
from ..core.usage import Usage
from ..ledger.calls import Call, Settlement, usage_row
from ..ledger.database import Database
from ..ledger.directory import Directory, KeyRecord, NewKey
from ..ledger.schema import usage as usage_table

POLICY = """\
# The demo's course. Change it, save it, and run in a terminal:  jupyter keyguard apply policy.yaml
projects:
  default:
    default: deny                       # what is not mentioned is denied
    timezone: Europe/Berlin
    contact: grace@example.org
    notice: "Welcome to Text Mining 101. Assignment 2 is due on Friday."
    limits: {total: {amount: "100.00", window: lifetime}}
    models:
      gpt-4.1-mini: {access: allow}
      gpt-4o-mini: {access: allow}
      text-embedding-3-small: {access: allow}
      gpt-4.1: {access: members, groups: [team]}
      o3: {access: deny}
      gpt-4: {access: blocked}
    model_limits:
      gpt-4.1: {amount: "30.00", window: month}
    groups:
      team: {members: [ada, grace, linus], limits: {total: {amount: "40.00", window: month}}}
      lab: {members: [mary, rosalind]}
    people:
      ada: {limits: {total: {amount: "5.00", window: month}}}
      linus: {max_output_tokens: 1024}
    person_defaults:
      limits: {total: {amount: "2.00", window: week}}
      requests_per_minute: 60
      max_concurrent: 4
"""
PEOPLE = ("ada", "grace", "linus", "mary", "rosalind")
HABITS = {
    # person: calls a day at most, and the models used
    "ada": (32, ("gpt-4.1-mini", "gpt-4.1", "gpt-4.1", "text-embedding-3-small")),
    "grace": (14, ("gpt-4.1", "gpt-4.1-mini")),
    "linus": (7, ("gpt-4.1-mini", "gpt-4o-mini", "gpt-4.1")),
    "mary": (6, ("gpt-4o-mini", "gpt-4.1-mini", "text-embedding-3-small")),
    "rosalind": (11, ("gpt-4.1-mini",)),
}
NOTEBOOKS = ("assignment-1.ipynb", "assignment-2.ipynb", "scratch.ipynb")
PAST_DAYS = 7


async def make_course(database: Database, now: datetime) -> None:
    """Write the course, a key per person and a week of usage into a new ledger.

    Args:
        now: the usage ends an hour before.
    """
    directory = Directory(database)
    wanted = parse_policy(POLICY)
    await directory.put_projects(wanted)
    keys = {person: (await directory.issue(NewKey("default", person, label="laptop")))[0] for person in PEOPLE}
    await database.write(lambda db: _write_usage(db, wanted["default"], keys, now))


def _write_usage(db: Connection, project: Project, keys: dict[str, KeyRecord], now: datetime) -> None:
    columns = [column.name for column in usage_table.columns if column.name != "seq"]
    calls = sorted(_past_calls(project, keys, now), key=lambda entry: entry[0].at)
    rows = [dict(zip(columns, usage_row(call, end), strict=True)) for call, end in calls]
    db.execute(insert(usage_table), rows)


def _past_calls(project: Project, keys: dict[str, KeyRecord], now: datetime) -> Iterator[tuple[Call, Settlement]]:
    table, dice = prices.load(), random.Random(101)
    for person, (most, models) in HABITS.items():
        caller = _caller(project, keys[person])
        for day in range(1, PAST_DAYS + 1):
            for _ in range(dice.randint(most // 3, most)):
                at = now - timedelta(days=day, seconds=dice.randint(-10 * 3600, -3600))
                model = dice.choice(models)
                price = table.lookup("openai", model)
                spent = _tokens(dice, price.mode)
                cost = prices.cost(price, spent)
                call = Call.of(
                    caller,
                    id=f"{int(at.timestamp() * 1000):012x}{dice.getrandbits(64):016x}",
                    at=int(at.timestamp() * 1000),
                    endpoint="embeddings" if price.mode == "embedding" else "chat",
                    provider="openai",
                    model=model,
                    stream=dice.random() < 0.4,
                    price_version=table.version,
                    held=prices.worst(price, spent.input_total + 400, 0 if price.mode == "embedding" else 4096),
                )
                yield call, Settlement(cost, "ok", spent, model, "default", duration_ms=dice.randint(400, 9000))


def _caller(project: Project, key: KeyRecord) -> Caller:
    notebook = NOTEBOOKS[PEOPLE.index(key.person) % len(NOTEBOOKS)]
    return Caller("default", key.person, project.groups_of(key.person), key.id, key.suffix, key.kind, None, notebook)


def _tokens(dice: random.Random, mode: str) -> Usage:
    if mode == "embedding":
        return Usage(input=dice.randint(2_000, 60_000))
    read, cached = dice.randint(1_000, 20_000), dice.choice((0, 0, 1024))
    return Usage(input=read, cached=cached, output=dice.randint(200, 2_500))


async def prepare(url: str) -> None:
    """Make the ledger of the demo at a database URL."""
    database = Database(url)
    try:
        await make_course(database, datetime.fromtimestamp(time.time(), UTC))
    finally:
        database.close()
