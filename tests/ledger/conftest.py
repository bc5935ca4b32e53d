"""Ledgers in files of their own."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from keyguard_jupyter.ledger.database import Database

from .ledgers import Ledger
from .processes import Worker


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a migrated, empty database file: to migrate takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Database(f"sqlite:///{path}").close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, template: bytes) -> Path:
    """Return the path of a migrated, empty ledger."""
    path = tmp_path / "ledger.db"
    path.write_bytes(template)
    return path


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    """Return an open ledger."""
    async with Ledger(path) as ledger:
        yield ledger


@pytest.fixture
async def open_another(ledger: Ledger) -> AsyncIterator[Callable[[], Ledger]]:
    """Return a maker of more ledgers on the same file, each as of a process of its own."""
    async with AsyncExitStack() as stack:

        def make() -> Ledger:
            another = Ledger(ledger.path)
            stack.push_async_callback(another.close)
            return another

        yield make


@pytest.fixture
def start(path: Path) -> Iterator[Callable[[], Worker]]:
    """Return a maker of real processes that work on the ledger; they end with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Worker(path))
