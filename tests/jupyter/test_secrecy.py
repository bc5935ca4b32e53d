"""The real key is where it must be, and nowhere else: searched for in memory, environments, files and logs."""

import json
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .processes import memory_has
from .servers import Jupyter

pytestmark = pytest.mark.jupyter
TAKES_THE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
ATTACK = r"""
import ctypes, json, os, sys

def attempt(name, act):
    try:
        found[name] = repr(act())[:60]
    except OSError as error:
        found[name] = type(error).__name__

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")

libc = ctypes.CDLL(None, use_errno=True)
found, pid = {}, int(sys.argv[1])
for name in ("environ", "maps", "mem"):
    attempt(name, lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
attempt("fd", lambda: os.readlink(f"/proc/{pid}/fd/0"))
attempt("pidfd_getfd", lambda: check(libc.syscall(438, os.pidfd_open(pid), 0, 0)))
attempt("exe", lambda: os.readlink(f"/proc/{pid}/exe"))
attempt("ptrace", lambda: check(libc.ptrace(16, pid, None, None)))
print(json.dumps(found))
"""


WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
"""Runs a command as an ordinary user's would run: root alone may look into any process."""


@pytest.fixture(scope="module")
def jupyter(starter) -> Jupyter:
    """A server that has no privilege that others of its user lack."""
    return starter(wrap=lambda command: [*WITHOUT_PRIVILEGE, *command]).ready()


def assert_key_is_not_in(pid: int, needle: str) -> None:
    """Assert that neither the memory nor the first environment of a process has the needle.

    Only root can look. For anybody else, that nobody can look is the assertion.
    """
    if os.geteuid() == 0:
        assert not memory_has(pid, needle)
        assert needle.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    else:
        with pytest.raises(PermissionError):
            Path(f"/proc/{pid}/environ").read_bytes()


def attack(pid: int) -> dict[str, str]:
    """Do to a process what another process of the same user can do."""
    command = [*WITHOUT_PRIVILEGE, sys.executable, "-c", ATTACK, str(pid)]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def test_the_server_forgets_the_key(jupyter: Jupyter, canary: str) -> None:
    """After kernels were started and used, the server has no copy of the key from its environment."""
    kernel = jupyter.notebook("use.ipynb")
    assert kernel.call_model() == "assistant"
    kernel.restart()
    assert_key_is_not_in(jupyter.process.pid, canary)


def test_the_search_finds_what_is_there(jupyter: Jupyter, canary: str) -> None:
    """The same search finds the key in the gateway, which must have it: so it would have found it in the server."""
    _, pid = jupyter.gateway()
    if os.geteuid() == 0:
        assert memory_has(pid, canary)
        assert memory_has(jupyter.process.pid, jupyter.token)
    else:
        with pytest.raises(PermissionError):
            memory_has(pid, canary)


@pytest.mark.parametrize("victim", ["server", "gateway"])
def test_others_of_the_same_user_cannot_look_inside(jupyter: Jupyter, victim: str) -> None:
    """Another process of the same user reads neither memory, environment nor open files, and cannot attach."""
    pid = jupyter.process.pid if victim == "server" else jupyter.gateway()[1]
    assert set(attack(pid).values()) == {"PermissionError"}


def test_the_attack_works_on_an_ordinary_process() -> None:
    """The same attack succeeds on a process that takes no precautions."""
    with subprocess.Popen([*WITHOUT_PRIVILEGE, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)  # it runs now
        found = attack(process.pid)
        process.kill()
    assert found.pop("mem") != "PermissionError"  # though the first byte of the address space is nobody's
    assert not [name for name, result in found.items() if result.endswith("Error")]


def test_no_kernel_can_reach_the_key(jupyter: Jupyter, canary: str) -> None:
    """A kernel inherits none of the server's pipes, and has the key neither in its environment nor in its memory."""
    kernel = jupyter.notebook("reach.ipynb")
    code = """
        import os
        for fd in os.listdir('/proc/self/fd'):
            try:
                print(os.readlink(f'/proc/self/fd/{fd}'), end=' ')
            except FileNotFoundError:
                pass
        print(os.getpid())
        """
    *links, pid = kernel.run(textwrap.dedent(code)).split()
    if os.geteuid() == 0:
        folder = Path(f"/proc/{jupyter.gateway()[1]}/fd")
        handed = {str(fd.readlink()) for fd in folder.iterdir() if int(fd.name) > 2}
        vault = {link for link in handed if link.startswith("pipe:")}
        assert vault
        assert not vault & set(links)
        assert not memory_has(int(pid), canary)
    assert canary not in kernel.run("import os; print(dict(os.environ))")


def test_nothing_that_is_written_has_the_key(start_jupyter, canary: str) -> None:
    """Logs at their most talkative, the ledger, the runtime files and the notebooks' folder are free of the key."""
    server = start_jupyter({"ServerApp": {"log_level": "DEBUG"}, "KeyguardExtension": {"log_level": "DEBUG"}}).ready()
    assert server.notebook().call_model() == "assistant"
    server.stop()
    assert canary not in server.log.text
    files = [path for path in server.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name.startswith("keyguard.sqlite") for path in files)
    assert not [path for path in files if canary.encode() in path.read_bytes()]


@pytest.mark.parametrize("kind", ["file", "command"])
def test_keys_in_files_and_from_commands_stay_with_the_gateway(
    start_jupyter, provider: str, tmp_path: Path, kind: str
) -> None:
    """The gateway reads these itself: the server's memory never has the key, the gateway's has."""
    secret = f"sk-REAL-{kind}-{os.urandom(16).hex()}"
    file = tmp_path / "key"
    file.write_text(f"{secret}\n")
    file.chmod(0o600)
    source = {"api_key_file": str(file)} if kind == "file" else {"api_key_command": f"cat {file}"}
    server = start_jupyter(providers={"openai": {"kind": "openai", "base_url": provider, **source}}).ready()
    kernel = server.notebook()
    assert kernel.call_model() == "assistant"
    assert_key_is_not_in(server.process.pid, secret)
    assert secret not in json.dumps(kernel.env())
    if os.geteuid() == 0:
        assert memory_has(server.gateway()[1], secret)


def test_a_key_that_is_typed_in(start_jupyter, provider: str) -> None:
    """A key typed at the terminal is not shown there, reaches the gateway, and leaves nothing in the server."""
    secret = f"sk-REAL-typed-{os.urandom(16).hex()}"
    terminal, theirs = pty.openpty()
    try:
        server = start_jupyter(
            providers={"openai": {"kind": "openai", "base_url": provider, "api_key_prompt": True}},
            wrap=lambda command: [sys.executable, "-c", TAKES_THE_TERMINAL, *command],
            stdin=theirs,
        )
        shown = b""
        while b"(it is not shown)" not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{secret}\n".encode())
        kernel = server.ready().notebook()
        assert kernel.call_model() == "assistant"
        assert "openai (key typed in)" in server.log.text
        assert_key_is_not_in(server.process.pid, secret)
        if os.geteuid() == 0:
            assert memory_has(server.gateway()[1], secret)
        os.set_blocking(terminal, False)
        assert secret.encode() not in shown + os.read(terminal, 65536)
    finally:
        os.close(theirs)
        os.close(terminal)
