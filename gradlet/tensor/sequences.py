"""Losses of sequences that are not aligned with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.losses import Losses

Lengths = int | Sequence[int] | Any


class Sequences(Losses):
    """Losses of sequences."""

    __slots__ = ()

    def ctc_loss(
        self,
        targets: Self,
        input_lengths: Lengths,
        target_lengths: Lengths,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,
    ) -> Self:
        """-log of the probability of all alignments with the targets (Graves et al. 2006).

        As in PyTorch, "mean" divides each loss by the length of its target first, and the gradient
        is that of the logits which log_softmax has made `self` of.

        Args:
            self: logarithms of probabilities (T, N, C), or (T, C) of a single sequence.
            targets: classes (N, S), of which those up to the length count, or (sum of lengths,).
            input_lengths: (N,), tensors or ints; how many of the T steps count.
            target_lengths: (N,).
            zero_infinity: 0, without a gradient, for a target that is too long to be aligned.

        Raises:
            ValueError: shapes that do not match, or, when it is computed, lengths out of range.
            IndexError: when it is computed, a label that is no class.

        >>> from gradlet import Tensor
        >>> even = Tensor.zeros(3, 1, 2).log_softmax(-1)  # 6 of 8 paths are a 1 among blanks
        >>> round(even.ctc_loss(Tensor([[1]]), [3], [1]).exp().item(), 4)
        1.3333
        """
        if self.ndim not in (2, 3) or not self.dtype.is_float:
            raise ValueError(
                "ctc_loss: takes log-probabilities of shape (T, N, C) or (T, C), not "
                f"{self.dtype.name}{list(self.shape)}"
            )
        alone = self.ndim == 2
        batch = self.unsqueeze(1) if alone else self
        _, count, classes = batch.shape
        if not 0 <= blank < classes:
            raise ValueError(f"ctc_loss: blank {blank} is none of {classes} classes")
        labels = batch._whole(targets, "targets")
        if alone and labels.ndim == 1:
            labels = build.reshape(labels, (1, *labels.shape))
        if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[0] != count):
            raise ValueError(
                f"ctc_loss: targets of shape {labels.shape} fit no {count} sequences; give "
                f"({count}, S), or all labels in one row"
            )
        inputs = batch._lengths(input_lengths, "input_lengths")
        lengths = batch._lengths(target_lengths, "target_lengths")
        wide = build.cast(batch.node, dtypes.promote(self.dtype, dtypes.float32))
        options = (blank, bool(zero_infinity))
        found = build.library("ctc_loss", options, wide, labels, inputs, lengths)
        loss = self._result(build.cast(found, self.dtype))
        if reduction == "mean":
            loss = loss / self._result(build.cast(lengths, self.dtype)).clamp(min=1)
        loss = loss._reduce_loss(reduction, "ctc_loss")
        return loss.reshape(()) if alone else loss

    def _lengths(self, given: Lengths, name: str) -> Node:
        found = self._whole([given] if isinstance(given, int) else given, name)
        count = self.shape[1]
        if found.size != count or found.ndim > 1:
            raise ValueError(f"ctc_loss: {name} of shape {found.shape} fit no {count} sequences")
        return build.reshape(found, (count,))

    def _whole(self, given: Any, name: str) -> Node:
        found = self._operand(given, "ctc_loss")
        if found is None or (not found.dtype.is_int and found.size):
            kind = type(given).__name__ if found is None else found.dtype.name
            raise TypeError(f"ctc_loss: {name} are integers, not {kind}")
        return build.cast(found, dtypes.int64)
