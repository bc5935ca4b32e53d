"""How every kernel of a Jupyter server comes to its own key: at start, restart and automatic restart.

A kernel manager's ``_async_launch_kernel`` is the last step before a kernel's process exists. Starting and both kinds
of restart pass through it, with any provisioner, when the environment is final. Earlier steps are not enough: renaming
a notebook makes the session manager overwrite the stored environment with the server's own, and a kernelspec's
variables come after what was given to ``start_kernel``.
"""

import os
from collections.abc import Callable
from typing import Any

from ..vault import Fingerprints
from .environment import guarded_environment, notebook_path
from .grants import Grants

KERNEL_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"


class KernelGuard:
    """What a guarded kernel manager calls.

    Args:
        grants: the keys of this server's kernels.
        real_keys: the providers' keys that this process has seen.
        root_dir: the directory that the server shows.
    """

    def __init__(self, grants: Grants, real_keys: Fingerprints, root_dir: str) -> None:
        self.grants = grants
        self._real_keys = real_keys
        self._root_dir = root_dir

    async def environment(self, kernel_id: str, env: dict[str, str]) -> dict[str, str]:
        """Return the environment for a kernel that is about to be launched, with a new key in it."""
        notebook = notebook_path(env.get("JPY_SESSION_NAME"), self._root_dir)
        key = await self.grants.issue(kernel_id, notebook)
        return guarded_environment(env, url=self.grants.gateway.url, key=key, real_keys=self._real_keys)


class GuardedKernel:
    """Mixed into the class of every kernel manager of the server, whatever that class is."""

    keyguard: KernelGuard
    kernel_id: str

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        env = dict(kw.get("env") or os.environ)  # a copy: the original is kept for restarts
        kw["env"] = await self.keyguard.environment(self.kernel_id, env)
        try:
            await super()._async_launch_kernel(kernel_cmd, **kw)  # type: ignore[misc]
        except BaseException:
            await self.keyguard.grants.revoke(self.kernel_id)
            raise
        self.keyguard.grants.watch(self.kernel_id, self)

    async def _async_cleanup_resources(self, *args: Any, **kw: Any) -> None:
        # every way to shut a kernel down ends here, of synchronous kernel managers too
        try:
            await super()._async_cleanup_resources(*args, **kw)  # type: ignore[misc]
        finally:
            await self.keyguard.grants.revoke(self.kernel_id)

    def start_restarter(self) -> None:
        """Start what watches for the kernel's death; when it gives up, the key goes back too."""
        first = getattr(self, "_restarter", None) is None
        super().start_restarter()  # type: ignore[misc]
        restarter = getattr(self, "_restarter", None)
        if first and restarter is not None:
            restarter.add_callback(lambda: self.keyguard.grants.revoke_soon(self.kernel_id), "dead")


def guard_kernels(kernel_manager: Any, guard: KernelGuard) -> None:
    """Have every kernel that this ``MappingKernelManager`` starts from now on pass through the guard.

    The class of each new kernel manager is exchanged for a subclass of itself, so that classes that others configured
    keep their behaviour.
    """
    make: Callable[..., Any] = kernel_manager.kernel_manager_factory
    classes: dict[type, type] = {}

    def make_guarded(*args: Any, **kw: Any) -> Any:
        kernel = make(*args, **kw)
        kind = type(kernel)
        if kind not in classes:
            classes[kind] = type(f"Guarded{kind.__name__}", (GuardedKernel, kind), {"keyguard": guard})
        kernel.__class__ = classes[kind]
        return kernel

    kernel_manager.kernel_manager_factory = make_guarded
