"""Products that sum over shared axes: matmul, linear, conv2d.

Each is one MUL of expanded operands under one REDUCE ADD; the compiler recognises exactly that
pattern as a contraction, so nothing may stand between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.grad.vjp import grad
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.core import Core, Shape, broadcast_shape
from gradlet.tensor.movement import pad_node
from gradlet.tensor.scatter import Scatter

Pair = int | Sequence[int]


class Contraction(Scatter):
    """Contractions."""

    __slots__ = ()

    def matmul(self, other: Any) -> Self:
        """The matrix product over the last axis of `self` and the last but one of `other`.

        (M, K) @ (K, N) -> (M, N); leading axes broadcast; a 1-D operand is a row on the left, a
        column on the right, and its axis disappears. Half floats add up in float32.

        >>> from gradlet import Tensor
        >>> (Tensor([[1, 2]]) @ Tensor([[3], [4]])).tolist()
        [[11]]
        """
        b = self._operand(other, "matmul")
        if b is None:
            raise TypeError(f"matmul: needs a tensor, not {other!r}; use * for numbers")
        a = self.node
        dtype = dtypes.promote(a.dtype, b.dtype)
        _check_matmul(a.shape, b.shape)
        left = build.reshape(a, (1, *a.shape)) if a.ndim == 1 else a
        right = build.reshape(b, (*b.shape, 1)) if b.ndim == 1 else b
        product = _matmul(_for_sums(left, dtype), _for_sums(right, dtype))
        lead = product.shape[:-2]
        rows = product.shape[-2:-1] if a.ndim > 1 else ()
        columns = product.shape[-1:] if b.ndim > 1 else ()
        result = build.reshape(product, (*lead, *rows, *columns))
        return self._result(build.cast(result, _result_dtype(dtype)))

    dot = matmul

    def __matmul__(self, other: Any) -> Self:
        return self.matmul(other) if _is_operand(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Self:
        left = self._operand(other, "matmul")
        return NotImplemented if left is None else self._result(left).matmul(self)

    def linear(self, weight: Self, bias: Self | None = None) -> Self:
        """`self @ weight + bias`.

        Args:
            weight: (in, out), or (in,), which multiplies element by element.
            bias: (out,).
        """
        result = self * weight if weight.ndim == 1 else self.matmul(weight)
        return result if bias is None else result + bias

    def conv2d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Pair = 0,
    ) -> Self:
        """Cross-correlation of images with filters.

        Args:
            self: (N, Cin, H, W).
            weight: (Cout, Cin / groups, KH, KW).
            bias: (Cout,).
            padding: rows and columns of zeros: one number, (rows, columns), or
                (left, right, top, bottom).

        Returns:
            (N, Cout, OH, OW).
        """
        _check_conv(self.shape, weight.shape, groups)
        kernel = weight.shape[2:]
        sides = sides_argument(padding)
        sizes = window_extents(
            self.shape[2:], kernel, pair_argument(stride, "stride"),
            pair_argument(dilation, "dilation"), sides, "conv2d",
        )  # fmt: skip
        other = self._operand(weight, "conv2d")
        assert other is not None
        dtype = dtypes.promote(self.dtype, other.dtype)
        image = pad_node(_for_sums(self.node, dtype), ((0, 0), (0, 0), *sides))
        windows = windows_2d(image, kernel, sizes.stride, sizes.dilation)
        made = _convolve(windows, _for_sums(other, dtype), groups)
        result = self._result(build.cast(made, _result_dtype(dtype)))
        return result if bias is None else result + bias.reshape(1, -1, 1, 1)

    def conv_transpose2d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
    ) -> Self:
        """The adjoint of `conv2d` with the same arguments: from its results back to images.

        Args:
            self: (N, Cin, H, W).
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
        if self.ndim != 4 or weight.ndim != 4 or self.shape[1] != weight.shape[0]:
            raise ValueError(
                f"conv_transpose2d: shapes {self.shape} and {weight.shape} do not fit: images are "
                f"(N, Cin, H, W) and filters (Cin, Cout / groups, KH, KW)"
            )
        steps, gaps = pair_argument(stride, "stride"), pair_argument(dilation, "dilation")
        cut = pair_argument(padding, "padding", 0)
        more = pair_argument(output_padding, "output_padding", 0)
        sizes = tuple(
            (size - 1) * step - 2 * sides + gap * (kernel - 1) + extra + 1
            for size, step, sides, gap, kernel, extra in zip(
                self.shape[2:], steps, cut, gaps, weight.shape[2:], more, strict=True
            )
        )
        if min(sizes) < 1 or any(extra >= step for extra, step in zip(more, steps, strict=True)):
            raise ValueError(
                f"conv_transpose2d: {self.shape} with filters {weight.shape}, {stride=}, "
                f"{padding=}, {output_padding=} gives images of {sizes}; they need at least one "
                f"pixel, and output_padding must be smaller than stride"
            )
        other = self._operand(weight, "conv_transpose2d")
        assert other is not None
        dtype = dtypes.promote(self.dtype, other.dtype)
        shape = (self.shape[0], weight.shape[1] * groups, *sizes)
        image = self._result(build.detach(build.const(0, dtype, shape)))  # any images will do
        sides = (cut[1], cut[1], cut[0], cut[0])
        forward = image.conv2d(weight, None, groups, stride, dilation, sides)
        (made,) = grad(forward.node, build.cast(self.node, dtype), [image.node])
        assert made is not None
        result = self._result(made)
        return result if bias is None else result + bias.reshape(1, -1, 1, 1)


