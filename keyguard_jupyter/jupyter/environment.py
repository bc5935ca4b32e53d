"""The environment of a guarded kernel, as a pure function of what it would have been."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ..core.keys import UNAVAILABLE
from ..vault import Fingerprints

STARTUP = str(Path(__file__).resolve().parent.parent / "notebook" / "startup.py")
LONGEST_NAME = 200
_CHAINED = "KEYGUARD_CHAINED_PYTHONSTARTUP"
_NEVER = ("KEYGUARD_ADMIN_KEY",)


def guarded_environment(
    env: Mapping[str, str], *, url: str, key: str | None, real_keys: Fingerprints
) -> dict[str, str]:
    """Return the environment in which a kernel starts: a key of ours in, every real one out.

    Args:
        env: what the kernel would have got, its kernelspec's own variables included.
        url: the gateway's root.
        key: the kernel's virtual key; None when none could be had.
        real_keys: of the providers, as far as this process has seen them.
    """
    guarded = {name: value for name, value in env.items() if name not in _NEVER and not real_keys.know(value)}
    guarded |= {
        "OPENAI_API_KEY": key or UNAVAILABLE,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "KEYGUARD_URL": url,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",  # traces go past OPENAI_BASE_URL, with the key
        **_without_proxy(guarded, urlsplit(url).hostname or ""),
        **_with_magic(guarded),
    }
    return guarded


def notebook_path(session_name: str | None, root_dir: str) -> str | None:
    """Return the notebook's path below the server's root, or as it is when it lies elsewhere.

    Args:
        session_name: ``JPY_SESSION_NAME`` of the kernel; absent for a kernel without a session.
        root_dir: the directory that the server shows.

    Returns:
        At most ``LONGEST_NAME`` printable characters: of a longer path, the end.
    """
    if not session_name:
        return None
    path = Path(session_name)
    if path.is_absolute() and path.is_relative_to(root_dir):
        path = path.relative_to(root_dir)
    return None if path == Path() else recordable(str(path))


def recordable(name: str) -> str:
    """Make a name that the gateway records: on one line, and when it is too long, its end."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    return plain if len(plain) <= LONGEST_NAME else "…" + plain[1 - LONGEST_NAME :]


def _without_proxy(env: Mapping[str, str], host: str) -> dict[str, str]:
    """Keep proxies out of the way to the gateway: they cannot reach this machine's loopback."""
    hosts = [part.strip() for name in ("NO_PROXY", "no_proxy") for part in env.get(name, "").split(",")]
    if "*" not in hosts:
        hosts += [host, "127.0.0.1", "localhost"]
    value = ",".join(dict.fromkeys(part for part in hosts if part))
    return {"NO_PROXY": value, "no_proxy": value}


def _with_magic(env: Mapping[str, str]) -> dict[str, str]:
    """Have IPython load ``%keyguard`` by itself, and after it what the user had set.

    PYTHONSTARTUP reaches the kernels of other environments too, where this package is not installed.
    """
    before = env.get("PYTHONSTARTUP", "")
    if before in {"", STARTUP}:  # a server that was started from a guarded kernel must not chain the file to itself
        return {"PYTHONSTARTUP": STARTUP}
    return {"PYTHONSTARTUP": STARTUP, _CHAINED: before}
