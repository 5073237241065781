"""The chart of kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import chart
from bench.contestants import OF_KERNELS
from bench.kernels import Row


def test_every_peer_has_a_mark_of_its_own() -> None:
    peers = set(OF_KERNELS) - {"gradlet"}
    assert set(chart.MARKS) == set(chart.COLOURS) == peers
    assert len(set(chart.MARKS.values())) == len(peers)


def test_kernels_and_names_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        Row("matmul_512", {"gradlet": 2.0, "torch": 1.5, "jax": 4.0}, 1.0, 1, "GFLOP/s"),
        Row("cumsum", {"torch": 2.0}, 1.0, 1, "GB/s"),
        Row("sum", {}, 1.0, 1, "GB/s"),
    ]
    for ending, first in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        file = tmp_path / f"chart{ending}"
        chart.draw(rows, ["gradlet", "torch", "jax"], file)
        assert file.read_bytes().startswith(first)
    text = (tmp_path / "chart.svg").read_text()
    for label in ("matmul 512", "cumsum", "torch"):
        assert f"<!-- {label} -->" in text
