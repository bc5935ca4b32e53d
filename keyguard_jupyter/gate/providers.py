"""The providers, and the only code that sees their keys."""

import asyncio
import hashlib
import hmac
import shlex
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ..core.people import Caller
from ..core.prices import PriceTable
from ..core.providers import KeySource, ProviderSpec
from ..errors import ConfigurationError, ProviderFailed, Unpriced
from .echoes import marks_of, pattern_of
from .endpoints import Endpoint

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 15.0
"""How long an unused connection is kept: shorter than a provider keeps it, so that a call is not sent into one that is
being closed. Such a call would have to be charged, because nobody could know that it was not served."""
COMMAND_SECONDS = 60.0
REMOVED = b"[removed]"
ROUTES_MOST = 10_000
RETRY_SECONDS = 2
_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


class Unsent(ProviderFailed):
    """Raised when a provider could not be connected to: nothing was sent, so nothing is owed."""


class Provider:
    """One provider: where it is, how it is spoken to, and its key, which never leaves this object.

    Args:
        spec: the host's configuration.
        key: the real key; None for a server without keys.
        silence_seconds: how long it may say nothing.
    """

    def __init__(self, spec: ProviderSpec, key: str | None, silence_seconds: float) -> None:
        self.spec = spec
        self._key = key
        self._secret = key.encode() if key else None
        self._echoes = pattern_of(key) if key else None
        self._marks = marks_of(key or "")
        self._proxy = _proxy_for(spec.base_url)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=IDLE_SECONDS,
                resolver=aiohttp.ThreadedResolver(),  # /etc/hosts and nsswitch count, whatever else is installed
                ssl=ssl.create_default_context() if spec.base_url.startswith("https:") else True,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            read_bufsize=2**18,
        )
        self._headers = CIMultiDict(self._fixed_headers())
        self._identifiers: dict[tuple[str, str], str] = {}
        self._urls: dict[tuple[str, str], URL] = {}

    def __repr__(self) -> str:
        """Describe the provider without its key."""
        return f"<Provider {self.spec.name} at {self.spec.base_url}>"

    def body_for(self, endpoint: Endpoint, body: dict[str, Any], cap: int | None, caller: Caller) -> dict[str, Any]:
        """Return the body as this provider understands it, with the output cap and what Keyguard always sets."""
        sent = dict(body)
        named = next((name for name in endpoint.cap_fields if name in sent), None)
        for name in endpoint.cap_fields:
            sent.pop(name, None)
        if cap is not None and endpoint.cap_fields:
            sent[self._cap_field(endpoint, named)] = cap
        if self.spec.speaks_openai and not endpoint.free:
            sent.update(self._openai_fields(endpoint, caller))
        return sent

    async def send(self, endpoint: Endpoint, model: str, body: bytes) -> aiohttp.ClientResponse:
        """Send a call; exactly once, following nothing.

        Raises:
            Unsent: no connection could be made.
            aiohttp.ClientError, TimeoutError: the connection broke, and nobody knows what was done with the call.
        """
        url = self._urls.get((endpoint.name, model)) or self._prepare_url(endpoint, model)
        try:
            return await self._session.post(
                url, data=body, headers=self._headers, allow_redirects=False, proxy=self._proxy
            )
        except _NO_CONNECTION as error:
            message = f"The provider {self.spec.name} cannot be reached. Nothing was charged."
            raise Unsent(message, code="provider_error", retry_after=RETRY_SECONDS) from error

    def redact(self, data: bytes) -> bytes:
        """Remove the key from what the provider said, should it have repeated it, however it is escaped."""
        if self._secret is None or self._echoes is None:
            return data
        if self._secret in data:
            data = data.replace(self._secret, REMOVED)
        if any(mark in data for mark in self._marks):
            data = self._echoes.sub(REMOVED, data)
        return data

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _prepare_url(self, endpoint: Endpoint, model: str) -> URL:
        text = self.spec.base_url + endpoint.path
        if self.spec.kind == "azure" and endpoint.name == "responses":  # the deployment is named in the body
            text = f"{self.spec.base_url}/openai/v1{endpoint.path}"
        elif self.spec.kind == "azure":
            where = f"/openai/deployments/{quote(model, safe='')}{endpoint.path}"
            text = f"{self.spec.base_url}{where}?api-version={quote(self.spec.api_version)}"
        if len(self._urls) > ROUTES_MOST:
            self._urls.clear()
        url = self._urls[endpoint.name, model] = URL(text, encoded=True)
        return url

    def _cap_field(self, endpoint: Endpoint, named: str | None) -> str:
        if endpoint.name != "chat":
            return endpoint.cap_fields[0]
        if not self.spec.speaks_openai:
            return "max_tokens"  # the one that every server enforces
        return named or "max_completion_tokens"

    def _openai_fields(self, endpoint: Endpoint, caller: Caller) -> dict[str, Any]:
        identifier = self._identifier(caller)
        if self.spec.kind == "azure" and endpoint.name == "responses":
            return {"store": False, "service_tier": "default", "user": identifier}
        if self.spec.kind == "azure" or endpoint.name not in {"chat", "responses"}:
            return {"user": identifier}
        # An absent tier means the one set in the provider's project, which may cost a multiple.
        return {"store": False, "service_tier": "default", "safety_identifier": identifier}

    def _identifier(self, caller: Caller) -> str:
        """Return a name by which the provider can act on one person, and that says nothing about who it is."""
        known = self._identifiers.get((caller.project, caller.person))
        if known is None:
            person = f"{caller.project}\0{caller.person}".encode()
            known = "kg-" + hmac.new(self._secret or b"", person, hashlib.sha256).hexdigest()[:32]
            self._identifiers[caller.project, caller.person] = known
        return known

    def _fixed_headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "keyguard"}
        if self._key is None:
            return headers
        if self.spec.kind == "azure":
            return {**headers, "api-key": self._key}
        return {**headers, "Authorization": f"Bearer {self._key}"}


