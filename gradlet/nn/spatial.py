"""Layers over one, two and three axes of space, and layers that only reshape.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from gradlet.nn.layers import check_groups, fan_in_uniform
from gradlet.tensor.tensor import Tensor

Extents = int | Sequence[int]


class _Convolution:
    """What convolutions have in common.

    Attributes:
        weight: even over ±1/sqrt(fan in).
        bias: (out_channels,), likewise, or None.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents = 1,
        padding: Extents | str = 0,
        dilation: Extents = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        check_groups(self, in_channels, out_channels, groups)
        if padding == "same" and stride not in (1, (1,) * self.axes):
            raise ValueError(f"{type(self).__name__}: padding='same' needs stride 1")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(
                f"{type(self).__name__}: padding is numbers, 'same' or 'valid', not {padding!r}"
            )
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, *_each(kernel_size, self.axes))
        self.weight, self.bias = _filters(shape, out_channels, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in_channels, ...), or the same without N, to (N, out_channels, ...)."""
        convolve = getattr(x, f"conv{self.axes}d")
        result: Tensor = convolve(
            self.weight, self.bias, self.groups, self.stride, self.dilation, self.padding
        )
        return result

    def __repr__(self) -> str:
        out_channels, depth, *kernel = self.weight.shape
        name = type(self).__name__
        return f"{name}({depth * self.groups}, {out_channels}, {tuple(kernel)})"


class Conv1d(_Convolution):
    """Cross-correlation of (N, in_channels, L) with learned filters.

    Args:
        padding: zeros on each side, or "same" for as many results as there are elements.

    Attributes:
        weight: (out_channels, in_channels / groups, length), even over ±1/sqrt(fan in).
        bias: (out_channels,), likewise, or None.

    >>> Conv1d(3, 8, 5)(Tensor.ones(2, 3, 12)).shape
    (2, 8, 8)
    """

    axes = 1


class Conv3d(_Convolution):
    """Cross-correlation of (N, in_channels, D, H, W) with learned filters; see `Conv1d`.

    >>> Conv3d(3, 8, 3, padding=1)(Tensor.ones(2, 3, 4, 4, 4)).shape
    (2, 8, 4, 4, 4)
    """

    axes = 3


class _Adjoint:
    """What transposed convolutions have in common."""

    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents = 1,
        padding: Extents = 0,
        output_padding: Extents = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Extents = 1,
    ) -> None:
        check_groups(self, in_channels, out_channels, groups)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.dilation, self.groups = dilation, groups
        shape = (in_channels, out_channels // groups, *_each(kernel_size, self.axes))
        self.weight, self.bias = _filters(shape, out_channels, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in_channels, ...), or the same without N, to (N, out_channels, ...)."""
        spread = getattr(x, f"conv_transpose{self.axes}d")
        how = (self.groups, self.stride, self.dilation, self.padding, self.output_padding)
        result: Tensor = spread(self.weight, self.bias, *how)
        return result

    def __repr__(self) -> str:
        in_channels, depth, *kernel = self.weight.shape
        name = type(self).__name__
        return f"{name}({in_channels}, {depth * self.groups}, {tuple(kernel)})"


class ConvTranspose1d(_Adjoint):
    """The adjoint of `Conv1d`: from its results back to (N, out_channels, L).

    Attributes:
        weight: (in_channels, out_channels / groups, length), even over ±1/sqrt(fan in), which
            counts out_channels as PyTorch does.
        bias: (out_channels,), likewise, or None.

    >>> ConvTranspose1d(3, 8, 2, stride=2)(Tensor.ones(2, 3, 6)).shape
    (2, 8, 12)
    """

    axes = 1


class ConvTranspose2d(_Adjoint):
    """The adjoint of `Conv2d`; see `ConvTranspose1d`.

    >>> ConvTranspose2d(3, 8, 2, stride=2)(Tensor.ones(2, 3, 6, 6)).shape
    (2, 8, 12, 12)
    """

    axes = 2


class ConvTranspose3d(_Adjoint):
    """The adjoint of `Conv3d`; see `ConvTranspose1d`."""

    axes = 3


class _MaxPool:
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        dilation: Extents = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def __call__(self, x: Tensor) -> Any:
        """The largest element of each window, and where it stands with `return_indices`."""
        pool = getattr(x, f"max_pool{self.axes}d")
        how = (self.kernel_size, self.stride, self.dilation, self.padding)
        return pool(*how, self.ceil_mode, self.return_indices)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kernel_size})"


class MaxPool1d(_MaxPool):
    """The largest element of each window of (..., L)."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of (..., H, W).

    >>> MaxPool2d(2)(Tensor.ones(2, 3, 6, 6)).shape
    (2, 3, 3, 3)
    """

    axes = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of (..., D, H, W)."""

    axes = 3


class _AvgPool:
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def __call__(self, x: Tensor) -> Tensor:
        """The mean of each window."""
        pool = getattr(x, f"avg_pool{self.axes}d")
        how = (self.kernel_size, self.stride, 1, self.padding)
        result: Tensor = pool(*how, self.count_include_pad, self.ceil_mode)
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kernel_size})"


class AvgPool1d(_AvgPool):
    """The mean of each window of (..., L)."""

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of (..., H, W).

    >>> AvgPool2d(2)(Tensor.ones(2, 3, 6, 6)).shape
    (2, 3, 3, 3)
    """

    axes = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of (..., D, H, W)."""

    axes = 3


class Flatten:
    """Axes `start_dim` to `end_dim` as one.

    >>> Flatten()(Tensor.ones(2, 3, 4)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)

    def __repr__(self) -> str:
        return f"Flatten({self.start_dim}, {self.end_dim})"


class Unflatten:
    """Axis `dim` as several.

    >>> Unflatten(1, (3, 4))(Tensor.ones(2, 12)).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def __call__(self, x: Tensor) -> Tensor:
        return x.unflatten(self.dim, self.unflattened_size)

    def __repr__(self) -> str:
        return f"Unflatten({self.dim}, {self.unflattened_size})"


class Identity:
    """Gives back what it gets, whatever it is made with.

    >>> Identity()(Tensor([1, 2])).tolist()
    [1, 2]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, x: Any) -> Any:
        return x

    def __repr__(self) -> str:
        return "Identity()"


# Helpers


def _each(value: Extents, axes: int) -> tuple[int, ...]:
    given = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(given) != axes:
        raise ValueError(f"kernel_size must be one number or {axes}, not {value!r}")
    return given


def _filters(shape: tuple[int, ...], out_channels: int, bias: bool) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, even over ±1/sqrt(fan in), which is all but the first axis."""
    fan_in = math.prod(shape[1:])
    weight = fan_in_uniform(shape, fan_in)
    return weight, fan_in_uniform((out_channels,), fan_in) if bias else None
