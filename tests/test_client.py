"""The client, against real servers on loopback."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keyguard_jupyter.client import Client, is_loopback
from keyguard_jupyter.core.keys import UNAVAILABLE, make_key
from keyguard_jupyter.errors import GatewayError

KEY = make_key()


@dataclass
class Server:
    """A server that gives every request the same answer and remembers what it was asked."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def answer(self, status: int, body: object) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.seen.append((self.command, self.path, dict(self.headers), body))
            self.send_response(server.status)
            for name, value in {"Content-Length": str(len(server.body)), **server.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(server.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = handle_any  # noqa: N815  the names that http.server looks for

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Two running servers."""
    with ExitStack() as stack:
        running = []
        for _ in range(2):
            server = Server()
            http = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler_of(server)))
            thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(http.shutdown)
            server.url = f"http://127.0.0.1:{http.server_port}"
            running.append(server)
        yield running


@pytest.fixture
def server(servers: list[Server]) -> Server:
    return servers[0]


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url, KEY, timeout=5)


class TestRequests:
    def test_get_returns_decoded_json_for_the_bearer(self, server: Server, client: Client) -> None:
        """An answer is decoded; the key goes along as bearer; a query leaves out None and writes booleans small."""
        server.answer(200, {"person": "ada"})
        assert client.get("/api/me/usage", since="2026-12-01T00:00:00+01:00", after=None, all=True) == {"person": "ada"}
        method, path, headers, _ = server.seen[0]
        assert (method, path) == ("GET", "/api/me/usage?since=2026-12-01T00%3A00%3A00%2B01%3A00&all=true")
        assert headers["Authorization"] == f"Bearer {KEY}"

    def test_json_is_sent_as_json(self, server: Server, client: Client) -> None:
        """POST and PUT send what they are given as JSON."""
        client.post("/api/keys", {"person": "ada"})
        client.put("/api/policy", {"projects": {}}, dry_run=True)
        assert [(m, p, json.loads(b), h["Content-Type"]) for m, p, h, b in server.seen] == [
            ("POST", "/api/keys", {"person": "ada"}, "application/json"),
            ("PUT", "/api/policy?dry_run=true", {"projects": {}}, "application/json"),
        ]

    def test_text_is_put_as_it_is(self, server: Server, client: Client) -> None:
        """A policy file goes to the gateway as the YAML that it is, comments and all."""
        client.put("/api/policy", "projects: {}  # später\n")
        _, _, headers, body = server.seen[0]
        assert body.decode() == "projects: {}  # später\n"
        assert headers["Content-Type"] == "application/yaml"

    def test_text_is_read_as_it_is(self, server: Server, client: Client) -> None:
        """An answer in another format than JSON can be had as text."""
        server.answer(200, b"projects: {}\n")
        assert client.get_text("/api/policy", accept="application/yaml") == "projects: {}\n"
        assert server.seen[0][2]["Accept"] == "application/yaml"

    def test_delete_of_a_name_that_needs_escaping(self, server: Server, client: Client) -> None:
        """A path is escaped, and an empty answer is None."""
        server.answer(200, b"")
        assert client.delete("/api/keys/a b") is None
        assert server.seen[0][:2] == ("DELETE", "/api/keys/a%20b")

    def test_base_path_is_kept(self, server: Server) -> None:
        """A gateway below a path, as on a Hub, is asked below that path."""
        Client(f"{server.url}/services/keyguard/", KEY).get("/api/me")
        assert server.seen[0][1] == "/services/keyguard/api/me"

    def test_threads_share_a_client(self, server: Server, client: Client) -> None:
        """Parallel requests of one client do not disturb each other."""
        server.answer(200, {"ok": 1})
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: client.get("/api/me"), range(40))) == [{"ok": 1}] * 40


class TestFailures:
    def test_refusal_carries_message_code_and_status(self, server: Server, client: Client) -> None:
        """A refusal is raised with the gateway's own words."""
        server.answer(402, {"error": {"message": "Used up.", "code": "budget_exceeded", "param": None}})
        with pytest.raises(GatewayError, match=r"^Used up\.$") as caught:
            client.get("/api/me")
        assert (caught.value.status, caught.value.code) == (402, "budget_exceeded")

    @pytest.mark.parametrize("status", [200, 502])
    def test_what_is_no_gateway_is_named_so(self, server: Server, client: Client, status: int) -> None:
        """A page of some other server is not shown as an answer; the address is named instead."""
        server.answer(status, b"<html>Bad</html>")
        with pytest.raises(GatewayError, match="is not a Keyguard gateway") as caught:
            client.get("/api/me")
        assert caught.value.code == "not_a_gateway"

    def test_unreachable_says_what_to_do(self) -> None:
        """Where nothing listens, status is 0 and the message says what to try."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            client = Client(f"http://127.0.0.1:{unused.getsockname()[1]}", KEY)
            with pytest.raises(GatewayError, match="try again in a few seconds") as caught:
                client.get("/api/me")
        assert (caught.value.status, caught.value.code) == (0, "unreachable")

    def test_silence_ends_after_the_timeout(self) -> None:
        """A gateway that accepts and says nothing counts as unreachable."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            client = Client(f"http://127.0.0.1:{mute.getsockname()[1]}", KEY, timeout=0.1)
            with pytest.raises(GatewayError, match="timed out"):
                client.get("/api/me")

    def test_answer_cut_short_is_a_gateway_error(self, server: Server, client: Client) -> None:
        """A connection that ends within the answer counts as unreachable."""
        server.headers["Content-Length"] = "100"
        with pytest.raises(GatewayError, match="does not answer"):
            client.get("/api/me")

    @pytest.mark.parametrize("url", ["", "127.0.0.1:80", "file:///etc/passwd", "http://", "http://[::1"])
    def test_addresses_are_checked(self, url: str) -> None:
        """Only http(s) addresses with a host are taken."""
        with pytest.raises(GatewayError, match="not the address of a gateway"):
            Client(url, KEY)

    @pytest.mark.parametrize("key", ["sk-kg-\u2026", "sk-kg-a\nHost: evil.example"])
    def test_keys_are_checked(self, key: str) -> None:
        """A key that was not copied whole is refused in words, and can't add a header."""
        with pytest.raises(GatewayError, match="not a whole one"):
            Client("http://127.0.0.1:1", key)


class TestSecrecy:
    def test_redirects_are_not_followed(self, servers: list[Server]) -> None:
        """A redirect is a failure, so that the key goes to no other host."""
        first, second = servers
        first.answer(307, b"")
        first.headers["Location"] = f"{second.url}/api/me"
        with pytest.raises(GatewayError):
            Client(first.url, KEY).get("/api/me")
        assert second.seen == []

    def test_key_is_never_shown(self, client: Client) -> None:
        """Neither repr nor a debugger's view of the client shows the key."""
        assert KEY not in f"{client!r} {client} {vars(client)}"

    def test_loopback_needs_no_proxy(self, servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy in the environment is not asked for a gateway on this machine."""
        gateway, proxy = servers
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        Client(gateway.url, KEY).get("/api/me")
        assert (len(gateway.seen), proxy.seen) == (1, [])

    def test_other_hosts_are_reached_through_the_proxy(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """HTTPS_PROXY is asked for a tunnel to a gateway elsewhere, and sees no key."""
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, server.url)
        server.answer(503, b"")
        with pytest.raises(GatewayError):
            Client("https://gateway.invalid", KEY).get("/api/me")
        method, target, headers, body = server.seen[0]
        assert (method, target) == ("CONNECT", "gateway.invalid:443")
        assert KEY not in f"{headers}{body!r}"

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            *[(host, True) for host in ("localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1")],
            *[(host, False) for host in ("10.0.0.1", "localhost.example.org", "127.0.0.1.example.org")],
        ],
    )
    def test_loopback_is_known_by_name(self, host: str, expected: bool) -> None:
        """Only names that can't mean another machine are loopback."""
        assert is_loopback(host) is expected


class TestEnvironment:
    def test_admin_key_comes_first(self, server: Server) -> None:
        """The command line acts as an admin where an admin key is set."""
        env = {"KEYGUARD_URL": server.url, "KEYGUARD_ADMIN_KEY": "sk-kg-admin-1", "OPENAI_API_KEY": KEY}
        Client.from_environment(env).get("/api/keys")
        assert server.seen[0][2]["Authorization"] == "Bearer sk-kg-admin-1"

    def test_kernel_uses_its_own_key(self, server: Server) -> None:
        """A kernel asks with its virtual key, whatever else is set."""
        env = {"KEYGUARD_URL": server.url, "KEYGUARD_ADMIN_KEY": "sk-kg-admin-1", "OPENAI_API_KEY": KEY}
        Client.from_kernel(env).get("/api/me")
        assert server.seen[0][2]["Authorization"] == f"Bearer {KEY}"

    def test_without_an_admin_key_it_is_a_kernel(self, server: Server) -> None:
        """from_environment falls back to the kernel's key."""
        assert Client.from_environment({"KEYGUARD_URL": server.url, "OPENAI_API_KEY": KEY}).url == server.url

    def test_laptop_needs_only_what_the_sdk_needs(self) -> None:
        """With a virtual key, the gateway is found by OPENAI_BASE_URL."""
        client = Client.from_kernel({"OPENAI_BASE_URL": "https://ai.example.org/kg/v1/", "OPENAI_API_KEY": KEY})
        assert client.url == "https://ai.example.org/kg"

    @pytest.mark.parametrize(
        ("env", "code", "words"),
        [
            ({}, "not_guarded", "not guarded"),
            (
                {"OPENAI_API_KEY": "sk-real", "OPENAI_BASE_URL": "https://api.openai.com/v1"},
                "not_guarded",
                "not guarded",
            ),
            ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://ai.example.org"}, "not_guarded", "not guarded"),
            ({"KEYGUARD_ADMIN_KEY": "sk-kg-admin-1"}, "not_guarded", "Set KEYGUARD_URL"),
            ({"KEYGUARD_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": UNAVAILABLE}, "no_key", "Restart the kernel"),
            ({"KEYGUARD_URL": "http://127.0.0.1:1"}, "no_key", "not one of Keyguard's keys"),
            ({"KEYGUARD_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": "sk-real"}, "no_key", "is not sent"),
        ],
    )
    def test_what_is_missing_is_said(self, env: dict[str, str], code: str, words: str) -> None:
        """Without a gateway, or without a key of ours, no client is made: a real key is never sent to a gateway."""
        with pytest.raises(GatewayError, match=words) as caught:
            Client.from_environment(env)
        assert caught.value.code == code
        assert "sk-real" not in str(caught.value)


def test_import_is_light() -> None:
    """Importing the client loads neither the network stack nor anything installed."""
    heavy = ["ssl", "http.client", "urllib.request", "aiohttp", "sqlalchemy", "pandas", "yaml", "traitlets"]
    script = f"import sys, keyguard_jupyter.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
