"""``%keyguard status`` as text and HTML."""

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyguard_jupyter.notebook.status import status

BERLIN = ZoneInfo("Europe/Berlin")
Make = Callable[..., dict[str, Any]]

USUAL = """\
Keyguard: ada in project default, groups team, tutors
Calls are open ($1.79 left)
Your limits
  this week, all models  [######----] $3.21 of $5.00 used (64 %), $1.79 left, resets Tue 1 Dec 09:00 CET
Shared with others
  group team (this month, gpt-4*) has room
Models you may use, prices per 1M tokens
  model                   provider  input  output
  gpt-4.1                 openai    $2.00   $8.00
  gpt-4.1-mini            openai    $0.40   $1.60
  qwen3-32b               openai     free    free
  text-embedding-3-small  openai    $0.02       -
Key …x7QfA, kernel, no expiry date
Questions: host@example.org"""


def test_usual_status(make_me: Make) -> None:
    """The text names person, state, limits, pools, models with prices, key and contact, in that order."""
    assert status(make_me()).text == USUAL


def test_zone_is_the_projects(make_me: Make) -> None:
    """Times are in the zone of the project, which need not be this machine's; an unknown one is no failure."""
    assert "09:00 CET" in status(make_me()).text
    assert "12:00 UTC+04:00" in status(make_me(timezone="Asia/Dubai")).text
    assert "resets Tue 1 Dec" in status(make_me(timezone="Nowhere/Else")).text
    assert "08:00 UTC" in status(make_me(), ZoneInfo("UTC")).text


def test_html_has_the_same_facts(make_me: Make) -> None:
    """The HTML says in words whatever the text says."""
    html = status(make_me(), BERLIN).html
    for fact in (
        "ada in project default, groups team, tutors",
        "Calls are open ($1.79 left)",
        "$3.21 of $5.00 used (64 %), $1.79 left, resets Tue 1 Dec 09:00 CET",
        "Shared: group team (this month, gpt-4*) has room",
        "text-embedding-3-small",
        "Key …x7QfA, kernel, no expiry date",
        "Questions: host@example.org",
    ):
        assert fact in html
    assert 'role="meter" aria-label="this week, all models"' in html


@pytest.mark.parametrize(
    ("state", "message", "expected"),
    [
        ("paused", "The exam is on.", "PAUSED: The exam is on. ($1.79 left)"),
        ("outside_hours", "Open Mon-Fri 09:00-18:00.", "CLOSED at this hour: Open Mon-Fri 09:00-18:00. ($1.79 left)"),
        ("expired", None, "EXPIRED ($1.79 left)"),
        ("revoked", None, "REVOKED ($1.79 left)"),
        ("odd", None, "odd ($1.79 left)"),
    ],
)
def test_states_are_words(make_me: Make, state: str, message: str | None, expected: str) -> None:
    """Whatever stops calls is the second line, with the host's message."""
    shown = status(make_me(state=state, message=message), BERLIN)
    assert shown.text.splitlines()[1] == expected
    assert expected in shown.html


def test_bare_status(make_me: Make) -> None:
    """Who has no group, limit, pool, model, contact or expiry gets a short answer without empty headings."""
    me = make_me(groups=[], limits=[], pools=[], models=[], contact=None, remaining_usd=None)
    assert status(me).text == (
        "Keyguard: ada in project default\n"
        "Calls are open (no spending limit)\n"
        "No model is allowed to you now.\n"
        "Key …x7QfA, kernel, no expiry date"
    )


def test_notice_label_and_expiry(make_me: Make) -> None:
    """The host's notice comes early, the key's label and expiry with the key."""
    me = make_me(
        notice="Exam on Monday.", key={**make_me()["key"], "label": "lab", "expires_at": "2027-01-31T22:59:00Z"}
    )
    lines = status(me, BERLIN).text.splitlines()
    assert lines[2] == "Notice: Exam on Monday."
    assert "Key …x7QfA (lab), kernel, expires Sun 31 Jan 2027 23:59 CET" in lines


def test_it_fits_a_screen(make_me: Make, make_limit: Make, make_pool: Make, make_model: Make) -> None:
    """However much one has, a status stays within 25 lines and says what it left out."""
    me = make_me(
        limits=[make_limit(pattern=f"m{i}*") for i in range(40)],
        pools=[make_pool(name=f"g{i}") for i in range(40)],
        models=[make_model(f"m{i}") for i in range(40)],
        notice="Hello.",
    )
    lines = status(me).text.splitlines()
    assert len(lines) <= 25
    assert "  and 34 more models: %keyguard models" in lines
    assert "  and 36 more limits" in lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(name=st.text(min_size=1) | st.just('<img src=x onerror="alert(1)">'))
def test_hostile_names_stay_text(make_me: Make, make_limit: Make, make_pool: Make, make_model: Make, name: str) -> None:
    """No name, message or pattern that others chose becomes markup or a line of its own."""
    me = make_me(
        person=name,
        project=name,
        groups=[name],
        message=name,
        notice=name,
        contact=name,
        limits=[make_limit(pattern=name, name=name)],
        pools=[make_pool(pattern=name, name=name)],
        models=[make_model(name)],
        key={**make_me()["key"], "label": name},
    )
    shown = status(me, BERLIN)
    assert "<img" not in shown.html
    assert len(shown.text.splitlines()) == len(USUAL.splitlines()) - 2  # three models fewer, one notice more
    assert all(text.isprintable() for text in shown.text.split("\n"))
