"""Losses. `reduction` is "mean", "sum" or "none", which leaves one loss for each element."""

from __future__ import annotations

import math
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.by_form import by_form
from gradlet.tensor.core import product
from gradlet.tensor.functional import Functional
from gradlet.tensor.operators import floating

_REDUCTIONS = ("mean", "sum", "none")
_TINY = 1e-12


class Losses(Functional):
    """Losses."""

    __slots__ = ()

    def _reduce_loss(self, reduction: str, operation: str) -> Self:
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"{operation}: reduction is one of {', '.join(_REDUCTIONS)}, not {reduction!r}"
            )
        if reduction == "none":
            return self
        return self.mean() if reduction == "mean" else self.sum()

    def _same_shape(self, target: Self, operation: str) -> None:
        if self.shape != target.shape:
            raise ValueError(
                f"{operation}: predictions of shape {self.shape} and targets of shape "
                f"{target.shape} must have the same shape; reshape one of them"
            )

    # Of numbers

    def mse_loss(self, target: Self, reduction: str = "mean") -> Self:
        """Squared differences."""
        self._same_shape(target, "mse_loss")
        return (self - target).square()._reduce_loss(reduction, "mse_loss")

    mse = mse_loss

    def l1_loss(self, target: Self, reduction: str = "mean") -> Self:
        """Absolute differences."""
        self._same_shape(target, "l1_loss")
        return (self - target).abs()._reduce_loss(reduction, "l1_loss")

    def smooth_l1_loss(self, target: Self, reduction: str = "mean", beta: float = 1.0) -> Self:
        """`huber_loss` over beta, which is its delta; absolute differences if beta is 0."""
        if beta < 0:
            raise ValueError(f"smooth_l1_loss: beta must not be below 0, and is {beta}")
        self._same_shape(target, "smooth_l1_loss")
        if beta == 0:
            return self.l1_loss(target, reduction)
        loss = (self - target)._huber(beta) / beta
        return loss._reduce_loss(reduction, "smooth_l1_loss")

    def huber_loss(self, target: Self, reduction: str = "mean", delta: float = 1.0) -> Self:
        """Half of squared differences d up to delta, beyond it delta * (|d| - delta / 2).

        >>> from gradlet import Tensor
        >>> Tensor([1.0, 3.0]).huber_loss(Tensor([0.0, 0.0]), "none").tolist()
        [0.5, 2.5]
        """
        if delta <= 0:
            raise ValueError(f"huber_loss: delta must be above 0, and is {delta}")
        self._same_shape(target, "huber_loss")
        return (self - target)._huber(delta)._reduce_loss(reduction, "huber_loss")

    def _huber(self, delta: float) -> Self:
        size = self.abs()
        near = (size < delta).where(size, delta)
        return near * (size - near * 0.5)

    # Of probabilities

    def binary_cross_entropy(
        self, target: Self, reduction: str = "mean", weight: Self | None = None
    ) -> Self:
        """-(y log p + (1 - y) log(1 - p)) of probabilities; logs are kept above -100."""
        self._same_shape(target, "binary_cross_entropy")
        loss = -(target * self._bounded_log() + (1 - target) * (1.0 - self)._bounded_log())
        return _weighted(loss, weight)._reduce_loss(reduction, "binary_cross_entropy")

    def _bounded_log(self) -> Self:
        """log(p), above -100, with a gradient of at most 1e12."""
        value = self.log().clamp(min=-100.0).node
        bounded = build.surrogate(self.clamp(min=_TINY).node, self.node)
        return self._result(build.surrogate(value, build.unary(ops.LOG, bounded)))

    def binary_cross_entropy_with_logits(
        self,
        target: Self,
        reduction: str = "mean",
        weight: Self | None = None,
        pos_weight: Self | None = None,
    ) -> Self:
        """`binary_cross_entropy` of sigmoid(self), with no overflow.

        Args:
            weight: factors of the losses, broadcast.
            pos_weight: factors of what targets of 1 contribute, broadcast.
        """
        self._same_shape(target, "binary_cross_entropy_with_logits")
        if pos_weight is None:
            loss = self._softplus() - self * target
        else:
            share = (pos_weight - 1) * target + 1
            loss = (1 - target) * self + share * (-self)._softplus()
        return _weighted(loss, weight)._reduce_loss(reduction, "binary_cross_entropy_with_logits")

    binary_crossentropy = binary_cross_entropy
    binary_crossentropy_logits = binary_cross_entropy_with_logits

    def kl_div(self, target: Self, reduction: str = "mean", log_target: bool = False) -> Self:
        """target * (log(target) - self) of log-probabilities (Kullback & Leibler 1951).

        Args:
            target: probabilities, or their logarithms if `log_target`.
            reduction: also "batchmean", the sum over the extent of axis 0: the divergence proper.
        """
        self._same_shape(target, "kl_div")
        if log_target:
            loss = target.exp() * (target - self)
        else:
            nothing = target.eq(0)
            loss = target * nothing.where(1.0, target).log() - target * self
        if reduction != "batchmean":
            return loss._reduce_loss(reduction, "kl_div")
        return loss.sum() / (self.shape[0] if self.ndim else 1)

    # Of classes

    def cross_entropy(
        self,
        target: Self,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        weight: Self | None = None,
    ) -> Self:
        """-log softmax(self) at the target class, from unnormalised scores.

        Args:
            self: (N, C, ...) scores, or (C,).
            target: integer classes (N, ...), or probabilities of the shape of `self`.
            ignore_index: a class that stands for no class: it adds nothing to the loss.
            weight: (C,) factors of the classes; means of losses at classes are weighted.

        Raises:
            IndexError: a class outside [0, C), when the loss is computed.

        >>> from gradlet import Tensor
        >>> Tensor([[0.0, 0.0]]).cross_entropy(Tensor([1])).item()
        0.6931471824645996
        """
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"cross_entropy: label_smoothing is in [0, 1], not {label_smoothing}")
        axis = min(1, self.ndim - 1)
        scores = self.log_softmax(axis)
        if target.dtype.is_float:
            return scores._soft_cross_entropy(target, axis, reduction, label_smoothing, weight)
        return scores._class_loss(target, reduction, label_smoothing, ignore_index, weight)

    def sparse_categorical_crossentropy(
        self,
        target: Self,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Self:
        """`cross_entropy` with the classes along the last axis."""
        scores = self.log_softmax(-1)
        if self.ndim > 1:
            scores = scores.movedim(-1, 1)
        return scores._class_loss(target, reduction, label_smoothing, ignore_index)

    def nll_loss(
        self,
        target: Self,
        reduction: str = "mean",
        ignore_index: int = -100,
        weight: Self | None = None,
    ) -> Self:
        """`cross_entropy` from the logarithms of probabilities."""
        return self._class_loss(target, reduction, 0.0, ignore_index, weight, "nll_loss")

    def _soft_cross_entropy(
        self, target: Self, axis: int, reduction: str, smoothing: float, weight: Self | None
    ) -> Self:
        """The loss of log-probabilities against probabilities."""
        self._same_shape(target, "cross_entropy")
        if smoothing:
            target = target * (1 - smoothing) + smoothing / self.shape[axis]
        loss = self * target
        if weight is not None:
            shape = (1,) * axis + (-1,) + (1,) * (self.ndim - axis - 1)
            loss = loss * self._class_weights(weight, axis, "cross_entropy").reshape(shape)
        return -loss.sum(axis)._reduce_loss(reduction, "cross_entropy")

    def _class_weights(self, weight: Self, axis: int, operation: str) -> Self:
        if weight.shape != (self.shape[axis],):
            raise ValueError(
                f"{operation}: scores of shape {self.shape} need a weight of shape "
                f"{(self.shape[axis],)}, one number a class, not {weight.shape}"
            )
        return weight

    @by_form
    def _class_loss(
        self,
        target: Self,
        reduction: str,
        smoothing: float,
        ignore_index: int,
        weight: Self | None = None,
        operation: str = "cross_entropy",
    ) -> Self:
        """The loss of log-probabilities (N, C, ...) at integer classes (N, ...)."""
        axis = min(1, self.ndim - 1)
        rows = self.movedim(axis, -1)
        labels = self._operand(target, operation)
        if labels is None or not labels.dtype.is_int or labels.shape != rows.shape[:-1]:
            kind = getattr(target, "dtype", type(target).__name__)
            raise ValueError(
                f"{operation}: scores of shape {self.shape} need integer classes of shape "
                f"{rows.shape[:-1]} or probabilities of shape {self.shape}, not "
                f"{kind} of shape {getattr(target, 'shape', ())}"
            )
        labels = build.cast(labels, dtypes.int64)
        skipped = build.binary(ops.EQ, labels, build.full_like(labels, ignore_index))
        counted = self._result(build.logical_not(skipped))
        labels = build.where(skipped, build.full_like(labels, 0), labels)
        loss = -self._result(_at_class(floating(rows.node), labels))
        share = counted
        if weight is not None:
            weight = self._class_weights(weight, axis, operation)
            share = counted.where(weight._result(build.gather(weight.node, (labels,))), 0.0)
            loss = loss * share
        if smoothing:
            spread = rows if weight is None else rows * weight
            loss = loss * (1 - smoothing) - spread.mean(-1) * smoothing
        loss = counted.where(loss, 0.0)
        if reduction == "mean":
            return loss.sum() / share.sum()
        return loss._reduce_loss(reduction, operation)

    # Of vectors

    def cosine_similarity(self, other: Self, dim: int = 1, eps: float = 1e-8) -> Self:
        """The cosine of the angle between vectors along `dim`; lengths count as at least eps.

        >>> from gradlet import Tensor
        >>> Tensor([[2.0, 0.0]]).cosine_similarity(Tensor([[3.0, 0.0]])).tolist()
        [1.0]
        """
        first, second = (
            x / x.square().sum(dim, keepdim=True)._root_above(eps) for x in (self, other)
        )
        return (first * second).sum(dim)

    def _root_above(self, least: float) -> Self:
        """sqrt(x), or `least` where that is more, with no gradient there."""
        enough = self > least * least
        return enough.where(enough.where(self, 1.0).sqrt(), least)

    def cosine_embedding_loss(
        self, other: Self, target: Self, margin: float = 0.0, reduction: str = "mean"
    ) -> Self:
        """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1.

        Raises:
            IndexError: another target, when the loss is computed.
        """
        product_sum = (self * other).sum(-1)
        sizes = (self.square().sum(-1) + _TINY) * (other.square().sum(-1) + _TINY)
        cosine = product_sum / sizes.sqrt()
        alike, legal = target.eq(1), target.eq(1) | target.eq(-1)
        # Looking the choice up in a table of one row has wrong targets found.
        place = build.cast(legal.logical_not().node, dtypes.int64)
        checked = self._result(build.gather(build.iota(1), (place,))).eq(0)
        loss = (alike & checked).where(1.0 - cosine, (cosine - margin).clamp(min=0.0))
        return loss._reduce_loss(reduction, "cosine_embedding_loss")

    def pairwise_distance(
        self, other: Self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
    ) -> Self:
        """The p-norm of `self - other + eps` along the last axis."""
        gap = (self - other + eps).abs()
        if p == math.inf:
            return gap.max(-1, keepdim=keepdim)
        if p == 1:
            return gap.sum(-1, keepdim=keepdim)
        if p == 2:
            return gap.square().sum(-1, keepdim=keepdim)._root_above(0.0)
        if p <= 0:
            raise ValueError(f"pairwise_distance: p must be above 0, and is {p}")
        return (gap**p).sum(-1, keepdim=keepdim) ** (1 / p)

    def triplet_margin_loss(
        self,
        positive: Self,
        negative: Self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> Self:
        """max(0, margin + |self - positive| - |self - negative|), vectors along the last axis.

        Args:
            swap: counts the distance of positive and negative where it is less (Balntas 2016).
        """
        near = self.pairwise_distance(positive, p, eps)
        far = self.pairwise_distance(negative, p, eps)
        if swap:
            far = far.minimum(positive.pairwise_distance(negative, p, eps))
        loss = (near - far + margin).clamp(min=0.0)
        return loss._reduce_loss(reduction, "triplet_margin_loss")


def _weighted(loss: Any, weight: Any) -> Any:
    return loss if weight is None else loss * weight


def _at_class(rows: Node, labels: Node) -> Node:
    """rows (..., C) at labels (...): each row's element at its label."""
    count, classes = product(labels.shape), rows.shape[-1]
    flat = build.reshape(rows, (count, classes))
    place = build.reshape(labels, (count,))
    return build.reshape(build.gather(flat, (along(0, (count,)), place)), labels.shape)
