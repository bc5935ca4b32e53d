"""Kernels' keys over their lives, in real servers with real kernels."""

import json
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import psutil
import pytest

from .processes import me, wait_until
from .servers import Jupyter

pytestmark = pytest.mark.jupyter


def test_the_environment_leads_to_the_gateway(jupyter: Jupyter, canary: str) -> None:
    """An unmodified SDK in a kernel finds the gateway and a virtual key, and nothing of the real one."""
    env = jupyter.notebook("env.ipynb").env()
    url, _ = jupyter.gateway()
    assert env["KEYGUARD_URL"] == url
    assert env["OPENAI_BASE_URL"] == env["OPENAI_API_BASE"] == f"{url}/v1"
    assert env["OPENAI_API_KEY"].startswith("sk-kg-")
    assert env["OPENAI_AGENTS_DISABLE_TRACING"] == "1"
    assert "127.0.0.1" in env["NO_PROXY"].split(",")
    assert env["no_proxy"] == env["NO_PROXY"]
    assert env["PYTHONSTARTUP"].endswith("startup.py")
    assert canary not in json.dumps(env)


def test_a_kernel_calls_a_model(jupyter: Jupyter) -> None:
    """A cell with the ordinary SDK gets an answer."""
    assert jupyter.notebook("call.ipynb").call_model() == "assistant"


def test_each_kernel_has_a_key_of_its_own(jupyter: Jupyter) -> None:
    """Two kernels that run at once have different keys, and both are good."""
    first, second = jupyter.notebook("one.ipynb").env(), jupyter.kernel().env()
    assert first["OPENAI_API_KEY"] != second["OPENAI_API_KEY"]
    assert me(first)["key"]["id"] != me(second)["key"]["id"]


def test_owner_and_notebook_are_recorded(jupyter: Jupyter) -> None:
    """The gateway knows whose kernel it is, and which notebook's, by its path below the server's root."""
    (jupyter.root / "week 1").mkdir()
    kernel = jupyter.notebook("week 1/lesson.ipynb")
    answer = me(kernel.env())
    assert answer["key"]["notebook"] == "week 1/lesson.ipynb"
    assert answer["key"]["kind"] == "kernel"
    assert (answer["person"], answer["project"]) == (psutil.Process().username(), "default")


def test_rename_and_restart_leak_nothing(jupyter: Jupyter, canary: str) -> None:
    """A restart after a rename, which replaces the stored environment by the server's, gives a new key of ours."""
    kernel = jupyter.notebook("before.ipynb")
    before = kernel.env()
    kernel.rename("after.ipynb")
    kernel.restart()
    after = kernel.env()
    assert canary not in json.dumps(after)
    assert after["OPENAI_API_KEY"] not in {before["OPENAI_API_KEY"], ""}
    assert me(after)["key"]["notebook"] == "after.ipynb"
    assert me(before) == 401


def test_automatic_restart_gives_a_new_key(jupyter: Jupyter, canary: str) -> None:
    """A kernel that died comes back with another key; that of the dead is revoked."""
    kernel = jupyter.notebook("crash.ipynb")
    before, start = kernel.env(), len(jupyter.log.text)
    with kernel.connected() as client:
        client.execute("import os; os._exit(1)")
    jupyter.log.wait_for(r"restarting kernel \(1/5\)", after=start)
    wait_until(lambda: me(before) == 401)
    after = kernel.env()
    assert me(after)["key"]["notebook"] == "crash.ipynb"
    assert after["OPENAI_API_KEY"] != before["OPENAI_API_KEY"]
    assert canary not in json.dumps(after)


def test_shutdown_revokes(jupyter: Jupyter) -> None:
    """The key of a kernel that was shut down is refused."""
    kernel = jupyter.notebook("short.ipynb")
    env = kernel.env()
    assert me(env)["key"]
    kernel.shut_down()
    assert me(env) == 401


