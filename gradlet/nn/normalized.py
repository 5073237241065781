"""The arithmetic of the layers in `normalization.py`, as functions of tensors."""

from __future__ import annotations

from gradlet.tensor.by_form import by_form
from gradlet.tensor.tensor import Tensor


@by_form
def statistics(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel."""
    mean = x.mean(axes)
    return mean, (x - mean.reshape(along_channels(x))).square().mean(axes)


@by_form
def moved(running: Tensor, new: Tensor, momentum: float | Tensor) -> Tensor:
    return (running * (1 - momentum) + new * momentum).cast(running.dtype)


@by_form
def batch_normalised(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    return rounded(widened(x).batchnorm(weight, bias, mean, (variance + eps).rsqrt()), x)


@by_form
def layer_normalised(
    x: Tensor, axes: tuple[int, ...], eps: float, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    y = widened(x).layernorm(axes, eps)
    y = y if weight is None else y * weight
    return rounded(y if bias is None else y + bias, x)


@by_form
def root_normalised(x: Tensor, axes: tuple[int, ...], eps: float, weight: Tensor | None) -> Tensor:
    wide = widened(x)
    y = wide * (wide.square().mean(axes, keepdim=True) + eps).rsqrt()
    return rounded(y if weight is None else y * weight, x)


def widened(x: Tensor) -> Tensor:
    """`x` in a dtype whose sums are worth something."""
    return x if x.dtype.is_float and x.dtype.bits > 16 else x.float()


def rounded(y: Tensor, x: Tensor) -> Tensor:
    """`y` in the dtype of `x`, if that is a half float."""
    return y.cast(x.dtype) if x.dtype.is_float and x.dtype.bits == 16 else y


def along_channels(x: Tensor) -> tuple[int, ...]:
    """The shape in which one number for each channel meets `x`."""
    return tuple(extent if axis == 1 else 1 for axis, extent in enumerate(x.shape))
