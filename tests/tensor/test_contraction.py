"""Matrix products, convolution and pooling against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
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
    ("image", "weight", "options"),
    [
        ((2, 3, 7, 9), (4, 3, 3, 3), {}),
        ((2, 3, 7, 9), (4, 3, 3, 2), {"padding": (1, 2)}),
        ((1, 4, 8, 8), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
        ((2, 4, 7, 7), (4, 1, 3, 3), {"groups": 4, "stride": 2}),
        ((1, 2, 11, 11), (3, 2, 3, 3), {"dilation": 2, "stride": (1, 2)}),
        ((1, 2, 8, 8), (3, 2, 2, 2), {"stride": 2}),
        ((1, 2, 9, 8), (3, 2, 4, 4), {"stride": 4}),
        ((2, 5, 4, 4), (3, 5, 1, 1), {}),
        ((2, 5, 5, 4), (3, 5, 1, 1), {"stride": 2}),
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ],
)
def test_conv2d(image: Any, weight: Any, options: dict[str, Any]) -> None:
    check(
        lambda x, w, b: x.conv2d(w, b, **options),
        lambda x, w, b: F.conv2d(x, w, b, **options),
        floats(*image),
        floats(*weight, seed=1),
        floats(weight[0], seed=2),
        atol=1e-4,
    )


def test_conv2d_with_four_sides() -> None:
    check(
        lambda x, w: x.conv2d(w, padding=(1, 0, 2, 1)),
        lambda x, w: F.conv2d(F.pad(x, (1, 0, 2, 1)), w),
        floats(1, 2, 5, 5),
        floats(2, 2, 3, 3, seed=1),
    )


POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3},
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": 3, "padding": 1, "output_padding": 2},
        {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1), "output_padding": (0, 1)},
        {"groups": 2, "stride": 2, "padding": 1},
    ],
)
def test_conv_transpose2d(options: dict[str, Any]) -> None:
    check(
        lambda x, w, b: x.conv_transpose2d(w, b, **options),
        lambda x, w, b: F.conv_transpose2d(x, w, b, **options),
        floats(2, 4, 5, 3),
        floats(4, 3, 3, 2, seed=1),
        floats(3 * options.get("groups", 1), seed=2),
    )


def test_impossible_transposed_convolutions() -> None:
    x = Tensor.ones(1, 2, 3, 3)
    with pytest.raises(ValueError, match=r"conv_transpose2d: shapes \(1, 2, 3, 3\)"):
        x.conv_transpose2d(Tensor.ones(3, 2, 2, 2))
    with pytest.raises(ValueError, match="output_padding must be smaller"):
        x.conv_transpose2d(Tensor.ones(2, 2, 2, 2), output_padding=1)


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


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: Tensor.ones(2, 3) @ Tensor.ones(2, 3), r"matmul: shapes \(2, 3\) and \(2, 3\)"),
        (lambda: Tensor.ones(2, 3) @ Tensor(1.0), "scalar has no axis"),
        (lambda: Tensor.ones(2, 2, 3) @ Tensor.ones(3, 3, 2), "do not broadcast"),
        (lambda: Tensor.ones(1, 3, 4, 4).conv2d(Tensor.ones(2, 2, 3, 3)), "3 channels"),
        (lambda: Tensor.ones(1, 3, 2, 2).conv2d(Tensor.ones(2, 3, 3, 3)), "does not fit"),
        (lambda: Tensor.ones(3, 4, 4).conv2d(Tensor.ones(2, 3, 3, 3)), r"\(N, Cin, H, W\)"),
        (lambda: Tensor.ones(1, 1, 2, 2).max_pool2d(3), "does not fit"),
        (lambda: Tensor.ones(1, 1, 2, 2).max_pool2d(2, stride=0), "stride must be"),
        (lambda: Tensor.ones(1, 1, 2, 2).avg_pool2d(2, padding=-1), "padding must be"),
        (lambda: Tensor.ones(4).max_pool2d(2), "needs images"),
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
