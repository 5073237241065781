"""Pooling against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats, integers

POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3},
]


@pytest.mark.parametrize("options", [*POOLS, {"kernel_size": 2, "dilation": 2, "stride": 1}])
@pytest.mark.parametrize("repeats", [False, True])
def test_max_pool2d(options: dict[str, Any], repeats: bool) -> None:
    x = floats(2, 3, 7, 8)
    if repeats:
        x = np.round(x)  # equal elements: the first of them gets the gradient
    check(
        lambda x: x.max_pool2d(**options),
        lambda x: F.max_pool2d(x, **options),
        x,
        finite_difference=not repeats,
    )


def test_max_pool2d_of_nan() -> None:
    x = floats(1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    check(lambda x: x.max_pool2d(), lambda x: F.max_pool2d(x, 2), x, finite_difference=False)


@pytest.mark.parametrize("options", [*POOLS, {**POOLS[2], "count_include_pad": False}])
def test_avg_pool2d(options: dict[str, Any]) -> None:
    check(
        lambda x: x.avg_pool2d(**options), lambda x: F.avg_pool2d(x, **options), floats(2, 3, 7, 8)
    )


def test_pooling_integers() -> None:
    x = integers(1, 1, 4, 4)
    assert Tensor(x).max_pool2d().tolist() == F.max_pool2d(torch.from_numpy(x), 2).tolist()


IMAGES = {1: (2, 3, 11), 2: (2, 3, 7, 8), 3: (2, 1, 4, 5, 6)}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2},
    ],
)
def test_max_pool_and_places(axes: int, options: dict[str, Any]) -> None:
    x = np.round(floats(*IMAGES[axes]))  # with equal elements
    name = f"max_pool{axes}d"
    theirs = getattr(F, name)
    check(
        lambda x: getattr(x, name)(**options),
        lambda x: theirs(x, **options),
        x,
        finite_difference=False,
    )
    places = getattr(Tensor(x), name)(**options, return_indices=True)[1]
    known = theirs(torch.from_numpy(x), **options, return_indices=True)[1]
    np.testing.assert_array_equal(places.numpy(), known.numpy())


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_last_window_larger_than_the_image(name: str) -> None:
    how = {"kernel_size": 5, "stride": 3, "ceil_mode": True}
    check(
        lambda x: getattr(x, name)(**how),
        lambda x: getattr(F, name)(x, **how),
        floats(2, 3, 6),
    )
    with pytest.raises(ValueError, match="does not fit"):
        getattr(Tensor.ones(1, 2, 6), name)(**how)


def test_the_least_number_in_the_image_wins_over_padding() -> None:
    x = np.full((1, 2, 2), -np.inf, np.float32)
    check(
        lambda x: x.max_pool2d(2, padding=1),
        lambda x: F.max_pool2d(x, 2, padding=1),
        x,
        finite_difference=False,
    )
    _, places = Tensor(x).max_pool2d(2, padding=1, return_indices=True)
    assert places.tolist() == [[[0, 1], [2, 3]]]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": 0},
        {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    ],
)
def test_avg_pool(axes: int, options: dict[str, Any]) -> None:
    name = f"avg_pool{axes}d"
    options = {**options, "count_include_pad": options.get("count_include_pad", 1) == 1}
    check(
        lambda x: getattr(x, name)(**options),
        lambda x: getattr(F, name)(x, **options),
        floats(*IMAGES[axes]),
    )


def test_avg_pool_with_another_divisor() -> None:
    check(
        lambda x: x.avg_pool2d(2, divisor_override=3),
        lambda x: F.avg_pool2d(x, 2, divisor_override=3),
        floats(2, 4, 4),
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_lp_pool(axes: int, ceil_mode: bool) -> None:
    name = f"lp_pool{axes}d"
    check(
        lambda x: getattr(x, name)(2, 3, 2, ceil_mode),
        lambda x: getattr(F, name)(x, 2.0, 3, 2, ceil_mode),
        floats(*IMAGES[axes]),
    )


@pytest.mark.parametrize("power", [1, 3])
def test_lp_pool_of_odd_powers(power: int) -> None:
    check(
        lambda x: x.lp_pool1d(power, 2),
        lambda x: F.lp_pool1d(x, float(power), 2),
        floats(2, 8),
        finite_difference=power == 1,
    )


def test_lp_pool_of_zeros_has_no_gradient() -> None:
    x = Tensor.zeros(1, 4, requires_grad=True)
    x.lp_pool1d(2, 2).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[0] * 4]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: Tensor.ones(1, 1, 2, 2).max_pool2d(3), "does not fit"),
        (lambda: Tensor.ones(1, 1, 2, 2).max_pool2d(2, stride=0), "stride must be"),
        (lambda: Tensor.ones(1, 1, 2, 2).avg_pool2d(2, padding=-1), "padding must be"),
        (lambda: Tensor.ones(4).max_pool2d(2), "needs images"),
        (lambda: Tensor.ones(1, 4).max_pool1d(2, padding=2), "more than half a window"),
        (lambda: Tensor.ones(1, 4).lp_pool1d(0, 2), "must not be 0"),
        (lambda: Tensor.ones(4, 4).avg_pool2d(2, divisor_override=0), "must not be 0"),
        (
            lambda: Tensor.ones(1, 1).max_pool1d(2, 1, 2, 1, return_indices=True),
            "nothing but padding",
        ),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action()
