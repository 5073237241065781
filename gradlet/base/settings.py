"""Every environment variable that gradlet reads, in one table.

| variable                | meaning                                                | default       |
|-------------------------|--------------------------------------------------------|---------------|
| `GRADLET_DEVICE`        | device of new tensors, such as `cpu` or `cuda:0`       | `cpu`         |
| `TESOR_SET_DEVICE`, `TENSOR_SET_DEVICE` | the same, as older documents spell it  | unset         |
| `GRADLET_THREADS`       | threads that run kernels on the CPU                    | all cores     |
| `GRADLET_TARGET`        | what kernels may use: `avx512`, `avx2`, `sse2`         | all there is  |
| `GRADLET_SEARCH`        | `1` times several tiles for each contraction, once     | `0`           |
| `GRADLET_TORCH_COMPILE` | `1` has `torch.compile` work on what its devices repeat | `0`          |
| `GRADLET_CACHE`         | folder of compiled kernels and data sets               | user's cache  |
| `GRADLET_VERIFY`        | `1` checks each stage's output, `0` does not           | `0`           |
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_chosen: str | None = None  # the device that a program has chosen meanwhile


def device_name() -> str:
    """The device that new tensors get, as the user wrote it."""
    if _chosen is not None:
        return _chosen
    for key in ("GRADLET_DEVICE", "TESOR_SET_DEVICE", "TENSOR_SET_DEVICE"):
        if name := os.environ.get(key):
            return name
    return "cpu"


def choose_device(name: str | None) -> None:
    """Has new tensors get another device, whatever the environment says; None takes it back."""
    global _chosen
    _chosen = name


def variable(key: str) -> str | None:
    """A variable that is not gradlet's, for a script that asks for it as tinygrad would."""
    return os.environ.get(key)


def threads() -> int | None:
    """How many threads run kernels, or None for one per core."""
    text = os.environ.get("GRADLET_THREADS")
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"GRADLET_THREADS must be a whole number of at least 1, not {text!r}")
    return int(text)


def instruction_set() -> str:
    """The vector instructions that kernels are held to, or `native` for all there are."""
    return os.environ.get("GRADLET_TARGET") or "native"


def search() -> bool:
    """Whether contractions try several tiles, whose best is remembered on disk."""
    return os.environ.get("GRADLET_SEARCH", "0") != "0"


def torch_compile() -> bool:
    """Whether programs that run again and again on PyTorch's devices go through `torch.compile`."""
    return os.environ.get("GRADLET_TORCH_COMPILE", "0") != "0"


def cache_folder() -> Path:
    """Where compiled kernels and downloaded data live. Nothing is created here."""
    if folder := os.environ.get("GRADLET_CACHE"):
        return Path(folder).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gradlet"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "gradlet"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradlet"


def kernel_folder() -> Path:
    """Where compiled kernels are kept."""
    return cache_folder() / "kernels"


def verify() -> bool:
    """Whether each stage's output is checked by its verifier."""
    return os.environ.get("GRADLET_VERIFY", "0") != "0"
