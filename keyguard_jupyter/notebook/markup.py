"""Displays: the same facts as plain text and as HTML.

The HTML has inline styles only, no scripts and nothing from elsewhere. Its colours are JupyterLab's and VS Code's own
variables with fallbacks, on a background of its own (VS Code paints white behind some outputs). Everything that a
colour says is said in words too.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FOREGROUND = "var(--jp-ui-font-color1, var(--vscode-editor-foreground, CanvasText))"
BACKGROUND = "var(--jp-layout-color1, var(--vscode-editor-background, Canvas))"
TRACK = "var(--jp-layout-color2, var(--vscode-editorWidget-background, rgba(128, 128, 128, 0.25)))"
BORDER = "var(--jp-border-color1, var(--vscode-widget-border, rgba(128, 128, 128, 0.6)))"
TONES = {
    "good": "var(--jp-success-color1, var(--vscode-charts-green, #388e3c))",
    "near": "var(--jp-warn-color1, var(--vscode-charts-orange, #f57c00))",
    "over": "var(--jp-error-color1, var(--vscode-charts-red, #d32f2f))",
}
"""Colours of bars and edges. Text keeps the font's own colour, which has contrast in every theme."""

BAR_CELLS = 10


@dataclass(frozen=True, slots=True)
class Display:
    """Something to show, ready as plain text and as HTML."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text, "text/html": self.html}


def clean(text: object) -> str:
    """Return ``text`` on one line without control characters, so that a name can't move a cursor or turn text round."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def escape(text: object) -> str:
    """Return ``text``, cleaned, as HTML text; also safe inside a quoted attribute."""
    return html.escape(clean(text), quote=True)


def tone_of(percent: int) -> str:
    """Return the tone of a limit that is used by ``percent``."""
    return "over" if percent >= 90 else "near" if percent >= 75 else "good"


def bar(percent: int) -> str:
    """Draw a bar in plain text; it is full only when all is used, and empty only when nothing is.

    >>> bar(64)
    '[######----]'
    """
    filled = min(BAR_CELLS, max(0, percent) * BAR_CELLS // 100)
    if percent > 0:
        filled = max(1, filled)
    return f"[{'#' * filled}{'-' * (BAR_CELLS - filled)}]"


def meter(label: str, percent: int, sentence: str) -> str:
    """Draw a bar in HTML, with its figures beside it.

    Args:
        label: what is measured, for those who hear the page.
        percent: 0 to 100 and more.
        sentence: the figures, shown as text and read as the meter's value.
    """
    shown = min(100, max(0, percent))
    return (
        f'<div style="display: flex; flex-wrap: wrap; align-items: center; gap: 0.25em 0.75em">'
        f'<div role="meter" aria-label="{escape(label)}" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{shown}" '
        f'aria-valuetext="{escape(sentence)}" style="width: 10em; height: 0.8em; border: 1px solid {BORDER}; '
        f'border-radius: 3px; background: {TRACK}; overflow: hidden">'
        f'<div style="width: {shown}%; height: 100%; background: {TONES[tone_of(percent)]}"></div></div>'
        f"<span>{escape(sentence)}</span></div>"
    )


def panel(label: str, parts: Iterable[str], *, tone: str | None = None) -> str:
    """Wrap HTML parts as one framed group named ``label``; ``tone`` colours its left edge.

    The classes keep MathJax away, which would read "$3.21 of $5.00" as a formula.
    """
    edge = f"; border-left: 4px solid {TONES[tone]}" if tone else ""
    return (
        f'<div class="mathjax_ignore tex2jax_ignore" role="group" aria-label="{escape(label)}" '
        f'style="background: {BACKGROUND}; color: {FOREGROUND}; '
        f"border: 1px solid {BORDER}; border-radius: 4px; padding: 0.5em 0.75em; line-height: 1.5; max-width: 60em"
        f'{edge}">'
        f"{''.join(parts)}</div>"
    )


def line(text: object, *, strong: bool = False) -> str:
    """Return ``text`` as a line of HTML."""
    return f'<div style="font-weight: {"bold" if strong else "normal"}">{escape(text)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows as an HTML table; the first column, and each whose head ends with a space, is text, not figures."""
    style = "padding: 0 1em 0 0; text-align: {}; background: transparent; border: none"
    aligns = ["left" if i == 0 or head.endswith(" ") else "right" for i, head in enumerate(heads)]
    head = "".join(
        f'<th scope="col" style="{style.format(align)}; font-weight: bold">{escape(name)}</th>'
        for align, name in zip(aligns, heads, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{style.format(a)}">{escape(cell)}</td>' for a, cell in zip(aligns, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<table style="border-collapse: collapse; table-layout: auto; margin: 0.25em 0; color: inherit; '
        f'font: inherit"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def columns(rows: Sequence[Sequence[str]], *, left: Iterable[int] = (0,), indent: str = "  ") -> list[str]:
    """Return rows as lines of aligned plain text; columns named in ``left`` are text, the others figures."""
    lefts = set(left)
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cleaned, strict=True)]
    return [
        indent
        + "  ".join(
            cell.ljust(width) if i in lefts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cleaned
    ]


def notice(text: str, *, tone: str | None = None) -> Display:
    """Return one sentence as a display."""
    return Display(clean(text), panel("Keyguard", [line(text)], tone=tone))