# Matrix products


def _matmul(a: Node, b: Node) -> Node:
    """(..., M, K) and (..., K, N) to (..., M, N)."""
    rows, inner = a.shape[-2:]
    columns = b.shape[-1]
    lead = broadcast_shape((a.shape[:-2], b.shape[:-2]), "matmul")
    order = (*range(b.ndim - 2), b.ndim - 1, b.ndim - 2)
    left = build.reshape(a, (*a.shape[:-1], 1, inner))
    right = build.permute(b, order)  # (..., N, K)
    right = build.reshape(right, (*b.shape[:-2], 1, columns, inner))
    cube = (*lead, rows, columns, inner)
    return _sum_of_products(left, right, cube, (len(cube) - 1,))


def _sum_of_products(a: Node, b: Node, shape: Shape, axes: Shape) -> Node:
    return build.sum_(build.mul(build.expand(a, shape), build.expand(b, shape)), axes)


def _is_operand(other: Any) -> bool:
    return isinstance(other, Core) or hasattr(other, "__array__") or isinstance(other, list)


def _check_matmul(a: Shape, b: Shape) -> None:
    if not a or not b:
        raise ValueError(
            f"matmul: shapes {a} and {b}: a scalar has no axis to sum over; use * instead"
        )
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise ValueError(
            f"matmul: shapes {a} and {b} do not fit: the last axis of the left ({a[-1]}) must "
            f"equal axis {max(len(b) - 2, 0)} of the right ({inner}). Transpose or reshape one."
        )


def _for_sums(x: Node, dtype: dtypes.DType) -> Node:
    """An operand in the dtype that its products add up in."""
    return build.cast(x, _sum_dtype(dtype))


def _sum_dtype(dtype: dtypes.DType) -> dtypes.DType:
    if dtype.is_float and dtype.bits == 16:
        return dtypes.float32
    return _result_dtype(dtype)


def _result_dtype(dtype: dtypes.DType) -> dtypes.DType:
    return dtypes.int64 if dtype is dtypes.bool_ else dtype


# Windows over images


class WindowExtents:
    """Checked sizes of a sliding window.

    Attributes:
        kernel, stride, dilation: (rows, columns) each.
        out: how many windows fit, (rows, columns).
    """

    __slots__ = ("dilation", "kernel", "out", "stride")

    def __init__(self, kernel: Shape, stride: Shape, dilation: Shape, out: Shape) -> None:
        self.kernel = kernel
        self.stride = stride
        self.dilation = dilation
        self.out = out


