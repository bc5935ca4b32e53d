"""HTTP by hand, for what no client library would send."""

import contextlib
import re
import socket

from .gateway import CANARIES, Gateway


def exchange(gateway: Gateway, raw: bytes, *, pieces: int = 1) -> bytes:
    """Send bytes, and return everything that comes back until the connection is closed, or nothing comes for a while.

    Args:
        pieces: in how many writes.
    """
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=3) as connection:
        size = max(1, -(-len(raw) // pieces))
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            for start in range(0, len(raw), size):
                connection.sendall(raw[start : start + size])
            while part := connection.recv(65536):
                found += part
    assert not [canary for canary in CANARIES if canary.encode() in found]
    return found


def request(
    path: str = "/v1/chat/completions",
    *,
    key: str | None = None,
    method: str = "POST",
    host: str | None = "127.0.0.1",
    headers: tuple[str, ...] = (),
    body: bytes = b"",
    length: bool = True,
) -> bytes:
    """Write a request that closes the connection after it."""
    lines = [f"{method} {path} HTTP/1.1", "Connection: close", *headers]
    if host is not None:
        lines.insert(1, f"Host: {host}")
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body and not any(line.lower().startswith("content-type") for line in headers):
        lines.append("Content-Type: application/json")
    if length and body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def statuses(answer: bytes) -> list[int]:
    """Return the status of each response in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)]
