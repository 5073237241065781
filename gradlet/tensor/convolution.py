"""Convolution over one, two and three axes, and its adjoint.

Each is one MUL of expanded operands under one REDUCE ADD, as `contraction.py` says. The order of
arguments is that of tinygrad; `gradlet.nn.functional` has PyTorch's.
"""

from __future__ import annotations

from typing import Self

from gradlet.base import dtypes
from gradlet.grad.vjp import grad
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.by_form import by_form
from gradlet.tensor.contraction import for_sums, result_dtype, sum_of_products
from gradlet.tensor.core import Shape, gradients
from gradlet.tensor.einsum import Einsum
from gradlet.tensor.windows import (
    Extents,
    batched,
    extents_argument,
    geometry,
    padded_windows,
)


class Convolution(Einsum):
    """Convolutions."""

    __slots__ = ()

    def conv1d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Extents = 1,
        dilation: Extents = 1,
        padding: Extents | str = 0,
    ) -> Self:
        """Cross-correlation of (N, Cin, L) with filters (Cout, Cin / groups, K); see `conv2d`."""
        return self._convolution(1, weight, bias, groups, stride, dilation, padding)

    def conv2d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Extents = 1,
        dilation: Extents = 1,
        padding: Extents | str = 0,
    ) -> Self:
        """Cross-correlation of images with filters.

        Args:
            self: (N, Cin, H, W), or the same without N.
            weight: (Cout, Cin / groups, KH, KW).
            bias: (Cout,).
            padding: rows and columns of zeros: one number, (rows, columns),
                (left, right, top, bottom), or "same" or "valid".

        Returns:
            (N, Cout, OH, OW).

        >>> from gradlet import Tensor
        >>> Tensor.ones(1, 3, 8, 8).conv2d(Tensor.ones(4, 3, 3, 3), padding="same").shape
        (1, 4, 8, 8)
        """
        return self._convolution(2, weight, bias, groups, stride, dilation, padding)

    def conv3d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Extents = 1,
        dilation: Extents = 1,
        padding: Extents | str = 0,
    ) -> Self:
        """Cross-correlation of (N, Cin, D, H, W) with (Cout, Cin / groups, KD, KH, KW)."""
        return self._convolution(3, weight, bias, groups, stride, dilation, padding)

    @by_form
    def _convolution(
        self,
        axes: int,
        weight: Self,
        bias: Self | None,
        groups: int,
        stride: Extents,
        dilation: Extents,
        padding: Extents | str,
    ) -> Self:
        operation = f"conv{axes}d"
        if not batched(self.shape, axes, operation):
            one = self.unsqueeze(0)
            return one._convolution(axes, weight, bias, groups, stride, dilation, padding)[0]
        _check_filters(self.shape, weight.shape, groups, operation)
        other = self._operand(weight, operation)
        assert other is not None
        kernel = weight.shape[2:]
        how = geometry(self.shape[2:], kernel, stride, dilation, padding, operation)
        dtype = dtypes.promote(self.dtype, other.dtype)
        windows = padded_windows(for_sums(self.node, dtype), how)
        made = _convolve(windows, for_sums(other, dtype), groups)
        result = self._result(build.cast(made, result_dtype(dtype)))
        return result._with_bias(bias, axes, operation)

    def _with_bias(self, bias: Self | None, axes: int, operation: str) -> Self:
        """(N, C, ...) with `bias` (C,) added to each channel."""
        if bias is None:
            return self
        if bias.shape != self.shape[1:2]:
            raise ValueError(
                f"{operation}: a bias of shape {bias.shape} does not fit {self.shape[1]} channels"
            )
        return self + bias.reshape(1, -1, *(1,) * axes)

    def conv_transpose1d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Extents = 1,
        dilation: Extents = 1,
        padding: Extents = 0,
        output_padding: Extents = 0,
    ) -> Self:
        """The adjoint of `conv1d`: (N, Cin, L) with filters (Cin, Cout / groups, K)."""
        return self._adjoint(1, weight, bias, groups, stride, dilation, padding, output_padding)

    def conv_transpose2d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Extents = 1,
        dilation: Extents = 1,
        padding: Extents = 0,
        output_padding: Extents = 0,
    ) -> Self:
        """The adjoint of `conv2d` with the same arguments: from its results back to images.

        Args:
            self: (N, Cin, H, W), or the same without N.
            weight: (Cin, Cout / groups, KH, KW).
            bias: (Cout,).
            padding: rows and columns that are cut off each side of the result.
            output_padding: rows and columns more at the bottom and the right.

        Returns:
            (N, Cout, OH, OW), where OH is
            (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1.

        >>> from gradlet import Tensor
        >>> Tensor.ones(1, 1, 2, 2).conv_transpose2d(Tensor.ones(1, 1, 2, 2), stride=2).shape
        (1, 1, 4, 4)
        """
        return self._adjoint(2, weight, bias, groups, stride, dilation, padding, output_padding)

    def conv_transpose3d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Extents = 1,
        dilation: Extents = 1,
        padding: Extents = 0,
        output_padding: Extents = 0,
    ) -> Self:
        """The adjoint of `conv3d`: (N, Cin, D, H, W) with (Cin, Cout / groups, KD, KH, KW)."""
        return self._adjoint(3, weight, bias, groups, stride, dilation, padding, output_padding)

    @by_form
    def _adjoint(
        self,
        axes: int,
        weight: Self,
        bias: Self | None,
        groups: int,
        stride: Extents,
        dilation: Extents,
        padding: Extents,
        output_padding: Extents,
    ) -> Self:
        operation = f"conv_transpose{axes}d"
        if not batched(self.shape, axes, operation):
            rest = (groups, stride, dilation, padding, output_padding)
            return self.unsqueeze(0)._adjoint(axes, weight, bias, *rest)[0]
        channels, *kernel = weight.shape[:1] + weight.shape[2:]
        if len(kernel) != axes or groups < 1 or channels != self.shape[1] or channels % groups:
            raise ValueError(
                f"{operation}: shapes {self.shape} and {weight.shape} do not fit with {groups=}: "
                "images are (N, Cin, ...) and filters (Cin, Cout / groups, ...)"
            )
        steps, gaps = (
            extents_argument(stride, axes, "stride"),
            extents_argument(dilation, axes, "dilation"),
        )
        cut = extents_argument(padding, axes, "padding", 0)
        more = extents_argument(output_padding, axes, "output_padding", 0)
        sizes: list[int] = []
        sides: list[int] = []
        tails: list[tuple[int, int]] = []
        for size, step, side, gap, width, extra in zip(
            self.shape[2:], steps, cut, gaps, kernel, more, strict=True
        ):
            full = (size - 1) * step + gap * (width - 1) + 1
            if extra >= max(step, gap) or full - 2 * side + extra < 1 or side > full:
                raise ValueError(
                    f"{operation}: {self.shape} with filters {weight.shape}, {stride=}, "
                    f"{padding=}, {output_padding=}: images need at least one pixel, and "
                    "output_padding must be smaller than stride or dilation"
                )
            # What output_padding adds is what padding would have cut off, and then zeros.
            after = max(side - extra, 0)
            sizes.append(full - side - after)
            sides[:0] = (side, after)
            tails.append((0, max(extra - side, 0)))
        other = self._operand(weight, operation)
        assert other is not None
        dtype = result_dtype(dtypes.promote(self.dtype, other.dtype))
        shape = (self.shape[0], weight.shape[1] * groups, *sizes)
        image = self._result(build.detach(build.const(0, dtype, shape)))  # any images will do
        with gradients(True):
            forward = image._convolution(axes, weight, None, groups, steps, gaps, sides)
        (made,) = grad(forward.node, build.cast(self.node, dtype), [image.node])
        assert made is not None
        widths = ((0, 0, 0), (0, 0, 0), *((before, after, 0) for before, after in tails))
        return self._result(build.pad(made, widths))._with_bias(bias, axes, operation)


