"""How the magic gets into kernels, and stays out of the way."""

import ast
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from keyguard_jupyter.notebook import autoload

from .course import Course
from .kernels import PACKAGE, STARTUP, guarded, run_kernel

DEAD = "http://127.0.0.1:1"
KEY = "sk-kg-test"
HEAVY = ["aiohttp", "sqlalchemy", "alembic", "pandas", "openai", "yaml", "pydantic", "ipywidgets"]
NAMES = "sorted(n for n in globals() if not n.startswith(('_i', '_o', '_j', '_h'))), __doc__"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Python of an environment that has IPython's kernel and all else, but not this package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True, with_pip=False)
    (target,) = folder.glob("lib/python3*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "keyguard" not in path.name and path.suffix != ".pth":
            (target / path.name).symlink_to(path)
    return str(folder / "bin" / "python")


class TestGuardedKernel:
    def test_magic_is_there_and_nothing_else(self) -> None:
        """A guarded kernel has the magic without %load_ext, no name more than another kernel, and nothing heavy."""
        plain = {**guarded(DEAD, KEY), "PYTHONSTARTUP": ""}
        with run_kernel(plain) as other:
            expected = other.value(NAMES)
            assert "not found" in other.run("%keyguard help").stderr
        with run_kernel(guarded(DEAD, KEY)) as kernel:
            assert kernel.value(NAMES) == expected
            ran = kernel.run("%keyguard help")
            assert ran.texts[0].startswith("%keyguard status")
            assert kernel.value(f"[m for m in {HEAVY} if m in __import__('sys').modules]") == []

    def test_environment_without_the_package(self, bare_python: str, course: Course) -> None:
        """A kernel whose environment lacks the package runs the magic from the server's files, without its path."""
        key = course.admit("bare", **course.limit("1.00"))
        env = guarded(course.url, key, PYTHONPATH="")
        with run_kernel(env, bare_python) as kernel:
            assert kernel.run("%keyguard").texts[0].startswith("Keyguard: bare in project default")
            found = kernel.value("[__import__('keyguard_jupyter').__file__, __import__('sys').path]")
            assert found[0] == str(PACKAGE / "__init__.py")
            assert not [path for path in found[1] if path and Path(path) in PACKAGE.parents]
            assert kernel.value(f"[m for m in {HEAVY} if m in __import__('sys').modules]") == []

    def test_folder_of_that_name_is_no_hindrance(self, tmp_path: Path, bare_python: str) -> None:
        """A package that is not ours, or broken, is passed over."""
        (tmp_path / "keyguard_jupyter").mkdir()
        (tmp_path / "keyguard_jupyter" / "__init__.py").write_text("raise RuntimeError('broken')")
        with run_kernel(guarded(DEAD, KEY, PYTHONPATH=str(tmp_path)), bare_python) as kernel:
            assert kernel.run("%keyguard help").texts[0].startswith("%keyguard status")

    def test_loading_again_changes_nothing(self) -> None:
        """%load_ext in a kernel that has the magic adds no second watch."""
        hooks = "[len(get_ipython().events.callbacks[e]) for e in ('pre_run_cell', 'post_run_cell')]"
        with run_kernel(guarded(DEAD, KEY)) as kernel:
            before = kernel.value(hooks)
            kernel.run("%load_ext keyguard_jupyter")
            assert kernel.value(hooks) == before


class TestChain:
    def test_earlier_startup_file_still_runs(self, tmp_path: Path) -> None:
        """The user's own PYTHONSTARTUP runs as before, names and all; its errors are its own."""
        own = tmp_path / "own.py"
        own.write_text("from math import tau\nwhere = __file__\n1/0\nnever = 1\n")
        env = guarded(DEAD, KEY, KEYGUARD_CHAINED_PYTHONSTARTUP=str(own))
        with run_kernel(env) as kernel:
            assert kernel.value("tau > 6, where, 'never' in globals(), '__file__' in globals()") == [
                True,
                str(own),
                False,
                False,
            ]
            assert kernel.run("%keyguard help").status == "ok"

    def test_chain_to_itself_ends(self) -> None:
        """A chain that names this very file is not followed."""
        env = guarded(DEAD, KEY, KEYGUARD_CHAINED_PYTHONSTARTUP=str(STARTUP))
        with run_kernel(env) as kernel:
            assert kernel.run("%keyguard help").status == "ok"

    def test_plain_python_is_not_disturbed(self, tmp_path: Path) -> None:
        """``python -i`` started from a kernel runs the user's file, and knows nothing of ours."""
        own = tmp_path / "own.py"
        own.write_text("mine = 1\n")
        env = {**os.environ, **guarded(DEAD, KEY, KEYGUARD_CHAINED_PYTHONSTARTUP=str(own))}
        done = subprocess.run(
            [sys.executable, "-i", "-q"],
            input="print(mine, [n for n in globals() if 'keyguard' in n], 'IPython' in __import__('sys').modules)\n",
            capture_output=True,
            text=True,
            env=env,
            check=True,
        )
        assert done.stdout == "1 [] False\n"
        assert "Error" not in done.stderr


class TestUnguarded:
    def test_startup_file_alone_does_nothing(self) -> None:
        """Where no gateway is named, PYTHONSTARTUP adds no magic."""
        with run_kernel({"PYTHONSTARTUP": str(STARTUP), "PYTHONPATH": str(PACKAGE.parent)}) as kernel:
            assert "not found" in kernel.run("%keyguard").stderr

    def test_load_ext_says_what_is_missing(self) -> None:
        """In a kernel without a gateway, status says that it is not guarded and what to do; cells run all the same."""
        with run_kernel({"PYTHONPATH": str(PACKAGE.parent)}) as kernel:
            assert kernel.run("%load_ext keyguard_jupyter").status == "ok"
            shown = kernel.run("%keyguard")
            assert shown.status == "ok"
            assert shown.texts[0].startswith("This kernel is not guarded: KEYGUARD_URL is not set")
            assert "set OPENAI_BASE_URL, OPENAI_API_KEY and KEYGUARD_URL to what your host gave you" in shown.texts[0]
            assert kernel.run("%%keyguard cost\n6*7").texts[-1] == "42"
            assert "This kernel is not guarded" in kernel.run("%keyguard models").stderr


class TestCost:
    def test_import_is_quick(self) -> None:
        """Importing the package and loading its magic takes a kernel less than a tenth of a second."""
        code = (
            "import time as t; a = t.perf_counter(); import keyguard_jupyter; b = t.perf_counter(); "
            "keyguard_jupyter.load_ipython_extension(get_ipython()); c = t.perf_counter()"
        )
        with run_kernel({"PYTHONPATH": str(PACKAGE.parent)}) as kernel:
            kernel.run("import json")
            assert kernel.run(code).status == "ok"
            imported, loaded = kernel.value("b - a, c - b")
        assert imported < 0.1
        assert loaded < 0.1


class Shell:
    """What a stand-in needs of a shell."""

    def __init__(self) -> None:
        self.magics: dict[str, Any] = {}

    def register_magic_function(self, function: Any, magic_kind: str, magic_name: str) -> None:  # noqa: ARG002
        self.magics[magic_name] = function


class TestOldPython:
    @pytest.mark.parametrize("name", ["startup.py", "autoload.py"])
    def test_files_parse_on_3_8(self, name: str) -> None:
        """What other Pythons run first, they can read."""
        assert ast.parse((PACKAGE / "notebook" / name).read_text(), feature_version=(3, 8)).body

    def test_magic_says_why_it_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """In a kernel whose Python is too old, %keyguard is one line, and the start is quiet."""
        monkeypatch.setattr(autoload, "OLDEST_PYTHON", (99, 0))
        shell = Shell()
        autoload.load_magic(shell)
        assert capsys.readouterr() == ("", "")
        shell.magics["keyguard"]("status")
        assert capsys.readouterr().out == (
            "There is no %keyguard here (it needs Python 3.11 or newer). Calls are guarded and counted all the same.\n"
        )

    def test_failure_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Whatever fails, the kernel starts, with one line on stderr and a magic that repeats it."""
        shell = Shell()  # has nothing of what the real magic needs
        autoload.load_magic(shell)
        said = capsys.readouterr().err
        assert said.startswith("Keyguard: %keyguard could not be loaded: AttributeError")
        assert said.count("\n") == 1
        assert "keyguard" in shell.magics
