"""A gateway as the kernels' keys see it, wherever it runs; and those that this server does not run itself."""

from typing import Protocol

from ..client import Client
from ..errors import GatewayError


class Gateway(Protocol):
    """What the kernels' keys need of a gateway, wherever it runs."""

    patience_seconds: float
    """How long a kernel's start may wait for it."""

    @property
    def url(self) -> str:
        """Its root, also while it is down."""

    async def client(self, patience_seconds: float) -> Client:
        """Return a client with an admin key, as soon as the gateway listens.

        Raises:
            GatewayError: it does not listen within ``patience_seconds``, or cannot start.
        """

    def start(self) -> None:
        """Begin to run it, if that is up to us; returns at once."""

    async def stop(self) -> None:
        """End it, if that is up to us; returns when it is gone."""


class RemoteGateway:
    """A gateway that runs elsewhere.

    Args:
        url: its root.
        admin_key: makes keys there; "" when there is none, then every kernel starts without a key.
    """

    patience_seconds = 2.0

    def __init__(self, url: str, admin_key: str) -> None:
        self.url = url.rstrip("/")
        self._admin_key = admin_key

    async def client(self, patience_seconds: float) -> Client:  # noqa: ARG002  see Gateway
        """Return a client; whether anybody listens shows when it asks."""
        if not self._admin_key:
            raise GatewayError(
                f"there is no admin key for the gateway at {self.url}: set KEYGUARD_ADMIN_KEY for the Jupyter server",
                code="not_started",
            )
        return Client(self.url, self._admin_key)

    def start(self) -> None:
        """Do nothing: others run it."""

    async def stop(self) -> None:
        """Do nothing: others run it."""


class NoGateway:
    """What stands in when the settings are unusable, so that kernels still start, and without any key.

    Args:
        reason: for the log line at each kernel's start.
    """

    patience_seconds = 0.0

    def __init__(self, reason: str) -> None:
        self.url = "http://127.0.0.1:9"  # nobody listens there, and no ordinary user can
        self._reason = reason

    async def client(self, patience_seconds: float) -> Client:  # noqa: ARG002  see Gateway
        """Say why there is none."""
        raise GatewayError(self._reason, code="not_started")

    def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""
