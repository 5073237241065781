"""Layers: plain objects that hold tensors and are called with tensors.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.values import compute_with_next

Pair = int | tuple[int, int]


class Linear:
    """x @ weight.T + bias.

    Attributes:
        weight: (out_features, in_features), even over ±1/sqrt(in_features).
        bias: (out_features,), likewise, or None.

    >>> Linear(3, 2)(Tensor.ones(4, 3)).shape
    (4, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.weight = fan_in_uniform((out_features, in_features), in_features)
        self.bias = fan_in_uniform((out_features,), in_features) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features); ValueError for any other last axis."""
        if not x.ndim or x.shape[-1] != self.weight.shape[1]:
            raise _misfit(self, x, f"(..., {self.weight.shape[1]})")
        return x.linear(self.weight.T, self.bias)

    def __repr__(self) -> str:
        out_features, in_features = self.weight.shape
        return f"Linear({in_features}, {out_features}{_unless(self.bias, ', bias=False')})"


class Conv2d:
    """Cross-correlation of images with learned filters.

    Args:
        padding: rows and columns of zeros on each side, or "same" for images of one size.

    Attributes:
        weight: (out_channels, in_channels / groups, height, width), even over ±1/sqrt(fan in).
        bias: (out_channels,), likewise, or None.

    >>> Conv2d(1, 8, 5)(Tensor.ones(2, 1, 28, 28)).shape
    (2, 8, 24, 24)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        check_groups(self, in_channels, out_channels, groups)
        kernel = _pair(kernel_size)
        self.stride, self.dilation, self.groups = _pair(stride), _pair(dilation), groups
        self.padding = self._sides(padding, kernel)
        fan_in = in_channels // groups * math.prod(kernel)
        self.weight = fan_in_uniform((out_channels, in_channels // groups, *kernel), fan_in)
        self.bias = fan_in_uniform((out_channels,), fan_in) if bias else None

    def _sides(self, padding: Pair | str, kernel: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, right, top, bottom)."""
        if padding == "same":
            if self.stride != (1, 1):
                raise ValueError("Conv2d: padding='same' needs stride 1")
            tall, wide = (d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True))
            return wide // 2, wide - wide // 2, tall // 2, tall - tall // 2
        if isinstance(padding, str):
            raise ValueError(f"Conv2d: padding is a number, a pair or 'same', not {padding!r}")
        rows, columns = _pair(padding)
        return columns, columns, rows, rows

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        channels = self.weight.shape[1] * self.groups
        if x.ndim != 4 or x.shape[1] != channels:
            raise _misfit(self, x, f"(N, {channels}, H, W)")
        return x.conv2d(
            self.weight, self.bias, self.groups, self.stride, self.dilation, self.padding
        )

    def __repr__(self) -> str:
        out_channels, depth, *kernel = self.weight.shape
        return f"Conv2d({depth * self.groups}, {out_channels}, {tuple(kernel)})"


class BatchNorm:
    """Normalises each channel over the batch (Ioffe & Szegedy 2015).

    While `Tensor.training` it uses the mean and variance of the batch, and moves the running ones
    towards them by `momentum`; otherwise it uses the running ones.

    Attributes:
        weight, bias: (num_features,), ones and zeros, or None if not `affine`.
        running_mean, running_var: (num_features,), not trained; the variance is the unbiased one.
        num_batches_tracked: how many batches the running ones have seen, an int64 scalar.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = _filled(1.0, num_features, trained=True) if affine else None
        self.bias = _filled(0.0, num_features, trained=True) if affine else None
        self.running_mean = _filled(0.0, num_features) if track_running_stats else None
        self.running_var = _filled(1.0, num_features) if track_running_stats else None
        self.num_batches_tracked = Tensor(0, requires_grad=False) if track_running_stats else None

    def __call__(self, x: Tensor) -> Tensor:
        """(N, num_features, ...) to the same shape."""
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise _misfit(self, x, f"(N, {self.num_features}, ...)")
        if Tensor.training or self.running_mean is None:
            mean, variance = self._of_batch(x)
        else:
            assert self.running_var is not None
            mean, variance = self.running_mean, self.running_var
        return x.batchnorm(self.weight, self.bias, mean, (variance + self.eps).rsqrt())

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of a batch; the running ones take note while training."""
        axes = (0, *range(2, x.ndim))
        count = x.numel() // self.num_features
        if Tensor.training and count < 2:
            raise ValueError(
                f"{self!r}: training needs more than one value a channel, and x of shape {x.shape} "
                "has one; use a larger batch, or Tensor.training = False to evaluate"
            )
        mean = x.mean(axes)
        channels = tuple(extent if axis == 1 else 1 for axis, extent in enumerate(x.shape))
        variance = (x - mean.reshape(channels)).square().mean(axes)
        if Tensor.training:
            self._track(mean, variance * (count / (count - 1)))
        return mean, variance

    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        """Moves the running statistics. They are computed with whatever is computed next."""
        if self.running_mean is None or self.running_var is None:
            return
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            moved = running * (1 - self.momentum) + new * self.momentum
            running.assign(moved.cast(running.dtype))
            compute_with_next(running)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.assign(self.num_batches_tracked + 1)
            compute_with_next(self.num_batches_tracked)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_features})"


class BatchNorm2d(BatchNorm):
    """`BatchNorm` of images (N, num_features, H, W).

    >>> BatchNorm2d(3)(Tensor.ones(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    def __call__(self, x: Tensor) -> Tensor:
        """(N, num_features, H, W) to the same shape."""
        if x.ndim != 4:
            raise _misfit(self, x, f"(N, {self.num_features}, H, W)")
        return super().__call__(x)


class LayerNorm:
    """Normalises over the last axes of each element (Ba et al. 2016).

    Attributes:
        weight, bias: of shape `normalized_shape`, ones and zeros, or None if not affine.

    >>> LayerNorm(4)(Tensor.ones(2, 4)).tolist()[0]
    [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        affine = elementwise_affine
        self.weight = _filled(1.0, *self.normalized_shape, trained=True) if affine else None
        with_bias = affine and bias
        self.bias = _filled(0.0, *self.normalized_shape, trained=True) if with_bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) to the same shape."""
        rank = len(self.normalized_shape)
        if x.ndim < rank or x.shape[x.ndim - rank :] != self.normalized_shape:
            wanted = ", ".join(str(extent) for extent in self.normalized_shape)
            raise _misfit(self, x, f"(..., {wanted})")
        y = x.layernorm(tuple(range(-rank, 0)), self.eps)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape})"


class Embedding:
    """A learned vector for each of a number of ids.

    Attributes:
        weight: (num_embeddings, embedding_dim), normally distributed.

    >>> Embedding(10, 4)(Tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.weight = Tensor.randn(num_embeddings, embedding_dim, requires_grad=True)

    def __call__(self, ids: Tensor) -> Tensor:
        """Integers of any shape to (..., embedding_dim).

        Raises:
            TypeError: ids are no integers.
            IndexError: an id outside [0, num_embeddings), when the result is computed.
        """
        if not ids.dtype.is_int:
            raise TypeError(
                f"{self!r}: ids must be integers, not {ids.dtype.name}; call .long() first"
            )
        if ids.device != self.weight.device:
            raise ValueError(
                f"{self!r}: ids are on device {ids.device!r}, the weight on "
                f"{self.weight.device!r}; move one with .to()"
            )
        # Not self.weight[ids], where ids below zero would count from the end.
        rows = build.gather(self.weight.node, (build.cast(ids.node, dtypes.int64),))
        return self.weight._result(rows)

    def __repr__(self) -> str:
        count, width = self.weight.shape
        return f"Embedding({count}, {width})"


class Dropout:
    """While `Tensor.training`, zeros with probability `p` and the rest scaled by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability, not {p}")
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape to the same shape (Srivastava et al. 2014)."""
        return x.dropout(self.p)

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


class Sequential(list[Callable[[Any], Any]]):
    """A list of layers, or of any functions, that is called from first to last.

    >>> Sequential(Linear(3, 8), Tensor.relu, Linear(8, 1))(Tensor.ones(2, 3)).shape
    (2, 1)
    """

    def __init__(self, *layers: Callable[[Any], Any] | Iterable[Callable[[Any], Any]]) -> None:
        given = layers[0] if len(layers) == 1 and isinstance(layers[0], list | tuple) else layers
        super().__init__(given)  # type: ignore[arg-type]

    def __call__(self, x: Any) -> Any:
        """What the last layer makes of what the others have made of `x`."""
        for layer in self:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        lines = "".join(f"  {layer!r},\n" for layer in self)
        return f"Sequential(\n{lines})"


# Helpers


def check_groups(layer: object, in_channels: int, out_channels: int, groups: int) -> None:
    """Raises if a convolution cannot be cut into so many."""
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{type(layer).__name__}: groups={groups} must divide in_channels={in_channels} and "
            f"out_channels={out_channels}"
        )


def fan_in_uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Tensor.uniform(shape, low=-bound, high=bound, requires_grad=True)


def _filled(value: float, *shape: int, trained: bool = False) -> Tensor:
    return Tensor(np.full(shape, value, Tensor.default_dtype.numpy), requires_grad=trained)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _unless(value: object, text: str) -> str:
    return text if value is None else ""


def _misfit(layer: object, x: Tensor, wanted: str) -> ValueError:
    return ValueError(f"{layer!r}: x has shape {x.shape}, and {wanted} is wanted")
