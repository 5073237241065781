"""The benchmark's own arithmetic, its table, and one real run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import contestants, process, steps, table
from bench.workloads.problem import NAMES, problem


def report(step_ms: float | None, losses: tuple[float, ...] = (1.0, 0.5)) -> dict[str, Any]:
    return {"step_ms": step_ms, "first_s": 1.0, "import_s": 0.1, "peak_mib": 9.0, "losses": losses}


def record(*step_ms: float) -> steps.Record:
    return steps.Record([report(t) for t in step_ms], [report(None) for _ in step_ms])


def test_ratios_are_taken_within_rounds() -> None:
    # The machine was three times slower in the second round; the ratio is 2 in every round.
    rows = steps.summary({"gradlet": record(1.0, 3.0, 1.0), "jax": record(2.0, 6.0, 2.0)})
    assert rows["gradlet"]["ratio"] == 1.0
    assert rows["jax"]["ratio"] == 2.0
    assert rows["jax"]["step_ms"] == 2.0


def test_no_ratio_without_gradlet() -> None:
    assert steps.summary({"jax": record(2.0)})["jax"]["ratio"] is None


def test_other_losses_are_a_problem() -> None:
    other = steps.Record([report(1.0, (1.0, 0.7))], [report(None)])
    records = {"gradlet": record(1.0), "torch": record(1.0), "jax": other}
    steps.mark_different(records)
    assert not records["torch"].problem
    assert "computes something else" in records["jax"].problem
    assert "problem" in steps.summary(records)["jax"]


def test_losses_that_are_not_numbers_are_a_problem() -> None:
    records = {"gradlet": record(1.0), "jax": record(1.0)}
    records["jax"].cold[0]["losses"] = (1.0, float("nan"))
    steps.mark_different(records)
    assert records["jax"].problem


def test_table_lines_up() -> None:
    lines = table.render("mlp", steps.summary({"gradlet": record(1234.5678)})).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "1234.568" in lines[2]


def test_peers_choose_their_own_blas_kernels_and_bytecode_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PATH_KEPT", "yes")
    made = contestants.environment("gradlet", Path("cache"), threads=3)
    assert "OPENBLAS_CORETYPE" not in made and "PYTHONDONTWRITEBYTECODE" not in made
    assert made["PATH_KEPT"] == "yes"
    assert made["GRADLET_THREADS"] == "3"
    assert made["GRADLET_CACHE"] == "cache"


@pytest.mark.parametrize("name", NAMES)
def test_problems_are_the_same_every_time(name: str) -> None:
    first, second = problem(name), problem(name)
    for layer, again in zip(first.weights, second.weights, strict=True):
        for a, b in zip(layer, again, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first.inputs, second.inputs)
    assert not first.optimizer or first.targets.shape[0] % first.inputs.shape[0] == 0


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    settings = steps.Settings(rounds=1, warmup=0, steps=1, threads=1)
    with pytest.raises(process.ChildError, match="no-such-workload"):
        steps.run_child("gradlet", "no-such-workload", tmp_path, settings, 1)


def test_gradlet_and_pytorch_compute_the_same(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    command = [sys.executable, "-m", "bench", "steps", "xor", "--with", "gradlet", "torch"]
    command += ["--rounds", "1", "--steps", "2", "--warmup", "0", "--json", str(target)]
    done = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(target.read_text())["xor"]
    for name in ("gradlet", "torch"):
        assert measured[name]["problem"] == ""
        assert measured[name]["cold"][0]["step_ms"] > 0
        assert f"| {name}" in done.stdout
