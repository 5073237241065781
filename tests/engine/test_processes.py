"""Several processes that share one folder of compiled code, from nothing and after damage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.process import ROOT

PROGRAM = """
from gradlet import Tensor
w = Tensor([[0.5, -1.0], [2.0, 0.25]])
((w @ w).tanh().softmax(1) * w).sum().backward()
print([x.hex() for x in w.grad.flatten().tolist()])
"""
DAMAGED_AT = (0, 10, 20, 52, -1)  # magic, format, checksum, and both ends of what it covers


def results(folder: Path, processes: int) -> set[str]:
    """What each of several processes at once has printed. A warning is an error."""
    environment = {**os.environ, "GRADLET_CACHE": str(folder), "GRADLET_DEVICE": "cpu"}
    environment["GRADLET_VERIFY"] = "0"  # whole programs are kept only without it
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", PROGRAM],
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(processes)
    ]  # fmt: skip
    printed = {process.communicate()[0] for process in started}
    assert all(process.returncode == 0 for process in started)
    return printed


def test_processes_share_a_folder_that_is_empty_or_damaged(tmp_path: Path) -> None:
    (expected,) = results(tmp_path, 4)
    files = sorted(tmp_path.rglob("*.kernel"))
    assert files and not list(tmp_path.rglob("*.partial"))
    for number, path in enumerate(files):
        content = bytearray(path.read_bytes())
        content[DAMAGED_AT[number % len(DAMAGED_AT)]] ^= 0xFF
        path.write_bytes(bytes(content))
    damaged = {path: path.read_bytes() for path in files}
    assert results(tmp_path, 2) == {expected}
    assert all(path.read_bytes() != damaged[path] for path in files)
    assert results(tmp_path, 1) == {expected}
