"""Layers whose arguments tinygrad has in another order or with other defaults, and two of its own.

All others are gradlet's.
"""

from __future__ import annotations

from typing import Any

from gradlet import nn
from gradlet.tensor.tensor import Tensor

__all__ = [
    "BatchNorm", "BatchNorm2d", "BatchNorm3d", "ConvTranspose1d", "ConvTranspose2d",
    "InstanceNorm", "LayerNorm2d", "RMSNorm",
]  # fmt: skip


class BatchNorm(nn.BatchNorm):
    """Batch normalisation over any number of axes of space."""

    def __init__(
        self, sz: int, eps: float = 1e-5, affine: bool = True, track_running_stats: bool = True,
        momentum: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(sz, eps, momentum, affine, track_running_stats)


BatchNorm2d = BatchNorm3d = BatchNorm


class _Transposed:
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True,
    ) -> None:  # fmt: skip
        sizes = (in_channels, out_channels, kernel_size, stride, padding, output_padding)
        super().__init__(*sizes, groups, bias, dilation)  # type: ignore[call-arg]


class ConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """The transpose of a convolution along one axis."""


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """The transpose of a convolution over two axes."""


class InstanceNorm(nn.GroupNorm):
    """Normalisation of each channel of each image by itself."""

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, num_features, eps, affine)


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (N, C, H, W)."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RMSNorm(nn.RMSNorm):
    """Division by the root of the mean of squares along the last axis."""

    def __init__(self, dim: int, eps: float = 1e-6, elementwise_affine: bool = True) -> None:
        super().__init__(dim, eps, elementwise_affine)
