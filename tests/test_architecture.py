"""The folders are trust boundaries: who may import whom, and what must not be loaded where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "keyguard_jupyter"
COMMON = {"errors", "money", "_version"}
ALLOWED = {
    "core": COMMON | {"core"},
    "ledger": COMMON | {"core", "ledger"},
    "gate": COMMON | {"core", "ledger", "gate"},
    # the control plane explains the gate's decisions, so it asks the gate
    "control": COMMON | {"core", "ledger", "gate", "control"},
    "jupyter": COMMON | {"core", "client", "config", "vault", "jupyter"},
    "notebook": COMMON | {"core", "client", "notebook"},
}
FOREIGN = {
    "core": set(),
    "ledger": {"sqlalchemy", "alembic"},
    "gate": {"aiohttp", "multidict", "yarl", "prometheus_client", "sqlalchemy"},
    "control": {"aiohttp", "yaml", "sqlalchemy"},
    "jupyter": {"jupyter_server", "jupyter_client", "jupyter_core", "traitlets", "tornado"},
    "notebook": {"IPython", "pandas", "traitlets"},
}


def _imports(path: Path) -> tuple[set[str], set[str]]:
    """Return the parts of the package, and the foreign packages, that a module imports anywhere in its text."""
    inside, outside = set(), set()
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(parts[: len(parts) - node.level]) if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            names = [module] if len(module) > 1 or not node.level else [[*module, a.name] for a in node.names]
        else:
            continue
        for name in names:
            if name[0] == "keyguard_jupyter":
                inside.add(name[1] if len(name) > 1 else "")
            elif name[0] not in sys.stdlib_module_names:
                outside.add(name[0])
    return inside - {""}, outside


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    """Each folder imports only the folders below it, and only the libraries that it is built on."""
    modules = [path for path in (PACKAGE / part).rglob("*.py") if "migrations" not in path.parts]
    assert modules
    for path in modules:
        inside, outside = _imports(path)
        assert inside <= ALLOWED[part], f"{path} imports {inside - ALLOWED[part]}"
        assert outside <= FOREIGN[part], f"{path} imports {outside - FOREIGN[part]}"


def test_only_the_providers_module_sees_a_key() -> None:
    """No module of the gateway but gate/providers.py and serve.py mentions the real key's variable."""
    for path in (PACKAGE / "gate").glob("*.py"):
        if path.name != "providers.py":
            assert "_secret" not in path.read_text(), path
            assert "._key" not in path.read_text(), path


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("keyguard_jupyter.serve", ("openai", "pandas", "ipywidgets", "IPython", "jupyter_server")),
        ("keyguard_jupyter.jupyter.extension", ("openai", "pandas", "ipywidgets", "aiohttp", "sqlalchemy", "alembic")),
        ("keyguard_jupyter.notebook.magic", ("aiohttp", "sqlalchemy", "pandas", "openai", "yaml", "jupyter_server")),
        ("keyguard_jupyter", ("aiohttp", "sqlalchemy", "pandas", "IPython", "traitlets", "json")),
    ],
)
def test_a_process_loads_only_its_own_side(module: str, forbidden: tuple[str, ...]) -> None:
    """The gateway never loads the notebook's libraries, and a kernel never the gateway's."""
    script = f"import sys, {module}; print(*[name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
