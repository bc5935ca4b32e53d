"""Real Jupyter servers as processes, each with a directory of its own, and their kernels."""

import http.client
import json
import os
import secrets
import signal
import socket as socket_module
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from jupyter_client.blocking import BlockingKernelClient

from .processes import PACKAGE_HOME, POLICY, Log, wait_until


class Kernel:
    """A running kernel, to execute code in."""

    def __init__(self, server: "Jupyter", kernel_id: str, session_id: str | None) -> None:
        self.server = server
        self.id = kernel_id
        self.session_id = session_id

    @contextmanager
    def connected(self) -> Iterator[BlockingKernelClient]:
        client = BlockingKernelClient(connection_file=str(self.server.home / "runtime" / f"kernel-{self.id}.json"))
        client.load_connection_file()
        client.hb_channel.time_to_dead = 20.0  # not one second: machines that run tests are busy
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            yield client
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)

    def run(self, code: str) -> str:
        """Run code and return what it printed; an exception in it fails the test."""
        printed = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
            elif message["msg_type"] == "error":
                raise AssertionError("\n".join(content["traceback"]))

        with self.connected() as client:
            client.execute_interactive(code, output_hook=hear, timeout=60)
        return "".join(printed)

    def call_model(self) -> str:
        """Call a model with the unmodified SDK, and return the role that answered."""
        return self.run(
            "import openai\n"
            "with openai.OpenAI(max_retries=0) as sdk:\n"
            "    messages = [{'role': 'user', 'content': 'hello'}]\n"
            "    answer = sdk.chat.completions.create(model='gpt-4.1-mini', max_tokens=16, messages=messages)\n"
            "print(answer.choices[0].message.role)"
        ).strip()

    def env(self) -> dict[str, str]:
        """Return the kernel's environment."""
        return json.loads(self.run("import json, os; print(json.dumps(dict(os.environ)))"))

    def restart(self) -> None:
        """Restart it, as the button in a notebook does."""
        assert self.server.ask("POST", f"/api/kernels/{self.id}/restart")[0] == 200

    def rename(self, path: str) -> None:
        """Rename its notebook, as the file browser does."""
        change = {"path": path, "name": Path(path).name, "type": "notebook"}
        assert self.server.ask("PATCH", f"/api/sessions/{self.session_id}", change)[0] == 200

    def shut_down(self) -> None:
        """Shut it down, as closing a notebook does."""
        assert self.server.ask("DELETE", f"/api/kernels/{self.id}")[0] == 204


