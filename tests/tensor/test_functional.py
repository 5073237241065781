"""Normalisation, dropout and losses against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats, integers


def test_batchnorm() -> None:
    def ours(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        invstd = (x.var((0, 2, 3), correction=0) + 1e-5).rsqrt()
        return x.batchnorm(w, b, x.mean((0, 2, 3)), invstd)

    check(
        ours,
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        floats(4, 3, 5, 5),
        floats(3, seed=1),
        floats(3, seed=2),
        atol=1e-4,
    )


@pytest.mark.parametrize("axes", [1, 2])
def test_layernorm(axes: int) -> None:
    x = floats(2, 3, 7)
    check(
        lambda x: x.layernorm(tuple(range(-axes, 0))),
        lambda x: F.layer_norm(x, x.shape[-axes:]),
        x,
        atol=1e-4,
    )


def test_dropout_follows_the_switch() -> None:
    x = Tensor.ones(10000)
    assert x.dropout(0.3) is x
    with Tensor.train():
        kept = x.dropout(0.3).numpy()
        assert x.dropout(0.0) is x
        assert (x.dropout(1.0).numpy() == 0).all()
    values = np.unique(kept)
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    assert abs((kept == 0).mean() - 0.3) < 0.03
    with pytest.raises(ValueError, match="probability"):
        x.dropout(1.5)


def test_dropout_gradient_uses_the_same_mask() -> None:
    x = Tensor.ones(1000)
    with Tensor.train():
        y = x.dropout()
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


LABELS = integers(5, low=0, high=4)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [-100, 1])
def test_cross_entropy(reduction: str, smoothing: float, ignored: int) -> None:
    options: dict[str, Any] = {
        "reduction": reduction,
        "label_smoothing": smoothing,
        "ignore_index": ignored,
    }
    for scores, labels in (
        (floats(5, 4), LABELS),
        (floats(5, 4, 3), integers(5, 3, low=0, high=4)),
        (floats(4) * 30, np.array(2)),
    ):
        check(
            lambda x, y: x.cross_entropy(y, **options),
            lambda x, y: F.cross_entropy(x, y, **options),
            scores,
            labels,
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_probabilities(smoothing: float) -> None:
    target = np.abs(floats(5, 4, seed=3))
    target /= target.sum(1, keepdims=True)
    check(
        lambda x: x.cross_entropy(Tensor(target), label_smoothing=smoothing),
        lambda x: F.cross_entropy(x, torch.from_numpy(target), label_smoothing=smoothing),
        floats(5, 4),
        finite_difference=False,
    )


def test_other_losses() -> None:
    x, y = floats(5, 4), floats(5, 4, seed=1)
    share = 1 / (1 + np.exp(-y))
    logits = F.binary_cross_entropy_with_logits
    check(lambda a, b: a.mse_loss(b), F.mse_loss, x, y)
    check(lambda a, b: a.mse(b, "sum"), lambda a, b: F.mse_loss(a, b, reduction="sum"), x, y)
    check(lambda a, b: a.sigmoid().binary_cross_entropy(b),
          lambda a, b: F.binary_cross_entropy(a.sigmoid(), b), x, share)  # fmt: skip
    check(lambda a, b: a.binary_cross_entropy_with_logits(b), logits, 100 * x, share,
          finite_difference=False)  # fmt: skip
    check(lambda a, b: a.log_softmax(1).nll_loss(b),
          lambda a, b: F.nll_loss(a.log_softmax(1), b), x, LABELS)  # fmt: skip
    check(lambda a, b: a.sparse_categorical_crossentropy(b), F.cross_entropy, x, LABELS)


def test_probabilities_of_zero_and_one() -> None:
    x, y = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([0, 1, 1, 0], np.float32)
    check(lambda a: a.binary_cross_entropy(Tensor(y)),
          lambda a: F.binary_cross_entropy(a, torch.from_numpy(y)), x, grad=False)  # fmt: skip


@pytest.mark.parametrize("label", [4, -1, 1000])
def test_labels_out_of_range(label: int) -> None:
    loss = Tensor(floats(3, 4)).cross_entropy(Tensor([0, label, 1]))
    with pytest.raises(IndexError, match=str(label)):
        loss.item()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda x: x.cross_entropy(Tensor([1, 2])), r"integer classes of shape \(3,\)"),
        (lambda x: x.cross_entropy(Tensor([1.0, 2.0, 1.0])), "same shape"),
        (lambda x: x.cross_entropy(Tensor([1, 2, 1]), reduction="max"), "reduction is one of"),
        (lambda x: x.cross_entropy(Tensor([1, 2, 1]), label_smoothing=2), "label_smoothing"),
        (lambda x: x.mse_loss(x[0]), "mse_loss: predictions"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action(Tensor(floats(3, 4)))


def test_sequential() -> None:
    assert Tensor([1.0]).sequential([lambda x: x + 1, lambda x: x * 3]).tolist() == [6]


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_prelu(shape: tuple[int, ...]) -> None:
    check(lambda x, w: x.prelu(w), lambda x, w: F.prelu(x, w.reshape(-1)), floats(2, 3, 4),
          floats(*shape, seed=1), finite_difference=False)  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu(dim: int) -> None:
    check(lambda x: x.glu(dim), lambda x: F.glu(x, dim), floats(4, 2, 6))
    check(lambda x: x.glu(0), lambda x: F.glu(x, 0), floats(2, 0))


def test_gates_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="prelu: a weight of shape"):
        Tensor(floats(2, 3)).prelu(Tensor(floats(2)))
    with pytest.raises(ValueError, match="two equal halves"):
        Tensor(floats(2, 3)).glu()
