"""What the README says is true: its tour prints what it shows, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", README)))


def block(marker: str) -> str:
    """The fenced block after `<!-- marker -->`."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no block after <!-- {marker} -->"
    return found[1]


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_tour_prints_what_it_shows(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLET_DEVICE", device)
    done = subprocess.run(
        [sys.executable, "-c", block("tour")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == block("tour:output")


@pytest.mark.parametrize(("marker", "extra"), [("ci:main", "examples"), ("ci:test", "test")])
def test_commands_are_one_line_each(marker: str, extra: str) -> None:
    command = block(marker)
    assert command.count("\n") == 1
    assert f"pip install '.[{extra}]'" in command


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
