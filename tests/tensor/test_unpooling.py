"""max_unpool, and images as columns of windows, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from tests.helpers import check, floats, integers

IMAGES = {1: (2, 3, 8), 2: (2, 3, 6, 7), 3: (2, 1, 4, 5, 6)}


def pooled(axes: int, window: int, stride: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """What max_pool finds, and where."""
    x = torch.from_numpy(floats(*IMAGES[axes]))
    pool = getattr(F, f"max_pool{axes}d")
    values, places = pool(x, window, stride, padding, return_indices=True)
    return values.numpy(), places.numpy()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1)])
def test_max_unpool(axes: int, window: int, stride: int, padding: int) -> None:
    """Windows that overlap give some places twice."""
    values, places = pooled(axes, window, stride, padding)
    name = f"max_unpool{axes}d"
    for size in (IMAGES[axes], IMAGES[axes][2:]):
        how: dict[str, Any] = {"stride": stride, "padding": padding, "output_size": size}
        check(
            lambda x, how=how: getattr(x, name)(Tensor(places), window, **how),
            lambda x, how=how: getattr(F, name)(x, torch.from_numpy(places), window, **how),
            values,
            finite_difference=window == stride,
        )


def test_the_last_of_several_for_one_place_stays() -> None:
    places = np.array([[[3, 3, 0, 3]], [[0, 1, 2, 2]]])
    check(
        lambda x: x.max_unpool1d(Tensor(places), 2),
        lambda x: F.max_unpool1d(x, torch.from_numpy(places), 2),
        floats(2, 1, 4),
        finite_difference=False,
    )


def test_unpooling_without_batch_or_elements() -> None:
    values, places = pooled(1, 2, 2, 0)
    check(
        lambda x: x.max_unpool1d(Tensor(places[0])),
        lambda x: F.max_unpool1d(x, torch.from_numpy(places[0]), 2),
        values[0],
    )
    assert Tensor.ones(0, 2, 2).max_unpool2d(Tensor(np.zeros((0, 2, 2), int))).shape == (0, 4, 4)
    whole = Tensor([[5, 6]]).max_unpool1d(Tensor([[3, 0]]), 2)
    assert whole.tolist() == [[6, 0, 0, 5]]


@pytest.mark.parametrize("place", [-1, 4])
def test_places_outside_the_image(place: int) -> None:
    with pytest.raises(IndexError):
        Tensor([[1.0, 2.0]]).max_unpool1d(Tensor([[0, place]]), 2).numpy()


WINDOWS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (2, 1)},
    {"kernel_size": 2, "padding": (1, 2), "dilation": (2, 3)},
    {"kernel_size": (1, 4), "stride": 3, "padding": 1},
    {"kernel_size": 3, "stride": 3},
]


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (2, 5, 8), (0, 2, 5, 5)])
@pytest.mark.parametrize("how", WINDOWS)
def test_columns_and_back(shape: tuple[int, ...], how: dict[str, Any]) -> None:
    x = floats(*shape)
    check(lambda x: x.im2col(**how), lambda x: F.unfold(x, **how), x)
    columns = F.unfold(torch.from_numpy(x), **how).numpy()
    size = shape[-2:]
    check(lambda y: y.col2im(size, **how), lambda y: F.fold(y, size, **how), columns)


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.tuples(*[st.integers(0, 2)] * 2),
    st.tuples(*[st.integers(1, 3)] * 2),
)
def test_any_windows(size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
    x, how = torch.from_numpy(integers(1, 2, *size)).double(), (kernel, dilation, padding, stride)
    try:
        columns = F.unfold(x, *how)
    except RuntimeError:
        with pytest.raises(ValueError, match="does not fit"):
            Tensor(x.numpy()).im2col(*how)
        return
    assert Tensor(x.numpy()).im2col(*how).tolist() == columns.tolist()
    known = F.fold(columns, size, *how)
    assert Tensor(columns.numpy()).col2im(size, *how).tolist() == known.tolist()
    assert Tensor(columns.numpy()).fold(size, *how).tolist() == known.tolist()


def test_half_floats_add_up_in_float32() -> None:
    columns = Tensor(np.full((1, 4, 9), 2048.0, np.float16)) + Tensor(np.float16(2.0))
    x = columns.col2im(4, 2)
    assert x.dtype.name == "float16" and x.numpy().max() == np.float16(4 * 2050)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda x: x.max_unpool1d(Tensor([[0]]), 2), r"indices of the same shape, not int64\[1, 1"),
        (lambda x: x.max_unpool1d(x, 2), "integer indices"),
        (lambda x: x.max_unpool1d(x.long(), 2, output_size=(7, 4)), "stride or more away"),
        (lambda x: x.max_unpool1d(x.long(), 2, output_size=(10,)), "stride or more away"),
        (lambda x: x.max_unpool1d(x.long(), 1, padding=2), "make images of"),
        (lambda x: x.im2col(2), "needs images"),
        (lambda x: x.col2im((2, 2), 2), "must be"),
        (lambda x: x.col2im((1, 4), (1, 2)), "must be"),
        (lambda x: x.col2im(1, 2), "does not fit"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action(Tensor.ones(1, 4))


def test_bools_do_not_add_up() -> None:
    with pytest.raises(TypeError, match="bools"):
        Tensor([[True], [False]]).col2im((2, 1), (2, 1))
