"""ctc_loss against PyTorch's: values, gradients, lengths and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import GradientError, Tensor, grad, jit, nn, vmap
from tests.helpers import check_direction, floats

RANDOM = np.random.default_rng(0)


def compare(
    shape: tuple[int, int, int],
    longest: int,
    *,
    kind: Any = np.float64,
    inputs: list[int] | None = None,
    lengths: list[int] | None = None,
    labels: np.ndarray | None = None,
    in_one_row: bool = False,
    **options: Any,
) -> None:
    steps, count, classes = shape
    blank = options.get("blank", 0)
    if labels is None:
        labels = (blank + RANDOM.integers(1, classes, (count, longest))) % classes
    tensors = {
        "input_lengths": inputs or RANDOM.integers(steps // 2, steps + 1, count).tolist(),
        "target_lengths": lengths or RANDOM.integers(0, longest + 1, count).tolist(),
    }
    if in_one_row:
        rows = zip(labels, tensors["target_lengths"], strict=True)
        labels = np.concatenate([row[:length] for row, length in rows])
    logits = RANDOM.normal(size=shape).astype(kind)
    start = torch.tensor(logits).log_softmax(-1).numpy()
    theirs = torch.tensor(start, requires_grad=True)
    known = {name: torch.tensor(value) for name, value in tensors.items()}
    expected = F.ctc_loss(theirs, torch.tensor(labels), **known, **options)
    ours = Tensor(start)
    given = {name: Tensor(value) for name, value in tensors.items()}
    got = nn.functional.ctc_loss(ours, Tensor(labels), **given, **options)
    assert got.dtype.name == str(expected.dtype).removeprefix("torch.")
    assert got.shape == tuple(expected.shape)
    weight = RANDOM.normal(size=expected.shape).astype(kind)
    expected.backward(torch.tensor(weight))
    got.backward(gradient=Tensor(weight))
    close = {"rtol": 1e-9, "atol": 1e-9} if kind is np.float64 else {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(got.numpy(), expected.detach().numpy(), **close)
    assert ours.grad is not None and theirs.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), **close)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("in_one_row", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_as_pytorch(kind: Any, in_one_row: bool, reduction: str) -> None:
    compare((12, 4, 5), 4, kind=kind, in_one_row=in_one_row, reduction=reduction)
    compare((7, 3, 6), 2, kind=kind, in_one_row=in_one_row, reduction=reduction, blank=5)


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("in_one_row", [False, True])
def test_targets_without_an_alignment(zero_infinity: bool, in_one_row: bool) -> None:
    """Repeated labels need a blank between them, and so more steps than labels."""
    labels = np.array([[1, 1, 2], [1, 2, 3], [3, 3, 3], [2, 2, 2], [1, 2, 1]])
    lengths, inputs = [3, 3, 3, 0, 1], [4, 3, 4, 5, 0]
    for reduction in ("none", "mean", "sum"):
        compare(
            (5, 5, 4), 3, labels=labels, lengths=lengths, inputs=inputs, in_one_row=in_one_row,
            zero_infinity=zero_infinity, reduction=reduction,
        )  # fmt: skip


def test_edges_of_extents() -> None:
    compare((1, 1, 2), 1, lengths=[1])
    compare((3, 2, 2), 0, lengths=[0, 0], reduction="none")
    compare((4, 2, 1), 0, lengths=[0, 0], reduction="none")
    compare((6, 3, 3), 2, inputs=[6, 1, 0], lengths=[2, 1, 0], reduction="none")
    compare((200, 3, 20), 30)
    compare((200, 3, 20), 30, kind=np.float32)
    compare((150, 2, 3), 70, inputs=[150, 150], lengths=[70, 64], reduction="none")


def test_padding_is_not_looked_at() -> None:
    x = Tensor(floats(5, 2, 4)).log_softmax(-1)
    clean = x.ctc_loss(Tensor([[1, 2, 0], [3, 0, 0]]), [5, 4], [2, 1], reduction="none")
    padded = x.ctc_loss(Tensor([[1, 2, -1], [3, 99, -7]]), [5, 4], [2, 1], reduction="none")
    assert clean.tolist() == padded.tolist()


def test_the_gradient_of_logits() -> None:
    labels = Tensor([[1, 1, 2], [3, 0, 0]])

    def loss(x: Tensor) -> Tensor:
        return x.log_softmax(-1).ctc_loss(labels, [6, 5], (3, 1), reduction="none")

    check_direction(loss, [floats(6, 2, 4)])


def test_one_sequence() -> None:
    values, labels = floats(6, 4), np.array([1, 2, 2])
    logs = torch.tensor(values).log_softmax(-1)
    for reduction in ("none", "mean", "sum"):
        expected = F.ctc_loss(
            logs, torch.tensor(labels), torch.tensor(6), torch.tensor(3), reduction=reduction
        )
        got = Tensor(logs.numpy()).ctc_loss(Tensor(labels), 6, 3, reduction=reduction)
        assert got.shape == () and abs(got.item() - expected.item()) < 1e-4


def test_impossible_classes_have_a_finite_gradient() -> None:
    with np.errstate(divide="ignore"):
        logs = np.log([[[0.5, 0.5, 0.0]], [[0.25, 0.75, 0.0]]])
    x = Tensor(logs)
    loss = x.ctc_loss(Tensor([[1]]), [2], [1], reduction="sum")
    loss.backward()
    assert abs(loss.item() + np.log(1 - 0.5 * 0.25)) < 1e-9
    assert x.grad is not None and np.isfinite(x.grad.numpy()).all()


def test_half_floats_are_computed_in_float32() -> None:
    logs = Tensor(floats(6, 2, 4)).log_softmax(-1).half()
    labels = Tensor([[1, 2], [3, 3]])
    half = logs.ctc_loss(labels, [6, 6], [2, 2], reduction="none")
    wide = logs.float().ctc_loss(labels, [6, 6], [2, 2], reduction="none")
    assert half.dtype.name == "float16" and half.tolist() == wide.half().tolist()


def test_the_layer_and_a_recorded_step() -> None:
    criterion = nn.CTCLoss(blank=3, reduction="sum", zero_infinity=True)
    assert repr(criterion) == "CTCLoss(blank=3, reduction='sum', zero_infinity=True)"

    @jit
    def step(x: Tensor, labels: Tensor, inputs: Tensor, lengths: Tensor) -> Tensor:
        return grad(lambda x: criterion(x.log_softmax(-1), labels, inputs, lengths))(x)

    for seed in range(3):
        x = Tensor(floats(5, 2, 4, seed=seed))
        rows = Tensor([[seed, 1], [0, 0]])
        sizes = (Tensor([5, 5 - seed]), Tensor([2, seed]))
        logits = torch.tensor(x.numpy(), requires_grad=True)
        known = [torch.tensor(t.numpy()) for t in (rows, *sizes)]
        theirs = torch.nn.CTCLoss(3, "sum", True)(logits.log_softmax(-1), *known)
        theirs.backward()
        assert logits.grad is not None
        got = step(x, rows, *sizes)
        np.testing.assert_allclose(got.numpy(), logits.grad.numpy(), atol=1e-5)


def test_what_has_no_answer() -> None:
    x = Tensor(floats(5, 2, 4)).log_softmax(-1)
    with pytest.raises(GradientError, match="no second one"):
        grad(lambda x: grad(lambda x: x.ctc_loss(Tensor([[1], [2]]), [5, 5], [1, 1]))(x).sum())(x)
    with pytest.raises(NotImplementedError, match="vmap: ctc_loss"):
        vmap(lambda x: x.ctc_loss(Tensor([[1], [2]]), [5, 5], [1, 1]))(x.unsqueeze(0))


LABELS = Tensor([[1, 2], [3, 1]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LABELS, [6, 5], [1, 1]), ValueError, r"input_lengths must lie in \[0, 5\], and one is 6"),
        ((LABELS, [5, 5], [1, 3]), ValueError, r"target_lengths must lie in \[0, 2\]"),
        ((LABELS, [5, 5], [-1, 1]), ValueError, "one is -1"),
        ((Tensor([1, 2, 3]), [5, 5], [1, 1]), ValueError, "must add up to the 3 labels"),
        ((Tensor([[4], [1]]), [5, 5], [1, 1]), IndexError, "label 4 is out of range for 4 classes"),
        ((Tensor([[-1], [1]]), [5, 5], [1, 1]), IndexError, "label -1"),
        ((Tensor([[0], [1]]), [5, 5], [1, 1]), ValueError, "the blank, 0, cannot be a label"),
        ((LABELS, [5], [1, 1]), ValueError, r"input_lengths of shape \(1,\) fit no 2"),
        ((LABELS[:1], [5, 5], [1, 1]), ValueError, "targets of shape"),
        ((LABELS.float(), [5, 5], [1, 1]), TypeError, "targets are integers, not float32"),
        ((LABELS, [5.0, 5.0], [1, 1]), TypeError, "input_lengths are integers"),
        ((LABELS, [5, 5], None), TypeError, "target_lengths are integers"),
        ((LABELS, [5, 5], [1, 1], 4), ValueError, "blank 4 is none of 4 classes"),
        ((LABELS, [5, 5], [1, 1], 0, "max"), ValueError, "reduction is one of"),
    ],
)
def test_errors(arguments: Any, error: type[Exception], message: str) -> None:
    x = Tensor(floats(5, 2, 4)).log_softmax(-1)
    with pytest.raises(error, match=message):
        x.ctc_loss(*arguments).numpy()
    with pytest.raises(ValueError, match="takes log-probabilities"):
        x[0, 0].ctc_loss(*arguments)
