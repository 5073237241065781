"""Products that sum over shared axes: matmul and its kin.

Each is one MUL of expanded operands under one REDUCE ADD; the compiler recognises exactly that
pattern as a contraction, so nothing may stand between the two.
"""

from __future__ import annotations

from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.by_form import by_form
from gradlet.tensor.core import Core, Shape, broadcast_shape
from gradlet.tensor.selecting import Selecting


class Contraction(Selecting):
    """Contractions."""

    __slots__ = ()

    @by_form
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
        product = _matmul(for_sums(left, dtype), for_sums(right, dtype))
        lead = product.shape[:-2]
        rows = product.shape[-2:-1] if a.ndim > 1 else ()
        columns = product.shape[-1:] if b.ndim > 1 else ()
        result = build.reshape(product, (*lead, *rows, *columns))
        return self._result(build.cast(result, result_dtype(dtype)))

    dot = matmul

    def __matmul__(self, other: Any) -> Self:
        return self.matmul(other) if _is_operand(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Self:
        left = self._operand(other, "matmul")
        return NotImplemented if left is None else self._result(left).matmul(self)

    @by_form
    def linear(self, weight: Self, bias: Self | None = None) -> Self:
        """`self @ weight + bias`.

        Args:
            weight: (in, out), or (in,), which multiplies element by element.
            bias: (out,).
        """
        result = self * weight if weight.ndim == 1 else self.matmul(weight)
        return result if bias is None else result + bias

    @by_form
    def _linear_of_rows(self, weight: Self, bias: Self | None = None) -> Self:
        """`self @ weight.T + bias`.

        Args:
            weight: (out, in).
            bias: (out,).
        """
        return self.linear(weight.T, bias)


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
    return sum_of_products(left, right, cube, (len(cube) - 1,))


def sum_of_products(a: Node, b: Node, shape: Shape, axes: Shape) -> Node:
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


def for_sums(x: Node, dtype: dtypes.DType) -> Node:
    """An operand in the dtype that its products add up in."""
    return build.cast(x, _sum_dtype(dtype))


def _sum_dtype(dtype: dtypes.DType) -> dtypes.DType:
    if dtype.is_float and dtype.bits == 16:
        return dtypes.float32
    return result_dtype(dtype)


def result_dtype(dtype: dtypes.DType) -> dtypes.DType:
    return dtypes.int64 if dtype is dtypes.bool_ else dtype
