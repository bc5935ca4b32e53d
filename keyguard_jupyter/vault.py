"""Where the real keys lie between a Jupyter server and its gateway, and how they leave the server's memory.

The server needs the keys for a moment only, but a gateway that died must get them again. So the server puts them into a
pipe whose two ends it keeps open and never reads: they lie in the operating system's buffer, outside the memory of any
process. The gateway inherits both ends, takes the keys out and at once puts them back for its successor.

Standard library only; on systems that lack a means (``prctl``, ``getenv``) that means is left out, and says so.
"""

import hashlib
import json
import os
import secrets as randomness
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .errors import ConfigurationError

LARGEST_BYTES = 16_000
"""All keys together, as JSON: what a pipe holds on every system, with room to spare."""

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4


class Vault:
    """A sealed pipe: the keys go in, and only the gateway that inherits :attr:`fds` takes them out."""

    def __init__(self) -> None:
        self.fds = os.pipe()  # not inheritable: kernels and terminals never see it
        for fd in self.fds:
            os.set_blocking(fd, False)

    def put(self, secrets: Mapping[str, bytes | bytearray]) -> None:
        """Put the keys in, as one JSON object; call it once.

        Args:
            secrets: provider's name → key. The caller wipes them afterwards.

        Raises:
            ConfigurationError: a key is longer than any key is, or has characters that no key has.
        """
        document = bytearray(LARGEST_BYTES)  # its full size at once: growing would leave copies behind
        try:
            size = _write_document(document, secrets)
            with memoryview(document) as view:
                if os.write(self.fds[1], view[:size]) != size:
                    raise ConfigurationError("this system's pipes are too small for the providers' keys")
        finally:
            wipe(document)

    def close(self) -> None:
        """Forget the keys: when the gateway has closed its ends too, they are gone."""
        for fd in self.fds:
            os.close(fd)
        self.fds = (-1, -1)


def take_and_put_back(r: int, w: int) -> dict[str, str]:
    """Read the keys in the gateway, and leave them in the pipe for the gateway's successor.

    Args:
        r: the pipe's end for reading, inherited.
        w: its end for writing, inherited. Both stay open, but no child of this process gets them.

    Returns:
        Provider's name → key.

    Raises:
        ConfigurationError: the pipe is empty; a gateway died at the one moment when it held the only copy.
    """
    for fd in (r, w):
        os.set_inheritable(fd, False)
        os.set_blocking(fd, False)
    try:
        document = os.read(r, LARGEST_BYTES)
    except BlockingIOError:
        raise ConfigurationError("the providers' keys are lost: stop the Jupyter server and start it again") from None
    os.write(w, document)
    keys: dict[str, str] = json.loads(document)
    return keys


