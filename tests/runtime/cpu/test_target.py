"""The description of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from gradlet.runtime.cpu import target
from gradlet.runtime.cpu.cache import cache_key
from gradlet.runtime.cpu.device import CpuDevice
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


FEATURES = {"sse2": True, "avx": True, "fma": True, "avx2": True, "avx512f": True, "bmi": True}


@pytest.mark.parametrize(
    ("name", "left", "vectors"),
    [
        ("native", FEATURES, (64, 32)),
        ("avx512", FEATURES, (64, 32)),
        ("avx2", {"sse2", "avx", "fma", "avx2", "bmi"}, (32, 16)),
        ("sse2", {"sse2", "bmi"}, (16, 16)),
    ],
)
def test_instruction_sets(name: str, left: Collection[str], vectors: tuple[int, int]) -> None:
    features = target.limited(FEATURES, name)
    assert features.keys() == FEATURES.keys()
    assert {feature for feature, on in features.items() if on} == set(left)
    assert target._vectors(features) == vectors


def test_only_avx512_multiplies_by_powers_of_two_at_once() -> None:
    if "+sse2" not in host_target().features:
        pytest.skip("about x86 processors")
    assert not host_target(1, "sse2").scales
    assert not host_target().scales or "+avx512dq" in host_target().features


@pytest.mark.parametrize("name", ["avx512", "avx9", ""])
def test_an_instruction_set_that_is_not_here(name: str) -> None:
    with pytest.raises(ValueError, match=r"GRADLET_TARGET=.*There is: native, avx2, sse2\."):
        target.limited({"sse2": True, "avx2": True, "avx512f": False}, name)


def test_the_setting_limits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    if "+avx2" not in host_target().features:
        pytest.skip("about processors with AVX2")
    monkeypatch.setenv("GRADLET_TARGET", "avx2")
    device = CpuDevice()
    assert device.target.vector_bytes == 32 and device.target.vector_registers == 16
    assert "+avx512" not in device.target.features and "+avx2" in device.target.features
    source = "define i64 @seven() { ret i64 7 }"
    monkeypatch.delenv("GRADLET_TARGET")
    here = CpuDevice().target
    if here != device.target:
        assert cache_key(source, device.target) != cache_key(source, here)


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
