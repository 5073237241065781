"""The description of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gradlet.runtime.cpu import target
from gradlet.runtime.cpu.target import host_target


def test_host_is_described() -> None:
    host = host_target()
    assert host.name == "cpu"
    assert host.cpu
    assert host.vector_bytes in (16, 32, 64)
    assert host.vector_registers in (16, 32)
    assert 8 << 10 <= host.l1_bytes <= host.l2_bytes
    assert host.threads >= 1
    assert host.lanes(4) == host.vector_bytes // 4


def test_threads_are_the_callers_choice() -> None:
    assert host_target(3).threads == 3
    assert host_target(3) is host_target(3)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512f": True, "avx2": True}, (64, 32)),
        ({"avx512f": False, "avx2": True}, (32, 16)),
        ({"neon": True}, (16, 32)),
        ({"sse2": True}, (16, 16)),
    ],
)
def test_vectors(features: dict[str, bool], expected: tuple[int, int]) -> None:
    assert target._vectors(features) == expected


def test_cache_sizes_are_read(tmp_path: Path) -> None:
    for number, (level, kind, size) in enumerate(
        [("1", "Instruction", "64K"), ("1", "Data", "48K"), ("2", "Unified", "2M")]
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        (folder / "level").write_text(level + "\n")
        (folder / "type").write_text(kind + "\n")
        (folder / "size").write_text(size + "\n")
    assert target._cache_bytes(1, tmp_path) == 48 << 10
    assert target._cache_bytes(2, tmp_path) == 2 << 20
    assert target._cache_bytes(3, tmp_path) == 0
    assert target._cache_bytes(1, tmp_path / "absent") == 0


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 2), ("400000 100000", 4), ("max 100000", 1 << 16)]
)
def test_container_quota(tmp_path: Path, text: str, cores: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert target._quota_cores(file) == cores


def test_llvm_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys, gradlet.runtime.cpu.workers, gradlet.runtime.cpu.memory;"
        "assert not any(name.startswith('llvmlite') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
