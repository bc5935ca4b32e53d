"""Answers of a gateway, in the shape that its reference gives; and a real gateway."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .course import Course, run_course

Answer = dict[str, Any]


def limit(**changes: Any) -> Answer:
    return {
        "scope": "person",
        "name": "ada",
        "pattern": "*",
        "window": "week",
        "amount_usd": "5.00",
        "spent_usd": "3.2071",
        "held_usd": "0.00",
        "remaining_usd": "1.7929",
        "resets_at": "2026-12-01T08:00:00Z",
        "fraction": 0.6414,
        **changes,
    }


def pool(**changes: Any) -> Answer:
    return {
        "scope": "group",
        "name": "team",
        "pattern": "gpt-4*",
        "window": "month",
        "state": "ok",
        "resets_at": "2026-12-01T00:00:00Z",
        **changes,
    }


def model(name: str, price_in: str | None = "0.40", price_out: str | None = "1.60", *, free: bool = False) -> Answer:
    return {
        "id": name,
        "provider": "openai",
        "input_usd_per_1m": price_in,
        "output_usd_per_1m": price_out,
        "free": free,
    }


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """Run a gateway and a stand-in provider."""
    with run_course(tmp_path_factory.mktemp("course")) as running:
        yield running


@pytest.fixture
def make_limit() -> Callable[..., Answer]:
    """Return a maker of one's own limits, by default $3.2071 of $5.00 spent this week."""
    return limit


@pytest.fixture
def make_pool() -> Callable[..., Answer]:
    """Return a maker of shared pools."""
    return pool


@pytest.fixture
def make_model() -> Callable[..., Answer]:
    """Return a maker of models with prices."""
    return model


@pytest.fixture
def make_me() -> Callable[..., Answer]:
    """Return a maker of answers to ``GET /api/me``."""

    def make(**changes: Any) -> Answer:
        return {
            "project": "default",
            "person": "ada",
            "groups": ["team", "tutors"],
            "key": {
                "id": "k1",
                "suffix": "x7QfA",
                "label": None,
                "kind": "kernel",
                "expires_at": None,
                "notebook": "2-participant.ipynb",
            },
            "contact": "host@example.org",
            "notice": None,
            "state": "ok",
            "message": None,
            "remaining_usd": "1.7929",
            "prices_version": "2026-11-20",
            "now": "2026-11-27T10:00:00.000Z",
            "timezone": "Europe/Berlin",
            "models": [
                model("gpt-4.1-mini"),
                model("gpt-4.1", "2.00", "8.00"),
                model("text-embedding-3-small", "0.02", None),
                model("qwen3-32b", None, None, free=True),
            ],
            "limits": [limit()],
            "pools": [pool()],
            "spent_usd": {"key": "0.0071", "today": "1.20", "total": "9.3071"},
            **changes,
        }

    return make


@pytest.fixture
def make_row() -> Callable[..., Answer]:
    """Return a maker of rows of ``GET /api/me/usage``."""

    def make(**changes: Any) -> Answer:
        return {
            "id": "u1",
            "at": "2026-11-27T09:59:58.120Z",
            "endpoint": "chat",
            "model": "gpt-4.1-mini",
            "model_answered": "gpt-4.1-mini-2025-04-14",
            "stream": False,
            "input_tokens": 12,
            "cached_tokens": 0,
            "output_tokens": 30,
            "reasoning_tokens": 0,
            "cost_usd": "0.0000528",
            "notebook": "2-participant.ipynb",
            "kernel_id": "kernel-1",
            "key_id": "k1",
            "key_suffix": "x7QfA",
            "outcome": "ok",
            "duration_ms": 412,
            **changes,
        }

    return make