def test_a_kernel_that_always_dies_keeps_no_key(jupyter: Jupyter, tmp_path: Path) -> None:
    """When Jupyter gives up restarting a kernel, all the keys that it had are revoked."""
    seen = tmp_path / "keys"
    code = f"import os; open({str(seen)!r}, 'a').write(os.environ['OPENAI_API_KEY'] + '\\n')"
    jupyter.add_kernelspec("doomed", argv=[sys.executable, "-c", code, "{connection_file}"])
    kernel = jupyter.kernel("doomed")
    jupyter.log.wait_for(f"Kernel {kernel.id} died, removing from map")
    keys = seen.read_text().split()
    assert len(set(keys)) == 6  # the first start and five attempts
    url, _ = jupyter.gateway()
    for key in keys:
        wait_until(lambda key=key: me({"KEYGUARD_URL": url, "OPENAI_API_KEY": key}) == 401)


def test_a_kernelspec_cannot_bring_another_key(jupyter: Jupyter, canary: str) -> None:
    """What a kernelspec sets for our variables loses; a copy of the real key under another name is removed."""
    own = {"OPENAI_API_KEY": "sk-own", "OPENAI_BASE_URL": "https://elsewhere.test/v1", "COPY": canary, "PLAIN": "kept"}
    jupyter.add_kernelspec("opinionated", env=own)
    env = jupyter.kernel("opinionated").env()
    assert env["OPENAI_API_KEY"].startswith("sk-kg-")
    assert env["OPENAI_BASE_URL"] == f"{env['KEYGUARD_URL']}/v1"
    assert "COPY" not in env
    assert env["PLAIN"] == "kept"


def test_startup_files_are_chained(jupyter: Jupyter, tmp_path: Path) -> None:
    """A PYTHONSTARTUP that was set before runs too."""
    mine = tmp_path / "mine.py"
    mine.write_text("MINE = 42\n")
    jupyter.add_kernelspec("started", env={"PYTHONSTARTUP": str(mine)})
    kernel = jupyter.kernel("started")
    assert kernel.env()["KEYGUARD_CHAINED_PYTHONSTARTUP"] == str(mine)
    assert kernel.run("print(MINE, get_ipython().find_line_magic('keyguard') is not None)") == "42 True\n"


def test_copies_in_the_servers_environment_are_removed(start_jupyter, canary: str) -> None:
    """A variable of the server that holds the real key under another name reaches no kernel."""
    server = start_jupyter(env={"MY_COPY": canary, "OPENAI_API_KEY": f" {canary}\n"}).ready()
    kernel = server.kernel()
    env = kernel.env()
    assert canary not in json.dumps(env)
    assert "MY_COPY" not in env
    assert kernel.call_model() == "assistant"


def test_a_kernelspecs_own_provisioner_is_guarded(start_jupyter, tmp_path: Path, canary: str) -> None:
    """A kernel that is launched by a provisioner of its own has a key like any other."""
    (tmp_path / "own_provisioner.py").write_text(
        textwrap.dedent("""
        import os
        from jupyter_client.provisioning import LocalProvisioner

        class Own(LocalProvisioner):
            async def pre_launch(self, **kw):
                kw = await super().pre_launch(**kw)
                kw["env"] |= {"PROVISIONED": "yes", "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY", "sk-own")}
                return kw
        """)
    )
    info = tmp_path / "own_provisioner-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-provisioner\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[jupyter_client.kernel_provisioners]\nown = own_provisioner:Own\n")
    server = start_jupyter(path=tmp_path).ready()
    server.add_kernelspec("provisioned", metadata={"kernel_provisioner": {"provisioner_name": "own"}})
    env = server.notebook(kernel="provisioned").env()
    assert env["PROVISIONED"] == "yes"
    assert env["OPENAI_API_KEY"].startswith("sk-kg-")
    assert canary not in json.dumps(env)


