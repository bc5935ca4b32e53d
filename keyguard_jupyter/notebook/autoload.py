"""Give a guarded kernel the magic as it starts, also where its environment lacks this package.

This file is loaded by its path from startup.py, under the kernel's own Python: it parses on 3.8 and needs the standard
library only. Nothing here may keep a kernel from starting.
"""

import importlib
import os
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, Dict, Optional  # noqa: UP035  for the kernel's Python

PACKAGE = "keyguard_jupyter"
CHAINED = "KEYGUARD_CHAINED_PYTHONSTARTUP"
OLDEST_PYTHON = (3, 11)


def run(namespace: "Dict[str, Any]") -> None:  # noqa: UP006
    """Run the PYTHONSTARTUP that stood in the environment before, then load the magic; never raise.

    Args:
        namespace: the user's, in which startup files run.
    """
    try:
        run_chained(namespace)
        shell = find_shell()
        if shell is not None:
            load_magic(shell)
    except Exception:  # noqa: BLE001  a kernel must start whatever happens here
        print("Keyguard: %keyguard could not be loaded.", file=sys.stderr)  # noqa: T201


def run_chained(namespace: "Dict[str, Any]") -> None:  # noqa: UP006
    """Run the startup file that ours replaced, as if it were the only one; show its errors and go on."""
    path = os.environ.get(CHAINED)
    if not path or os.path.dirname(os.path.realpath(path)) == os.path.dirname(os.path.realpath(__file__)):  # noqa: PTH120
        return  # none, or ours once more
    before = namespace.get("__file__")
    namespace["__file__"] = path
    try:
        with open(path, "rb") as file:  # noqa: PTH123  as light as can be
            code = compile(file.read(), path, "exec")
        exec(code, namespace)  # noqa: S102  the user's own file
    except (Exception, SystemExit):  # noqa: BLE001
        traceback.print_exc()
    finally:
        namespace.pop("__file__", None)
        if before is not None:
            namespace["__file__"] = before


def find_shell() -> "Optional[Any]":  # noqa: UP045
    """Return IPython's shell if this is a guarded kernel."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not os.environ.get("KEYGUARD_URL"):
        return None
    shell = ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def load_magic(shell: "Any") -> None:
    """Load the magic, or a stand-in that says why there is none: what is printed as a kernel starts, nobody sees."""
    if sys.version_info < OLDEST_PYTHON:
        stand_in(shell, "it needs Python 3.11 or newer")
        return
    try:
        import_magic().load_ipython_extension(shell)
    except Exception as failure:  # noqa: BLE001
        reason = " ".join("{}: {}".format(type(failure).__name__, failure).split())[:200]  # noqa: UP032
        stand_in(shell, reason)
        print("Keyguard: %keyguard could not be loaded:", reason, file=sys.stderr)  # noqa: T201


def import_magic() -> "Any":
    """Import the magic as installed in this environment, else from where this file lies, leaving sys.path as it is."""
    try:
        return importlib.import_module(PACKAGE + ".notebook.magic")
    except Exception:  # noqa: BLE001  not installed, another version, or a folder of that name in the way
        forget()
    try:
        import_package(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
        return importlib.import_module(PACKAGE + ".notebook.magic")
    except Exception:
        forget()
        raise


def import_package(root: str) -> ModuleType:
    """Import the package that lies in the folder ``root``; its modules are then found there."""
    spec = spec_from_file_location(
        PACKAGE,
        os.path.join(root, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[root],
    )
    if spec is None or spec.loader is None:
        raise ImportError(root)
    package = sys.modules[PACKAGE] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def forget() -> None:
    """Remove what a failed import left behind."""
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def stand_in(shell: "Any", reason: str) -> None:
    """Give the shell a ``%keyguard`` that says why the real one is missing."""
    text = "There is no %keyguard here ({}). Calls are guarded and counted all the same.".format(reason)  # noqa: UP032

    def keyguard(line: str, cell: "Optional[str]" = None) -> None:  # noqa: ARG001, UP045
        print(text)  # noqa: T201

    shell.register_magic_function(keyguard, "line_cell", "keyguard")
