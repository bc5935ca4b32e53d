"""Building blocks of displays."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.notebook.markup import bar, clean, columns, escape, line, meter, notice, panel, table

HOSTILE = st.text() | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "&lt;b&gt;",
        "</td></table>",
        "\x1b[31mred\x1b[0m",
        "a\u202eb",
        "url(http://evil.example/)",
    ]
)
ATTRIBUTES = {
    "class",
    "style",
    "role",
    "scope",
    "aria-label",
    "aria-valuemin",
    "aria-valuemax",
    "aria-valuenow",
    "aria-valuetext",
}


class Inspector(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@given(HOSTILE, HOSTILE)
def test_names_cannot_become_markup(name: str, other: str) -> None:
    """Whatever a name contains, the page has the tags and attributes that we wrote, and the name as text."""
    source = panel(name, [line(name), table(["model", "n"], [[name, other]]), meter(name, 50, other)])
    seen = Inspector(source)
    assert set(seen.tags) == {"div", "span", "table", "thead", "tbody", "tr", "th", "td"}
    assert {attribute for attribute, _ in seen.attributes} <= ATTRIBUTES
    harmless = Inspector(panel("x", [line("x"), table(["model", "n"], [["x", "x"]]), meter("x", 50, "x")]))
    assert seen.tags == harmless.tags
    assert [v for n, v in seen.attributes if n == "style"] == [v for n, v in harmless.attributes if n == "style"]
    assert clean(name) in "".join(seen.text)


@given(HOSTILE)
def test_text_stays_on_its_line(name: str) -> None:
    """Plain text has no control characters, line breaks or characters that reverse text, and cleaning twice is once."""
    assert clean(name).isprintable()
    assert "\u202e" not in clean(name)
    assert clean(clean(name)) == clean(name)


@given(HOSTILE)
def test_escaped_text_reads_back(name: str) -> None:
    """Escaping is undone by a browser."""
    assert "".join(Inspector(f"<p>{escape(name)}</p>").text) == clean(name)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, "[----------]"), (1, "[#---------]"), (64, "[######----]"), (99, "[#########-]"), (100, "[##########]")],
)
def test_bar_is_full_only_when_all_is_used(percent: int, expected: str) -> None:
    """A bar is empty only at nothing and full only at all; more than all is full too."""
    assert bar(percent) == expected
    assert bar(percent + 1000) == "[##########]"


def test_meter_is_told_in_words() -> None:
    """A meter has a name, a value and its figures for those who can't see it; its value never leaves the range."""
    seen = Inspector(meter("this week", 250, "$12.50 of $5.00 used"))
    assert {
        ("role", "meter"),
        ("aria-label", "this week"),
        ("aria-valuenow", "100"),
        ("aria-valuemax", "100"),
        ("aria-valuetext", "$12.50 of $5.00 used"),
    } <= set(seen.attributes)
    assert "$12.50 of $5.00 used" in seen.text


def test_html_brings_nothing_from_elsewhere() -> None:
    """Colours are the page's own variables with fallbacks; there is no script and no address."""
    source = panel("x", [meter("x", 95, "x"), table(["a"], [["b"]])], tone="over")
    assert not re.search(r"https?:|url\(|<script|<link|<style|@import", source)
    assert "var(--jp-layout-color1, var(--vscode-editor-background, Canvas))" in source


def test_columns_align() -> None:
    """Text is aligned left and figures right."""
    assert columns([("model", "cost"), ("gpt-4.1-mini", "$1")]) == ["  model         cost", "  gpt-4.1-mini    $1"]


def test_display_has_both_forms() -> None:
    """A display offers plain text and HTML to the front end, and is its text elsewhere."""
    shown = notice("Hello <you>")
    assert shown._repr_mimebundle_() == {"text/plain": "Hello <you>", "text/html": shown.html}
    assert repr(shown) == "Hello <you>"
    assert "Hello &lt;you&gt;" in shown.html
