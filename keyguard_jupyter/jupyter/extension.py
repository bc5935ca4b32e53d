"""The server extension: takes the keys, starts the gateway or finds it, and guards the kernels."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Integer, TraitError

from ..config import Keyguard
from ..core.providers import KeySource
from ..errors import ConfigurationError
from ..vault import Fingerprints, Vault, set_nondumpable, take, wipe
from .gateways import Gateway, NoGateway, RemoteGateway
from .grants import Grants
from .kernels import KERNEL_ACTIONS, KernelGuard, guard_kernels
from .launcher import EmbeddedGateway
from .sources import ask_for_key, describe, variables_named


class KeyguardExtension(ExtensionApp):
    """Keyguard in a Jupyter server. Its settings are those of class ``Keyguard``.

    Args:
        taken: what was taken out of the environment when the extension was imported.
    """

    name = "keyguard"
    extension_url = "/"
    load_other_extensions = True
    classes = [Keyguard]  # noqa: RUF012  traitlets' interface

    lease_seconds = Integer(
        900, min=1, help="How long, in seconds, a kernel's key stays valid after the server has gone without a word."
    ).tag(config=True)

    def __init__(self, taken: Mapping[str, bytearray] | None = None, **kw: Any) -> None:
        super().__init__(**kw)
        set_nondumpable()
        self._taken = dict(taken or {})
        self._real_keys = Fingerprints()
        self._gateway: Gateway | None = None
        self._grants: Grants | None = None
        self._renewing: asyncio.Task[None] | None = None

    def _link_jupyter_server_extension(self, serverapp: Any) -> None:
        super()._link_jupyter_server_extension(serverapp)
        # the settings are known now, and no extension has been loaded yet: take what else they name
        self._taken |= take(variables_named(self._providers_as_written()))

    def initialize_settings(self) -> None:
        """Guard the kernels before any can start, even if the settings turn out to be unusable."""
        assert self.serverapp is not None
        assert self.serverapp.event_logger is not None
        try:
            settings = Keyguard(parent=self)
            self._gateway = self._choose_gateway(settings)
            person, project = settings.person, settings.project
        except (ConfigurationError, TraitError, OSError, LookupError) as problem:
            # no traceback: the message says which setting, and what to write
            reason = str(problem).rstrip(".")
            self.log.error("Keyguard: %s. Kernels start without a key until that is mended.", reason)
            self._gateway, person, project = NoGateway(reason), "", ""
        finally:
            self._forget(self._taken)
        self._grants = Grants(
            self._gateway, person=person, project=project, lease_seconds=self.lease_seconds, log=self.log
        )
        guard = KernelGuard(self._grants, self._real_keys, self.serverapp.root_dir)
        guard_kernels(self.serverapp.kernel_manager, guard)
        self.serverapp.event_logger.add_listener(schema_id=KERNEL_ACTIONS, listener=self._notice_kernel)

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:  # noqa: ARG002  Jupyter's signature
        assert self._gateway is not None
        assert self._grants is not None
        self._gateway.start()
        self._renewing = asyncio.create_task(self._grants.renew_forever())

    async def stop_extension(self) -> None:
        """Give the kernels' keys back and end the gateway. Jupyter ends the kernels after this."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        if self._grants is not None:
            await self._grants.close()
        if self._gateway is not None:
            await self._gateway.stop()

    async def _notice_kernel(self, logger: object, schema_id: str, data: dict[str, Any]) -> None:  # noqa: ARG002
        """Warn of a kernel that was started past the guard, by a manager that makes its kernels in its own way."""
        started = data.get("action") == "start" and data.get("status") == "success"
        kernel_id = str(data.get("kernel_id"))
        if started and self._grants is not None and not self._grants.is_known(kernel_id):
            self.log.warning(
                "Keyguard: kernel %s was started past the guard and has no key; "
                "the configured kernel manager does not use its kernel_manager_factory",
                kernel_id,
            )

    def _providers_as_written(self) -> object:
        try:
            return Keyguard(parent=self).providers
        except (ConfigurationError, TraitError):
            return self.config.Keyguard.get("providers")

    def _choose_gateway(self, settings: Keyguard) -> Gateway:
        admin_key = self._taken.get("KEYGUARD_ADMIN_KEY", b"").decode()
        url = settings.gateway_url or (os.environ.get("KEYGUARD_URL", "") if admin_key else "")
        if url:
            self.log.info("Keyguard: kernels get their keys from the gateway at %s", url)
            return RemoteGateway(url, admin_key)
        sources = settings.key_sources()
        vault = self._lock_away(sources)
        kinds = {name: source.kind for name, source in sources.items()}
        summary = ", ".join(f"{name} ({describe(source)})" for name, source in sources.items())
        return EmbeddedGateway(settings.as_document(), vault, kinds, summary, self.log)

    def _lock_away(self, sources: Mapping[str, KeySource]) -> Vault | None:
        """Put the keys that come through this process into a vault; None when there are none."""
        secrets: dict[str, bytearray] = {}
        try:
            for name, source in sources.items():
                if source.kind == "prompt":
                    secrets[name] = ask_for_key(name)
                elif source.kind == "environment":
                    secrets[name] = bytearray(self._taken_for(name, source.value))
            if not secrets:
                return None
            vault = Vault()
            vault.put(secrets)
            return vault
        finally:
            self._forget(secrets)

    def _taken_for(self, provider: str, variable: str) -> bytearray:
        try:
            return self._taken[variable]
        except KeyError:
            raise ConfigurationError(
                f"there is no key for {provider}: set {variable} before you start Jupyter, "
                f'or write c.Keyguard.providers = {{"{provider}": "file:/path/to/key"}} in jupyter_keyguard_config.py'
            ) from None

    def _forget(self, secrets: dict[str, bytearray]) -> None:
        """Overwrite the keys, and remember only how to recognise them."""
        for secret in secrets.values():
            self._real_keys.add(secret)
            wipe(secret)
        secrets.clear()
