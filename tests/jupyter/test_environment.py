"""The environment of a guarded kernel."""

from keyguard_jupyter.jupyter.environment import STARTUP, guarded_environment, notebook_path
from keyguard_jupyter.vault import Fingerprints

URL = "http://127.0.0.1:8890"


def guard(env: dict[str, str], key: str | None = "sk-kg-x", real: str = "") -> dict[str, str]:
    known = Fingerprints()
    if real:
        known.add(real.encode())
    return guarded_environment(env, url=URL, key=key, real_keys=known)


def test_what_is_not_ours_stays() -> None:
    """Variables that have nothing to do with keys are passed on, and the original is not changed."""
    env = {"PATH": "/bin", "OPENAI_API_KEY": "old"}
    assert guard(env)["PATH"] == "/bin"
    assert env == {"PATH": "/bin", "OPENAI_API_KEY": "old"}


def test_without_a_key_the_addresses_stay() -> None:
    """A kernel for which no key is to be had still points at the gateway, which explains it."""
    env = guard({}, key=None)
    assert env["OPENAI_API_KEY"] == "keyguard-unavailable"
    assert env["OPENAI_BASE_URL"] == f"{URL}/v1"


def test_real_and_admin_keys_are_removed_under_any_name() -> None:
    """A value that equals a real key is removed, whatever its name and the white space around it."""
    env = guard({"A": "sk-real", "B": " sk-real\n", "C": "sk-other", "KEYGUARD_ADMIN_KEY": "x"}, real="sk-real")
    assert {"A", "B", "KEYGUARD_ADMIN_KEY"} & set(env) == set()
    assert env["C"] == "sk-other"


def test_proxy_exceptions_are_joined() -> None:
    """Both spellings are read and written; what stands there is kept, and nothing stands twice."""
    env = guard({"NO_PROXY": "a.test, localhost", "no_proxy": "b.test"})
    assert env["NO_PROXY"] == env["no_proxy"] == "a.test,localhost,b.test,127.0.0.1"


def test_no_proxy_at_all_stays_so() -> None:
    """An asterisk excepts everything already."""
    assert guard({"NO_PROXY": "*"})["NO_PROXY"] == "*"


def test_startup_is_chained_once() -> None:
    """A startup file that was set before is chained; ours is never chained to itself."""
    assert "KEYGUARD_CHAINED_PYTHONSTARTUP" not in guard({})
    chained = guard({"PYTHONSTARTUP": "/home/ada/start.py"})
    assert (chained["PYTHONSTARTUP"], chained["KEYGUARD_CHAINED_PYTHONSTARTUP"]) == (STARTUP, "/home/ada/start.py")
    again = guard(chained)
    assert (again["PYTHONSTARTUP"], again["KEYGUARD_CHAINED_PYTHONSTARTUP"]) == (STARTUP, "/home/ada/start.py")


def test_notebooks_are_named_below_the_root() -> None:
    """A notebook is named by its path below the server's root; one elsewhere by its whole path; none by None."""
    assert notebook_path("/srv/ada/week 1/a.ipynb", "/srv/ada") == "week 1/a.ipynb"
    assert notebook_path("/tmp/a.ipynb", "/srv/ada") == "/tmp/a.ipynb"
    assert notebook_path("a.ipynb", "/srv/ada") == "a.ipynb"
    assert notebook_path("/srv/ada", "/srv/ada") is None
    assert notebook_path(None, "/srv/ada") is None


def test_notebook_names_fit_what_is_recorded() -> None:
    """A path that is too long, or has control characters, is recorded as well as it can be: no kernel goes without."""
    long = notebook_path("/srv/" + "x" * 300 + "/a\nb.ipynb", "/srv")
    assert long is not None
    assert len(long) == 200
    assert long.endswith("/a\N{REPLACEMENT CHARACTER}b.ipynb")
