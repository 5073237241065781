"""Activations, losses and layers without state, as functions of tensors.

Each is a method of `Tensor`, which says more; here they have PyTorch's names and argument order.
Those over one, two and three axes of space are in `pooling.py` and `spatial.py`.
"""

from __future__ import annotations

from typing import Any

from gradlet.nn.functional.pooling import *  # noqa: F403
from gradlet.nn.functional.spatial import *  # noqa: F403
from gradlet.tensor.tensor import Tensor

# Activations


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return x.relu()


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x above zero, else negative_slope * x."""
    return x.leaky_relu(negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x above zero, else alpha * (exp(x) - 1)."""
    return x.elu(alpha)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; `approximate` is `none` or `tanh`."""
    return x.gelu(approximate)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x.silu()


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, taken to be x where beta * x is above the threshold."""
    return x.softplus(beta, threshold)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return x.relu6()


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x above zero, else alpha * (exp(x / alpha) - 1)."""
    return x.celu(alpha)


def selu(x: Tensor) -> Tensor:
    """Scaled elu that keeps mean 0 and variance 1."""
    return x.selu()


def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    return x.mish()


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x))."""
    return x.logsigmoid()


def hardsigmoid(x: Tensor) -> Tensor:
    """relu6(x + 3) / 6."""
    return x.hardsigmoid()


def hardswish(x: Tensor) -> Tensor:
    """x * relu6(x + 3) / 6."""
    return x.hardswish()


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x kept within [min_val, max_val]."""
    return x.hardtanh(min_val, max_val)


def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x, but 0 within [-lambd, lambd]."""
    return x.hardshrink(lambd)


def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved by lambd towards 0, and 0 within [-lambd, lambd]."""
    return x.softshrink(lambd)


def tanhshrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return x.tanhshrink()


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x.softsign()


def threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    """x above the threshold, else `value`."""
    return x.threshold(threshold, value)


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x above zero, else weight * x, for one weight or one for each place along axis 1."""
    return x.prelu(weight)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    return x.glu(dim)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> sigmoid(Tensor([0.0])).tolist()
    [0.5]
    """
    return x.sigmoid()


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return x.tanh()


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """exp(x) / sum of exp(x) along `dim`."""
    return x.softmax(dim)


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """The logarithm of softmax along `dim`."""
    return x.log_softmax(dim)


def softmin(x: Tensor, dim: int = -1) -> Tensor:
    """softmax(-x)."""
    return x.softmin(dim)


# Losses


def cross_entropy(
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(scores) at the target: classes (N, ...) or probabilities of scores' shape.

    >>> round(cross_entropy(Tensor([[2.0, 0.0]]), Tensor([0])).item(), 4)
    0.1269
    """
    return scores.cross_entropy(target, reduction, label_smoothing, ignore_index, weight)


def nll_loss(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """`cross_entropy` from the logarithms of probabilities."""
    return log_probabilities.nll_loss(target, reduction, ignore_index, weight)


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared differences."""
    return x.mse_loss(target, reduction)


def l1_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Absolute differences."""
    return x.l1_loss(target, reduction)


def smooth_l1_loss(x: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` over beta, which is its delta."""
    return x.smooth_l1_loss(target, reduction, beta)


def huber_loss(x: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half of squared differences d up to delta, beyond it delta * (|d| - delta / 2)."""
    return x.huber_loss(target, reduction, delta)


def binary_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) of probabilities."""
    return x.binary_cross_entropy(target, reduction, weight)


def binary_cross_entropy_with_logits(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), with no overflow."""
    return x.binary_cross_entropy_with_logits(target, reduction, weight, pos_weight)


def kl_div(x: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log(target) - x) of log-probabilities; also reduced as "batchmean"."""
    return x.kl_div(target, reduction, log_target)


def cosine_similarity(x: Tensor, other: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`."""
    return x.cosine_similarity(other, dim, eps)


def cosine_embedding_loss(
    x: Tensor, other: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1."""
    return x.cosine_embedding_loss(other, target, margin, reduction)


def pairwise_distance(
    x: Tensor, other: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of `x - other + eps` along the last axis."""
    return x.pairwise_distance(other, p, eps, keepdim)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability of all alignments of log-probabilities (T, N, C) with targets."""
    options = (blank, reduction, zero_infinity)
    return log_probs.ctc_loss(targets, input_lengths, target_lengths, *options)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + |anchor - positive| - |anchor - negative|)."""
    return anchor.triplet_margin_loss(positive, negative, margin, p, eps, swap, reduction)


# Layers without state


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias for a weight (out, in), as PyTorch has it."""
    return x._linear_of_rows(weight, bias)


def dropout(x: Tensor, p: float = 0.5) -> Tensor:
    """While `Tensor.training`, zeros with probability p, the rest over (1 - p)."""
    return x.dropout(p)


def dropout1d(x: Tensor, p: float = 0.5) -> Tensor:
    """`dropout` of whole channels of (N, C, L), or the same without N (Tompson et al. 2015)."""
    return _channel_dropout(x, p, 1, x.ndim - 1)


def dropout2d(x: Tensor, p: float = 0.5) -> Tensor:
    """`dropout` of whole channels of (N, C, H, W) or (N, C, L)."""
    return _channel_dropout(x, p, 2, 2)


def dropout3d(x: Tensor, p: float = 0.5) -> Tensor:
    """`dropout` of whole channels of (N, C, D, H, W), or the same without N."""
    return _channel_dropout(x, p, 3, x.ndim - 3)


def _channel_dropout(x: Tensor, p: float, axes: int, lead: int) -> Tensor:
    if x.ndim not in (axes + 1, axes + 2):
        raise ValueError(
            f"dropout{axes}d: needs {axes + 1} or {axes + 2} axes, not shape {x.shape}"
        )
    channels = (*x.shape[:lead], *(1,) * (x.ndim - lead))
    kept = Tensor.ones(channels, dtype=x.dtype, device=x.device, requires_grad=False).dropout(p)
    return (kept == 0).where(0.0, x * kept) if Tensor.training else x


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x over its p-norm along `dim`, or over `eps` where that is larger."""
    return x.normalize(p, dim, eps)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value over the last two axes."""
    return query.scaled_dot_product_attention(
        key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )


def one_hot(classes: Tensor, num_classes: int) -> Tensor:
    """A new last axis that holds 1 at the class and 0 elsewhere (int64)."""
    return classes.one_hot(num_classes)
