"""Lint, format and types are part of the tests, and so is what README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from keyguard_jupyter.control.policies import parse_policy

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    ids=["lint", "format", "types"],
)
def test_the_sources_are_clean(command: list[str]) -> None:
    """Ruff and mypy (strict) find nothing."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_what_readme_says() -> None:
    """CI takes its test command out of README, so that the two cannot differ."""
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if "-m pytest" in line]
    assert len(lines) == 1
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_links_in_the_documentation_lead_somewhere() -> None:
    """Every relative link in README and docs names a file that is there."""
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readmes_policy_is_one() -> None:
    """The policy that README shows can be applied as it stands."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [set(parse_policy(block)) for block in blocks] == [{"default"}]
