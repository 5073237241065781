"""What layers and losses are made of: normalisation, dropout, losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.core import product
from gradlet.tensor.operators import floating
from gradlet.tensor.random import Random, uniform_node

_REDUCTIONS = ("mean", "sum", "none")


class Functional(Random):
    """Normalisation, dropout and losses."""

    __slots__ = ()

    def sequential(self, layers: Sequence[Callable[[Any], Any]]) -> Any:
        """`self` passed through each of `layers` in turn."""
        x: Any = self
        for layer in layers:
            x = layer(x)
        return x

    # Normalisation

    def batchnorm(
        self,
        weight: Self | None,
        bias: Self | None,
        mean: Self,
        invstd: Self,
        axis: int = 1,
    ) -> Self:
        """(x - mean) * invstd * weight + bias, all 1-D along `axis` (Ioffe & Szegedy 2015)."""
        place = self._axis(axis, "batchnorm")
        shape = tuple(n if a == place else 1 for a, n in enumerate(self.shape))
        x = self - mean.reshape(shape)
        scale = invstd if weight is None else invstd * weight
        x = x * scale.reshape(shape)
        return x if bias is None else x + bias.reshape(shape)

    def layernorm(self, axis: int | Sequence[int] = -1, eps: float = 1e-5) -> Self:
        """(x - mean) / sqrt(variance + eps) over `axis` (Ba et al. 2016)."""
        centered = self - self.mean(axis, keepdim=True)
        variance = centered.square().mean(axis, keepdim=True)
        return centered * (variance + eps).rsqrt()

    def dropout(self, p: float = 0.5) -> Self:
        """While `Tensor.training`: zeros with probability p, the rest over (1 - p)."""
        if not 0 <= p <= 1:
            raise ValueError(f"dropout: p is a probability, not {p}")
        if not self.training or p == 0:
            return self
        draw = uniform_node(self.shape, dtypes.float32, self.device)
        dropped = self._result(build.binary(ops.LT, draw, build.full_like(draw, p)))
        return dropped.where(0.0, self * (1 / (1 - p) if p < 1 else 0.0))

    # Losses

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

    def mse_loss(self, target: Self, reduction: str = "mean") -> Self:
        """Squared differences."""
        self._same_shape(target, "mse_loss")
        return (self - target).square()._reduce_loss(reduction, "mse_loss")

    mse = mse_loss

    def binary_cross_entropy(self, target: Self, reduction: str = "mean") -> Self:
        """-(y log p + (1 - y) log(1 - p)) of probabilities; logs are kept above -100."""
        self._same_shape(target, "binary_cross_entropy")
        hit, miss = self.log().clamp(min=-100.0), (1.0 - self).log().clamp(min=-100.0)
        loss = -(target * hit + (1 - target) * miss)
        return loss._reduce_loss(reduction, "binary_cross_entropy")

    def binary_cross_entropy_with_logits(self, target: Self, reduction: str = "mean") -> Self:
        """`binary_cross_entropy` of sigmoid(self), with no overflow."""
        self._same_shape(target, "binary_cross_entropy_with_logits")
        loss = self.softplus() - self * target
        return loss._reduce_loss(reduction, "binary_cross_entropy_with_logits")

    binary_crossentropy = binary_cross_entropy
    binary_crossentropy_logits = binary_cross_entropy_with_logits

    def cross_entropy(
        self,
        target: Self,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
    ) -> Self:
        """-log softmax(self) at the target class, from unnormalised scores.

        Args:
            self: (N, C, ...) scores, or (C,).
            target: integer classes (N, ...), or probabilities of the shape of `self`.
            ignore_index: a class that stands for no class: it adds nothing to the loss.

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
            return scores._soft_cross_entropy(target, axis, reduction, label_smoothing)
        return scores._class_loss(target, reduction, label_smoothing, ignore_index)

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

    def nll_loss(self, target: Self, reduction: str = "mean", ignore_index: int = -100) -> Self:
        """`cross_entropy` from the logarithms of probabilities."""
        return self._class_loss(target, reduction, 0.0, ignore_index)

    def _soft_cross_entropy(
        self, target: Self, axis: int, reduction: str, smoothing: float
    ) -> Self:
        """The loss of log-probabilities against probabilities."""
        self._same_shape(target, "cross_entropy")
        if smoothing:
            target = target * (1 - smoothing) + smoothing / self.shape[axis]
        return -(self * target).sum(axis)._reduce_loss(reduction, "cross_entropy")

    def _class_loss(
        self, target: Self, reduction: str, smoothing: float, ignore_index: int
    ) -> Self:
        """The loss of log-probabilities (N, C, ...) at integer classes (N, ...)."""
        axis = min(1, self.ndim - 1)
        rows = self.movedim(axis, -1)
        labels = self._operand(target, "cross_entropy")
        if labels is None or not labels.dtype.is_int or labels.shape != rows.shape[:-1]:
            kind = getattr(target, "dtype", type(target).__name__)
            raise ValueError(
                f"cross_entropy: scores of shape {self.shape} need integer classes of shape "
                f"{rows.shape[:-1]} or probabilities of shape {self.shape}, not "
                f"{kind} of shape {getattr(target, 'shape', ())}"
            )
        labels = build.cast(labels, dtypes.int64)
        skipped = build.binary(ops.EQ, labels, build.full_like(labels, ignore_index))
        counted = self._result(build.logical_not(skipped))
        labels = build.where(skipped, build.full_like(labels, 0), labels)
        loss = -self._result(_at_class(floating(rows.node), labels))
        if smoothing:
            loss = loss * (1 - smoothing) - rows.mean(-1) * smoothing
        loss = counted.where(loss, 0.0)
        if reduction == "mean":
            return loss.sum() / counted.sum()
        return loss._reduce_loss(reduction, "cross_entropy")


def _at_class(rows: Node, labels: Node) -> Node:
    """rows (..., C) at labels (...): each row's element at its label."""
    count, classes = product(labels.shape), rows.shape[-1]
    flat = build.reshape(rows, (count, classes))
    place = build.reshape(labels, (count,))
    return build.reshape(build.gather(flat, (along(0, (count,)), place)), labels.shape)
