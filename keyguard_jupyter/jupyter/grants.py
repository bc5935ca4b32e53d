"""The virtual keys of this server's kernels: one for each start, valid while the kernel lives."""

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from logging import Logger
from typing import Any

from jupyter_core.utils import ensure_async

from ..client import Client
from ..errors import GatewayError
from .environment import recordable
from .gateways import Gateway

_RETRY_SECONDS = 0.2
_MOMENT_SECONDS = 2.0


@dataclass(slots=True)
class Grant:
    """A key that a kernel has: the key's id, and once the kernel was launched its manager, as long as that exists."""

    key_id: str
    kernel: "weakref.ref[Any] | None" = None


class Grants:
    """Ask the gateway for a key when a kernel starts, renew its lease while the kernel lives, and give it back.

    Leases make the giving back certain: a server that is killed renews nothing.

    Args:
        gateway: that makes the keys.
        person: whom the kernels belong to.
        project: what they spend from.
        lease_seconds: how long a key outlives a server that does not renew it.
        log: for people.
    """

    def __init__(self, gateway: Gateway, *, person: str, project: str, lease_seconds: int, log: Logger) -> None:
        self.gateway = gateway
        self._owner = {"person": person, "project": project}
        self._lease_seconds = lease_seconds
        self._log = log
        self._granted: dict[str, Grant] = {}
        self._owed: set[str] = set()  # ids of keys to be revoked
        self._started: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def issue(self, kernel_id: str, notebook: str | None) -> str | None:
        """Get a key for a kernel that is about to start; what it had before is revoked.

        Args:
            kernel_id: Jupyter's; clients may choose it, so it is recorded and trusted for nothing.
            notebook: its path, if it has one.

        Returns:
            The key; None, with a line in the log, when there is none to be had.
        """
        self._started.add(kernel_id)
        self._owe(kernel_id)
        wish = {
            **self._owner,
            "kind": "kernel",
            "kernel_id": recordable(kernel_id),
            "notebook": notebook,
            "lease_seconds": self._lease_seconds,
        }
        try:
            answer = await self._ask(lambda client: client.post("/api/keys", wish), self.gateway.patience_seconds)
            self._granted[kernel_id] = Grant(str(answer["id"]))
            key = str(answer["key"])
        except (GatewayError, LookupError, TypeError) as problem:
            self._log.warning("Keyguard: kernel %s starts without a key: %s", kernel_id, problem)
            return None
        await self._pay()
        return key

    def watch(self, kernel_id: str, kernel: object) -> None:
        """Renew the kernel's key from now on only while its manager says that it lives."""
        if grant := self._granted.get(kernel_id):
            grant.kernel = weakref.ref(kernel)

    async def revoke(self, kernel_id: str) -> None:
        """Give back the key of a kernel that has ended. Never fails; what the gateway misses is told it later."""
        self._started.discard(kernel_id)
        self._owe(kernel_id)
        await self._pay()

    def revoke_soon(self, kernel_id: str) -> None:
        """Give back the key of a kernel that has died, from a callback that cannot wait."""
        task = asyncio.ensure_future(self.revoke(kernel_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def is_known(self, kernel_id: str) -> bool:
        """Tell whether a running kernel passed through here when it started."""
        return kernel_id in self._started

    async def renew_forever(self) -> None:
        """Renew the leases, fifteen times in each, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_seconds / 15)
            await self.renew()

    async def renew(self) -> None:
        """Renew the leases of the kernels that live; revoke the keys of those that do not."""
        for kernel_id, grant in list(self._granted.items()):
            if grant.kernel is not None and not await _is_alive(grant.kernel()):
                self._owe(kernel_id)
        await self._pay()
        ids = [grant.key_id for grant in self._granted.values()]
        if not ids:
            return
        wish = {"ids": ids, "lease_seconds": self._lease_seconds}
        try:
            answer = await self._ask(lambda client: client.post("/api/keys/renew", wish), 0)
        except GatewayError as problem:
            self._log.warning("Keyguard: the kernels' keys could not be renewed, it is tried again: %s", problem)
            return
        refused = set(answer.get("refused", ())) if isinstance(answer, dict) else set()
        for kernel_id in [name for name, grant in self._granted.items() if grant.key_id in refused]:
            del self._granted[kernel_id]
            self._log.warning("Keyguard: the key of kernel %s was revoked; restart the kernel for another", kernel_id)

    async def close(self) -> None:
        """Give all keys back, if the gateway takes them in a moment: leases end the rest."""
        for kernel_id in list(self._granted):
            self._owe(kernel_id)
        await self._pay()
        self._owed.clear()

    def _owe(self, kernel_id: str) -> None:
        if grant := self._granted.pop(kernel_id, None):
            self._owed.add(grant.key_id)

    async def _pay(self) -> None:
        """Revoke what is to be revoked, as far as the gateway answers in a moment: nobody's shutdown waits for it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._revoke_owed(), _MOMENT_SECONDS)

    async def _revoke_owed(self) -> None:
        for key_id in list(self._owed):
            try:
                await self._ask(partial(Client.delete, path=f"/api/keys/{key_id}"), 0)
            except GatewayError as problem:
                if problem.status == 0:
                    return
            self._owed.discard(key_id)  # last: it is still owed when this is cancelled; revoking twice does no harm

    async def _ask(self, question: Callable[[Client], Any], patience_seconds: float) -> Any:
        """Ask the gateway, in a thread; while it is being started, again until the patience ends."""
        end = time.monotonic() + patience_seconds
        while True:
            try:
                client = await self.gateway.client(max(0.0, end - time.monotonic()))
                return await asyncio.to_thread(question, client)
            except GatewayError as problem:
                if problem.status or problem.code != "unreachable" or time.monotonic() >= end:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)  # it died a moment ago, and we have not heard yet


async def _is_alive(kernel: Any) -> bool:
    try:
        return kernel is not None and bool(await ensure_async(kernel.is_alive()))
    except Exception:  # noqa: BLE001  a foreign kernel manager: one that cannot tell must not end the others' renewals
        return True
