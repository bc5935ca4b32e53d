"""The ``%keyguard`` magic."""

import html
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display

from ..client import Client
from ..errors import GatewayError
from . import rights
from .calls import read_calls
from .frames import build_frame, read_rows
from .markup import Display, line, notice, panel
from .quotas import read_clock
from .status import status
from .watch import TIMEOUT_SECONDS, Watch

show: Callable[[Display], object] = display
HELP = """\
%keyguard status           who you are here, what is left, what you may use (also: %keyguard)
%keyguard models           the models you may use, and their prices
%keyguard explain MODEL    whether you may use a model, and why or why not
%keyguard usage            your calls as a pandas frame: df = %keyguard usage --since 7d
                           (--since today, 24h, 7d, 2026-12-01 or 2026-12-01T09:00)
%%keyguard cost            first line of a cell: what its calls cost
%keyguard help             this text"""

NOT_GUARDED = (
    "To be guarded, work in a kernel started by a Jupyter server that has Keyguard, or set OPENAI_BASE_URL, "
    "OPENAI_API_KEY and KEYGUARD_URL to what your host gave you."
)
COST_LINE = re.compile(r"%%keyguard[ \t]+cost[ \t]*\r?\n?\Z")
MAGIC_NAME = "keyguard"
UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class KeyguardMagic:
    """The verbs of ``%keyguard`` in one shell.

    Args:
        shell: IPython's InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.watch = Watch(lambda: connect(timeout=TIMEOUT_SECONDS), show)
        self.verbs: dict[str, Callable[[list[str]], object]] = {
            "status": self.show_status,
            "models": self.show_models,
            "explain": self.show_explanation,
            "usage": self.read_usage,
            "cost": self.count_cost,
            "help": lambda _: show(help_page()),
        }

    def run(self, text: str, cell: str | None = None) -> object:
        """Run one verb; as a cell magic, ``cost`` over the cell."""
        verb, *words = text.split() or ["status"]
        if cell is not None and verb == "cost":  # reached only when somebody calls the cell magic by its name
            self.count_cost(words)
            self.shell.run_cell(cell)
            return None
        if cell is not None:
            show(help_page(f"%%keyguard works with cost only, not with {verb}."))
            return None
        if verb not in self.verbs:
            show(help_page(unknown(verb, list(self.verbs))))
            return None
        try:
            return self.verbs[verb](words)
        except GatewayError as failure:
            raise UsageError(str(failure)) from None

    def show_status(self, words: list[str]) -> None:
        """Show one's own standing; where there is no gateway, say so."""
        _expect(words, 0, "status")
        try:
            show(status(connect().get("/api/me")))
        except GatewayError as failure:
            text = f"{failure} {NOT_GUARDED}" if failure.code == "not_guarded" else str(failure)
            show(notice(text, tone="over"))

    def show_models(self, words: list[str]) -> None:
        """Show the models one may call."""
        _expect(words, 0, "models")
        show(rights.models(connect().get("/api/me")))

    def show_explanation(self, words: list[str]) -> None:
        """Show whether a model is allowed, and why."""
        _expect(words, 1, "explain MODEL")
        client = connect()
        answer = client.get("/api/explain", model=words[0].strip("'\""))
        show(rights.explanation(answer, read_clock(client.get("/api/me"))))

    def read_usage(self, words: list[str]) -> object:
        """Return one's own calls, as a frame where pandas is installed and as a list of dicts elsewhere."""
        since = read_since(words, datetime.now(UTC))
        rows = read_calls(connect(), since=since)
        try:
            return build_frame(rows)
        except ImportError:
            show(notice("pandas is not installed here, so this is a list of dicts: %pip install pandas"))
            return read_rows(rows)

    def count_cost(self, words: list[str]) -> None:
        """Ask for a report after this cell; the cell runs whether or not there can be one."""
        _expect(words, 0, "cost")
        try:
            self.watch.count_calls()
        except GatewayError as failure:
            show(notice(f"The cost of this cell can't be counted. {failure}"))


def connect(timeout: float = 10) -> Client:
    """Return the kernel's client by what its environment says now.

    Args:
        timeout: seconds.

    Raises:
        GatewayError: the kernel is not guarded, or has no key.
    """
    return Client.from_kernel(os.environ, timeout=timeout)


def lift_cost(lines: list[str]) -> list[str]:
    """Turn ``%%keyguard cost`` into a line magic, so that the rest runs as the ordinary cell it is.

    A cell magic gets its cell as text and would have to run it inside its own call: a top-level ``await`` fails
    there, an error would not fail the cell, and its last value would be lost.
    """
    if lines and COST_LINE.match(lines[0]):
        return [f"%{MAGIC_NAME} cost\n", *lines[1:]]
    return lines


def help_page(problem: str | None = None) -> Display:
    """Return the help, below a line that says what was wrong."""
    listing = f'<pre style="margin: 0; background: transparent; color: inherit">{html.escape(HELP)}</pre>'
    return Display(
        f"{problem}\n{HELP}" if problem else HELP,
        panel("Keyguard help", [*([line(problem, strong=True)] if problem else []), listing]),
    )


def unknown(verb: str, verbs: list[str]) -> str:
    """Say that there is no such verb, and which one may be meant."""
    near = get_close_matches(verb, verbs, n=1)
    return f"There is no %keyguard {verb}.{f' Did you mean %keyguard {near[0]}?' if near else ''}"


def read_since(words: list[str], now: datetime) -> str | None:
    """Read ``--since WHEN`` as an ISO instant in UTC; None when it is absent.

    Args:
        words: after the verb.
        now: aware.

    Raises:
        UsageError: there are other words, or WHEN is none.
    """
    match [part for word in words for part in word.split("=", 1)]:
        case []:
            return None
        case ["--since", when]:
            return _read_when(when.strip("'\""), now).astimezone(UTC).isoformat().replace("+00:00", "Z")
        case _:
            raise UsageError("Write %keyguard usage, or %keyguard usage --since 7d.")


def _read_when(when: str, now: datetime) -> datetime:
    if when == "today":
        return now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if span := re.fullmatch(r"(\d{1,4})([hdw])", when):
        return now - timedelta(**{UNITS[span[2]]: int(span[1])})
    try:
        return datetime.fromisoformat(when).astimezone()  # without an offset it is the reader's own time
    except ValueError:
        raise UsageError(f"{when!r} is no time: write today, 24h, 7d, 2026-12-01 or 2026-12-01T09:00.") from None


def _expect(words: list[str], count: int, form: str) -> None:
    if len(words) != count:
        raise UsageError(f"Write %keyguard {form}.")


def load_ipython_extension(shell: Any) -> None:
    """Give a shell the magic and the watch; a second load changes nothing.

    Args:
        shell: IPython's InteractiveShell.
    """
    if isinstance(_registered(shell), KeyguardMagic):
        return
    magic = KeyguardMagic(shell)

    def keyguard(line: str, cell: str | None = None) -> object:
        return magic.run(line, cell)

    keyguard.__doc__ = f"Your limits, models and costs.\n\n{HELP}"
    keyguard.magic = magic  # type: ignore[attr-defined]
    shell.register_magic_function(keyguard, "line_cell", MAGIC_NAME)
    shell.input_transformers_cleanup.append(lift_cost)
    shell.events.register("pre_run_cell", magic.watch.before_cell)
    shell.events.register("post_run_cell", magic.watch.after_cell)
    magic.watch.start()


def _registered(shell: Any) -> object:
    return getattr(shell.find_line_magic(MAGIC_NAME), "magic", None)
