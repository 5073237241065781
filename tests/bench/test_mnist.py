"""The comparison of whole programs: its arithmetic, and one short real run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import mnist
from bench.mnist import CACHED, GRADLET, PYTORCH, Record
from bench.process import ROOT, ChildError
from gradlet.nn.data import images


def test_ratios_are_taken_within_rounds() -> None:
    records = {
        GRADLET: Record([1.0, 10.0, 2.0], [80.0, 81.0, 82.0]),
        PYTORCH: Record([3.0, 40.0, 4.0], [90.0, 91.0, 92.0]),
    }
    ours, theirs = mnist.table(records).splitlines()[2:]
    assert [cell.strip() for cell in ours.split("|")[2:5]] == ["2.00", "3.00", "81.00%"]
    assert [cell.strip() for cell in theirs.split("|")[2:5]] == ["4.00", "1.00", "91.00%"]


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(ChildError, match="no such thing"):
        mnist.timed(["-c", "raise SystemExit('no such thing')"], {})
    with pytest.raises(ChildError, match="exit 0"):  # it has reached nothing
        mnist.timed(["-c", "pass"], {})


@pytest.mark.slow
def test_gradlet_and_pytorch_learn_the_same() -> None:
    try:
        images.fashion_mnist()
    except images.DataUnavailableError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "bench", "mnist", "--rounds", "1", "--limit", "1280"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {cells[1].strip(): cells[2:5] for line in done.stdout.splitlines()
            if len(cells := line.split("|")) == 6}  # fmt: skip
    assert rows.keys() >= {GRADLET, CACHED, PYTORCH}
    for name in (GRADLET, CACHED, PYTORCH):
        assert float(rows[name][0]) > 0
        assert 30 < float(rows[name][2].strip(" %")) < 100
