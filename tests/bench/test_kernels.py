"""The comparison of kernels: counts, results at small sizes, arithmetic, table and one real run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import kernels, table
from bench.child import framework_of
from bench.process import ROOT
from bench.workloads import gradlet_kernels
from bench.workloads.kernel import KERNELS, Kernel, arrays
from gradlet import Tensor
from gradlet.ir.node import topological
from gradlet.runtime.cpu.limits import Roofline

MACHINE = Roofline(flops=1e9, read=1e9, write=1e9, copy=1e9)


def small(kernel: Kernel, limit: int = 6) -> Kernel:
    """The same kernel with no extent above `limit`."""

    def cut(shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(min(extent, limit) for extent in shape) for shape in shapes)

    return replace(
        kernel,
        inputs=cut(kernel.inputs),
        outputs=cut(kernel.outputs),
        vocabulary=min(kernel.vocabulary, limit),
    )


def results(name: str, kernel: Kernel) -> list[list[np.ndarray]]:
    """What a framework computes for each version of the first input."""
    framework = framework_of(name, "kernels")
    even, odd, *rest = map(framework.put, arrays(kernel))
    run = framework.build(kernel, False)
    return [[a.copy() for a in framework.get(run(first, *rest))] for first in (even, odd, even)]


def record(*ms: float) -> kernels.Record:
    return kernels.Record(list(ms))


@pytest.mark.parametrize("name", KERNELS)
def test_gradlet_computes_what_pytorch_computes(name: str) -> None:
    if name == "cumsum" and not hasattr(Tensor, "cumsum"):
        pytest.skip("gradlet has no cumsum")
    kernel = small(KERNELS[name])
    ours, theirs = results("gradlet", kernel), results("torch", kernel)
    for found, expected in zip(ours, theirs, strict=True):
        assert kernels.difference(found, expected) == ""
        assert tuple(a.shape for a in found) == kernel.outputs
    # Equal results for both inputs would not show that both were computed.
    assert kernels.difference(ours[0], ours[1])


@pytest.mark.parametrize("name", ["gelu", "attention_grad", "conv3x3_dw"])
def test_gradlet_computes_every_node_in_every_call(name: str) -> None:
    kernel = small(KERNELS[name])
    first, _, *rest = map(gradlet_kernels.put, arrays(kernel))
    function = gradlet_kernels.graph(kernel)
    for _ in range(3):
        made = function(first, *rest)
        nodes = topological([tensor.node for tensor in made])
        assert all(node.realized is None for node in nodes)
        made[0].realize(*made[1:])
        assert made[0].node.realized is not None
        del made, nodes


def test_every_call_computes() -> None:
    kernel = small(KERNELS["gelu"])
    first, *_ = map(gradlet_kernels.put, arrays(kernel))
    run = gradlet_kernels.build(kernel, False)
    (a,), (b,) = run(first), run(first)
    assert a is not b and a.node is not b.node
    np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_counts() -> None:
    product = KERNELS["matmul_128"]
    assert product.flops == 2 * 128**3
    assert (product.read_bytes, product.written_bytes) == (2 * 4 * 128**2, 4 * 128**2)
    # Rows that no id names need not be read; an id has eight bytes.
    assert KERNELS["embedding"].read_bytes == 1024 * (8 + 4 * 768)
    assert KERNELS["embedding_grad"].read_bytes == 1024 * (8 + 4 * 768)
    assert KERNELS["embedding_grad"].written_bytes == 4 * 50257 * 768
    assert KERNELS["sum"].written_bytes == 4


def test_other_results_are_a_problem() -> None:
    right = [np.array([1.0, -100.0])]
    assert kernels.difference([np.array([1.005, -100.0])], right) == ""
    assert "off by 0.02" in kernels.difference([np.array([1.02, -100.0])], right)
    assert kernels.difference([np.array([np.nan, -100.0])], right)
    assert "shapes" in kernels.difference([np.array([1.0])], right)


def test_pytorch_is_the_reference(tmp_path: Path) -> None:
    files = {}
    for name, value in (("gradlet", 2.0), ("jax", 1.0), ("torch", 1.0)):
        files[name] = tmp_path / f"{name}.npz"
        np.savez(files[name], np.array([value]))
    records = {name: record(1.0) for name in files}
    kernels.mark_different(records, files)
    assert records["gradlet"].problem
    assert not records["jax"].problem


def test_rows() -> None:
    kernel = KERNELS["matmul_128"]
    limit = kernel.flops / 1e9
    records = {"gradlet": record(9, 1, 2), "torch": record(8), "jax": record(4), "none": record()}
    records["wrong"] = kernels.Record([0.1], "computes something else")
    row = kernels.summary(kernel, records, MACHINE)
    assert row.ms == {"gradlet": 2, "torch": 8, "jax": 4}
    assert (row.best_peer, row.ratio, row.unit) == ("jax", 2.0, "GFLOP/s")
    assert row.share("gradlet") == pytest.approx(1e3 * limit / 2)
    assert row.speed("gradlet") == pytest.approx(kernel.flops / 2e6)
    assert row.share("wrong") is None


def test_memory_may_be_the_limit() -> None:
    row = kernels.summary(KERNELS["gelu"], {"gradlet": record(1.0)}, replace(MACHINE, flops=1e12))
    assert row.unit == "GB/s"
    assert row.limit_ms == pytest.approx(8e3 * (1 << 24) / 1e9)
    assert row.ratio is None


def test_arithmetic_is_judged_by_the_best_of_the_run_and_memory_by_its_own_time() -> None:
    disturbed, other = replace(MACHINE, flops=1e10), replace(MACHINE, flops=1e11, read=9e9)
    found = {"matmul_2048": ({"gradlet": record(1.0)}, disturbed)}
    found |= {"sum": ({"gradlet": record(1.0)}, disturbed), "gelu": ({}, other)}
    product, total, _ = kernels.rows(found)
    assert product.limit_ms == pytest.approx(1e3 * KERNELS["matmul_2048"].flops / 1e11)
    assert total.limit_ms == pytest.approx(1e3 * (4 + 4 * (1 << 26)) / 1e9, rel=1e-6)


def test_the_mean_is_geometric() -> None:
    def row(ms: dict[str, float]) -> kernels.Row:
        return kernels.Row("k", ms, 1.0, 1, "GB/s")

    rows = [row({"gradlet": 1, "jax": 8}), row({"gradlet": 2, "jax": 1}), row({"jax": 1})]
    assert kernels.mean_ratio(rows) == pytest.approx(2.0)
    assert kernels.mean_ratio(rows[2:]) is None


def test_tables_line_up() -> None:
    rows = [
        kernels.summary(KERNELS["gelu"], {"gradlet": record(1.5), "jax": record(3.0)}, MACHINE),
        kernels.summary(KERNELS["matmul_128"], {"jax": record(30.0)}, MACHINE),
        kernels.summary(KERNELS["sum"], {"gradlet": record(), "jax": record()}, MACHINE),
    ]
    for text in (table.kernels(rows), table.contestants(rows, ["gradlet", "jax"])):
        lines = text.splitlines()
        assert len(lines) == 2 + len(rows)
        assert len({len(line) for line in lines}) == 1
    assert " 2.00 |" in table.kernels(rows)
    assert "1 to 2 GB/s read" in table.limits([MACHINE, replace(MACHINE, read=2e9)])


def test_frameworks_take_turns_and_slow_ones_only_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def run(module: str, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
        name = arguments[3]
        calls.append(name)
        if "--output" in arguments:
            np.savez(arguments[-1], np.ones(1))
        return {"ms": 2 * kernels.SLOW_MS if name == "tinygrad" else 1.0}

    rooflines = iter([replace(MACHINE, read=2e9), replace(MACHINE, copy=3e9)])
    monkeypatch.setattr(kernels, "run", run)
    monkeypatch.setattr(kernels, "measure_roofline", lambda threads, cache: next(rooflines))
    names = ["gradlet", "tinygrad", "jax"]
    records, machine = kernels.compare(KERNELS["gelu"], names, rounds=2, threads=1, caches=tmp_path)
    assert calls == ["gradlet", "tinygrad", "jax", "gradlet", "jax"]
    assert not any(found.problem for found in records.values())
    assert len(records["gradlet"].ms) == 2
    assert machine == replace(MACHINE, read=2e9, copy=3e9)


@pytest.mark.slow
def test_gradlet_beside_pytorch(tmp_path: Path) -> None:
    target, picture = tmp_path / "out.json", tmp_path / "out.svg"
    command = [sys.executable, "-m", "bench", "kernels", "matmul_128", "--with", "gradlet"]
    command += ["torch", "--rounds", "1", "--json", str(target), "--chart", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(target.read_text())["matmul_128"]
    assert measured["machine"]["flops"] > 1e9
    for name in ("gradlet", "torch"):
        assert measured[name]["problem"] == ""
        assert measured[name]["ms"][0] > 0
    assert "| matmul_128 |" in done.stdout
    assert "<svg" in picture.read_text()
