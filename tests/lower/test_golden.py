"""What the compiler makes of characteristic graphs, line by line.

`pytest tests/lower/test_golden.py --update-golden` writes the files anew; their diff shows what a
change to the compiler does to its output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradlet.lower.choose import lower
from gradlet.lower.loops import show
from tests.graphs import GRAPHS, TARGET, plan

FOLDER = Path(__file__).resolve().parent.parent / "golden"
ROOT = FOLDER.parent.parent


def listing(name: str) -> str:
    """Each kernel of a graph as a loop tree, under the arrays it works on."""
    schedule = plan(*GRAPHS[name]())
    lines = []
    for number, step in enumerate(schedule.steps):
        arrays = (f"p{p.arg}: {p.dtype.name}{list(p.shape)}" for p in step.kernel.params)
        lines.append(f"# kernel {number} writes {step.kernel.outputs} of {', '.join(arrays)}")
        lines.append(show(lower(step.kernel, TARGET)))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", GRAPHS)
def test_kernels_are_as_they_were(name: str, update_golden: bool) -> None:
    path = FOLDER / f"{name}.txt"
    if update_golden:
        path.write_text(listing(name), encoding="utf-8")
    assert listing(name) == path.read_text(encoding="utf-8")


def test_there_is_a_graph_for_every_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(GRAPHS)


PROGRAM = "from tests.lower.test_golden import *; print(''.join(listing(n) for n in GRAPHS))"


def test_kernels_do_not_depend_on_the_order_of_sets() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(printed) == 1 and "for i0" in printed.pop()