def test_a_kernel_of_another_environment_is_guarded(jupyter: Jupyter, tmp_path: Path) -> None:
    """A kernel where Keyguard is not installed calls models, and has the magic."""
    home, packages = tmp_path / "venv", tmp_path / "packages"
    venv.create(home, with_pip=False, symlinks=True)
    packages.mkdir()
    for entry in Path(psutil.__file__).parent.parent.iterdir():
        if not entry.name.startswith(("keyguard", "__editable__", "_keyguard")):
            (packages / entry.name).symlink_to(entry)
    site = next(home.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(f"{packages}\n")
    argv = [str(home / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    jupyter.add_kernelspec("elsewhere", argv=argv, env={"PYTHONPATH": ""})
    kernel = jupyter.notebook("elsewhere.ipynb", "elsewhere")
    code = "import importlib.util as u; print(u.find_spec('keyguard_jupyter'), u.find_spec('openai') is not None)"
    found = subprocess.run([argv[0], "-P", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "None True\n"
    assert kernel.run("import sys; print(sys.prefix)") == f"{home}\n"
    assert kernel.call_model() == "assistant"
    assert kernel.run("print(get_ipython().find_line_magic('keyguard') is not None)") == "True\n"


def test_terminals_have_no_key(jupyter: Jupyter, canary: str) -> None:
    """A terminal of the server inherits an environment without the real key."""
    before = {child.pid for child in psutil.Process(jupyter.process.pid).children()}
    assert jupyter.ask("POST", "/api/terminals")[0] == 200
    shells = [c for c in psutil.Process(jupyter.process.pid).children() if c.pid not in before]
    assert len(shells) == 1
    env = shells[0].environ()
    assert env["JUPYTER_SERVER_URL"]
    assert canary not in json.dumps(env)


def test_synchronous_kernel_managers_are_guarded(start_jupyter) -> None:
    """Kernel managers of another kind than Jupyter's own keep their behaviour, and their kernels have keys."""
    kind = "jupyter_client.ioloop.IOLoopKernelManager"
    server = start_jupyter({"MappingKernelManager": {"kernel_manager_class": kind}}).ready()
    server.gateway()
    kernel = server.notebook()
    before = kernel.env()
    assert me(before)["key"]
    kernel.restart()
    after = kernel.env()
    assert me(after)["key"]
    kernel.shut_down()
    assert [me(before), me(after)] == [401, 401]


def test_leases_are_renewed_and_end(start_jupyter) -> None:
    """A living kernel's key outlives its lease; that of a kernel that died unnoticed is revoked at the next renewal."""
    settings = {"KeyguardExtension": {"lease_seconds": 2}, "KernelManager": {"autorestart": False}}
    server = start_jupyter(settings).ready()
    kernel, victim = server.notebook("a.ipynb"), server.notebook("b.ipynb")
    env, theirs = kernel.env(), victim.env()
    with victim.connected() as client:
        client.execute("import os; os._exit(1)")
    wait_until(lambda: me(theirs) == 401)
    kernel.run("import time; time.sleep(3)")
    assert me(env)["key"]


def test_leases_end_when_the_server_is_killed(start_jupyter, standalone) -> None:
    """A server that was killed renews nothing: at a gateway that lives on, its kernels' keys end with their leases."""
    settings = {"KeyguardExtension": {"lease_seconds": 2}}
    server = start_jupyter(settings, standalone.env).ready()
    env = server.kernel().env()
    assert me(env)["key"]
    server.process.kill()
    wait_until(lambda: me(env) == 401)


def test_a_kernel_past_the_guard_is_noticed(start_jupyter, canary: str) -> None:
    """A kernel manager that makes its kernels in its own way is named in a warning; its kernels have no key at all."""
    setup = textwrap.dedent("""
        from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager

        class Own(AsyncMappingKernelManager):
            def pre_start_kernel(self, kernel_name, kwargs):
                km, name, kernel_id = super().pre_start_kernel(kernel_name, kwargs)
                km.__class__ = ServerKernelManager
                return km, name, kernel_id

        c.ServerApp.kernel_manager_class = Own
        """)
    server = start_jupyter(setup=setup).ready()
    kernel = server.kernel()
    server.log.wait_for(f"kernel {kernel.id} was started past the guard")
    env = kernel.env()
    assert "OPENAI_API_KEY" not in env
    assert canary not in json.dumps(env)
