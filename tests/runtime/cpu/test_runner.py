"""The native part: its text for other machines, and how long a helper waits."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from gradlet.runtime.cpu.compiler import LoadedObject, assembly
from gradlet.runtime.cpu.runner import (
    DONE_WORD,
    RUNNING_WORD,
    aligned_state,
    native,
    runner_ir,
    spins_in,
)
from gradlet.runtime.cpu.target import host_target
from gradlet.runtime.cpu.workers import LaunchTable


def test_a_helper_without_work_returns() -> None:
    loop = native(None)
    assert native(None) is loop
    spins = spins_in(0.001, loop)
    state = aligned_state()
    begin = time.perf_counter()
    assert loop.help(state.ctypes.data, spins, 1) == 0
    assert time.perf_counter() - begin < 1.0


def test_a_late_helper_finds_nothing(kernels: LoadedObject) -> None:
    state = aligned_state()
    counts = np.zeros(10, np.int64)
    table = LaunchTable([(kernels.address["add"], [counts.ctypes.data] * 3, 10, 3)])
    loop = native(None)
    loop.run_table(state.ctypes.data, table.address, table.count, 1)
    assert (counts == 1).all()
    assert state[RUNNING_WORD] == 0
    assert state[DONE_WORD] == 0
    assert state[0] <= 0
    assert loop.help(state.ctypes.data, 1, 1) == 0
    assert (counts == 1).all()


def test_state_begins_a_cache_line() -> None:
    for _ in range(20):
        assert aligned_state().ctypes.data % 128 == 0


@pytest.mark.skipif("sse2" not in host_target().features, reason="about x86 instructions")
def test_waiting_pauses() -> None:
    assert "pause" in assembly(runner_ir(host_target()), host_target())


@pytest.mark.parametrize(
    ("features", "expected"), [("+sse2", "x86.sse2.pause"), ("+neon", "aarch64.isb"), ("", "fence")]
)
def test_each_processor_waits_its_own_way(features: str, expected: str) -> None:
    assert expected in runner_ir(replace(host_target(), features=features))