class Providers:
    """All providers, and which of them serves a model.

    Args:
        by_name: in the order of the configuration.
        table: the prices.
    """

    def __init__(self, by_name: Mapping[str, Provider], table: PriceTable) -> None:
        self._by_name = dict(by_name)
        self.table = table
        self._routes: dict[str, Provider | None] = {}

    def route(self, model: str) -> Provider | None:
        """Return the provider of an exact model id: the one that names it, else the first that has a price for it."""
        if model not in self._routes:
            if len(self._routes) > ROUTES_MOST:  # callers choose the names
                self._routes.clear()
            self._routes[model] = self._find(model)
        return self._routes[model]

    def explain_missing(self, model: str) -> str:
        """Say why no provider serves a model, and what the host can do about it."""
        for provider in self._open():
            try:
                self.table.lookup(provider.spec.kind, model, provider=provider.spec.name)
            except Unpriced as error:
                return str(error)
        return (
            f"No provider here serves the model {model}. An administrator can name it among the models of one in "
            "c.Keyguard.providers."
        )

    def moderator(self) -> Provider | None:
        """Return the provider that moderates: the first of OpenAI's kind."""
        return next((provider for provider in self._by_name.values() if provider.spec.kind == "openai"), None)

    def models(self) -> dict[str, Provider]:
        """Return every model that has a price, or is free, with its provider."""
        found: dict[str, Provider] = {}
        for provider in self._by_name.values():
            spec = provider.spec
            names = [*(spec.models or ()), *spec.deployments] or self.table.models(spec.kind)
            for name in names:
                if self.route(name) is provider:
                    found[name] = provider
        return found

    def all(self) -> list[Provider]:
        """Return all providers."""
        return list(self._by_name.values())

    def _find(self, model: str) -> Provider | None:
        for provider in self._by_name.values():
            if provider.spec.serves(model):
                return provider
        for provider in self._open():
            with suppress(Unpriced):
                self.table.lookup(provider.spec.kind, model, provider=provider.spec.name)
                return provider
        return None

    def _open(self) -> Iterator[Provider]:
        """Return the providers that serve every model that has a price."""
        return (one for one in self._by_name.values() if one.spec.models is None and not one.spec.deployments)

    async def close(self) -> None:
        """Close all connections."""
        for provider in self._by_name.values():
            await provider.close()


async def read_key(name: str, source: KeySource, handed: Mapping[str, str]) -> str | None:
    """Get a provider's key.

    Args:
        name: the provider's name.
        source: where the key comes from.
        handed: keys that this process was handed at its start (from the environment, or a prompt), by provider.

    Raises:
        ConfigurationError: there is no key; says where it was looked for, and never what was found.
    """
    where = f"The key of provider {name} ({source})"
    if source.kind == "none":
        return None
    if source.kind == "file":
        text = await asyncio.to_thread(_read_file, where, source.value)
    elif source.kind == "command":
        text = await _run(where, source.value)
    else:
        text = handed.get(name, "")
    key = text.strip()
    if not key:
        raise ConfigurationError(f"{where} is missing: set it, or choose another source in Keyguard.providers.")
    if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"{where} is not one line of printable characters.")
    return key


def _read_file(where: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where} cannot be read: {getattr(error, 'strerror', 'not text')}.") from None


async def _run(where: str, command: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{where}: the command cannot be run: {error}.") from None
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ConfigurationError(f"{where}: the command took longer than {COMMAND_SECONDS:.0f} s.") from None
    if process.returncode:
        raise ConfigurationError(f"{where}: the command failed with status {process.returncode}.")
    return output.decode(errors="replace")


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127.") or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