def _convolve(windows: Node, weight: Node, groups: int) -> Node:
    """Windows (N, Cin, OH, OW, KH, KW) and weights (Cout, Cin / G, KH, KW) to (N, Cout, OH, OW)."""
    batch, channels, *places = windows.shape
    filters, depth, *kernel = weight.shape
    axes = len(kernel)
    ones = (1,) * axes
    last = tuple(range(len(places) - axes, len(places)))
    if groups == 1:
        left = build.reshape(windows, (batch, 1, channels, *places))
        right = build.reshape(weight, (1, filters, channels, *ones, *kernel))
        shape = (batch, filters, channels, *places)
        return sum_of_products(left, right, shape, (2, *(3 + axis for axis in last)))
    each = filters // groups
    left = build.reshape(windows, (batch, groups, 1, depth, *places))
    right = build.reshape(weight, (1, groups, each, depth, *ones, *kernel))
    shape = (batch, groups, each, depth, *places)
    made = sum_of_products(left, right, shape, (3, *(4 + axis for axis in last)))
    return build.reshape(made, (batch, filters, *places[:axes]))


def _check_filters(image: Shape, weight: Shape, groups: int, operation: str) -> None:
    if len(weight) != len(image):
        raise ValueError(
            f"{operation}: needs images (N, Cin, ...) and weights (Cout, Cin / groups, ...), not "
            f"shapes {image} and {weight}"
        )
    if groups < 1 or image[1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(
            f"{operation}: images of shape {image} have {image[1]} channels; weights of shape "
            f"{weight} with groups={groups} take {weight[1] * groups} and give {weight[0]}, "
            "which groups must divide"
        )
