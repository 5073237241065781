"""The loops that measure the machine, and the limits that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradlet.base.target import Target
from gradlet.runtime.cpu import limits, memory
from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.compiler import assembly, compile_object, load_object
from gradlet.runtime.cpu.limits import Roofline
from gradlet.runtime.cpu.target import host_target
from gradlet.runtime.cpu.workers import LaunchTable, Workers

BLOCKS = 8


def run(write: Callable[[Target], str], source: np.ndarray) -> np.ndarray:
    """What a loop leaves in its target, which held -1 before."""
    target = host_target(1)
    loaded = load_object(compile_object(write(target), target), ["loop"])
    given, taken = memory.from_numpy(source), memory.from_numpy(np.full_like(source, -1))
    table = LaunchTable([(loaded.address["loop"], (given.address, taken.address), BLOCKS, BLOCKS)])
    Workers(1).run(table)
    return taken.view(np.float32, source.shape).copy()


def numbers() -> np.ndarray:
    """As many as `BLOCKS` iterations look at."""
    count = BLOCKS * limits.VECTORS * host_target(1).lanes(4)
    return np.random.default_rng(0).random(count, np.float32)


@pytest.mark.parametrize("how", [limits.ORDINARY, limits.PAST_CACHES])
def test_copy_multiplies_every_element(how: str) -> None:
    source = numbers()
    lanes = host_target(1).lanes(4)
    found = run(lambda target: limits.copy_ir(target, how), source)
    factors = np.tile(source[:lanes], len(source) // lanes)
    np.testing.assert_allclose(found, source * factors + source, rtol=1e-6)


@pytest.mark.parametrize("how", [limits.ORDINARY, limits.PAST_CACHES])
def test_write_fills_everything(how: str) -> None:
    source = numbers()
    block = len(source) // BLOCKS
    found = run(lambda target: limits.write_ir(target, how), source)
    np.testing.assert_array_equal(found, np.tile(source[:block], BLOCKS))


def test_read_looks_at_every_element() -> None:
    source = numbers()
    block = len(source) // BLOCKS
    found = run(limits.read_ir, source)[:block]
    expected = source[:block] + (source.reshape(BLOCKS, block) ** 2).sum(0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_fma_multiplies_and_adds() -> None:
    source = numbers()
    target = host_target(1)
    size = target.lanes(4)
    a, b, *starts = source.reshape(-1, size)[: 2 + limits.accumulators(target)]
    found = run(limits.fma_ir, source).reshape(-1, size)
    for start, x in zip(starts, found, strict=False):
        for _ in range(BLOCKS):
            start = start * a + b
        np.testing.assert_allclose(x, start, rtol=1e-5)


def test_accumulators_stay_in_registers() -> None:
    target = replace(
        host_target(1),
        cpu="x86-64-v3",
        features="+avx2,+fma",
        vector_bytes=32,
        vector_registers=16,
    )
    if "+sse2" not in host_target(1).features:
        pytest.skip("x86 only")
    text = assembly(limits.fma_ir(target), target)
    assert text.count("vfmadd") == limits.accumulators(target) == 12
    assert "rsp" not in text


def test_limits() -> None:
    machine = Roofline(flops=100.0, read=10.0, write=5.0, copy=8.0)
    assert machine.seconds(200, 0, 0) == 2
    assert machine.seconds(200, 40, 0) == 4
    assert machine.seconds(0, 0, 40) == 8
    assert machine.seconds(0, 40, 40) == 10  # 80 bytes as a copy
    assert machine.seconds(0, 50, 40) == 11  # and 10 read besides


def test_the_best_of_each_figure_counts() -> None:
    assert Roofline(1, 2, 3, 4).best(Roofline(4, 3, 2, 1)) == Roofline(4, 3, 3, 4)


def test_a_small_measurement() -> None:
    machine = limits.measure(host_target(1), Workers(1), array_bytes=1 << 20, runs=2)
    assert all(figure > 1e8 for figure in vars(machine).values())


def test_limits_are_measured_once_for_a_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(target: Target, workers: Workers, array_bytes: int, runs: int) -> Roofline:
        measured.append(target)
        return Roofline(1e9, 2e9, 3e9, 4e9 + len(measured))

    monkeypatch.setattr(limits, "measure", measure)
    one, two = host_target(1), host_target(2)
    workers = Workers(1)
    for _ in range(2):
        for number, target in enumerate((one, two)):
            found = limits.measured_once(target, workers, ObjectCache(tmp_path))
            assert found == Roofline(1e9, 2e9, 3e9, 4e9 + 1 + number)
    assert measured == [one, two]
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    limits.measured_once(one, workers, ObjectCache(tmp_path))
    assert measured == [one, two, one]