class Jupyter:
    """A Jupyter server as a process, with Keyguard in it.

    Args:
        home: holds everything of this server and its user.
        settings: JSON-able, for its configuration file, as ``{"Keyguard": {…}, "ServerApp": {…}}``.
        env: variables on top of a clean environment.
        setup: Python that the configuration file runs too.
        path: a directory of more modules for the server.
        socket: the name of a unix socket in ``home`` to listen on instead of a port.
        wrap: makes another command of the server's, which must keep its process id.
        stdin: what the server reads from.
    """

    def __init__(
        self,
        home: Path,
        settings: dict[str, dict[str, Any]] | None = None,
        env: dict[str, str] | None = None,
        setup: str = "",
        path: Path | None = None,
        socket: str | None = None,
        wrap: Callable[[list[str]], list[str]] = list,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.home = home
        self.token = secrets.token_hex(16)
        self.root = home / "notebooks"
        for name in ("notebooks", "config", "data", "runtime", "ipython"):
            (home / name).mkdir(exist_ok=True)
        self._write_settings(settings or {}, setup)
        place = f"--ServerApp.sock={home / socket}" if socket else "--ServerApp.port=0"
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", place]
        if os.geteuid() == 0:
            command.append("--allow-root")
        self.process = subprocess.Popen(
            wrap(command),
            cwd=self.root,
            env=self._environment(env or {}, path),
            stdin=stdin,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.log = Log(self.process)

    def _write_settings(self, settings: dict[str, dict[str, Any]], setup: str) -> None:
        policy = self.home / "policy.yaml"
        policy.write_text(POLICY)
        merged: dict[str, dict[str, Any]] = {
            "ServerApp": {
                "jpserver_extensions": {"keyguard_jupyter": True},
                "root_dir": str(self.root),
                **settings.get("ServerApp", {}),
            },
            "IdentityProvider": {"token": self.token},
            "Keyguard": {
                "database_url": f"sqlite:///{self.home / 'keyguard.sqlite'}",
                "policy_file": str(policy),
                **settings.get("Keyguard", {}),
            },
        }
        merged |= {name: value for name, value in settings.items() if name not in merged}
        keyguard = {"Keyguard": merged.pop("Keyguard"), "KeyguardExtension": merged.pop("KeyguardExtension", {})}
        for name, part in {"server": merged, "keyguard": keyguard}.items():
            lines = [
                f"c.{cls}.{trait} = {value!r}\n" for cls, traits in part.items() for trait, value in traits.items()
            ]
            (self.home / "config" / f"jupyter_{name}_config.py").write_text("".join(lines))
        with (self.home / "config" / "jupyter_server_config.py").open("a") as file:
            file.write(setup)

    def _environment(self, env: dict[str, str], path: Path | None) -> dict[str, str]:
        ours = ("OPENAI_", "KEYGUARD_", "JUPYTER", "JPY_", "PYTHONSTARTUP", "HTTP_PROXY", "http_proxy", "NO_PROXY")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **clean,
            "HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(filter(None, (PACKAGE_HOME, str(path or "")))),
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "IPYTHONDIR": str(self.home / "ipython"),
            **env,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ready(self) -> Self:
        """Wait until it serves."""
        self.log.wait_for("is running at")  # which it says before it listens
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/api")[0] == 200
        except (FileNotFoundError, ConnectionRefusedError, ValueError):  # nothing, or half of it
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()

    @property
    def info(self) -> dict[str, Any]:
        """What the server wrote about itself for others to find."""
        return json.loads((self.home / "runtime" / f"jpserver-{self.process.pid}.json").read_text())

    def gateway(self, *, after: int = 0) -> tuple[str, int]:
        """Return the address and process id of its gateway, as its log tells people."""
        match = self.log.wait_for(r"the gateway listens at (\S+) \(process (\d+)\)", after=after)
        return match[1], int(match[2])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call the server's REST API."""
        connection = self._connection()
        try:
            headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        info = self.info
        if info["sock"]:
            connection = http.client.HTTPConnection("localhost", timeout=60)
            connection.sock = socket_module.socket(socket_module.AF_UNIX)
            connection.sock.connect(info["sock"])
            return connection
        if info["secure"]:
            context = ssl.create_default_context(cafile=str(self.home / "cert.pem"))
            return http.client.HTTPSConnection("localhost", info["port"], timeout=60, context=context)
        return http.client.HTTPConnection("127.0.0.1", info["port"], timeout=60)

    def notebook(self, path: str = "lesson.ipynb", kernel: str = "python3") -> Kernel:
        """Open a notebook with a kernel."""
        wish = {"path": path, "name": Path(path).name, "type": "notebook", "kernel": {"name": kernel}}
        status, session = self.ask("POST", "/api/sessions", wish)
        assert status == 201, session
        return Kernel(self, session["kernel"]["id"], session["id"])

    def kernel(self, name: str = "python3") -> Kernel:
        """Start a kernel without a notebook."""
        status, kernel = self.ask("POST", "/api/kernels", {"name": name})
        assert status == 201, kernel
        return Kernel(self, kernel["id"], None)

    def add_kernelspec(self, name: str, **fields: Any) -> None:
        """Install a kernelspec for this server's user."""
        folder = self.home / "data" / "kernels" / name
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python", **fields}
        (folder / "kernel.json").write_text(json.dumps(spec))
