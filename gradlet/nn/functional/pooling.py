"""Pooling as functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlet.tensor.adaptive import OutputSize
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.windows import Extents

__all__ = [
    "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "lp_pool1d",
    "lp_pool2d", "lp_pool3d",
]  # fmt: skip

# The largest


def max_pool1d(
    x: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of (..., L), and where with `return_indices`."""
    return x.max_pool1d(kernel_size, stride, dilation, padding, ceil_mode, return_indices)


def max_pool2d(
    x: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of (..., H, W), and where with `return_indices`."""
    return x.max_pool2d(kernel_size, stride, dilation, padding, ceil_mode, return_indices)


def max_pool3d(
    x: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of (..., D, H, W), and where with `return_indices`."""
    return x.max_pool3d(kernel_size, stride, dilation, padding, ceil_mode, return_indices)


def max_unpool1d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """(..., L) with elements where `max_pool1d` found them, and else zeros."""
    return x.max_unpool1d(indices, kernel_size, stride, 1, padding, output_size)


def max_unpool2d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """(..., H, W) with elements where `max_pool2d` found them, and else zeros."""
    return x.max_unpool2d(indices, kernel_size, stride, 1, padding, output_size)


def max_unpool3d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """(..., D, H, W) with elements where `max_pool3d` found them, and else zeros."""
    return x.max_unpool3d(indices, kernel_size, stride, 1, padding, output_size)


def adaptive_max_pool1d(x: Tensor, output_size: OutputSize, return_indices: bool = False) -> Any:
    """The largest of as many parts of (..., L) as one asks for."""
    return x.adaptive_max_pool1d(output_size, return_indices)


def adaptive_max_pool2d(x: Tensor, output_size: OutputSize, return_indices: bool = False) -> Any:
    """The largest of as many parts of (..., H, W) as one asks for."""
    return x.adaptive_max_pool2d(output_size, return_indices)


def adaptive_max_pool3d(x: Tensor, output_size: OutputSize, return_indices: bool = False) -> Any:
    """The largest of as many parts of (..., D, H, W) as one asks for."""
    return x.adaptive_max_pool3d(output_size, return_indices)


# The mean


def avg_pool1d(
    x: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (..., L)."""
    return x.avg_pool1d(kernel_size, stride, 1, padding, count_include_pad, ceil_mode)


def avg_pool2d(
    x: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (..., H, W), or its sum over `divisor_override`."""
    how = (1, padding, count_include_pad, ceil_mode, divisor_override)
    return x.avg_pool2d(kernel_size, stride, *how)


def avg_pool3d(
    x: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (..., D, H, W), or its sum over `divisor_override`."""
    how = (1, padding, count_include_pad, ceil_mode, divisor_override)
    return x.avg_pool3d(kernel_size, stride, *how)


def adaptive_avg_pool1d(x: Tensor, output_size: OutputSize) -> Tensor:
    """The means of as many parts of (..., L) as one asks for."""
    return x.adaptive_avg_pool1d(output_size)


def adaptive_avg_pool2d(x: Tensor, output_size: OutputSize) -> Tensor:
    """The means of as many parts of (..., H, W) as one asks for."""
    return x.adaptive_avg_pool2d(output_size)


def adaptive_avg_pool3d(x: Tensor, output_size: OutputSize) -> Tensor:
    """The means of as many parts of (..., D, H, W) as one asks for."""
    return x.adaptive_avg_pool3d(output_size)


def lp_pool1d(
    x: Tensor,
    norm_type: float,
    kernel_size: Extents,
    stride: Extents | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., L)."""
    return x.lp_pool1d(norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    x: Tensor,
    norm_type: float,
    kernel_size: Extents,
    stride: Extents | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., H, W)."""
    return x.lp_pool2d(norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    x: Tensor,
    norm_type: float,
    kernel_size: Extents,
    stride: Extents | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., D, H, W)."""
    return x.lp_pool3d(norm_type, kernel_size, stride, ceil_mode)
