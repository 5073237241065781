"""Products that sum over axes against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats, integers


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 5)),
        ((1, 1), (1, 1)),
        ((7, 13), (13, 11)),
        ((4, 2, 3), (4, 3, 5)),
        ((4, 1, 2, 3), (5, 3, 2)),
        ((4, 2, 3), (3,)),
        ((3,), (4, 3, 2)),
        ((0, 3), (3, 2)),
    ],
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check(lambda x, y: x @ y, None, floats(*a), floats(*b, seed=1))


def test_matmul_over_nothing_is_zero() -> None:
    assert (Tensor.ones(2, 0) @ Tensor.ones(0, 3)).tolist() == [[0] * 3] * 2


def test_integer_matmul() -> None:
    check(lambda x, y: x @ y, None, integers(3, 4), integers(4, 2, seed=1))


def test_linear() -> None:
    check(
        lambda x, w, b: x.linear(w, b),
        lambda x, w, b: F.linear(x, w.T, b),
        floats(5, 3),
        floats(3, 4, seed=1),
        floats(4, seed=2),
    )


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: Tensor.ones(2, 3) @ Tensor.ones(2, 3), r"matmul: shapes \(2, 3\) and \(2, 3\)"),
        (lambda: Tensor.ones(2, 3) @ Tensor(1.0), "scalar has no axis"),
        (lambda: Tensor.ones(2, 2, 3) @ Tensor.ones(3, 3, 2), "do not broadcast"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action()


def test_devices_do_not_mix() -> None:
    a = Tensor([1.0])
    b = Tensor([1.0])
    b.device = "elsewhere"
    for action in (lambda: a + b, lambda: a @ b, lambda: a.cat(b), lambda: a.where(b, 1.0)):
        with pytest.raises(ValueError, match=r"elsewhere.*\.to\("):
            action()
