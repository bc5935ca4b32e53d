"""Real IPython kernels, without a Jupyter server."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

import keyguard_jupyter

PACKAGE = Path(keyguard_jupyter.__file__).parent
STARTUP = PACKAGE / "notebook" / "startup.py"
SECONDS = 60


@dataclass
class Ran:
    """What one cell did: its streams, its displays and its error."""

    status: str = ""
    stdout: str = ""
    stderr: str = ""
    bundles: list[dict[str, str]] = field(default_factory=list)
    error: str = ""

    @property
    def texts(self) -> list[str]:
        """The plain text of every display, and of the cell's value."""
        return [bundle["text/plain"] for bundle in self.bundles]

    def take(self, message: Mapping[str, Any]) -> None:
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
            case "display_data" | "execute_result":
                self.bundles.append(content["data"])
            case "error":
                self.error = f"{content['ename']}: {content['evalue']}"


class Kernel:
    """A running kernel."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, code: str) -> Ran:
        """Run a cell to its end."""
        ran = Ran()
        reply = self._client.execute_interactive(code, output_hook=ran.take, timeout=SECONDS, store_history=True)
        ran.status = reply["content"]["status"]
        return ran

    def value(self, expression: str) -> Any:
        """Return the value of an expression that JSON can carry."""
        ran = self.run(f"import json as _j; print(_j.dumps(({expression})))")
        assert ran.status == "ok", ran
        return json.loads(ran.stdout)


def guarded(url: str, key: str, **more: str) -> dict[str, str]:
    """Return the environment of a guarded kernel."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "KEYGUARD_URL": url,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONSTARTUP": str(STARTUP),
        "PYTHONPATH": str(PACKAGE.parent),
        **more,
    }


@contextmanager
def run_kernel(env: Mapping[str, str], python: str = sys.executable) -> Iterator[Kernel]:
    """Run a kernel with ``env`` on top of a plain environment, in an empty folder."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "KEYGUARD", "PYTHON"))}
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "kernels" / "test"
        spec.mkdir(parents=True)
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "test", "language": "python"}))
        work = Path(folder) / "work"
        work.mkdir()
        specs = KernelSpecManager(kernel_dirs=[str(spec.parent)], ensure_native_kernel=False)
        manager = KernelManager(kernel_name="test", kernel_spec_manager=specs, transport="ipc")
        manager.connection_file = str(Path(folder) / "c.json")
        manager.start_kernel(env={**plain, "IPYTHONDIR": str(Path(folder) / "ipython"), **env}, cwd=str(work))
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=SECONDS)
            yield Kernel(client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
