"""The parts of the magic that need no shell."""

from datetime import UTC, datetime, timedelta

import pytest
from IPython.core.error import UsageError

from keyguard_jupyter.notebook.magic import HELP, help_page, lift_cost, read_since, unknown

NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)


class TestLiftCost:
    @pytest.mark.parametrize(
        "first", ["%%keyguard cost\n", "%%keyguard  cost  \n", "%%keyguard\tcost\r\n", "%%keyguard cost"]
    )
    def test_only_the_first_line_changes(self, first: str) -> None:
        """The cell keeps its lines, so that tracebacks name the right ones."""
        assert lift_cost([first, "a = 1\n", "%%keyguard cost\n"]) == [
            "%keyguard cost\n",
            "a = 1\n",
            "%%keyguard cost\n",
        ]

    @pytest.mark.parametrize("lines", [[], ["a\n"], ["%%keyguard costs\n"], ["%%keyguard status\n"], ["%%time\n"]])
    def test_other_cells_are_left_alone(self, lines: list[str]) -> None:
        """Whatever is not this magic passes as it is."""
        assert lift_cost(lines) == lines

    def test_twice_is_once(self) -> None:
        """IPython may transform a cell more than once."""
        lines = ["%%keyguard cost\n", "1\n"]
        assert lift_cost(lift_cost(lines)) == lift_cost(lines)


class TestSince:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], None),
            (["--since", "24h"], "2026-11-26T10:00:00Z"),
            (["--since=7d"], "2026-11-20T10:00:00Z"),
            (["--since", "2w"], "2026-11-13T10:00:00Z"),
            (["--since", "2026-11-01T09:00:00+01:00"], "2026-11-01T08:00:00Z"),
            (["--since", "'2026-11-01T00:00:00Z'"], "2026-11-01T00:00:00Z"),
        ],
    )
    def test_times_and_spans(self, words: list[str], expected: str | None) -> None:
        """A span counts back from now; a time with an offset is taken as it is."""
        assert read_since(words, NOW) == expected

    @pytest.mark.parametrize("when", ["today", "2026-11-01", "2026-11-01T09:00"])
    def test_local_times(self, when: str) -> None:
        """What names no offset is the reader's own time."""
        read = datetime.fromisoformat(read_since(["--since", when], NOW) or "").astimezone()
        expected = NOW.astimezone() if when == "today" else datetime.fromisoformat(when)
        assert (read.date(), read.hour) == (expected.date(), 9 if "T" in when else 0)
        assert NOW - read < timedelta(days=28)

    @pytest.mark.parametrize(
        "words", [["7d"], ["--since"], ["--until", "7d"], ["--since", "soon"], ["--since", "99999d"]]
    )
    def test_nonsense_is_answered_with_the_form(self, words: list[str]) -> None:
        """What can't be read is refused with examples, and never ignored."""
        with pytest.raises(UsageError, match=r"7d"):
            read_since(words, NOW)


class TestHelp:
    def test_nearest_verb_is_named(self) -> None:
        """A slip of the pen gets a suggestion; nonsense does not."""
        verbs = ["status", "models", "explain", "usage", "cost", "help"]
        assert unknown("stauts", verbs) == "There is no %keyguard stauts. Did you mean %keyguard status?"
        assert unknown("xyzzy", verbs) == "There is no %keyguard xyzzy."

    def test_help_names_each_verb(self) -> None:
        """The text and the HTML name every verb, below what was wrong."""
        page = help_page("No <such> verb.")
        assert page.text == f"No <such> verb.\n{HELP}"
        assert "No &lt;such&gt; verb." in page.html
        for verb in ("status", "models", "explain", "usage", "cost", "help"):
            assert f"%keyguard {verb}" in page.text
            assert f"%keyguard {verb}" in page.html
