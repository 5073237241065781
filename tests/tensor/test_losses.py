"""Losses against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats, integers

LABELS = integers(5, low=0, high=4)
WEIGHT = floats(4, low=0.2, high=2.0, seed=5)
X, Y = floats(5, 4), floats(5, 4, seed=1)
SHARE = 1 / (1 + np.exp(-Y))


def both(name: str, **options: Any) -> tuple[Any, Any]:
    """A method of Tensor, and PyTorch's function of the same name."""
    theirs = getattr(F, name)
    return (
        lambda x, *rest: getattr(x, name)(*rest, **options),
        lambda x, *rest: theirs(x, *rest, **options),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [-100, 1])
def test_class_weights(reduction: str, smoothing: float, ignored: int) -> None:
    options: dict[str, Any] = {
        "reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignored,
    }  # fmt: skip
    for scores, labels in (
        (X, LABELS),
        (floats(2, 4, 3), integers(2, 3, low=0, high=4)),
    ):
        check(
            lambda x, y, w: x.cross_entropy(y, weight=w.detach(), **options),
            lambda x, y, w: F.cross_entropy(x, y, weight=w.detach(), **options),
            scores, labels, WEIGHT, finite_difference=False,
        )  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss(reduction: str) -> None:
    check(
        lambda x, y, w: x.nll_loss(y, reduction, 2, w.detach()),
        lambda x, y, w: F.nll_loss(x, y, w.detach(), ignore_index=2, reduction=reduction),
        X, LABELS, WEIGHT, finite_difference=False,
    )  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_probabilities(smoothing: float) -> None:
    check(
        lambda x, y, w: x.cross_entropy(y, weight=w, label_smoothing=smoothing),
        lambda x, y, w: F.cross_entropy(x, y, weight=w.detach(), label_smoothing=smoothing),
        floats(3, 4, 2), np.abs(floats(3, 4, 2, seed=3)), WEIGHT, grad=False,
    )  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("l1_loss", {}),
        ("smooth_l1_loss", {}),
        ("smooth_l1_loss", {"beta": 0.3}),
        ("smooth_l1_loss", {"beta": 0.0}),
        ("huber_loss", {"delta": 0.7}),
    ],
)
def test_of_numbers(name: str, options: dict[str, Any], reduction: str) -> None:
    check(*both(name, reduction=reduction, **options), X, Y)
    check(*both(name, reduction=reduction, **options), X, X, finite_difference=False)


def test_huber_loss_far_away() -> None:
    check(*both("huber_loss", reduction="none"), np.array([np.inf, 1e30], np.float32),
          np.zeros(2, np.float32))  # fmt: skip


def test_binary_cross_entropy() -> None:
    weight = np.abs(floats(4, seed=2))
    check(
        lambda x, y, w: x.sigmoid().binary_cross_entropy(y, weight=w),
        lambda x, y, w: F.binary_cross_entropy(x.sigmoid(), y, weight=w.detach()),
        X, SHARE, weight, grad=False,
    )  # fmt: skip
    for options in ({}, {"weight": 1}, {"pos_weight": 1}, {"weight": 1, "pos_weight": 1}):
        check(
            lambda x, y, w, o=options: x.binary_cross_entropy_with_logits(
                y, **{k: w.detach() for k in o}
            ),
            lambda x, y, w, o=options: F.binary_cross_entropy_with_logits(
                x, y, **{k: w.detach() for k in o}
            ),
            100 * X, SHARE, weight, finite_difference=False,
        )  # fmt: skip


def test_gradient_of_probabilities_of_zero_and_one() -> None:
    x, y = np.array([0.0, 1.0, 0.3], np.float32), np.array([1, 0, 1], np.float32)
    check(lambda a: a.binary_cross_entropy(Tensor(y)),
          lambda a: F.binary_cross_entropy(a, torch.from_numpy(y)), x,
          finite_difference=False)  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
def test_kl_div(reduction: str) -> None:
    target = SHARE.copy()
    check(*both("kl_div", reduction=reduction, log_target=True), X, Y)
    check(*both("kl_div", reduction=reduction), X, target)
    target[0] = 0
    check(*both("kl_div", reduction=reduction), X, target, grad=False)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_similarity(dim: int) -> None:
    check(*both("cosine_similarity", dim=dim), X, Y)
    check(*both("cosine_similarity", dim=dim), X, 0 * Y, grad=False)


def test_gradient_of_cosine_similarity_at_zero_is_finite() -> None:
    x = Tensor(np.zeros((2, 3), np.float32))
    x.cosine_similarity(Tensor(floats(2, 3))).sum().backward()
    assert x.grad is not None
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_cosine_embedding_loss(margin: float) -> None:
    target = np.array([1, -1, 1, -1, -1])
    for reduction in ("mean", "none"):
        check(*both("cosine_embedding_loss", margin=margin, reduction=reduction), X, Y, target)
    with pytest.raises(IndexError):
        Tensor(X).cosine_embedding_loss(Tensor(Y), Tensor([1, -1, 0, 1, 1])).item()


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_triplet_margin_loss(swap: bool, p: float) -> None:
    check(*both("triplet_margin_loss", swap=swap, p=p), X, Y, floats(5, 4, seed=2))


@pytest.mark.parametrize("label", [4, -1])
def test_labels_out_of_range(label: int) -> None:
    labels = Tensor([0, label, 1])
    scores, weight = Tensor(floats(3, 4)), Tensor(WEIGHT)
    for loss in (scores.nll_loss(labels), scores.cross_entropy(labels, weight=weight)):
        with pytest.raises(IndexError, match=str(label)):
            loss.item()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda x: x.cross_entropy(Tensor([1, 2, 1]), weight=Tensor([1.0])), "one number a class"),
        (lambda x: x.nll_loss(Tensor([1, 2])), "nll_loss: scores"),
        (lambda x: x.huber_loss(x, delta=0.0), "delta"),
        (lambda x: x.smooth_l1_loss(x, beta=-1.0), "beta"),
        (lambda x: x.l1_loss(x[0]), "l1_loss: predictions"),
        (lambda x: x.kl_div(x, "max"), "reduction is one of"),
        (lambda x: x.pairwise_distance(x, p=-1.0), "p must be above 0"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action(Tensor(floats(3, 4)))
