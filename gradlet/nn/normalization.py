"""Layers that bring means and variances to 0 and 1, then scale and shift by what is learned.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
Half floats are computed with in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gradlet.base import dtypes
from gradlet.nn.layers import filled, misfit
from gradlet.nn.normalized import (
    along_channels,
    batch_normalised,
    layer_normalised,
    moved,
    root_normalised,
    rounded,
    statistics,
    widened,
)
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.values import compute_with_next

__all__ = [
    "BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d",
    "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "RMSNorm",
]  # fmt: skip

_EPSILON = {dtypes.float64: 2.0**-52}  # of other floats that of float32, which they are cast to


class _Tracking:
    """What has a weight and bias, and running statistics, for each channel.

    Attributes:
        weight, bias: (num_features,), ones and zeros, or None if not `affine`.
        running_mean, running_var: (num_features,), not trained; the variance is the unbiased one.
        num_batches_tracked: how many batches the running ones have seen, an int64 scalar.
    """

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = filled(1.0, num_features, trained=True) if affine else None
        self.bias = filled(0.0, num_features, trained=True) if affine else None
        self.running_mean = filled(0.0, num_features) if track_running_stats else None
        self.running_var = filled(1.0, num_features) if track_running_stats else None
        self.num_batches_tracked = Tensor(0, requires_grad=False) if track_running_stats else None

    def _track(self, mean: Tensor, unbiased: Tensor, momentum: float | Tensor) -> None:
        """Moves the running statistics. They are computed with whatever is computed next."""
        if self.running_mean is None or self.running_var is None:
            return
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.assign(moved(running, new, momentum))
            compute_with_next(running)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_features})"


# Over a batch


class BatchNorm(_Tracking):
    """Normalises each channel over the batch (Ioffe & Szegedy 2015).

    While `Tensor.training` it uses the mean and variance of the batch, and moves the running ones
    towards them by `momentum`; otherwise it uses the running ones, if it tracks them.

    Args:
        momentum: None weighs all batches so far equally.

    Attributes:
        weight, bias: (num_features,), ones and zeros, or None if not `affine`.
        running_mean, running_var: (num_features,), not trained; the variance is the unbiased one.
        num_batches_tracked: how many batches the running ones have seen, an int64 scalar.
    """

    spaces: ClassVar[tuple[str, ...]] = ()  # axes that x may have behind channels; any if empty

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, num_features, ...) to the same shape."""
        ranks = [2 + space.count(",") for space in self.spaces]
        fits = x.ndim in ranks if ranks else x.ndim > 1
        if not fits or x.shape[1] != self.num_features:
            spaces = self.spaces or (", ...",)
            forms = [f"(N, {self.num_features}{space})" for space in spaces]
            raise misfit(self, x, " or ".join(forms))
        if Tensor.training or self.running_mean is None:
            mean, variance = self._of_batch(widened(x))
        else:
            assert self.running_var is not None
            mean, variance = self.running_mean, self.running_var
        return batch_normalised(x, mean, variance, self.eps, self.weight, self.bias)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of a batch; the running ones take note while training."""
        axes = (0, *range(2, x.ndim))
        count = x.numel() // self.num_features
        if count < 2:
            raise ValueError(
                f"{self!r}: statistics of a batch need more than one value a channel, and x of "
                f"shape {x.shape} has {count}; use a larger batch, or Tensor.training = False and "
                "track_running_stats=True to evaluate"
            )
        mean, variance = statistics(x, axes)
        if Tensor.training and self.num_batches_tracked is not None:
            seen = self.num_batches_tracked + 1
            share = 1 / seen.float() if self.momentum is None else self.momentum
            self._track(mean, variance * (count / (count - 1)), share)
            self.num_batches_tracked.assign(seen)
            compute_with_next(self.num_batches_tracked)
        return mean, variance


class BatchNorm1d(BatchNorm):
    """`BatchNorm` of (N, num_features) or (N, num_features, L).

    >>> BatchNorm1d(3)(Tensor.ones(2, 3)).shape
    (2, 3)
    """

    spaces = ("", ", L")


class BatchNorm2d(BatchNorm):
    """`BatchNorm` of images (N, num_features, H, W).

    >>> BatchNorm2d(3)(Tensor.ones(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    spaces = (", H, W",)


class BatchNorm3d(BatchNorm):
    """`BatchNorm` of volumes (N, num_features, D, H, W)."""

    spaces = (", D, H, W",)


# Over space


class _InstanceNorm(_Tracking):
    """What instance normalisations have in common."""

    axes: ClassVar[int]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, num_features, ...), or the same without N, to the same shape."""
        batched = x.ndim == self.axes + 2
        if x.ndim < self.axes + 1 or x.shape[x.ndim - self.axes - 1] != self.num_features:
            raise self._misfit(x)
        if not batched and x.ndim != self.axes + 1:
            raise self._misfit(x)
        wide = widened(x if batched else x.unsqueeze(0))
        if Tensor.training or self.running_mean is None:
            y = self._by_own(wide)
            if self.weight is not None and self.bias is not None:
                shape = along_channels(y)
                y = y * self.weight.reshape(shape) + self.bias.reshape(shape)
        else:
            assert self.running_var is not None
            inverse = (self.running_var + self.eps).rsqrt()
            y = wide.batchnorm(self.weight, self.bias, self.running_mean, inverse)
        return rounded(y if batched else y.squeeze(0), x)

    def _by_own(self, x: Tensor) -> Tensor:
        """Normalised by the mean and variance over space; the running ones take note."""
        axes = tuple(range(2, x.ndim))
        count = x.numel() // max(x.shape[0] * x.shape[1], 1)
        if x.numel() and count < 2:
            raise ValueError(
                f"{self!r}: needs more than one value a channel, and x of shape {x.shape} has one"
            )
        mean = x.mean(axes, keepdim=True)
        variance = (x - mean).square().mean(axes, keepdim=True)
        if Tensor.training and self.momentum is not None and x.numel():
            unbiased = variance * (count / (count - 1))
            over_batch = (mean.flatten(1).mean(0), unbiased.flatten(1).mean(0))
            self._track(*over_batch, self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt()

    def _misfit(self, x: Tensor) -> ValueError:
        space = ", ".join(("L",) if self.axes == 1 else "DHW"[-self.axes :])
        form = f"{self.num_features}, {space}"
        return misfit(self, x, f"(N, {form}) or ({form})")


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each element over space (Ulyanov et al. 2016).

    With `track_running_stats` it moves running statistics while `Tensor.training`, and uses them
    otherwise.

    Attributes:
        weight, bias: (num_features,), ones and zeros if `affine`, else None.
        running_mean, running_var, num_batches_tracked: as in `BatchNorm`, if asked for; PyTorch
            does not count batches here, nor do we.

    >>> InstanceNorm1d(3)(Tensor.ones(2, 3, 4)).shape
    (2, 3, 4)
    """

    axes = 1


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` of images (N, num_features, H, W), or the same without N."""

    axes = 2


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` of volumes (N, num_features, D, H, W), or the same without N."""

    axes = 3


# Within an element


class GroupNorm:
    """Normalises groups of channels of each element (Wu & He 2018).

    Attributes:
        weight, bias: (num_channels,), ones and zeros, or None if not `affine`.

    >>> GroupNorm(2, 6)(Tensor.ones(2, 6, 4)).shape
    (2, 6, 4)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_groups=} must divide {num_channels=}")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = filled(1.0, num_channels, trained=True) if affine else None
        self.bias = filled(0.0, num_channels, trained=True) if affine else None

    def __call__(self, x: Tensor) -> Tensor:
        """(N, num_channels, ...) to the same shape."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise misfit(self, x, f"(N, {self.num_channels}, ...)")
        batch, space = x.shape[0], x.shape[2:]
        grouped = widened(x).reshape(
            batch, self.num_groups, self.num_channels // self.num_groups, *space
        )
        y = grouped.layernorm(tuple(range(2, grouped.ndim)), self.eps).reshape(x.shape)
        if self.weight is not None and self.bias is not None:
            shape = along_channels(x)
            y = y * self.weight.reshape(shape) + self.bias.reshape(shape)
        return rounded(y, x)

    def __repr__(self) -> str:
        return f"GroupNorm({self.num_groups}, {self.num_channels})"


class _OverLastAxes:
    """What normalises over the last axes of its input."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None, affine: bool
    ) -> None:
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape, self.eps = tuple(normalized_shape), eps
        self.weight = filled(1.0, *self.normalized_shape, trained=True) if affine else None

    def _axes(self, x: Tensor) -> tuple[int, ...]:
        rank = len(self.normalized_shape)
        if x.ndim < rank or x.shape[x.ndim - rank :] != self.normalized_shape:
            wanted = ", ".join(str(extent) for extent in self.normalized_shape)
            raise misfit(self, x, f"(..., {wanted})")
        return tuple(range(-rank, 0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.normalized_shape})"


class LayerNorm(_OverLastAxes):
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
        super().__init__(normalized_shape, eps, elementwise_affine)
        with_bias = elementwise_affine and bias
        self.bias = filled(0.0, *self.normalized_shape, trained=True) if with_bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) to the same shape."""
        axes = self._axes(x)
        assert self.eps is not None
        return layer_normalised(x, axes, self.eps, self.weight, self.bias)


class RMSNorm(_OverLastAxes):
    """Divides by the root of the mean of squares over the last axes (Zhang & Sennrich 2019).

    Args:
        eps: added to the mean; the distance from 1 to the next float if not given.

    Attributes:
        weight: of shape `normalized_shape`, ones, or None if not affine.

    >>> RMSNorm(2, eps=0.0)(Tensor([[3.0, 3.0]])).tolist()
    [[1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) to the same shape."""
        axes = self._axes(x)
        eps = _EPSILON.get(x.dtype, 2.0**-23) if self.eps is None else self.eps
        return root_normalised(x, axes, eps, self.weight)
