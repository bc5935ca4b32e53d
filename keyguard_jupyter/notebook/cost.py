"""What a cell cost, rendered from usage rows: pure, no input or output."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .markup import Display, clean, columns, line, panel, table
from .quotas import read_quotas, read_usd, show_cost, show_remaining

HEADS = ("model", "calls", "tokens in", "tokens out", "cost")


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls of one model added up; ``cost`` in nano-dollars."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: int

    def cells(self) -> tuple[str, ...]:
        """Return the figures as text, in the order of ``HEADS``."""
        return (
            self.model,
            str(self.calls),
            f"{self.input_tokens:,}",
            f"{self.output_tokens:,}",
            show_cost(self.cost),
        )


def tally(rows: Iterable[Mapping[str, Any]]) -> list[Tally]:
    """Add up usage rows by the model asked for, the dearest first."""
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    return sorted((_add(model, group) for model, group in by_model.items()), key=lambda t: (-t.cost, t.model))


def cost(rows: Sequence[Mapping[str, Any]], me: Mapping[str, Any], *, settled: bool = True) -> Display:
    """Render calls, tokens and cost by model, and what is left.

    Args:
        rows: of ``/api/me/usage``, those of the cell.
        me: the answer to ``/api/me`` after the cell.
        settled: False when calls were still under way, so that their cost is not known yet.
    """
    tallies = tally(rows)
    total = _add("all", rows)
    title = _title(total)
    endings = [_left(me)]
    if not settled:
        endings.insert(0, "Calls are still under way; they are not counted above.")
    cells = [t.cells() for t in tallies] if len(rows) else []
    return Display(
        "\n".join([title, *(columns([HEADS, *cells]) if cells else []), *map(clean, endings)]),
        panel(
            "Keyguard cost of this cell",
            [line(title, strong=True), *([table(HEADS, cells)] if cells else []), *map(line, endings)],
        ),
    )


def _add(model: str, rows: Iterable[Mapping[str, Any]]) -> Tally:
    rows = list(rows)
    return Tally(
        model,
        len(rows),
        sum(row["input_tokens"] for row in rows),
        sum(row["output_tokens"] for row in rows),
        sum(read_usd(row["cost_usd"]) for row in rows),
    )


def _title(total: Tally) -> str:
    if not total.calls:
        return "No call of this cell reached a model."
    calls = "1 call" if total.calls == 1 else f"{total.calls} calls"
    tokens = "1 token" if total.input_tokens == 1 else f"{total.input_tokens:,} tokens"
    return f"This cell: {calls}, {tokens} in, {total.output_tokens:,} out, {show_cost(total.cost)}"


def _left(me: Mapping[str, Any]) -> str:
    """Say what is left, and by which limit where that is one of one's own."""
    if me["remaining_usd"] is None:
        return f"Now: {show_remaining(me)}"
    totals = [quota for quota in read_quotas(me) if quota.pattern == "*"]
    tightest = min(totals, key=lambda quota: quota.left, default=None)
    own = tightest is not None and tightest.left <= read_usd(me["remaining_usd"])
    return f"Now: {show_remaining(me)}{f' ({tightest.title})' if tightest and own else ''}"
