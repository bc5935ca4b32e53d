"""The gateway that a Jupyter server runs itself: a child that it starts and looks after."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from logging import Logger
from typing import Any
from urllib.parse import urlsplit

from ..client import Client
from ..core.keys import ADMIN_PREFIX, make_key
from ..errors import GatewayError
from ..vault import Vault

START_SECONDS = 20.0
"""How long a new gateway may take until it listens."""

FINISH_SECONDS = (5.0, 3.0, 2.0)
"""How long a gateway may take to finish by itself, after SIGTERM, and after SIGKILL."""

STEADY_SECONDS = 60.0
"""A gateway that ran for so long before it died is started again at once."""

BACK_OFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each further attempt; the last one from then on."""

_COMMAND = (sys.executable, "-P", "-m", "keyguard_jupyter.serve", "--embedded")


class EmbeddedGateway:
    """The gateway as a child of this Jupyter server: started with it, started again when it dies, ended with it.

    Its port and admin key stay the same over restarts, so that kernels that run keep what they were given.

    Args:
        settings: of class ``Keyguard``, JSON-able, for the child.
        vault: holds the keys that came through this process; None when none did. Closed by :meth:`stop`.
        sources: provider → kind of its key source.
        summary: what the gateway serves, for the log line that says where it listens.
        log: for people.
    """

    patience_seconds = 10.0

    def __init__(
        self, settings: Mapping[str, Any], vault: Vault | None, sources: Mapping[str, str], summary: str, log: Logger
    ) -> None:
        self.url = ""
        self._settings = dict(settings)
        self._vault = vault
        self._sources = dict(sources)
        self._summary = summary
        self._log = log
        self._admin_key = make_key(ADMIN_PREFIX)
        self._outcome: Future[Client | GatewayError] = Future()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to start the child, and to look after it."""
        self._task = asyncio.create_task(self._look_after())

    async def stop(self) -> None:
        """End the child. Returns when it is gone, after at most the sum of ``FINISH_SECONDS``; never fails."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._settle(GatewayError("the Jupyter server is shutting down", code="not_started"))
        if self._vault is not None:
            self._vault.close()

    async def client(self, patience_seconds: float) -> Client:
        """Wait until the gateway listens or has failed to start, on any event loop.

        Raises:
            GatewayError: neither happened in time (``unreachable``), or it failed (``not_started``).
        """
        outcome = self._outcome
        await asyncio.wait({asyncio.wrap_future(outcome)}, timeout=patience_seconds)
        if not outcome.done():
            raise GatewayError("the gateway has not started yet")
        answer = outcome.result()
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def _look_after(self) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(BACK_OFF_SECONDS[min(attempt, len(BACK_OFF_SECONDS) - 1)])
            started = time.monotonic()
            try:
                problem = await self._run()
            except OSError as error:
                problem = f"its process cannot be started: {error.strerror}"
            if problem is not None:
                self._failed(problem)
            attempt = 0 if time.monotonic() - started > STEADY_SECONDS else attempt + 1

    async def _run(self) -> str | None:
        """Run the child until it ends; return what kept it from listening, if something did."""
        async with _child(self._vault) as process:
            problem = await self._introduce(process)
            if problem is None:
                self._died(process.pid, await process.wait())
            return problem

    async def _introduce(self, process: Process) -> str | None:
        """Tell a new child what it is to do, and wait until it listens; return what went wrong."""
        document = {
            "config": self._settings,
            "admin_key": self._admin_key,
            "vault": None if self._vault is None else list(self._vault.fds),
            "port": (urlsplit(self.url).port if self.url else None) or self._settings["port"],
            "keys": self._sources,
        }
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(document).encode() + b"\n")
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        except TimeoutError:
            return f"it did not listen within {START_SECONDS:.0f} seconds"
        except ConnectionError:
            line = b""
        return self._hear(process, line)

    def _hear(self, process: Process, line: bytes) -> str | None:
        if not line:
            return "it ended without a word; its last log lines may say more"
        try:
            answer = json.loads(line)
            if "error" in answer:
                return str(answer["error"]).rstrip(".")
            self.url = str(answer["url"]).rstrip("/")
        except (ValueError, TypeError, KeyError):
            return "it gave an answer that cannot be understood"
        self._log.info("Keyguard: the gateway listens at %s (process %s): %s", self.url, process.pid, self._summary)
        self._settle(Client(self.url, self._admin_key))
        return None

    def _died(self, pid: int, code: int) -> None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._log.error("Keyguard: the gateway (process %s) %s; it is started again, kernels keep their keys", pid, how)
        self._outcome = Future()

    def _failed(self, problem: str) -> None:
        if not self.url:  # kernels need an address now; when the gateway comes up after all, it is there
            self.url = _address(self._settings)
        if self._settle(GatewayError(f"the gateway cannot start: {problem}", code="not_started")):
            self._log.error(
                "Keyguard: the gateway cannot start: %s. Kernels start without a key until it does; it is tried again.",
                problem,
            )

    def _settle(self, answer: Client | GatewayError) -> bool:
        """Make the answer known; tell whether it is news."""
        if self._outcome.done():
            before = self._outcome.result()
            if isinstance(before, GatewayError) and isinstance(answer, GatewayError) and str(before) == str(answer):
                return False
            self._outcome = Future()
        self._outcome.set_result(answer)
        return True


@contextlib.asynccontextmanager
async def _child(vault: Vault | None) -> AsyncIterator[Process]:
    """Start the process; end it on the way out, whatever the way out is."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=PIPE,
        stdout=PIPE,  # one line; what it logs goes where the server's own log lines go
        env=dict(os.environ),  # the providers' keys were taken out of it before
        start_new_session=True,  # Ctrl-C in the terminal is for the server, which ends the gateway in order
        pass_fds=() if vault is None else vault.fds,
    )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    """End the process: the end of its input asks it to finish, then two signals make it."""
    if process.stdin is not None:
        process.stdin.close()
    for seconds, insist in zip(FINISH_SECONDS, (process.terminate, process.kill, None), strict=True):
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            if insist is not None:
                with contextlib.suppress(ProcessLookupError):
                    insist()
        else:
            return


def _address(settings: Mapping[str, Any]) -> str:
    """Return the root of a gateway that has not started yet, at a port that it will take when it does."""
    ip = str(settings["ip"])
    wildcard = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound
    host = wildcard.get(ip, ip)
    scheme = "https" if settings.get("certfile") else "http"
    port = settings["port"] or _free_port(host)
    base_url = str(settings.get("base_url") or "").rstrip("/")
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{base_url}"


def _free_port(ip: str) -> int:
    """Return a TCP port that nobody listens on at the moment."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])
