"""Adaptive pooling against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats, integers

CASES: list[tuple[tuple[int, ...], Any]] = [
    ((2, 3, 7), 3),
    ((2, 3, 7), 11),
    ((2, 3, 8), 4),
    ((3, 5), 1),
    ((2, 3, 7, 9), 1),
    ((2, 3, 7, 9), (3, None)),
    ((2, 3, 7, 9), (5, 4)),
    ((1, 2, 4, 5, 3), (2, 3, 4)),
    ((0, 3, 7), 3),
]


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_adaptive_avg_pool(shape: tuple[int, ...], size: Any) -> None:
    name = f"adaptive_avg_pool{max(len(shape) - 2, 1)}d"
    check(lambda x: getattr(x, name)(size), lambda x: getattr(F, name)(x, size), floats(*shape))


@pytest.mark.parametrize(("shape", "size"), CASES)
@pytest.mark.parametrize("repeats", [False, True])
def test_adaptive_max_pool(shape: tuple[int, ...], size: Any, repeats: bool) -> None:
    x = floats(*shape)
    if repeats:
        x = np.round(x)  # of equal elements the first gets the gradient
    name = f"adaptive_max_pool{max(len(shape) - 2, 1)}d"
    ours, theirs = getattr(Tensor, name), getattr(F, name)
    size = (2, 9) if len(shape) == 4 and repeats and size == 1 else size
    check(
        lambda x: ours(x, size),
        lambda x: theirs(x, size),
        x,
        finite_difference=not repeats and x.size > 0,
    )
    places = ours(Tensor(x), size, return_indices=True)[1]
    known = theirs(torch.from_numpy(x), size, return_indices=True)[1]
    assert places.dtype.name == "int64"
    np.testing.assert_array_equal(places.numpy(), known.numpy())


@pytest.mark.parametrize("size", [2, 5])
def test_the_largest_of_nan_and_of_the_least(size: int) -> None:
    x = np.full((1, 5), -np.inf, np.float32)
    x[0, 4] = np.nan
    check(
        lambda x: x.adaptive_max_pool1d(size),
        lambda x: F.adaptive_max_pool1d(x, size),
        x,
        finite_difference=False,
    )
    places = Tensor(x).adaptive_max_pool1d(size, return_indices=True)[1]
    known = F.adaptive_max_pool1d(torch.from_numpy(x), size, return_indices=True)[1]
    assert places.tolist() == known.tolist()


def test_the_largest_of_integers() -> None:
    x = integers(2, 7)
    expected = F.adaptive_max_pool1d(torch.from_numpy(x).double(), 3)
    assert Tensor(x).adaptive_max_pool1d(3).tolist() == expected.long().tolist()


@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool"])
def test_errors(name: str) -> None:
    with pytest.raises(ValueError, match="one positive number or 1"):
        getattr(Tensor.ones(1, 2, 4), f"{name}1d")(0)
    with pytest.raises(ValueError, match="one positive number or 3"):
        getattr(Tensor.ones(1, 4, 4, 4), f"{name}3d")((2, 2))
    with pytest.raises(ValueError, match="no image"):
        getattr(Tensor.ones(4), f"{name}2d")(1)
    with pytest.raises(ValueError, match="no image"):
        getattr(Tensor.ones(2, 0), f"{name}1d")(1)


def test_the_mean_of_integers() -> None:
    with pytest.raises(TypeError, match=r"call \.float\(\)"):
        Tensor(integers(2, 4)).adaptive_avg_pool1d(2)
