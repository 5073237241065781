"""Indexed operations along one axis against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlet import Tensor
from tests.helpers import check, floats, integers

X = floats(3, 5, 4)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scatter_add(dim: int) -> None:
    index = integers(2, 3, 4, low=0, high=3)
    check(
        lambda x, i, s: x.scatter_add(dim, i, s),
        lambda x, i, s: x.scatter_add(dim, i, s[:2, :3]),  # PyTorch has no gradient for more
        X,
        index,
        floats(3, 4, 4, seed=1),
    )


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_parts_of_an_axis(dim: int) -> None:
    index, shape = np.array([2, 0, 2]), [3, 5, 4]
    shape[dim] = 3
    check(lambda x, i: x.index_select(dim, i) * 2, None, X, index)
    check(lambda x, i, s: x.index_add(dim, i, s, alpha=2), None, X, index, floats(*shape, seed=1))
    shape[dim] = 2
    check(lambda x, i, s: x.index_copy(dim, i, s), None, X, index[:2], floats(*shape, seed=1))


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: x.index_select(0, [[1]]), ValueError, "vector of positions"),
        (lambda x: x.index_select(0, [3]).numpy(), IndexError, "3"),
        (lambda x: x.index_add(0, [1], x), ValueError, "index_add: source must be"),
        (lambda x: x.index_copy(0, [0, 1, 2], x.double()), ValueError, "float64"),
        (lambda x: (x > 0).index_add(0, [1], x[:1] > 0), TypeError, "bools"),
        (lambda x: x.scatter_add(0, [1], x), ValueError, "scatter_add: an index"),
        (lambda x: x.scatter_add(0, np.zeros((4, 5, 4), int), x), ValueError, "no smaller"),
    ],
)  # fmt: skip
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor(X))
