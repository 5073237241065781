"""Ten thousand steps take no more memory than the first two thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.process import ROOT

MEMORY = Path("/proc/self/statm")  # its second number is how many pages are in memory
STEPS = 10_000

# Trains for a while, then prints by how many bytes and Python objects the rest makes memory grow.
PROGRAM = """
import gc, os, sys
from bench.workloads import gradlet_steps
from bench.workloads.problem import problem

task, compiled, steps = problem("xor"), sys.argv[1] == "jit", int(sys.argv[2])

def held():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), sys.getallocatedblocks()

step = gradlet_steps.build(task, compiled)
for _ in range(steps // 5):
    step()
held()
before = held()
for _ in range(steps - steps // 5):
    step()
after = held()
print(after[0] - before[0], after[1] - before[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not MEMORY.exists(), reason="this system does not tell how much memory is used")
@pytest.mark.parametrize("how", ["jit", "plain"])
def test_memory_does_not_grow(how: str) -> None:
    command = [sys.executable, "-c", PROGRAM, how, str(STEPS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown, objects = map(int, done.stdout.split())
    assert objects < STEPS // 100
    assert grown < STEPS * 32  # less than the smallest allocation a step
