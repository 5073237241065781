"""Who takes part, and in what environment each runs."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contestant:
    """One way to run the workloads.

    Attributes:
        package: what must be installed, and what the modules of its workloads begin with.
        caches: environment variables that name its folder of compiled code, below ours.
        settings: further environment variables.
        compiled: passed on to its workloads.
    """

    package: str
    caches: dict[str, str]
    settings: dict[str, str]
    compiled: bool = False


CONTESTANTS = {
    "gradlet": Contestant(
        "gradlet",
        caches={"GRADLET_CACHE": "."},
        settings={},
    ),
    "gradlet.jit": Contestant(
        "gradlet",
        caches={"GRADLET_CACHE": "."},
        settings={},
        compiled=True,
    ),
    "torch": Contestant(
        "torch",
        caches={},
        settings={},
    ),
    "torch.compile": Contestant(
        "torch",
        caches={"TORCHINDUCTOR_CACHE_DIR": "."},
        settings={"TORCHINDUCTOR_FX_GRAPH_CACHE": "1"},
        compiled=True,
    ),
    "jax": Contestant(
        "jax",
        caches={"JAX_COMPILATION_CACHE_DIR": "."},
        settings={
            "JAX_PLATFORMS": "cpu",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    ),
    "tinygrad": Contestant(
        "tinygrad",
        caches={"CACHEDB": "cache.db"},
        settings={"DEV": "CPU"},
    ),
}

# Single kernels are run through `jit` wherever there is one, and so only once by gradlet.
OF_KERNELS = [name for name in CONTESTANTS if name != "gradlet.jit"]

# The first two choose a BLAS kernel for one machine or another, and would change what peers are
# worth. The last has Python compile each file of a checkout in every process, which is no part of
# importing a package: installed ones are compiled once, by pip.
UNWANTED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")


def installed(name: str) -> bool:
    """Whether a contestant's package can be imported here."""
    return importlib.util.find_spec(CONTESTANTS[name].package) is not None


def environment(name: str, cache: Path, threads: int) -> dict[str, str]:
    """The environment for one process of a contestant, with its compiled code under `cache`."""
    contestant = CONTESTANTS[name]
    kept = {key: value for key, value in os.environ.items() if key not in UNWANTED}
    counts = ("GRADLET_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CPU_COUNT")
    return {
        **kept,
        **dict.fromkeys(counts, str(threads)),
        **contestant.settings,
        **{key: str(cache / inner) for key, inner in contestant.caches.items()},
    }
