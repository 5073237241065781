"""Convolutions against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats


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


CONVOLUTIONS = {1: Tensor.conv1d, 3: Tensor.conv3d}
ADJOINTS = {1: Tensor.conv_transpose1d, 2: Tensor.conv_transpose2d, 3: Tensor.conv_transpose3d}


@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        ((2, 3, 9), (4, 3, 3), {}),
        ((2, 4, 9), (6, 2, 3), {"groups": 2, "stride": 2, "padding": 2, "dilation": 2}),
        ((3, 9), (4, 3, 3), {"padding": "same", "dilation": 2}),
        ((2, 3, 9), (4, 3, 4), {"padding": "same"}),
        ((2, 3, 9), (4, 3, 4), {"padding": "valid"}),
        ((2, 3, 1), (4, 3, 1), {}),
        ((0, 3, 5), (4, 3, 2), {}),
        ((2, 3, 4, 5, 6), (4, 3, 2, 3, 2), {"stride": (1, 2, 2), "padding": (1, 0, 2)}),
        ((1, 4, 3, 4, 3), (4, 1, 3, 2, 2), {"groups": 4, "padding": "same"}),
        ((2, 3, 4, 3), (3, 2, 2, 2, 2), {"dilation": (1, 2, 1)}),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_other_numbers_of_axes(image: Any, weight: Any, options: dict[str, Any]) -> None:
    axes = len(weight) - 2
    check(
        lambda x, w, b: CONVOLUTIONS[axes](x, w, b, **options),
        lambda x, w, b: getattr(F, f"conv{axes}d")(x, w, b, **options),
        floats(*image),
        floats(*weight, seed=1),
        floats(weight[0], seed=2),
        atol=1e-4,
    )


def test_one_image_alone() -> None:
    check(
        lambda x, w: x.conv2d(w, stride=2),
        lambda x, w: F.conv2d(x, w, stride=2),
        floats(3, 5, 5),
        floats(2, 3, 2, 2, seed=1),
    )


@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        ((2, 4, 5), (4, 3, 3), {}),
        ((4, 5), (4, 3, 3), {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2}),
        ((2, 4, 5), (4, 3, 2), {"dilation": 3, "padding": 1, "output_padding": 2}),
        ((2, 4, 5), (4, 3, 2), {"dilation": 4, "padding": 2, "output_padding": 1}),
        ((2, 4, 5), (4, 3, 1), {"padding": 2}),
        ((2, 4, 3, 2), (4, 1, 2, 3), {"dilation": (2, 1), "stride": 2, "output_padding": 1}),
        ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), {"stride": (2, 1, 2), "padding": (0, 1, 1)}),
    ],
)
def test_adjoints(image: Any, weight: Any, options: dict[str, Any]) -> None:
    axes = len(weight) - 2
    check(
        lambda x, w, b: ADJOINTS[axes](x, w, b, **options),
        lambda x, w, b: getattr(F, f"conv_transpose{axes}d")(x, w, b, **options),
        floats(*image),
        floats(*weight, seed=1),
        floats(weight[1] * options.get("groups", 1), seed=2),
        atol=1e-4,
    )


def test_half_floats_add_up_in_float32() -> None:
    x, w = np.full((1, 4096, 1), 1.0), np.full((1, 4096, 1), 0.25)
    half = Tensor(x).half().conv1d(Tensor(w).half())
    assert half.dtype.name == "float16" and half.item() == 1024


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: Tensor.ones(1, 3, 4, 4).conv2d(Tensor.ones(2, 2, 3, 3)), "3 channels"),
        (lambda: Tensor.ones(1, 3, 2, 2).conv2d(Tensor.ones(2, 3, 3, 3)), "does not fit"),
        (lambda: Tensor.ones(4, 4).conv2d(Tensor.ones(2, 3, 3, 3)), r"\(N, C, H, W\)"),
        (lambda: Tensor.ones(1, 3, 4, 4).conv2d(Tensor.ones(2, 3, 3)), r"\(N, Cin, ...\)"),
        (lambda: Tensor.ones(1, 1, 4).conv1d(Tensor.ones(1, 1, 2), padding="full"), "'same'"),
        (lambda: Tensor.ones(1, 1, 4).conv1d(Tensor.ones(1, 1, 2), None, 1, 2, 1, "same"), "stri"),
        (lambda: Tensor.ones(1, 1, 4).conv1d(Tensor.ones(1, 1, 2), stride=(1, 1)), "stride must"),
        (lambda: Tensor.ones(1, 1, 4).conv1d(Tensor.ones(2, 1, 2), Tensor.ones(1)), "a bias"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action()


def test_transposed_convolutions_need_no_gradients() -> None:
    x, weight = Tensor(floats(2, 3, 4, 5)), Tensor(floats(3, 2, 3, 3, seed=1))
    expected = x.conv_transpose2d(weight, stride=2)
    with Tensor.no_grad():
        made = x.conv_transpose2d(weight, stride=2)
    np.testing.assert_array_equal(made.numpy(), expected.numpy())
    made.sum().backward()
    assert x.grad is None
