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

# Instruction sets by name: a feature that each needs, and how those beyond it begin.
INSTRUCTION_SETS = {
    "avx512": ("avx512f", ()),
    "avx2": ("avx2", ("avx512", "avx10")),
    "sse2": ("sse2", ("avx", "f16c", "fma", "vaes", "vpclmul", "xop")),
}


@functools.cache
def host_target(threads: int | None = None, instructions: str = "native") -> Target:
    """The processor underneath, with `threads` threads or one for each core we may use.

    Args:
        instructions: a key of `INSTRUCTION_SETS`, to be used as if there were none beyond it.

    Raises:
        ValueError: no such set, or none of this processor.
    """
    # LLVM is imported here, not above: it takes longer to load than the rest of gradlet.
    import llvmlite.binding as llvm

    features = limited(llvm.get_host_cpu_features(), instructions)
    vector_bytes, vector_registers = _vectors(features)
    return Target(
        name="cpu",
        cpu=llvm.get_host_cpu_name(),
        features=",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items())),
        vector_bytes=vector_bytes,
        vector_registers=vector_registers,
        l1_bytes=_cache_bytes(level=1) or DEFAULT_L1_BYTES,
        l2_bytes=_cache_bytes(level=2) or DEFAULT_L2_BYTES,
        threads=threads or usable_cores(),
        # VSCALEFPS, for which LLVM called a library function up to version 21.
        scales=features.get("avx512dq", False) and llvm.llvm_version_info >= (22,),
    )


def limited(features: dict[str, bool], instructions: str) -> dict[str, bool]:
    """The features with those beyond a set of instructions switched off."""
    if instructions == "native":
        return dict(features)
    here = [name for name, (needed, _) in INSTRUCTION_SETS.items() if features.get(needed)]
    if instructions not in here:
        raise ValueError(
            f"GRADLET_TARGET={instructions} is not to be had on this processor. "
            f"There is: {', '.join(['native', *here])}."
        )
    beyond = INSTRUCTION_SETS[instructions][1]
    return {name: on and not name.startswith(beyond) for name, on in features.items()}


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
