import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from keyguard_jupyter.core.keys import make_key
from keyguard_jupyter.core.policy import Budget, Group, ModelRule, Project, Settings
from keyguard_jupyter.ledger.book import Amount, Stale
from keyguard_jupyter.ledger.calls import now_ms
from keyguard_jupyter.ledger.directory import Directory, NewKey

from .ledgers import Ledger, make_call, make_limit, paid

COURSE = Project(
    name="course",
    default="members",
    timezone="Europe/Berlin",
    settings=Settings(models={"gpt-*": ModelRule("allow"), "o3": ModelRule("members", ("tutors",))}),
    groups={
        "tutors": Group(frozenset({"eve"}), Settings(total=Budget(5000, "month"))),
        "team": Group(frozenset({"ada", "bob"}), person_defaults=Settings(total=Budget(70))),
    },
    people={
        "ada": Settings(
            total=Budget(1000, "week"),
            model_limits={"gpt-4*": Budget(500, until=datetime(2027, 1, 31, tzinfo=UTC))},
            expires_at=datetime(2027, 3, 1, tzinfo=UTC),
            hours=("Mon-Fri 09:00-18:00",),
            max_concurrent=2,
        ),
        "mallory": Settings(active=False),
    },
    person_defaults=Settings(total=Budget(100), requests_per_minute=20),
    contact="host@example.org",
    notice="Welcome",
)
OTHER = Project("other", people={"ada": Settings(total=Budget(None))})


@pytest.fixture
async def directory(ledger: Ledger) -> Directory:
    directory = Directory(ledger.database)
    await directory.refresh()
    return directory


@pytest.fixture
async def another(ledger: Ledger, open_another: Callable[[], Ledger]) -> Directory:
    """Return the directory of another process."""
    directory = Directory(open_another().database)
    await directory.refresh()
    return directory


async def test_a_new_ledger_knows_nobody(directory: Directory) -> None:
    """At first there are no projects and no keys, and the revision is the database's."""
    assert (directory.projects, directory.all_keys(), directory.revision) == ({}, [], 1)
    assert directory.key(make_key()) is directory.key_by_id("none") is None


async def test_projects_come_back_as_they_were_put(directory: Directory, another: Directory) -> None:
    """What was written is what is read, in this process and in others."""
    revision = await directory.put_projects({"course": COURSE, "other": OTHER})
    await another.refresh()
    assert directory.projects == another.projects == {"course": COURSE, "other": OTHER}
    assert directory.revision == another.revision == revision == 2


async def test_a_project_is_replaced_as_a_whole(directory: Directory, another: Directory) -> None:
    """Groups and people that a new version leaves out are gone; other projects stay."""
    await directory.put_projects({"course": COURSE, "other": OTHER})
    await another.refresh()
    smaller = replace(COURSE, groups={}, people={}, settings=Settings(), notice=None)
    await directory.put_projects({"course": smaller})
    await another.refresh()
    assert directory.projects == another.projects == {"course": smaller, "other": OTHER}


async def test_a_project_can_be_removed_and_put_back(directory: Directory, another: Directory) -> None:
    """A removed project is gone for everybody; its keys and its usage stay, for when it comes back."""
    await directory.put_projects({"course": COURSE, "other": OTHER})
    record, key = await directory.issue(NewKey("course", "ada"))
    await another.refresh()
    await directory.put_projects({"course": None})
    await another.refresh()
    assert directory.projects == another.projects == {"other": OTHER}
    assert another.key(key) == record
    await directory.put_projects({"course": COURSE})
    await another.refresh()
    assert another.projects["course"] == COURSE


async def test_every_change_makes_the_revision_grow(directory: Directory, another: Directory) -> None:
    """Whatever changes rights changes the revision, once, also for two processes; what changes nothing does not."""
    seen = [directory.revision]
    await directory.put_projects({"course": COURSE})
    seen.append(directory.revision)
    record, _ = await another.issue(NewKey("course", "ada", "kernel", lease_ms=1000))
    seen.append(another.revision)
    await directory.renew([record.id], 1000)
    seen.append(directory.revision)
    await another.revoke(record.id)
    seen.append(another.revision)
    assert seen == [1, 2, 3, 4, 5]
    await directory.revoke(record.id)
    await directory.revoke("none")
    await directory.renew([record.id, "none"], 1000)
    assert directory.revision == 5


async def test_what_was_derived_is_forgotten_when_something_changes(directory: Directory, another: Directory) -> None:
    """Whatever others remembered about the old state is gone with it."""
    directory.memo["rights"] = "old"
    await another.put_projects({"course": COURSE})
    await directory.refresh()
    assert directory.memo == {}


async def test_a_change_elsewhere_makes_decisions_stale(ledger: Ledger, another: Directory) -> None:
    """After another process revoked a key, no hold goes through on what was decided before."""
    limit = make_limit()
    record, _ = await another.issue(NewKey("course", "ada"))
    directory = Directory(ledger.database)
    await directory.refresh()
    ledger.open(limit)
    await ledger.book.hold(make_call(), [Amount(limit, 100)], directory.revision)
    await another.revoke(record.id)
    with pytest.raises(Stale):
        await ledger.book.hold(make_call(), [Amount(limit, 100)], directory.revision)
    await directory.refresh()
    assert directory.revision == ledger.book.revision()
    await ledger.book.hold(make_call(), [Amount(limit, 100)], directory.revision)


