"""Convolution, windows and resampling as functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.tensor.tensor import Tensor
from gradlet.tensor.windows import Extents

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "unfold", "fold", "interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "pad", "affine_grid", "grid_sample",
]  # fmt: skip

# Convolution


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents | str = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, Cin, L) with filters (Cout, Cin / groups, K)."""
    return x.conv1d(weight, bias, groups, stride, dilation, padding)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents | str = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images (N, Cin, H, W) with filters (Cout, Cin / groups, KH, KW)."""
    return x.conv2d(weight, bias, groups, stride, dilation, padding)


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents | str = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, Cin, D, H, W) with filters (Cout, Cin / groups, KD, KH, KW)."""
    return x.conv3d(weight, bias, groups, stride, dilation, padding)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents = 0,
    output_padding: Extents = 0,
    groups: int = 1,
    dilation: Extents = 1,
) -> Tensor:
    """The adjoint of `conv1d`: (N, Cin, L) with filters (Cin, Cout / groups, K)."""
    return x.conv_transpose1d(weight, bias, groups, stride, dilation, padding, output_padding)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents = 0,
    output_padding: Extents = 0,
    groups: int = 1,
    dilation: Extents = 1,
) -> Tensor:
    """The adjoint of `conv2d`: (N, Cin, H, W) with filters (Cin, Cout / groups, KH, KW)."""
    return x.conv_transpose2d(weight, bias, groups, stride, dilation, padding, output_padding)


def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents = 0,
    output_padding: Extents = 0,
    groups: int = 1,
    dilation: Extents = 1,
) -> Tensor:
    """The adjoint of `conv3d`: (N, Cin, D, H, W) with (Cin, Cout / groups, KD, KH, KW)."""
    return x.conv_transpose3d(weight, bias, groups, stride, dilation, padding, output_padding)


# Windows


def unfold(
    x: Tensor,
    kernel_size: Extents,
    dilation: Extents = 1,
    padding: Extents = 0,
    stride: Extents = 1,
) -> Tensor:
    """Each window of images (N, C, H, W) as a column: (N, C * KH * KW, number of windows)."""
    return x.im2col(kernel_size, dilation, padding, stride)


def fold(
    x: Tensor,
    output_size: Extents,
    kernel_size: Extents,
    dilation: Extents = 1,
    padding: Extents = 0,
    stride: Extents = 1,
) -> Tensor:
    """The sum of windows, each where `unfold` takes it from: images of `output_size`."""
    return x.col2im(output_size, kernel_size, dilation, padding, stride)


# Images of another size


def interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images (N, C, ...) of another size; `antialias` raises `NotImplementedError`."""
    if antialias:
        raise NotImplementedError(
            "interpolate: there is no antialias=True; mode='area' averages what it leaves out"
        )
    return x.interpolate(size, scale_factor, mode, align_corners, recompute_scale_factor)


def upsample(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate`, under its old name."""
    return x.interpolate(size, scale_factor, mode, align_corners)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r * r, H, W) to (..., C, H * r, W * r)."""
    return x.pixel_shuffle(upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) to (..., C * r * r, H, W)."""
    return x.pixel_unshuffle(downscale_factor)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """(N, C, ...) with channel j of group i as channel i of group j."""
    return x.channel_shuffle(groups)


def pad(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Elements added before and after the last axis, then the one before it, and so on."""
    return x.pad(pad, mode, 0 if value is None else value)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The points (N, H, W, 2) that affine maps (N, 2, 3) send the pixels of images to."""
    return theta.affine_grid(size, align_corners)


def grid_sample(
    x: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images (N, C, H, W) at points (N, OH, OW, 2) between their pixels."""
    return x.grid_sample(grid, mode, padding_mode, align_corners)
