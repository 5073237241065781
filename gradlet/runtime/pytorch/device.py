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
        self.lacks: tuple[DType, ...] = (dtypes.float64,) if self.place.type == "mps" else ()

    def from_numpy(self, array: np.ndarray) -> torch.Tensor:
        """A copy of `array`."""
        return self.adopt(self._tensor(array.copy()))

    def to_numpy(self, memory: torch.Tensor, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of `memory`."""
        return np.array(to_array(memory, dtype))

    def share(self, array: np.ndarray) -> torch.Tensor:
        """A tensor in the memory of `array`."""
        self._require_cpu()
        return self._tensor(array)

    def view(self, memory: torch.Tensor, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """An array in the memory of a tensor."""
        self._require_cpu()
        return to_array(memory, dtype)

    def adopt(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor from any device of PyTorch, on this one: itself if it is here already.

        Nothing waits for a copy to a card, which is done before what is computed with it there.
        """
        return tensor.to(self.place, non_blocking=self.place.type in ("cuda", "xpu"))

    def compile(self, sinks: Sequence[Node], params: Sequence[Node]) -> TorchProgram:
        """A program that computes `sinks` from tensors for `params`."""
        return TorchProgram(sinks, params, self.place)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return from_array(array, dtypes.from_numpy(array.dtype))

    def _require_cpu(self) -> None:
        if self.place.type != "cpu":
            raise ValueError(f"{self.name} has memory of its own")


def _find(place: str) -> torch.device:
    """PyTorch's device of that name, with its number where there may be several."""
    cards = {"cuda": torch.cuda, "xpu": torch.xpu}
    here = ["cpu", *(f"{kind}:{i}" for kind, m in cards.items() for i in range(m.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    full = place if place in here else f"{place}:0"
    if full not in here:
        raise ValueError(
            f"unknown device 'torch:{place}': PyTorch {torch.__version__} finds "
            f"{', '.join(f'torch:{name}' for name in here)} here. Choose one of them with "
            "device=, .to() or GRADLET_DEVICE. For other hardware PyTorch is installed in another "
            "form: see pytorch.org/get-started"
        )
    return torch.device(full)
