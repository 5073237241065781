"""Attention, written so that its scores are rows that the compiler never stores."""

from __future__ import annotations

from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.by_form import by_form
from gradlet.tensor.core import Shape, broadcast_shape
from gradlet.tensor.sequences import Sequences

_MINUS_INFINITY = float("-inf")
_OPERATION = "scaled_dot_product_attention"


class Attention(Sequences):
    """Attention."""

    __slots__ = ()

    def scaled_dot_product_attention(
        self,
        key: Self,
        value: Self,
        attn_mask: Self | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Self:
        """softmax(self @ key.T * scale + mask) @ value, self being queries (Vaswani et al. 2017).

        Args:
            self: (..., H, L, E).
            key: (..., H, S, E).
            value: (..., H, S, Ev).
            attn_mask: broadcasts to (..., H, L, S). Bools say which keys take part, floats are
                added. Where no key takes part the result is 0.
            dropout_p: probability with which `dropout` zeros a share, while `Tensor.training`.
            is_causal: query i takes part with keys up to i; goes without `attn_mask`.
            scale: 1 / sqrt(E) if not given.
            enable_gqa: key and value may have fewer heads, each for as many heads of `self` in
                turn (Ainslie et al. 2023); they are not copied.

        Returns:
            (..., H, L, Ev).

        >>> from gradlet import Tensor
        >>> q, k, v = Tensor.ones(1, 3, 4), Tensor.ones(1, 5, 4), Tensor.ones(1, 5, 2)
        >>> q.scaled_dot_product_attention(k, v).shape
        (1, 3, 2)
        """
        _check(self, key, value, enable_gqa)
        if is_causal and attn_mask is not None:
            raise ValueError(f"{_OPERATION}: give attn_mask or is_causal=True, not both")
        sharing = self.shape[-3] // key.shape[-3] if enable_gqa else 1
        shares = self._attention_shares(key, attn_mask, is_causal, scale, sharing)
        result = shares.dropout(dropout_p).matmul(value.cast(shares.dtype)).cast(self.dtype)
        if sharing == 1:
            return result
        return result.reshape(*result.shape[:-3], *self.shape[-3:-1], value.shape[-1])

    @by_form
    def _attention_shares(
        self,
        key: Self,
        attn_mask: Self | None,
        is_causal: bool,
        scale: float | None,
        sharing: int = 1,
    ) -> Self:
        """How much of each key a query takes, (..., L, S); at least float32.

        Args:
            sharing: how many heads of queries have one head of keys. They become one head of so
                many times as many queries, which is the same and reads each key once for all.
        """
        wide = dtypes.float32 if self.dtype.bits == 16 else self.dtype
        if scale is None:
            scale = self.shape[-1] ** -0.5 if self.shape[-1] else 1.0
        scores = self._joined_heads(sharing).cast(wide).matmul(key.cast(wide).transpose(-2, -1))
        scores = scores * scale
        shape = scores.shape
        if sharing > 1:
            shape = (*shape[:-3], *self.shape[-3:-1], shape[-1])
        if attn_mask is not None:
            scores = scores._masked_scores(attn_mask, shape, sharing)
        elif is_causal:
            scores = self._result(_causal(scores.node, shape))
        return self._result(_safe_softmax(scores.node))

    def _joined_heads(self, sharing: int) -> Self:
        """(..., H, L, E) as (..., H / sharing, L * sharing, E)."""
        if sharing == 1:
            return self
        *lead, heads, length, width = self.shape
        return self.reshape(*lead, heads // sharing, length * sharing, width)

    def _masked_scores(self, mask: Self, shape: Shape, sharing: int) -> Self:
        """Scores, of `shape` before heads were joined, under a mask of bools or floats."""
        if not mask.dtype.is_float and mask.dtype is not dtypes.bool_:
            raise TypeError(
                f"{_OPERATION}: attn_mask holds bools or floats, not {mask.dtype.name}; call "
                ".bool() on it if 1 means that a key takes part"
            )
        if broadcast_shape((mask.shape, shape), _OPERATION) != shape:
            raise ValueError(
                f"{_OPERATION}: attn_mask of shape {mask.shape} does not broadcast to the scores' "
                f"{shape}"
            )
        if sharing > 1:
            mask = mask.expand(*shape)._joined_heads(sharing)
        if mask.dtype is dtypes.bool_:
            return mask.where(self, _MINUS_INFINITY)
        return self + mask.cast(self.dtype)


def _check(query: Any, key: Any, value: Any, grouped: bool) -> None:
    for other in (key, value):
        query._operand(other, _OPERATION)
    shapes: tuple[Shape, ...] = (query.shape, key.shape, value.shape)
    listed = f"query {shapes[0]}, key {shapes[1]} and value {shapes[2]}"
    kinds = {query.dtype, key.dtype, value.dtype}
    if len(kinds) > 1 or not query.dtype.is_float:
        named = ", ".join(x.dtype.name for x in (query, key, value))
        raise TypeError(f"{_OPERATION}: needs three tensors of one float dtype, not {named}")
    fits = min(len(shape) for shape in shapes) >= (3 if grouped else 2)
    fits = fits and shapes[0][-1] == shapes[1][-1] and shapes[1][-2] == shapes[2][-2]
    if not fits:
        raise ValueError(
            f"{_OPERATION}: {listed} do not fit: they are (..., H, L, E), (..., H, S, E) and "
            "(..., H, S, Ev)"
        )
    if grouped and (
        shapes[1][-3] != shapes[2][-3] or not shapes[1][-3] or shapes[0][-3] % shapes[1][-3]
    ):
        raise ValueError(
            f"{_OPERATION}: {listed}: with enable_gqa the heads of key and value, which are equal "
            "in number, must divide those of query"
        )


def _causal(scores: Node, shape: Shape) -> Node:
    """Scores, of (..., L, S) before heads were joined, in which query i sees keys up to i alone."""
    row, column = along(len(shape) - 2, shape), along(len(shape) - 1, shape)
    seen = build.reshape(build.binary(ops.LE, column, row), scores.shape)
    return build.where(seen, scores, build.full_like(scores, _MINUS_INFINITY))


def _safe_softmax(x: Node) -> Node:
    """Softmax of the last axis, 0 in rows that are -inf throughout."""

    def spread(row: Node) -> Node:
        return build.expand(build.reshape(row, (*x.shape[:-1], 1)), x.shape)

    axes = (x.ndim - 1,)
    largest = build.detach(build.reduce(ops.MAXIMUM, x, axes))
    nothing = build.binary(ops.EQ, largest, build.full_like(largest, _MINUS_INFINITY))
    largest = build.where(nothing, build.full_like(largest, 0), largest)
    powers = build.unary(ops.EXP, build.sub(x, spread(largest)))
    total = build.sum_(powers, axes)
    total = build.where(nothing, build.full_like(total, 1), total)
    return build.div(powers, spread(total), "reciprocal")
