"""Convolutions over one, two and three axes of space, and layers that only reshape.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from gradlet.nn import functional
from gradlet.nn.layers import check_groups, fan_in_uniform
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.windows import Extents, geometry

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "Flatten", "Identity", "Unflatten",
]  # fmt: skip


class _Convolution:
    """What convolutions have in common."""

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
        padding_mode: str = "zeros",
    ) -> None:
        check_groups(self, in_channels, out_channels, groups)
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"{type(self).__name__}: padding_mode is one of {', '.join(_PADDING_MODES)}, not "
                f"{padding_mode!r}"
            )
        if padding == "same" and max(_each(stride, self.axes)) > 1:
            raise ValueError(f"{type(self).__name__}: padding='same' needs stride 1")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(
                f"{type(self).__name__}: padding is numbers, 'same' or 'valid', not {padding!r}"
            )
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *_each(kernel_size, self.axes))
        self.weight, self.bias = _filters(shape, out_channels, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in_channels, ...), or the same without N, to (N, out_channels, ...)."""
        _check_channels(self, x, self.axes, self.weight.shape[1] * self.groups)
        convolve = getattr(functional, f"conv{self.axes}d")
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(x), 0
        how = (self.stride, padding, self.dilation, self.groups)
        result: Tensor = convolve(x, self.weight, self.bias, *how)
        return result

    def _padded(self, x: Tensor) -> Tensor:
        kernel, image = self.weight.shape[2:], x.shape[x.ndim - self.axes :]
        how = (self.stride, self.dilation, self.padding, type(self).__name__)
        sides = geometry(image, kernel, *how).sides
        widths = [width for side in reversed(sides) for width in side]
        return functional.pad(x, widths, self.padding_mode)

    def __repr__(self) -> str:
        out_channels, depth, *kernel = self.weight.shape
        name = type(self).__name__
        return f"{name}({depth * self.groups}, {out_channels}, {tuple(kernel)})"


class Conv1d(_Convolution):
    """Cross-correlation of (N, in_channels, L) with learned filters; N may be missing.

    Args:
        padding: zeros on each side, "valid" for none, or "same" for as many results as there are
            elements.
        padding_mode: what is put there in place of "zeros": "reflect", "replicate" or "circular",
            as for `Tensor.pad`.

    Attributes:
        weight: (out_channels, in_channels / groups, length), even over ±1/sqrt(fan in).
        bias: (out_channels,), likewise, or None.

    >>> Conv1d(3, 8, 5)(Tensor.ones(2, 3, 12)).shape
    (2, 8, 8)
    """

    axes = 1


class Conv2d(_Convolution):
    """Cross-correlation of images (N, in_channels, H, W) with learned filters; see `Conv1d`.

    >>> Conv2d(1, 8, 5)(Tensor.ones(2, 1, 28, 28)).shape
    (2, 8, 24, 24)
    """

    axes = 2


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

    def __call__(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """(N, in_channels, ...), or the same without N, to (N, out_channels, ...).

        Args:
            output_size: the extents of the result, alone or with N and channels before them, in
                place of `output_padding`.
        """
        _check_channels(self, x, self.axes, self.weight.shape[0])
        more = self.output_padding if output_size is None else self._more(x, output_size)
        spread = getattr(functional, f"conv_transpose{self.axes}d")
        how = (self.stride, self.padding, more, self.groups, self.dilation)
        result: Tensor = spread(x, self.weight, self.bias, *how)
        return result

    def _more(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output_padding for a wanted size."""
        each = [_each(value, self.axes) for value in (self.stride, self.padding, self.dilation)]
        image, kernel = x.shape[x.ndim - self.axes :], self.weight.shape[2:]
        least = tuple(
            (extent - 1) * step - 2 * side + gap * (width - 1) + 1
            for extent, width, step, side, gap in zip(image, kernel, *each, strict=True)
        )
        wanted = tuple(output_size)[max(len(output_size) - self.axes, 0) :]
        fits = len(wanted) == self.axes and len(output_size) in (self.axes, x.ndim)
        if not fits or any(
            not 0 <= size - low < step
            for size, low, step in zip(wanted, least, each[0], strict=True)
        ):
            raise ValueError(
                f"{self!r}: output_size={tuple(output_size)} must be {least} or less than a stride "
                f"of {each[0]} more"
            )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))

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


def _check_channels(layer: object, x: Tensor, axes: int, channels: int) -> None:
    if x.ndim not in (axes + 1, axes + 2) or x.shape[x.ndim - axes - 1] != channels:
        wanted = f"(N, {channels}, {', '.join('DHW'[3 - axes :] if axes > 1 else 'L')})"
        raise ValueError(
            f"{layer!r}: x has shape {x.shape}, and {wanted}, or the same without N, is wanted"
        )


def _each(value: Extents, axes: int) -> tuple[int, ...]:
    given = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(given) != axes:
        raise ValueError(f"a convolution needs one number or {axes} for its axes, not {value!r}")
    return given


def _filters(shape: tuple[int, ...], out_channels: int, bias: bool) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, even over ±1/sqrt(fan in), which is all but the first axis."""
    fan_in = math.prod(shape[1:])
    weight = fan_in_uniform(shape, fan_in)
    return weight, fan_in_uniform((out_channels,), fan_in) if bias else None
