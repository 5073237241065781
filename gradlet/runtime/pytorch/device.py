"""PyTorch's devices as devices of ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir.node import Node
from gradlet.runtime.pytorch.arrays import from_array, to_array
from gradlet.runtime.pytorch.program import TorchProgram


class TorchDevice:
    """Runs programs op by op with PyTorch; its memory is `torch.Tensor`.

    Args:
        place: what PyTorch calls the device, such as `cpu` or `cuda:0`.

    Raises:
        ValueError: PyTorch has no such device here.
    """

    def __init__(self, place: str) -> None:
        self.place = _find(place)
        self.name = f"torch:{self.place}"

    def from_numpy(self, array: np.ndarray) -> torch.Tensor:
        """A copy of `array`."""
        return from_array(array.copy(), dtypes.from_numpy(array.dtype)).to(self.place)

    def to_numpy(self, memory: torch.Tensor, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of `memory`."""
        return np.array(to_array(memory, dtype))

    def compile(self, sinks: Sequence[Node], params: Sequence[Node]) -> TorchProgram:
        """A program that computes `sinks` from tensors for `params`."""
        return TorchProgram(sinks, params, self.place)


def _find(place: str) -> torch.device:
    """PyTorch's device of that name, with its number where there may be several."""
    here = ["cpu"]
    for kind in ("cuda", "xpu", "mps"):
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            here += (
                [f"{kind}:{i}" for i in range(module.device_count())] if kind != "mps" else [kind]
            )
    full = place if place in here else f"{place}:0"
    if full not in here:
        raise ValueError(
            f"unknown device 'torch:{place}': PyTorch {torch.__version__} finds "
            f"{', '.join(f'torch:{name}' for name in here)} here. For other hardware it is "
            "installed in another form: see pytorch.org/get-started"
        )
    return torch.device(full)
