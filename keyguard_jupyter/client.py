"""A client of the gateway's API: standard library only, light to import, no state but its address and key.

It serves kernels, the Jupyter extension and the command line alike. It never shows its key, never follows a redirect
(which could carry the key to another host), and never asks a proxy for a host on this machine.
"""

import ipaddress
import json as codec
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from .core.keys import PREFIX, UNAVAILABLE
from .errors import GatewayError

if TYPE_CHECKING:  # costs 6 ms and more: imported when the first request is made
    from urllib.request import OpenerDirector, Request


class _Masked(str):
    """Text that debuggers and verbose tracebacks do not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


class Client:
    """Ask a gateway, as the holder of one key. Safe to use from several threads.

    Args:
        url: the gateway's root, as in ``KEYGUARD_URL``: ``http://127.0.0.1:8890`` or ``https://hub/services/keyguard``.
        key: a virtual key, or an admin key.
        timeout: seconds that connecting, and each wait for bytes, may last.

    Raises:
        GatewayError: ``url`` is not an http(s) address, or ``key`` holds what no key does.
    """

    def __init__(self, url: str, key: str, *, timeout: float = 10) -> None:
        if not _is_address(url):
            raise GatewayError(f"{url!r} is not the address of a gateway: one looks like http://127.0.0.1:8890")
        key = key.strip()
        if not key.isascii() or not key.isprintable():  # as when it was copied from a page that shortens it
            raise GatewayError("The key is not a whole one: copy all of it, on one line.", code="no_key")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._key = _Masked(key)
        self._opener: OpenerDirector | None = None

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ, *, timeout: float = 10) -> "Client":
        """Make the client that the environment describes: that of an admin if it names an admin key, else a kernel's.

        Args:
            env: is asked for ``KEYGUARD_URL``, ``KEYGUARD_ADMIN_KEY`` and ``OPENAI_API_KEY``.
            timeout: seconds, see the class.

        Raises:
            GatewayError: the environment names no gateway (``not_guarded``), or no key for one (``no_key``).
        """
        key = env.get("KEYGUARD_ADMIN_KEY")
        if not key:
            return cls.from_kernel(env, timeout=timeout)
        url = env.get("KEYGUARD_URL")
        if not url:
            raise GatewayError("Set KEYGUARD_URL to the gateway's address, then ask again.", code="not_guarded")
        return cls(url, key, timeout=timeout)

    @classmethod
    def from_kernel(cls, env: Mapping[str, str] = os.environ, *, timeout: float = 10) -> "Client":
        """Make the client of a guarded kernel, or of a laptop that was given a virtual key.

        ``KEYGUARD_URL`` may be absent where ``OPENAI_BASE_URL`` and a virtual key are set: then it is derived.

        Raises:
            GatewayError: the environment names no gateway (``not_guarded``), or no key for one (``no_key``).
        """
        key = env.get("OPENAI_API_KEY", "")
        url = env.get("KEYGUARD_URL") or (_root_of(env) if key.startswith(PREFIX) else "")
        if not url:
            raise GatewayError(
                "This kernel is not guarded: KEYGUARD_URL is not set, so calls made here carry whatever key they find, "
                "under no limit of ours.",
                code="not_guarded",
            )
        if key == UNAVAILABLE:
            raise GatewayError(
                f"This kernel has no key: the gateway at {url} gave none when it started. "
                "Restart the kernel; if that does not help, tell your host.",
                code="no_key",
            )
        if not key.startswith(PREFIX):  # a provider's own key, perhaps: it is none of the gateway's business
            raise GatewayError(
                "OPENAI_API_KEY in this kernel is not one of Keyguard's keys, so it is not sent to the gateway. "
                "Restart the kernel to get its own key back.",
                code="no_key",
            )
        return cls(url, key, timeout=timeout)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def get(self, path: str, **params: object) -> Any:
        """Read ``path`` (as in ``"/api/me"``) and return the decoded JSON.

        Args:
            path: below the gateway's root.
            params: of the query; None leaves one out, True and False become ``true`` and ``false``.

        Raises:
            GatewayError: the gateway refused (its ``status`` and ``code``), or cannot be reached (``status`` 0).
        """
        return self._ask("GET", path, params)

    def get_text(self, path: str, *, accept: str = "text/plain", **params: object) -> str:
        """Read ``path`` as text of the media type ``accept``; otherwise as :meth:`get`."""
        return self._send("GET", path, params, accept=accept).decode()

    def post(self, path: str, json: object = None, **params: object) -> Any:
        """Send ``json`` to ``path`` and return the decoded answer; see :meth:`get`."""
        return self._ask("POST", path, params, json)

    def put(self, path: str, json: object = None, **params: object) -> Any:
        """Put ``json`` at ``path`` and return the decoded answer; see :meth:`get`. Text goes as YAML, as it is."""
        return self._ask("PUT", path, params, json)

    def delete(self, path: str, **params: object) -> Any:
        """Delete ``path`` and return the decoded answer; see :meth:`get`."""
        return self._ask("DELETE", path, params)

    def _ask(self, method: str, path: str, params: Mapping[str, object], content: object = None) -> Any:
        body = self._send(method, path, params, content)
        if not body:
            return None
        try:
            return codec.loads(body)
        except ValueError:
            raise GatewayError(_foreign(self.url), code="not_a_gateway") from None

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, object],
        content: object = None,
        accept: str = "application/json",
    ) -> bytes:
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError

        request = self._request(method, path, params, content, accept)
        try:
            with self._open(request) as answer:
                body: bytes = answer.read()
                return body
        except HTTPError as refusal:
            with refusal:
                raise _refused(self.url, refusal.code, refusal.read()) from None
        except URLError as failure:
            raise _unreachable(self.url, failure.reason) from None
        except (OSError, HTTPException) as failure:  # while the answer was read
            raise _unreachable(self.url, failure) from None

    def _request(self, method: str, path: str, params: Mapping[str, object], content: object, accept: str) -> "Request":
        from urllib.request import Request

        query = urlencode({name: _param(value) for name, value in params.items() if value is not None})
        url = f"{self.url}{quote(path, safe='/%:@')}{'?' if query else ''}{query}"
        request = Request(url, method=method, headers={"Accept": accept})  # noqa: S310  the scheme was checked
        # "unredirected" headers do not go to the next host, should urllib ever follow somewhere
        request.add_unredirected_header("Authorization", "Bearer " + self._key)
        if isinstance(content, str):
            request.data = content.encode()
            request.add_header("Content-Type", "application/yaml")
        elif content is not None:
            request.data = codec.dumps(content).encode()
            request.add_header("Content-Type", "application/json")
        return request

    def _open(self, request: "Request") -> Any:
        if self._opener is None:  # two threads may both make one: harmless
            self._opener = _build_opener(self.url)
        return self._opener.open(request, timeout=self.timeout)


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine by its very name, so that no proxy can be meant."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _build_opener(url: str) -> "OpenerDirector":
    from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:  # an answer to a redirect is the redirect itself: an error
            return None

    # ProxyHandler() reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY; ProxyHandler({}) reads none
    direct = is_loopback(urlsplit(url).hostname or "")
    return build_opener(ProxyHandler({}) if direct else ProxyHandler(), Stay())


def _root_of(env: Mapping[str, str]) -> str:
    base = env.get("OPENAI_BASE_URL", "").rstrip("/")
    return base.removesuffix("/v1") if base.endswith("/v1") else ""


def _param(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _refused(url: str, status: int, body: bytes) -> GatewayError:
    try:
        error = codec.loads(body)["error"]
        return GatewayError(str(error["message"]), status=status, code=str(error.get("code") or "refused"))
    except (ValueError, TypeError, LookupError, AttributeError):
        return GatewayError(f"{_foreign(url)} (HTTP {status})", status=status, code="not_a_gateway")


def _foreign(url: str) -> str:
    return f"What answers at {url} is not a Keyguard gateway: check KEYGUARD_URL, or tell your host."


def _unreachable(url: str, reason: object) -> GatewayError:
    words = getattr(reason, "strerror", None) or reason
    return GatewayError(
        f"The Keyguard gateway at {url} does not answer ({words}). It may be starting: try again in a few seconds. "
        "If it stays so, restart the kernel, or tell your host."
    )
