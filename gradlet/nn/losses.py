"""Losses as layers: functions of `nn.functional` with their options, called with tensors.

`reduction` is `mean`, `sum` or `none`. Weights are copied, and are not trained.
"""

from __future__ import annotations

from typing import Any

from gradlet.nn import functional
from gradlet.nn.stateless import Stateless
from gradlet.tensor.tensor import Tensor

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CosineSimilarity",
    "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
    "PairwiseDistance", "SmoothL1Loss", "TripletMarginLoss",
]  # fmt: skip


# Classes


class CrossEntropyLoss(Stateless):
    """-log softmax(scores) at the target: classes (N, ...) or probabilities of scores' shape.

    Args:
        weight: (C,), one for each class.

    >>> round(CrossEntropyLoss()(Tensor([[2.0, 0.0]]), Tensor([0])).item(), 4)
    0.1269
    """

    function = functional.cross_entropy

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            weight=_fixed(weight),
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )


class NLLLoss(Stateless):
    """`CrossEntropyLoss` from the logarithms of probabilities."""

    function = functional.nll_loss

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=_fixed(weight), ignore_index=ignore_index, reduction=reduction)


class BCELoss(Stateless):
    """-(y log p + (1 - y) log(1 - p)) of probabilities."""

    function = functional.binary_cross_entropy

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight=_fixed(weight), reduction=reduction)


class BCEWithLogitsLoss(Stateless):
    """`BCELoss` of sigmoid(x), with no overflow."""

    function = functional.binary_cross_entropy_with_logits

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight=_fixed(weight), reduction=reduction, pos_weight=_fixed(pos_weight))


class KLDivLoss(Stateless):
    """target * (log(target) - x) of log-probabilities; also reduced as `batchmean`."""

    function = functional.kl_div

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction, log_target=log_target)


# Differences


class MSELoss(Stateless):
    """Squared differences.

    >>> MSELoss()(Tensor([1.0, 3.0]), Tensor([1.0, 1.0])).item()
    2.0
    """

    function = functional.mse_loss

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class L1Loss(Stateless):
    """Absolute differences."""

    function = functional.l1_loss

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class SmoothL1Loss(Stateless):
    """`HuberLoss` over beta, which is its delta."""

    function = functional.smooth_l1_loss

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction, beta=beta)


class HuberLoss(Stateless):
    """Half of squared differences d up to delta, beyond it delta * (|d| - delta / 2)."""

    function = functional.huber_loss

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction, delta=delta)


# Sequences


class CTCLoss(Stateless):
    """-log of the probability of all alignments of log-probabilities (T, N, C) with targets.

    >>> from gradlet import Tensor, nn
    >>> even = Tensor.zeros(2, 1, 2).log_softmax(-1)  # 3 of 4 paths are a 1 among blanks
    >>> round(nn.CTCLoss()(even, Tensor([[1]]), [2], [1]).exp().item(), 4)
    1.3333
    """

    function = functional.ctc_loss

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(blank=blank, reduction=reduction, zero_infinity=zero_infinity)


# Vectors


class CosineEmbeddingLoss(Stateless):
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1."""

    function = functional.cosine_embedding_loss

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(margin=margin, reduction=reduction)


class TripletMarginLoss(Stateless):
    """max(0, margin + |anchor - positive| - |anchor - negative|)."""

    function = functional.triplet_margin_loss

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin=margin, p=p, eps=eps, swap=swap, reduction=reduction)


class CosineSimilarity(Stateless):
    """The cosine of the angle between vectors along `dim`."""

    function = functional.cosine_similarity

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__(dim=dim, eps=eps)


class PairwiseDistance(Stateless):
    """The p-norm of `x - other + eps` along the last axis."""

    function = functional.pairwise_distance

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__(p=p, eps=eps, keepdim=keepdim)


def _fixed(weight: Any) -> Tensor | None:
    """A copy that no optimiser finds among the parameters of a model."""
    return None if weight is None else Tensor(weight, requires_grad=False)
