"""tinygrad's data sets: (x_train, y_train, x_test, y_test) as tensors of uint8."""

from __future__ import annotations

from gradlet.nn import data
from gradlet.tensor.tensor import Tensor

__all__ = ["cifar", "mnist"]

Split = tuple[Tensor, ...]


def mnist(device: str | None = None, fashion: bool = False) -> Split:
    """Handwritten digits, or clothes: images of shape (N, 1, 28, 28), and labels."""
    arrays = data.fashion_mnist() if fashion else data.mnist()
    return tuple(Tensor(array, device=device) for array in arrays)


def cifar(device: str | None = None) -> Split:
    """Photographs of shape (N, 3, 32, 32), and labels."""
    return tuple(Tensor(array, device=device) for array in data.cifar10())
