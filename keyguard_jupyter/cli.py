"""``jupyter keyguard …``: starts a gateway or the demo, and otherwise is a client of a gateway's API."""

import json
import sys
from pathlib import Path
from typing import Any

from jupyter_core.application import JupyterApp
from rich.console import Console
from rich.table import Table
from traitlets import Bool, Unicode

from ._version import __version__
from .client import Client
from .config import Keyguard
from .errors import GatewayError, KeyguardError
from .money import parse, show_spent
from .runtime import find_gateway

_JSON_FLAG = ({"Command": {"as_json": True}}, "Print JSON instead of tables.")


class Command(JupyterApp):
    """What the subcommands have in common: a client with an admin key, and one line for each thing that goes wrong."""

    version = __version__
    as_json = Bool(default_value=False, help="Whether to print JSON instead of tables.").tag(config=True)
    flags = {"json": _JSON_FLAG}
    aliases = {"config": "JupyterApp.config_file"}

    def start(self) -> None:
        """Run the command; exit with 1 and one line if it fails."""
        super().start()
        try:
            status = self.run()
        except KeyguardError as error:
            Console(stderr=True).print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
            status = 1
        self.exit(status)

    def run(self) -> int:
        """Do what the command is for, and return the exit status."""
        raise NotImplementedError

    @property
    def gateway(self) -> Client:
        """The gateway: that of the environment, or the one that runs here."""
        return find_gateway()

    def show(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        """Print rows as a table, or as JSON."""
        if self.as_json:
            print(json.dumps(rows, indent=2))  # noqa: T201
            return
        table = Table(*columns)
        for row in rows:
            table.add_row(*(_cell(column, row.get(column)) for column in columns))
        Console().print(table)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.endswith("_usd"):
        return show_spent(parse(value))
    return ", ".join(value) if isinstance(value, list) else str(value)


class Serve(Command):
    """Run the gateway in the foreground: it holds the real key, serves /v1 and /api, and runs no code of others."""

    name = "jupyter-keyguard"
    description = __doc__
    classes = [Keyguard]
    aliases = {
        **Command.aliases,
        "ip": "Keyguard.ip",
        "port": "Keyguard.port",
        "policy": "Keyguard.policy_file",
        "database": "Keyguard.database_url",
    }
    flags = {}

    def run(self) -> int:
        """Serve until Ctrl-C or SIGTERM."""
        from .serve import serve_standalone, set_up_logging
        from .vault import set_nondumpable

        set_nondumpable()
        set_up_logging()
        return serve_standalone(Keyguard(config=self.config))


class Status(Command):
    """Show the gateway, and what was spent this far."""

    name = "jupyter-keyguard-status"
    description = __doc__

    def run(self) -> int:
        """Print where the gateway is, and spending by person."""
        gateway = self.gateway
        gateway.get("/health")
        rows = gateway.get("/api/usage", group_by="person")["rows"]
        if not self.as_json:
            Console().print(f"The gateway at {gateway.url} answers.", highlight=False)
        self.show(rows, ["person", "requests", "input_tokens", "output_tokens", "cost_usd"])
        return 0


class Keys(Command):
    """Manage virtual keys: `keys list`, `keys issue PERSON`, `keys revoke ID`."""

    name = "jupyter-keyguard-keys"
    description = __doc__
    examples = "jupyter keyguard keys issue ada --label laptop --expires 2027-01-31"
    label = Unicode("", help="What the key is for.").tag(config=True)
    expires = Unicode("", help="When it ends, as 2027-01-31 or 2027-01-31T18:00:00Z.").tag(config=True)
    project = Unicode("default", help="The project that it spends from.").tag(config=True)
    aliases = {
        **Command.aliases,
        "label": "Keys.label",
        "expires": "Keys.expires",
        "project": "Keys.project",
    }

    def run(self) -> int:
        """List, issue or revoke."""
        match self.extra_args:
            case [] | ["list"]:
                rows = [{**row, "suffix": f"…{row['suffix']}"} for row in _all_keys(self.gateway)]
                self.show(rows, ["id", "suffix", "person", "label", "kind", "notebook", "created_at", "revoked_at"])
            case ["issue", person]:
                self._issue(person)
            case ["revoke", key_id]:
                done = self.gateway.delete(f"/api/keys/{key_id}")
                Console().print(f"Key {done['id']} is revoked.", highlight=False)
            case _:
                raise GatewayError("Write: keys list, keys issue PERSON, or keys revoke ID.", code="usage")
        return 0

    def _issue(self, person: str) -> None:
        body = {"person": person, "project": self.project, "label": self.label or None}
        done = self.gateway.post("/api/keys", {**body, "expires_at": self.expires or None})
        if self.as_json:
            print(json.dumps(done, indent=2))  # noqa: T201
            return
        console = Console()
        console.print(f"A key for {person}, shown this once:\n\n  {done['key']}\n", highlight=False, soft_wrap=True)
        console.print(f"OPENAI_BASE_URL={self.gateway.url}/v1", highlight=False, soft_wrap=True)


def _all_keys(gateway: Client) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = gateway.get("/api/keys", after=after)
        rows += page["keys"]
        after = page["next"]
    return rows


class Apply(Command):
    """Make a policy file the policy, after showing what that changes."""

    name = "jupyter-keyguard-apply"
    description = __doc__
    examples = "jupyter keyguard apply --dry-run policy.yaml"
    dry_run = Bool(default_value=False, help="Whether to show the difference only.").tag(config=True)
    flags = {
        **Command.flags,
        "dry-run": ({"Apply": {"dry_run": True}}, "Show the difference, and change nothing."),
    }

    def run(self) -> int:
        """Send the file, and print what it changed."""
        if len(self.extra_args) != 1:
            raise GatewayError("Write: apply POLICY.yaml", code="usage")
        try:
            text = Path(self.extra_args[0]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise GatewayError(f"{self.extra_args[0]} cannot be read: {reason}", code="usage") from error
        done = self.gateway.put("/api/policy", text, dry_run=self.dry_run)
        changes = [{**change, **_short(change)} for change in done["changes"]]
        if self.as_json:
            print(json.dumps(done, indent=2))  # noqa: T201
        elif not changes:
            Console().print("No difference: nothing to change.")
        else:
            self.show(changes, ["path", "before", "after"])
            Console().print("Nothing was changed (dry run)." if self.dry_run else f"Applied {len(changes)} changes.")
        return 0


def _short(change: dict[str, Any]) -> dict[str, str]:
    return {side: "" if change[side] is None else json.dumps(change[side]) for side in ("before", "after")}


class Export(Command):
    """Print the policy as YAML, such that `apply` of it changes nothing."""

    name = "jupyter-keyguard-export"
    description = __doc__

    def run(self) -> int:
        """Print the policy."""
        sys.stdout.write(self.gateway.get_text("/api/policy", accept="application/yaml"))
        return 0


class Usage(Command):
    """Show what was spent, by person, group, model, notebook, key, project or day."""

    name = "jupyter-keyguard-usage"
    description = __doc__
    examples = "jupyter keyguard usage --by person,model --since 2026-11-01"
    by = Unicode("person,model", help="What to sum by, separated by commas.").tag(config=True)
    since = Unicode("", help="From when, as 2026-11-01.").tag(config=True)
    aliases = {**Command.aliases, "by": "Usage.by", "since": "Usage.since"}

    def run(self) -> int:
        """Print the sums."""
        rows = self.gateway.get("/api/usage", group_by=self.by, **({"since": self.since} if self.since else {}))["rows"]
        self.show(rows, [*self.by.split(","), "requests", "input_tokens", "output_tokens", "cost_usd"])
        return 0


class Prices(Command):
    """Show what models cost, in dollars per one million tokens: `prices [PART OF A NAME]`."""

    name = "jupyter-keyguard-prices"
    description = __doc__
    classes = [Keyguard]

    def run(self) -> int:
        """Print the price table of the configured providers."""
        from .core import prices
        from .core.providers import KINDS

        table = prices.load(Keyguard(config=self.config).prices)
        part = self.extra_args[0] if self.extra_args else ""
        rows = []
        for kind in KINDS:
            for model in table.models(kind):
                if part in model:
                    price = table.lookup(kind, model)
                    rates = {"input": price.input_usd_per_1m, "output": price.output_usd_per_1m}
                    rows.append({"kind": kind, "model": model, **rates})
        self.show(rows, ["kind", "model", "input", "output"])
        if not self.as_json:
            Console().print(f"USD per 1M tokens, price table of {table.version}.", highlight=False)
        return 0


class Main(JupyterApp):
    """One provider key, many notebooks: virtual keys with exact spending limits for Jupyter."""

    name = "jupyter-keyguard"
    description = __doc__
    version = __version__
    subcommands = {
        "demo": ("keyguard_jupyter.demo.app.Demo", "Start JupyterLab with a stand-in provider and a small course."),
        "serve": (Serve, "Run a gateway in the foreground."),
        "status": (Status, "Show the gateway and what was spent."),
        "keys": (Keys, "List, issue and revoke virtual keys."),
        "apply": (Apply, "Make a policy file the policy."),
        "export": (Export, "Print the policy."),
        "usage": (Usage, "Show what was spent."),
        "prices": (Prices, "Show what models cost."),
    }

    def start(self) -> None:
        """Run the subcommand, or say which there are."""
        super().start()
        self.print_help()
        self.exit(1)


def main() -> None:
    """Run ``jupyter keyguard``."""
    Main.launch_instance()


if __name__ == "__main__":
    main()
