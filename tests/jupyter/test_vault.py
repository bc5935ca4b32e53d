"""The vault, and how keys leave a process's memory."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyguard_jupyter.errors import ConfigurationError
from keyguard_jupyter.vault import LARGEST_BYTES, Fingerprints, Vault, take, take_and_put_back, wipe

from .processes import PACKAGE_HOME, memory_has


@pytest.fixture
def vault() -> Iterator[Vault]:
    """An empty vault."""
    vault = Vault()
    yield vault
    vault.close()


def run_python(code: str, **options: object) -> str:
    """Run code in another process, and return what it printed."""
    env = {**os.environ, "PYTHONPATH": PACKAGE_HOME, **options.pop("env", {})}  # type: ignore[dict-item]
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


# --- the pipe ------------------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out_again_and_again(vault: Vault) -> None:
    """Each gateway finds the keys, and leaves them for the next."""
    vault.put({"openai": b"sk-one", "campus-2": bytearray(b"sk-two")})
    for _ in range(3):
        assert take_and_put_back(*vault.fds) == {"openai": "sk-one", "campus-2": "sk-two"}


def test_a_child_that_is_killed_leaves_the_keys(vault: Vault) -> None:
    """After kill -9 of a process that had taken the keys, the next process finds them."""
    vault.put({"openai": b"sk-one"})
    code = """
        import os, signal, sys
        from keyguard_jupyter.vault import take_and_put_back
        print(take_and_put_back({r}, {w}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    r, w = vault.fds
    for _ in range(2):
        command = [sys.executable, "-P", "-c", textwrap.dedent(code.format(r=r, w=w))]
        env = {**os.environ, "PYTHONPATH": PACKAGE_HOME}
        done = subprocess.run(command, env=env, pass_fds=vault.fds, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL
        assert done.stdout == "{'openai': 'sk-one'}\n"


def test_children_do_not_get_the_vault(vault: Vault) -> None:
    """Processes that are not handed the vault's ends do not have them; nor do the children of one that is."""
    vault.put({"openai": b"sk-one"})
    code = """
        import os, subprocess, sys
        from keyguard_jupyter.vault import take_and_put_back
        take_and_put_back({r}, {w})
        print([os.get_inheritable(fd) for fd in ({r}, {w})])
        """
    r, w = vault.fds
    assert run_python(code.format(r=r, w=w), pass_fds=vault.fds) == "[False, False]\n"
    assert run_python(f"import os; print(os.path.exists('/proc/self/fd/{w}'))", close_fds=False) == "False\n"


def test_an_empty_vault_says_what_to_do(vault: Vault) -> None:
    """A gateway that finds nothing does not wait, and tells people how to mend it."""
    with pytest.raises(ConfigurationError, match="stop the Jupyter server and start it again"):
        take_and_put_back(*vault.fds)


def test_no_keys_are_fine(vault: Vault) -> None:
    """A vault into which nothing was put on purpose is not an error."""
    vault.put({})
    assert take_and_put_back(*vault.fds) == {}


def test_the_largest_vault_fits(vault: Vault) -> None:
    """Keys up to the stated size go through."""
    key = "k" * (LARGEST_BYTES - len('{"openai":""}'))
    vault.put({"openai": key.encode()})
    assert take_and_put_back(*vault.fds) == {"openai": key}


def test_keys_that_are_too_long_are_refused(vault: Vault) -> None:
    """More than that is refused by name, and nothing of it goes in."""
    with pytest.raises(ConfigurationError, match=r"longer than 16000 bytes together.*openai"):
        vault.put({"openai": b"k" * LARGEST_BYTES})
    with pytest.raises(ConfigurationError):
        take_and_put_back(*vault.fds)


@pytest.mark.parametrize("key", [b"two words", b"two\nlines", "schlüssel".encode(), b'"quoted"', b"back\\slash", b"\0"])
def test_what_is_no_key_is_refused(vault: Vault, key: bytes) -> None:
    """Something with characters that no key has is refused by its provider's name, without being shown."""
    with pytest.raises(ConfigurationError, match="the key for openai") as caught:
        vault.put({"openai": key})
    assert key.decode() not in str(caught.value)


# --- the environment -----------------------------------------------------------------------------------------------


def test_taking_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is in the environment no more, without the white space that was around it."""
    monkeypatch.setenv("KEY_A", "  sk-a\n")
    monkeypatch.setenv("KEY_B", "")
    assert take(["KEY_A", "KEY_A", "KEY_B", "KEY_C"]) == {"KEY_A": bytearray(b"sk-a")}
    assert not {"KEY_A", "KEY_B"} & set(os.environ)


def test_what_others_hold_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that somebody else still uses keeps its content."""
    monkeypatch.setenv("KEY_A", "sk-of-somebody")
    theirs = os.environb[b"KEY_A"]
    assert take(["KEY_A"]) == {"KEY_A": bytearray(b"sk-of-somebody")}
    assert theirs == b"sk-of-somebody"


def test_nothing_is_left_in_memory() -> None:
    """After a key was taken, put into a vault and wiped, the process's memory and first environment have no copy."""
    code = """
        import sys, wsgiref.handlers
        from keyguard_jupyter.vault import Fingerprints, Vault, take, wipe
        secret = take(["KEY"])["KEY"]
        vault, known = Vault(), Fingerprints()
        vault.put({"openai": secret})
        known.add(secret)
        size = len(secret)
        wipe(secret)
        print(size, flush=True)
        sys.stdin.read()
        """
    secret = f"sk-REAL-{os.urandom(16).hex()}"
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    env = {**os.environ, "PYTHONPATH": PACKAGE_HOME, "KEY": secret, "MARK": secret[::-1]}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{len(secret)}\n"
        assert memory_has(process.pid, secret[::-1])  # the search finds what is there
        assert not memory_has(process.pid, secret)
        assert secret.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_the_copy_in_wsgiref_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter imports a module of the standard library that keeps a copy of the environment; it loses the key too."""
    from wsgiref.handlers import BaseHandler

    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.setitem(BaseHandler.os_environ, "KEY_A", "sk-a")
    take(["KEY_A"])
    assert "KEY_A" not in BaseHandler.os_environ


def test_nondumpable_tells_the_truth() -> None:
    """What the function says is what the system says."""
    code = """
        import os, sys
        from keyguard_jupyter.vault import set_nondumpable
        import ctypes
        print(set_nondumpable() == (sys.platform == "linux" and ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0))
        """
    assert run_python(code) == "True\n"


def test_wiping_overwrites_in_place() -> None:
    """The buffer keeps its size and loses its content."""
    buffer = bytearray(b"secret")
    wipe(buffer)
    assert buffer == bytes(6)


def test_fingerprints_recognise_without_holding() -> None:
    """A key is recognised, also between white space; others are not, and the key itself is not kept."""
    known = Fingerprints()
    assert not known.know("")
    known.add(b"sk-real")
    assert known.know("sk-real")
    assert known.know(" sk-real\n")
    assert not known.know("sk-rea")
    assert "sk-real" not in repr(vars(known))
    assert not known.know("\udcff")
