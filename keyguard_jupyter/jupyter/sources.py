"""The keys that pass through the Jupyter server: those from its environment, and those that are typed in.

Keys in files, and those that a command prints, are not here: the gateway reads them itself.
"""

import os
from collections.abc import Iterable, Mapping

from ..core.providers import KEY_VARIABLES, KeySource
from ..errors import ConfigurationError
from ..vault import LARGEST_BYTES, wipe


def variables_named(providers: object) -> set[str]:
    """Return the environment variables that a ``Keyguard.providers`` setting names, as far as it can be understood.

    A setting with a mistake must still lead to its keys: they are to leave the environment before anything else, and
    before the mistake is reported.
    """
    if not isinstance(providers, Mapping):
        return set()
    return {variable for name, value in providers.items() for variable in _variables_of(name, value) if variable}


def ask_for_key(provider: str) -> bytearray:
    """Ask the person at the terminal for a provider's key, without showing what is typed.

    ``getpass`` would leave copies of the key in immutable strings and in buffers that cannot be reached.

    Args:
        provider: its name, for the question.

    Raises:
        ConfigurationError: there is no terminal, or nothing was typed.
    """
    try:
        tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise ConfigurationError(
            f"the key for {provider} is to be typed in, but there is no terminal: start Jupyter from one, "
            f'or write c.Keyguard.providers = {{"{provider}": "file:/path/to/key"}}'
        ) from None
    try:
        key = _ask_unseen(tty, f"Key for {provider} (it is not shown): ")
        os.write(tty, b"\n")
    finally:
        os.close(tty)
    if not key:
        raise ConfigurationError(f"no key for {provider} was typed in")
    return key


def describe(source: KeySource) -> str:
    """Describe where a key comes from, for a log line. A command is not shown: some have secrets among their words."""
    return {
        "environment": f"key from the environment variable {source.value}",
        "file": f"key from the file {source.value}",
        "command": "key from a command",
        "prompt": "key typed in",
    }.get(source.kind, "no key")


def _variables_of(name: object, value: object) -> Iterable[str]:
    if isinstance(value, str):
        kind, _, variable = value.partition(":")
        return (variable if kind == "env" else "", KEY_VARIABLES.get(str(name), ""))
    if not isinstance(value, Mapping):
        return (KEY_VARIABLES.get(str(name), ""),)
    return (str(value.get("api_key_env") or ""), KEY_VARIABLES.get(str(value.get("kind", name)), ""))


def _ask_unseen(tty: int, question: str) -> bytearray:
    import termios

    before = termios.tcgetattr(tty)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(tty, termios.TCSAFLUSH, silent)  # before the question: who answers at once is not shown either
    buffer = bytearray(LARGEST_BYTES)
    try:
        os.write(tty, question.encode())
        size = os.readv(tty, [buffer])
    finally:
        termios.tcsetattr(tty, termios.TCSAFLUSH, before)
    while size and buffer[size - 1] <= ord(" "):
        size -= 1
    with memoryview(buffer) as view:
        key = bytearray(view[:size])
    wipe(buffer)
    return key
