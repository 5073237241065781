"""Describes the processor that this program runs on."""

from __future__ import annotations

import functools
import math
import os
import sys
from pathlib import Path

from gradlet.base.target import Target

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
QUOTA = Path("/sys/fs/cgroup/cpu.max")

# Where the system does not say. Apple's cores have larger caches than the usual ones.
DEFAULT_L1_BYTES = 64 << 10 if sys.platform == "darwin" else 32 << 10
DEFAULT_L2_BYTES = 4 << 20 if sys.platform == "darwin" else 1 << 20


@functools.cache
def host_target(threads: int | None = None) -> Target:
    """The processor underneath, with `threads` threads or one for each core we may use."""
    # LLVM is imported here, not above: it takes longer to load than the rest of gradlet.
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    vector_bytes, vector_registers = _vectors(features)
    return Target(
        name="cpu",
        cpu=llvm.get_host_cpu_name(),
        features=features.flatten(),
        vector_bytes=vector_bytes,
        vector_registers=vector_registers,
        l1_bytes=_cache_bytes(level=1) or DEFAULT_L1_BYTES,
        l2_bytes=_cache_bytes(level=2) or DEFAULT_L2_BYTES,
        threads=threads or usable_cores(),
    )


def _vectors(features: dict[str, bool]) -> tuple[int, int]:
    """Bytes in a vector register, and how many such registers there are."""
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx2"):
        return 32, 16
    if features.get("neon"):
        return 16, 32
    return 16, 16


def usable_cores() -> int:
    """How many cores this process may keep busy, by its affinity and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota_cores(QUOTA)))


def _quota_cores(file: Path) -> int:
    """Cores' worth of time that a Linux container is given, or a large number if unlimited."""
    try:
        quota, period = file.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return 1 << 16


def _cache_bytes(level: int, folder: Path = CACHES) -> int:
    """Size of the data cache at `level` as Linux reports it, or 0 where it does not."""
    try:
        for index in sorted(folder.glob("index*")):
            found = int((index / "level").read_text())
            kind = (index / "type").read_text().strip()
            if found == level and kind in ("Data", "Unified"):
                return _parse_size((index / "size").read_text().strip())
    except (OSError, ValueError):
        pass
    return 0


def _parse_size(text: str) -> int:
    """Bytes in a size that Linux prints, such as `32K` or `1M`."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    if text[-1:] in units:
        return int(text[:-1]) * units[text[-1]]
    return int(text)