def take(names: Iterable[str]) -> dict[str, bytearray]:
    """Take variables out of this process's environment, and wipe what was left of them in its memory.

    Afterwards ``/proc/self/environ`` does not show them, and no child inherits them. What cannot be reached: copies
    that others made before, and the environment of the process that started this one.

    Args:
        names: of the variables; one that is absent or empty is left out of the answer.

    Returns:
        Name → value, without white space around it. Pass each to :func:`wipe` when it is no longer needed.
    """
    taken = {name: _take(name) for name in dict.fromkeys(names)}
    return {name: value for name, value in taken.items() if value}


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer in place."""
    buffer[:] = bytes(len(buffer))


class Fingerprints:
    """Recognise a key that was seen before without holding it: a salted digest of each is kept."""

    def __init__(self) -> None:
        self._salt = randomness.token_bytes(32)
        self._known: set[bytes] = set()

    def add(self, secret: bytes | bytearray) -> None:
        """Remember a key."""
        self._known.add(self._digest(secret))

    def know(self, text: str) -> bool:
        """Tell whether the text is one of the keys."""
        return bool(self._known) and self._digest(os.fsencode(text.strip())) in self._known

    def _digest(self, secret: bytes | bytearray) -> bytes:
        return hashlib.blake2b(secret, key=self._salt, digest_size=32).digest()


def set_nondumpable() -> bool:
    """Forbid other processes of the same user to read this one's memory, environment and open files (Linux).

    Processes with ``CAP_SYS_PTRACE`` (root) can still. It also means: no core dumps, and no debugger can attach.

    Returns:
        Whether it is in force; False where the system has no such thing.
    """
    libc = _libc()
    if not sys.platform.startswith("linux") or libc is None:
        return False
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0)


def _write_document(document: bytearray, secrets: Mapping[str, bytes | bytearray]) -> int:
    """Write JSON by hand: the library's encoder would leave copies of the keys in freed memory."""
    size = 0
    for index, (name, secret) in enumerate(secrets.items()):
        if not all(0x21 <= byte <= 0x7E and byte not in b'"\\' for byte in secret):
            raise ConfigurationError(f"the key for {name} has characters that no key has; look at where it comes from")
        start = (b"," if index else b"{") + json.dumps(name).encode() + b':"'
        if size + len(start) + len(secret) + len(b'"}') > LARGEST_BYTES:
            raise ConfigurationError(
                f"the providers' keys are longer than {LARGEST_BYTES} bytes together; look at where {name}'s comes from"
            )
        for part in (start, secret, b'"'):
            document[size : size + len(part)] = part
            size += len(part)
    end = b"}" if secrets else b"{}"
    document[size : size + len(end)] = end
    return size + len(end)


def _take(name: str) -> bytearray | None:
    if not os.supports_bytes_environ:
        return bytearray(os.environ.pop(name, "").strip().encode())
    # never os.environ[name], nor "name in os.environ": each makes a string that stays behind in freed memory
    value = os.environb.get(os.fsencode(name))  # the very object that os.environ holds
    if value is None:
        return None
    secret = bytearray(value)
    libc = _libc()
    address = libc.getenv(os.fsencode(name)) if libc is not None else None
    del os.environb[os.fsencode(name)]
    if libc is not None and address:  # on the stack that the process was born with, hence in /proc/self/environ
        libc.memset(address, 0, libc.strlen(address))
    _overwrite(value, bytes.__basicsize__ - 1, libc)
    del value
    for copy in _known_copies():
        text = copy.pop(name, "")
        _overwrite(text, sys.getsizeof("") - 1 if text.isascii() else None, libc)
    _strip(secret)
    return secret


def _known_copies() -> Iterator[dict[str, str]]:
    """Yield the copies of the environment that are known to be made before any extension is imported."""
    if handlers := sys.modules.get("wsgiref.handlers"):  # prometheus_client imports it for Jupyter
        yield handlers.BaseHandler.os_environ


def _strip(secret: bytearray) -> None:
    """Remove white space at both ends in place; ``bytearray.strip`` would leave a copy."""
    while secret and secret[-1:].isspace():
        del secret[-1]
    while secret and secret[:1].isspace():
        del secret[0]


def _overwrite(value: bytes | str, offset: int | None, libc: Any) -> None:
    """Overwrite an immutable object, if nobody else holds it.

    Three references are ours: the caller's, this function's and the one that counts. An object of at most one element
    is shared by the whole interpreter.

    Args:
        value: bytes, or a string of ASCII characters alone.
        offset: where its content begins, in bytes from its address; None when that is not known.
        libc: None leaves everything as it is.
    """
    ours = 3
    if libc is None or offset is None or len(value) < 2 or sys.implementation.name != "cpython":
        return
    if sys.getrefcount(value) <= ours:
        libc.memset(id(value) + offset, 0, len(value))


def _libc() -> Any:
    """Return the C library; None where there is none to be had (then memory is left to be overwritten by chance)."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_void_p
        libc.getenv.argtypes = [ctypes.c_char_p]
        libc.strlen.restype = ctypes.c_size_t
        libc.strlen.argtypes = [ctypes.c_void_p]
        libc.memset.restype = ctypes.c_void_p
        libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    return libc
