"""Where the gateways that run on this machine for this user are found: one small file each, as Jupyter servers do.

Each file holds the gateway's address and its admin key, and is readable by its owner alone. So whoever runs code as
that user is the host: where that must not be, the gateway runs under another account (and its files with it).
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir, secure_write

from .client import Client
from .errors import GatewayError

_NAME = "keyguard-gateway-{pid}.json"


@contextlib.contextmanager
def announced(url: str, admin_key: str) -> Iterator[Path]:
    """Write this process's file, and remove it at the end."""
    folder = Path(jupyter_runtime_dir())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / _NAME.format(pid=os.getpid())
    with secure_write(str(path)) as file:
        json.dump({"url": url, "admin_key": admin_key, "pid": os.getpid()}, file)
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def find_gateway(env: Mapping[str, str] = os.environ) -> Client:
    """Return a client with an admin key: from the environment, or of a gateway that runs here.

    Args:
        env: ``KEYGUARD_URL`` and ``KEYGUARD_ADMIN_KEY``; with the address alone, the key is looked up here.

    Raises:
        GatewayError: there is none, or there are several to choose from; says what to set.
    """
    url, key = env.get("KEYGUARD_URL", "").rstrip("/"), env.get("KEYGUARD_ADMIN_KEY", "")
    if url and key:
        return Client(url, key)
    running = _running()
    if url:
        running = {address: its_key for address, its_key in running.items() if address == url}
    if len(running) == 1:
        return Client(*next(iter(running.items())))
    if running:
        choices = ", ".join(sorted(running))
        raise GatewayError(f"Several gateways run here: set KEYGUARD_URL to one of {choices}.", code="ambiguous")
    raise GatewayError(
        "No gateway of yours runs on this machine. Start Jupyter with the extension, or set KEYGUARD_URL and "
        "KEYGUARD_ADMIN_KEY.",
        code="not_found",
    )


def _running() -> dict[str, str]:
    found = {}
    for path in sorted(Path(jupyter_runtime_dir()).glob(_NAME.format(pid="*"))):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(path.read_text())
            if _is_alive(int(entry["pid"])):
                found[str(entry["url"])] = str(entry["admin_key"])
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
