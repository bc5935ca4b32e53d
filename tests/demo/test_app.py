"""The demo as a newcomer meets it: started by its command, used in a kernel and in a browser, ended by Ctrl-C."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_client.blocking import BlockingKernelClient
from playwright.sync_api import sync_playwright

from keyguard_jupyter.demo.app import FIRST_NOTEBOOK

pytestmark = [pytest.mark.jupyter, pytest.mark.timeout(300)]

ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/lab/tree/\S+\?token=(\w+)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Demo:
    """A running demo."""

    def __init__(self, folder: Path) -> None:
        theirs = ("JUPYTER", "KEYGUARD", "OPENAI")
        env = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keyguard_jupyter.cli", "demo", "--no-browser"],
            env={**env, "TMPDIR": str(folder), "HOME": str(folder)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stderr is not None
        said = ""
        while not (found := ADDRESS.search(said)):
            line = self.process.stderr.readline()
            assert line, said
            said += line
        self.url, self.token = found.groups()
        # Whatever it says from here on must not fill the pipe.
        self._reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._reader.start()

    @property
    def home(self) -> Path:
        """Its temporary folder."""
        return next(self.folder.glob("keyguard-demo-*"))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask its Jupyter server."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


def test_the_participants_notebook_runs_from_top_to_bottom(demo: Demo) -> None:
    """A newcomer opens the first notebook and runs it: answers, costs, and no errors."""
    session = demo.ask(
        "POST", "/api/sessions", {"path": FIRST_NOTEBOOK, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    )
    client = BlockingKernelClient(connection_file=str(demo.home / "runtime" / f"kernel-{session['kernel']['id']}.json"))
    client.load_connection_file()
    client.start_channels()
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        assert message["msg_type"] != "error", "\n".join(content.get("traceback", []))
        said.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

    try:
        client.wait_for_ready(timeout=60)
        notebook = nbformat.read(demo.home / "course" / FIRST_NOTEBOOK, as_version=4)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        for source in cells:
            reply = client.execute_interactive(source, output_hook=hear, timeout=60)
            assert reply["content"]["status"] == "ok", source
    finally:
        client.stop_channels()
        client.context.destroy(linger=0)
    assert len(cells) >= 5
    assert "Keyguard: ada in project default" in "".join(said)
    demo.ask("DELETE", f"/api/sessions/{session['id']}")


def test_the_tables_are_not_empty(demo: Demo) -> None:
    """A week of five people's usage is there, and the command line finds the gateway that the server started."""
    done = subprocess.run(
        [sys.executable, "-m", "keyguard_jupyter.cli", "usage", "--json", "--by", "person"],
        env={"PATH": "", "JUPYTER_RUNTIME_DIR": str(demo.home / "runtime"), "HOME": str(demo.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {row["person"] for row in json.loads(done.stdout)} == {"ada", "grace", "linus", "mary", "rosalind"}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
def test_a_person_sees_it_in_jupyterlab(demo: Demo) -> None:
    """In a browser: the page opens the notebook, all cells run, and the status shows limits with bars and no errors."""
    address = f"{demo.url}/lab/tree/{FIRST_NOTEBOOK}?token={demo.token}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
        page.get_by_text("Python 3 (ipykernel)").first.wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run").click()
        page.get_by_text("Run All Cells", exact=True).click()
        # The last cell shows the status as HTML, with a meter for each of ada's limits.
        meters = "[role=meter], [role=progressbar]"
        page.locator(".jp-CodeCell").last.locator(meters).first.wait_for(timeout=90_000)
        page.screenshot(path=str(demo.folder / "participant.png"))
        assert page.locator(".jp-OutputArea mjx-container").count() == 0  # "$3.21 of $5.00" is no formula
        assert page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']").count() == 0
        browser.close()
    outside = [url for url in requested if not url.startswith((demo.url, "data:", "blob:"))]
    assert outside == []


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """After Ctrl-C no process and no file of the demo is left, and the command ends well."""
    running = Demo(tmp_path)
    processes = psutil.Process(running.process.pid).children(recursive=True)
    assert len(processes) >= 3  # the provider, JupyterLab, the gateway
    assert running.stop() == 0
    _gone, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert list(tmp_path.glob("keyguard-demo-*")) == []
