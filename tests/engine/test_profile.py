"""What `gradlet.profile()` notes is what ran."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from gradlet import Tensor, jit, profile
from gradlet.engine.realize import clear_programs
from gradlet.runtime import observe
from gradlet.runtime.device import get_device


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32), device="cpu", requires_grad=False)


def test_counts_what_ran() -> None:
    a, b = ones(256, 256), ones(256, 256)
    clear_programs()
    with profile() as first:
        (a @ b).realize()
    with profile() as second:
        for _ in range(3):
            (a @ b).realize()
            (a + 1).realize()
    assert first.counters["programs run"] == first.counters["programs compiled"] == 1
    assert second.counters["programs run"] == 6
    assert second.counters["programs from memory"] >= 4
    product = next(k for k in second.kernels if "contraction" in k.name)
    assert product.calls == 3
    assert product.operations == 3 * 2 * 256**3
    assert product.read == 3 * 2 * 256 * 256 * 4 and product.written == 3 * 256 * 256 * 4
    assert 0 < product.seconds < second.seconds
    assert 0 < product.busy <= product.seconds * get_device("cpu").target.threads  # type: ignore
    assert second.counters["peak bytes"] >= 3 * 256 * 256 * 4


def test_recorded_steps_are_seen() -> None:
    add = jit(lambda x: (x * 2 + 1).sum())
    add(ones(1000)), add(ones(1000))
    with profile() as seen:
        for _ in range(4):
            add(ones(1000))
    assert seen.counters["programs run"] == 4
    assert [k.calls for k in seen.kernels] == [4]


def test_rows_are_known_by_their_kernels() -> None:
    a = ones(300, 300)
    with profile() as seen:
        ((a @ a).softmax(-1) @ a).realize()
    (program,) = seen._programs
    kernels = seen._rows()
    launches = {launch.address: program.definitions[launch.kernel] for launch in program.launches}
    rows = {int(args): int(address) for address, args, _, _ in program.table.rows}
    assert len(kernels) == len(program.launches) > 1
    for args, (kernel, _) in kernels.items():
        assert launches[rows[args]] is kernel


def test_table_names_kernels_and_adds_up() -> None:
    with profile() as seen:
        (ones(64, 300).softmax(-1) @ ones(300, 32)).realize()
    lines = str(seen).splitlines()
    assert any("float32[64, 32]" in line for line in lines)
    assert "between kernels" in str(seen)
    shares = [float(cell[:-1]) for line in lines[1:] for cell in line.split()[1:2] if "%" in cell]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_a_short_table_sums_up_the_rest() -> None:
    with profile() as seen:
        for n in range(1, 6):
            (ones(n, 5) + n).realize()
    assert len(seen.kernels) == 5
    assert "3 more kernels" in seen.table(most=2)


def test_trace_has_every_chunk_on_its_thread(tmp_path: Path) -> None:
    a = ones(1024, 1024)
    (a @ a).realize()
    with profile() as seen:
        (a @ a).realize()
    seen.save(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    chunks = [e for e in spans if "contraction" in e["name"]]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {e["tid"] for e in spans} <= names.keys()
    assert sum(e["dur"] for e in chunks) == pytest.approx(seen.kernels[0].busy * 1e6, rel=1e-6)
    assert all(0 <= e["ts"] <= seen.seconds * 1e6 for e in spans)
    (program,) = [e for e in spans if e["name"] == "program"]
    slack = 1.0  # microseconds: the clock is read in two places
    for chunk in chunks:
        assert program["ts"] - slack <= chunk["ts"]
        assert chunk["ts"] + chunk["dur"] <= program["ts"] + program["dur"] + slack


def test_nothing_is_noted_outside() -> None:
    x = ones(10)
    with profile() as seen:
        (x + 1).realize()
    before = dict(seen.counters)
    (x + 2).realize()
    assert dict(seen.counters) == before
    assert observe.recorder is None


def test_only_one_at_a_time_and_it_ends_with_an_error() -> None:
    with profile(), pytest.raises(RuntimeError, match="another profile"), profile():
        pass
    with pytest.raises(ValueError, match="stop"), profile():
        raise ValueError("stop")
    assert observe.recorder is None
    with profile() as seen:
        pass
    assert "between kernels" in str(seen)


def test_programs_of_several_threads() -> None:
    def work() -> None:
        for _ in range(20):
            a = ones(128, 128)
            (a @ a).realize()

    work()

    with profile() as seen:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen.counters["programs run"] == 60
    assert sum(k.calls for k in seen.kernels) == 60
    assert "chunks not noted" not in seen.counters
