"""What one may call and why, rendered from the gateway's answers: pure, no input or output."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .markup import Display, clean, columns, line, panel, table
from .quotas import WINDOWS, Clock, read_usd, show_amount, show_cost

PRICE_HEADS = ("model", "provider ", "input", "output")
STEP_HEADS = ("scope", "pattern ", "says ", "effect ", "rule ")
EXAMPLE_INPUT_TOKENS = 1000
"""The size of the example call whose dearest cost the gateway tells."""


def models(me: Mapping[str, Any]) -> Display:
    """Render every model one may call, with its price.

    Args:
        me: the answer to ``GET /api/me``.
    """
    rows = price_rows(me["models"])
    if not rows:
        empty = "No model is allowed to you now."
        return Display(empty, panel("Keyguard models", [line(empty)]))
    title = f"Models you may use, prices per 1M tokens (table of {me['prices_version']})"
    return Display(
        "\n".join([clean(title), *columns([PRICE_HEADS, *rows], left=(0, 1))]),
        panel("Keyguard models", [line(title, strong=True), table(PRICE_HEADS, rows)]),
    )


def price_rows(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return models as rows of text, by name: model, provider, price of input, price of output."""
    return [
        (row["id"], row["provider"], _price(row, "input_usd_per_1m"), _price(row, "output_usd_per_1m"))
        for row in sorted(rows, key=lambda row: (row["id"], row["provider"]))
    ]


def explanation(answer: Mapping[str, Any], clock: Clock) -> Display:
    """Render whether a model is allowed, the rule that decides, and what a call counts against.

    Args:
        answer: the answer to ``GET /api/explain``.
        clock: writes the times.
    """
    verdict = f"{answer['model']}: {'allowed' if answer['allowed'] else 'not allowed'}"
    facts = [answer["reason"], f"Rule: {answer['rule']}"]
    steps = [_step(step) for step in answer["steps"]]
    limits = [_limit(row, clock) for row in answer["limits"]] if answer["allowed"] else []
    costs = _costs(answer)
    return Display(
        "\n".join(
            [
                clean(verdict),
                *[f"  {clean(fact)}" for fact in facts],
                *_section("Who says what, from wide to narrow", _step_lines(steps)),
                *_section("What a call counts against", [f"  {clean(text)}" for text in limits]),
                *map(clean, costs),
            ]
        ),
        panel(
            "Keyguard explanation",
            [
                line(verdict, strong=True),
                *map(line, facts),
                *([table(STEP_HEADS, steps)] if steps else []),
                *[line(f"Counts against: {text}") for text in limits],
                *map(line, costs),
            ],
            tone="good" if answer["allowed"] else "over",
        ),
    )


def _price(row: Mapping[str, Any], name: str) -> str:
    if row["free"]:
        return "free"
    return "-" if row[name] is None else show_amount(read_usd(row[name]))


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    access = step["access"] or "-"
    pattern = step["pattern"] or ("(default)" if step["access"] else "-")
    return (_place(step), pattern, access, step["effect"], step["rule"])


def _place(row: Mapping[str, Any]) -> str:
    return "this key" if row["scope"] == "key" else f"{row['scope']} {row['name']}"


def _step_lines(steps: Sequence[Sequence[str]]) -> list[str]:
    return columns([STEP_HEADS, *steps], left=range(len(STEP_HEADS))) if steps else []


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *lines] if lines else []


def _limit(row: Mapping[str, Any], clock: Clock) -> str:
    models = "all models" if row["pattern"] == "*" else row["pattern"]
    amount = f", {show_amount(read_usd(row['amount_usd']))}" if row.get("amount_usd") else ""
    resets = f", resets {clock.write(row['resets_at'])}" if row["resets_at"] else ""
    return f"{_place(row)}: {WINDOWS.get(row['window'], row['window'])}, {models}{amount}{resets}"


def _costs(answer: Mapping[str, Any]) -> list[str]:
    price = answer["price"]
    if price is None:
        return ["It has no price here, so it cannot be called."]
    if price["free"]:
        return ["It is free here."]
    rates = f"input {_price(price, 'input_usd_per_1m')}, output {_price(price, 'output_usd_per_1m')}"
    texts = [f"Price per 1M tokens: {rates} (table of {price['version']})"]
    if answer["worst_case_usd"] is not None:
        worst = show_cost(read_usd(answer["worst_case_usd"]))
        texts.append(
            f"A call with {EXAMPLE_INPUT_TOKENS} input tokens and no output cap of its own costs at most {worst}"
        )
    return texts
