"""The loss of sequences as a layer."""

from __future__ import annotations

from typing import Any

from gradlet.tensor.tensor import Tensor


class CTCLoss:
    """`Tensor.ctc_loss` with its options set: called with what that takes, log-probabilities first.

    >>> from gradlet import Tensor, nn
    >>> even = Tensor.zeros(2, 1, 2).log_softmax(-1)  # 3 of 4 paths are a 1 among blanks
    >>> round(nn.CTCLoss()(even, Tensor([[1]]), [2], [1]).exp().item(), 4)
    1.3333
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity

    def __call__(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        options = (self.blank, self.reduction, self.zero_infinity)
        return log_probs.ctc_loss(targets, input_lengths, target_lengths, *options)

    def __repr__(self) -> str:
        return f"CTCLoss(blank={self.blank}, reduction={self.reduction!r})"
