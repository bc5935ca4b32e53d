"""A stand-in provider in the test's loop, and a real gateway process in front of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyguard_jupyter.demo.provider import Provider
from tests.support.gateway import REAL_KEY, Gateway


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Serve a provider that takes the real key only."""
    async with Provider(key=REAL_KEY) as served:
        yield served


@pytest.fixture
async def gateway(provider: Provider, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Run a gateway process with the open policy, on a database of its own."""
    running = Gateway(tmp_path, provider.url)
    try:
        await asyncio.to_thread(running.__enter__)
        yield running
    finally:
        await asyncio.to_thread(running.stop)
