"""Programs that a process before this one has compiled: found whole, or compiled again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlet
from gradlet import Tensor
from gradlet.engine import native, realize, stored
from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.device import get_device
from tests.graphs import graph, leaf
from tests.helpers import floats
from tests.test_architecture import RANKS


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CpuDevice:
    """The device with an empty folder, in a process that has compiled nothing yet."""
    found = get_device("cpu")
    assert isinstance(found, CpuDevice)
    monkeypatch.setattr(found, "cache", ObjectCache(tmp_path))
    monkeypatch.setenv("GRADLET_VERIFY", "0")
    begin_anew()
    return found


def begin_anew() -> None:
    realize.clear_programs()
    native._kernels.clear()


def step() -> list[float]:
    """Something of several kernels, with a gradient."""
    x, w = Tensor(floats(20, 30)), Tensor(floats(30, 8, seed=1))
    loss = (x @ w).softmax(1).log().cumsum(0).mean().backward()
    assert w.grad is not None
    return [loss.item(), *w.grad.flatten().tolist()]


def refuse(*_: Any) -> None:
    raise AssertionError("not to be done again")


def test_a_program_is_found_without_scheduling(
    device: CpuDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = step()
    begin_anew()
    with monkeypatch.context() as patched:
        patched.setattr(native, "schedule", refuse)
        patched.setattr(native, "linear_program", refuse)
        assert step() == expected
    begin_anew()
    with gradlet.profile() as p:
        assert step() == expected
    assert p.counters["programs from disk"] >= 1
    assert p.counters["kernels compiled"] == 0


def test_a_found_program_loads_none_of_the_stages(tmp_path: Path) -> None:
    program = (
        "import sys, gradlet\n"
        "x = gradlet.Tensor([1.0, 2.0])\n"
        "print((x * x).sum().backward().item(), x.grad.tolist())\n"
        "print([m for m in sys.modules if m.startswith(('gradlet.schedule', 'gradlet.lower'))])\n"
    )
    environment = {**os.environ, "GRADLET_CACHE": str(tmp_path), "GRADLET_VERIFY": "0"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment, check=True, capture_output=True, text=True,
        ).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    assert runs[0][0] == runs[1][0] == "5.0 [2.0, 4.0]"
    assert runs[0][1] != "[]" and runs[1][1] == "[]"


def test_the_name_covers_the_text_of_every_stage_up_to_the_engine() -> None:
    stages = {folder for folder, rank in RANKS.items() if rank <= RANKS["engine"]}
    assert set(stored._STAGES) == stages


def test_what_a_found_program_says_of_itself(device: CpuDevice) -> None:
    def look() -> tuple[str, list[str]]:
        table = Tensor(floats(4, 3), requires_grad=False)
        with gradlet.profile() as p:
            (table.softmax(1) @ table.T).realize()
        with pytest.raises(IndexError) as raised:
            table[Tensor([7])].numpy()
        return str(raised.value), sorted(row.name for row in p.kernels)

    first = look()
    begin_anew()
    assert look() == first


@pytest.mark.parametrize("which", ["program", "code"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "foreign"])
def test_damage_is_compiled_again(device: CpuDevice, tmp_path: Path, which: str, harm: str) -> None:
    expected = step()
    paths = [
        path
        for path in tmp_path.glob("*.kernel")
        if (b'"sinks"' in path.read_bytes()) is (which == "program")
    ]
    assert paths
    for path in paths:
        content = path.read_bytes()
        if harm == "gone":
            path.unlink()
        elif harm == "foreign":
            path.write_bytes(b"{}")
        else:
            middle = len(content) // 2
            end = b"" if harm == "cut" else bytes([content[middle] ^ 1]) + content[middle + 1 :]
            path.write_bytes(content[:middle] + end)
    begin_anew()
    assert step() == expected
    begin_anew()
    with gradlet.profile() as p:
        assert step() == expected
    assert p.counters["programs from disk"] >= 1


def test_the_name_tells_graphs_apart(device: CpuDevice) -> None:
    makers: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * 2 + b,
        lambda a, b: a * 3 + b,
        lambda a, b: a[1:] + b[1:],
        lambda a, b: a[:2] + b[:2],
        lambda a, b: a.T + b.T,
        lambda a, b: a.sum(0) + b[0],
        lambda a, b: a.max(0) + b[0],
        lambda a, b: a.long() + b,
        lambda a, b: a.softmax(0) + b,
    ]
    x, y, doubles = leaf(3, 4), leaf(3, 4), leaf(3, 4, dtype=np.float64)
    names = [stored.name(device, *graph(make(x, y))) for make in makers]
    names.append(stored.name(device, *graph(x + doubles)))
    assert None not in names and len(set(names)) == len(names)
    assert stored.name(device, *graph(y + x)) == names[0]
    assert stored.name(device, *graph(x + y), [(0, 0)]) not in names


def test_a_program_from_disk_changes_arrays_where_they_stand(device: CpuDevice) -> None:
    def run() -> tuple[list[float], int]:
        w = Tensor(floats(64, 64), device="cpu", requires_grad=False)
        total = Tensor(0.0, device="cpu", requires_grad=False)

        @gradlet.jit
        def step() -> Tensor:
            w.assign(w * 2 + total)
            total.assign(total + 1)
            return w.sum()

        places = set()
        sums = []
        for _ in range(5):
            sums.append(step().item())
            places.add(w.node.arg.memory.address)
        return sums, len(places)

    expected = run()
    begin_anew()
    with gradlet.profile() as p:
        assert run() == expected
    assert p.counters["programs from disk"] > 0 and expected[1] == 1


def test_the_name_changes_with_the_target_a_search_and_gradlet(
    device: CpuDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = graph(leaf(3, 4) * 2)
    names = [stored.name(device, *parts)]
    device.cache.put(stored.LATEST, b"1")
    names.append(stored.name(device, *parts))
    monkeypatch.setattr(stored, "_own_text", lambda: "another version")
    names.append(stored.name(device, *parts))
    monkeypatch.setattr(device, "target", replace(device.target, l2_bytes=12345))
    names.append(stored.name(device, *parts))
    assert len(set(names)) == 4


def test_programs_that_call_libraries_are_compiled_each_time(device: CpuDevice) -> None:
    for _ in range(2):
        begin_anew()
        with gradlet.profile() as p:
            assert np.array_equal(Tensor([3.0, 1.0, 2.0]).sort()[0].numpy(), [1, 2, 3])
        assert p.counters.get("programs from disk", 0) == 0