async def test_a_key_is_known_by_its_hash_alone(ledger: Ledger, directory: Directory, another: Directory) -> None:
    """An issued key is found by who presents it, everywhere; the key itself stands nowhere in the ledger."""
    new = NewKey("course", "ada", "kernel", "laptop", "kernel-1", "a/b.ipynb", COURSE.people["ada"], 123456789, 60_000)
    before = now_ms()
    record, key = await directory.issue(new)
    await another.refresh()
    assert directory.key(key) == another.key(key) == another.key_by_id(record.id) == record
    assert directory.key(key + "x") is None
    kept = (record.project, record.person, record.kind, record.label, record.kernel_id, record.notebook)
    assert kept == ("course", "ada", "kernel", "laptop", "kernel-1", "a/b.ipynb")
    assert (record.settings, record.expires_at, record.revoked_at) == (new.settings, 123456789, None)
    assert before <= record.created_at <= now_ms()
    assert record.leased_until == record.created_at + 60_000
    assert key.endswith(record.suffix)
    for file in ledger.path.parent.iterdir():
        assert key.encode() not in file.read_bytes()


async def test_a_personal_key_has_no_lease(directory: Directory) -> None:
    """By default a key is personal, lasts, and narrows nothing."""
    record, _ = await directory.issue(NewKey("course", "ada"))
    assert (record.kind, record.leased_until, record.expires_at, record.settings) == (
        "personal",
        None,
        None,
        Settings(),
    )
    assert await directory.renew([record.id], 1000) == []


async def test_keys_are_listed_oldest_first(directory: Directory, another: Directory) -> None:
    """All keys are listed in the order in which they were made, revoked ones too."""
    made = [(await directory.issue(NewKey("course", name)))[0] for name in ("ada", "bob", "eve")]
    await directory.revoke(made[0].id)
    await another.refresh()
    listed = another.all_keys()
    assert [record.created_at for record in listed] == sorted(record.created_at for record in made)
    assert {record.id for record in listed} == {record.id for record in made}
    assert listed == directory.all_keys()