def pair_argument(value: Pair, name: str, least: int = 1) -> Shape:
    """One number for both axes, or (rows, columns)."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= least for n in pair):
        kind = "a positive int" if least else "an int of at least 0"
        raise ValueError(f"{name} must be {kind} or a pair of them, not {value!r}")
    return pair


def sides_argument(padding: Pair) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) from n, (rows, columns) or (left, right, top, bottom)."""
    given = (padding, padding) if isinstance(padding, int) else tuple(padding)
    if len(given) == 2:
        given = (given[1], given[1], given[0], given[0])
    if len(given) != 4 or not all(isinstance(n, int) and n >= 0 for n in given):
        raise ValueError(
            "padding must be an int, (rows, columns) or (left, right, top, bottom), of at "
            f"least 0, not {padding!r}"
        )
    left, right, top, bottom = given
    return (top, bottom), (left, right)


def window_extents(
    image: Shape,
    kernel: Shape,
    stride: Shape,
    dilation: Shape,
    sides: Sequence[tuple[int, int]],
    operation: str,
) -> WindowExtents:
    """Checks that a window fits the padded image."""
    out = []
    for extent, size, step, spread, side in zip(
        image, kernel, stride, dilation, sides, strict=True
    ):
        room = extent + sum(side) - (size - 1) * spread - 1
        if size < 1 or room < 0:
            raise ValueError(
                f"{operation}: a {kernel} window with dilation {dilation} does not fit an image "
                f"of {image} with padding {tuple(sides)}"
            )
        out.append(room // step + 1)
    return WindowExtents(kernel, stride, dilation, tuple(out))


def windows_2d(x: Node, kernel: Shape, stride: Shape, dilation: Shape) -> Node:
    """(..., H, W) to (..., OH, OW, KH, KW)."""
    rows = x.ndim - 2
    tall = _windows(x, rows, kernel[0], stride[0], dilation[0])
    return _windows(tall, rows + 1, kernel[1], stride[1], dilation[1])


def _windows(x: Node, axis: int, size: int, stride: int, dilation: int) -> Node:
    """`build.window`, written as a reshape where windows do not overlap."""
    extent = x.shape[axis]
    if size > 1 and (stride != size or dilation != 1):
        return build.window(x, axis, size, stride, dilation)
    if size == 1:
        kept = _along(x, axis, extent, stride)
        return build.reshape(kept, (*kept.shape, 1))
    count = extent // size
    whole = _along(x, axis, count * size, 1)
    shape = (*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    order = [a for a in range(len(shape)) if a != axis + 1]
    return build.permute(build.reshape(whole, shape), (*order, axis + 1))


def _along(x: Node, axis: int, stop: int, step: int) -> Node:
    spans = tuple((0, stop, step) if a == axis else (0, n, 1) for a, n in enumerate(x.shape))
    return build.slice_(x, spans)


def _convolve(windows: Node, weight: Node, groups: int) -> Node:
    """Windows (N, Cin, OH, OW, KH, KW) and weights (Cout, Cin / G, KH, KW) to (N, Cout, OH, OW)."""
    batch, channels, *places = windows.shape
    filters, depth, *kernel = weight.shape
    if groups == 1:
        left = build.reshape(windows, (batch, 1, channels, *places))
        right = build.reshape(weight, (1, filters, channels, 1, 1, *kernel))
        shape = (batch, filters, channels, *places)
        return _sum_of_products(left, right, shape, (2, 5, 6))
    each = filters // groups
    left = build.reshape(windows, (batch, groups, 1, depth, *places))
    right = build.reshape(weight, (1, groups, each, depth, 1, 1, *kernel))
    shape = (batch, groups, each, depth, *places)
    made = _sum_of_products(left, right, shape, (3, 6, 7))
    return build.reshape(made, (batch, filters, *places[:2]))


def _check_conv(image: Shape, weight: Shape, groups: int) -> None:
    if len(image) != 4 or len(weight) != 4:
        raise ValueError(
            "conv2d: needs images (N, Cin, H, W) and weights (Cout, Cin / groups, KH, KW), not "
            f"shapes {image} and {weight}"
        )
    if groups < 1 or image[1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(
            f"conv2d: images of shape {image} have {image[1]} channels; weights of shape "
            f"{weight} with groups={groups} take {weight[1] * groups} and give {weight[0]}, "
            "which groups must divide"
        )
