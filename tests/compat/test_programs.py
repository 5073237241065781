"""Programs that import tinygrad do the same on gradlet.

`programs` are scripts for tinygrad, and `printed` is what tinygrad 0.14 itself made of them.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import gradlet
from gradlet import Tensor

HERE = Path(__file__).resolve().parent
PROGRAMS = sorted((HERE / "programs").glob("*.py"))
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?|\bnan\b|-?\binf\b")


@pytest.mark.skipif(Tensor([0]).device != "cpu", reason="counters are of the device cpu")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_what_it_prints_on_tinygrad(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gradlet.install_as_tinygrad()
    runpy.run_path(str(program), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    expected = (HERE / "printed" / f"{program.stem}.txt").read_text().splitlines()
    assert [NUMBER.sub("#", line) for line in printed] == [NUMBER.sub("#", e) for e in expected]
    for line, known in zip(printed, expected, strict=True):
        got, wanted = ([float(n) for n in NUMBER.findall(text)] for text in (line, known))
        np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-4, err_msg=line.split()[0])