async def test_a_revoked_key_stays_revoked(directory: Directory, another: Directory) -> None:
    """Revoking is seen by all, cannot be undone by a renewal, and twice is as once."""
    record, key = await directory.issue(NewKey("course", "ada", "kernel", lease_ms=1000))
    await another.refresh()
    before = now_ms()
    revoked = await directory.revoke(record.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert before <= revoked.revoked_at <= now_ms()
    assert await another.revoke(record.id) == revoked
    assert another.key(key) == revoked
    assert await directory.renew([record.id], 1000) == []
    assert directory.key(key) == revoked


async def test_there_is_nothing_to_revoke_of_an_unknown_key(directory: Directory) -> None:
    """An id that no key has is answered as such."""
    assert await directory.revoke("none") is None


async def test_leases_are_renewed_together(directory: Directory, another: Directory) -> None:
    """Of the keys named, those with a lease are renewed, lapsed ones too; the others are not, and are not named."""
    lapsed, _ = await directory.issue(NewKey("course", "ada", "kernel", lease_ms=-5000))
    live, _ = await directory.issue(NewKey("course", "bob", "kernel", lease_ms=5000))
    left, _ = await directory.issue(NewKey("course", "eve", "kernel", lease_ms=5000))
    revoked, _ = await directory.issue(NewKey("course", "eve", "kernel", lease_ms=5000))
    personal, _ = await directory.issue(NewKey("course", "ada"))
    await directory.revoke(revoked.id)
    before = now_ms()
    named = [lapsed.id, live.id, revoked.id, personal.id, "none"]
    assert sorted(await another.renew(named, 60_000)) == sorted([lapsed.id, live.id])
    await directory.refresh()
    for record in (lapsed, live):
        renewed = directory.key_by_id(record.id)
        assert renewed is not None
        assert renewed.leased_until is not None
        assert before + 60_000 <= renewed.leased_until <= now_ms() + 60_000
    assert directory.key_by_id(left.id) == left
    assert directory.key_by_id(personal.id) == personal
    assert await another.renew([], 1000) == []


async def test_changes_at_once_are_all_kept(directory: Directory, another: Directory) -> None:
    """Keys issued by two processes in one moment are all there afterwards, in both."""
    issued = await asyncio.gather(*(one.issue(NewKey("course", "ada")) for one in [directory, another] * 8))
    await asyncio.gather(directory.refresh(), another.refresh(), another.refresh())
    assert {record.id for record, _ in issued} == {record.id for record in directory.all_keys()}
    assert directory.all_keys() == another.all_keys()
    assert directory.revision == another.revision == 17


async def test_a_class_of_five_hundred(directory: Directory, another: Directory) -> None:
    """A project of hundreds of people is written and read as a whole, and each of them may change alone."""
    people = {f"person-{number:03}": Settings(total=Budget(number)) for number in range(500)}
    groups = {f"group-{number}": Group(frozenset(list(people)[number::20])) for number in range(20)}
    large = replace(COURSE, people=people, groups=groups, settings=Settings())
    await directory.put_projects({"course": large})
    await another.refresh()
    assert another.projects == {"course": large}
    changed = replace(large, people={**people, "person-007": Settings(total=Budget(8))})
    await another.put_projects({"course": changed})
    await directory.refresh()
    assert directory.projects == {"course": changed}


async def test_names_are_kept_as_they_are(directory: Directory, another: Directory) -> None:
    """Names with any printable signs come back the same, and are kept apart."""
    names = ["Ädä", "a|b", "a%b", "a b", "ADA", "ada", "'", '"', "课程", "None", "a.b"]
    projects = {name: Project(name, people={one: Settings(total=Budget(7)) for one in names}) for name in names}
    await directory.put_projects(projects)
    await another.refresh()
    assert another.projects == projects


# --- what a change of the policy does to counters -------------------------------------------------------------------


async def test_raising_a_limit_forgets_no_spending(ledger: Ledger, directory: Directory) -> None:
    """After a limit was raised, what was spent under it counts as before."""
    limit, call = make_limit(1000, window="week"), make_call(400)
    await directory.put_projects({"course": COURSE})
    await ledger.hold(call, limit)
    await ledger.book.settle(call, paid(400))
    richer = {**COURSE.people, "ada": replace(COURSE.people["ada"], total=Budget(2000, "week"))}
    await directory.put_projects({"course": replace(COURSE, people=richer)})
    assert await ledger.hold(make_call(100), replace(limit, amount=2000)) == 1500


async def test_a_limit_that_was_lifted_counts_what_was_spent_meanwhile(ledger: Ledger, directory: Directory) -> None:
    """Spending while a limit was disabled counts when it is set again."""
    limit, first, second, flying = make_limit(1000, window="week"), make_call(400), make_call(300), make_call(50)
    await directory.put_projects({"course": COURSE})
    await ledger.hold(first, limit)
    await ledger.book.settle(first, paid(400))
    lifted = {**COURSE.people, "ada": replace(COURSE.people["ada"], total=Budget(None, "week"))}
    await directory.put_projects({"course": replace(COURSE, people=lifted)})
    for call in (second, flying):
        await ledger.hold(call)
    await ledger.book.settle(second, paid(300))
    await directory.put_projects({"course": COURSE})
    assert await ledger.hold(make_call(0), limit) == 250
    await ledger.book.settle(flying, paid(50))
    assert ledger.balance(limit) == (750, 0)


async def test_a_removed_project_that_comes_back_knows_its_history(ledger: Ledger, directory: Directory) -> None:
    """To remove a project and put it back gives nobody their money back."""
    limit, call = make_limit(1000, window="week"), make_call(400)
    await directory.put_projects({"course": COURSE})
    await ledger.hold(call, limit)
    await directory.put_projects({"course": None})
    await ledger.book.settle(call, paid(400))
    await directory.put_projects({"course": COURSE})
    assert await ledger.hold(make_call(0), limit) == 600


@pytest.mark.parametrize("unit", ["requests", "tokens", "concurrent"])
@pytest.mark.parametrize("name", ["ada", "usd", "USD", "|usd|"])
async def test_calls_in_flight_end_well_after_a_change_of_policy(
    ledger: Ledger, directory: Directory, unit: str, name: str
) -> None:
    """Rates are not computed from history: whatever people are called, a change of policy does not reset them."""
    limit, call, later = make_limit(1000, unit, name=name), make_call(100, person=name), make_call(100, person=name)
    await directory.put_projects({"course": COURSE})
    await ledger.hold(call, limit)
    await directory.put_projects({"course": replace(COURSE, people={name: Settings(total=Budget(5))})})
    await ledger.hold(later, limit)
    held = 2 if unit in ("requests", "concurrent") else 200
    assert ledger.counter(limit) == (0, held)
    assert await ledger.book.void(call.id)
    assert await ledger.book.void(later.id)
    assert ledger.counter(limit) == (0, 0)


async def test_a_change_of_one_project_leaves_others_alone(ledger: Ledger, directory: Directory) -> None:
    """Counters of a project whose name only begins alike, or is written differently, stay."""
    names = ["course", "course-2", "Course", "cours_", "c%", "other|course"]
    limits = [make_limit(1000, project=name) for name in names]
    for name, limit in zip(names, limits, strict=True):
        call = make_call(10, project=name)
        await ledger.hold(call, limit)
        await ledger.book.settle(call, paid(10))
    await directory.put_projects({"course": COURSE, "c%": Project("c%"), "cours_": Project("cours_")})
    open_ones = {name for name, limit in zip(names, limits, strict=True) if ledger.counter(limit)}
    assert open_ones >= {"course-2", "other|course"}
    assert not open_ones & {"course", "cours_", "c%"}
    assert [ledger.balance(limit) for limit in limits] == [(10, 0)] * len(names)
