"""Real processes on a ledger, which do one thing at a time when told to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import keyguard_jupyter

PACKAGE_HOME = str(Path(keyguard_jupyter.__file__).parent.parent)


class Worker:
    """A process that runs ``worker.py``.

    Args:
        path: the ledger.
    """

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": PACKAGE_HOME, "PYTHONWARNINGS": "error"},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def tell(self, name: str, *values: object) -> None:
        """Tell the process to do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *values]) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Wait until it is done, and return what came of it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()}"
        return json.loads(line)

    def do(self, name: str, *values: object) -> Any:
        """Tell the process to do something, and wait until it is done."""
        self.tell(name, *values)
        return self.hear()

    def kill(self) -> None:
        """End the process as ``kill -9`` does: it has no time for anything."""
        self._process.kill()
        self._process.communicate()
