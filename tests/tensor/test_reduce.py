"""Reductions and softmax against PyTorch."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from gradlet import Tensor, dtypes
from tests.helpers import assert_same, check, floats, integers

AXES = [None, 0, 1, -1, (0, 2)]
SHAPES = [(3, 4, 5), (1, 7, 1), (2, 1, 13)]


def all_axes(axis: Any) -> Any:
    return (0, 1, 2) if axis is None else axis


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_reductions(axis: Any, keepdim: bool, shape: tuple[int, ...]) -> None:
    x, dim = floats(*shape), all_axes(axis)
    check(lambda x: x.sum(axis, keepdim), lambda x: x.sum(dim, keepdim), x)
    check(lambda x: x.mean(axis, keepdim), lambda x: x.mean(dim, keepdim), x)
    check(lambda x: x.max(axis, keepdim), lambda x: x.amax(dim, keepdim), x)
    check(lambda x: x.min(axis, keepdim), lambda x: x.amin(dim, keepdim), x)
    check(lambda x: x.logsumexp(axis, keepdim), lambda x: x.logsumexp(dim, keepdim), x)
    biased = {"keepdim": keepdim, "correction": 0}
    check(lambda x: x.var(axis, **biased), lambda x: x.var(dim, **biased), x, atol=1e-4)


def test_std_and_corrections() -> None:
    x = floats(4, 6)
    check(lambda x: x.std(1), lambda x: x.std(1), x)
    check(lambda x: x.std(), lambda x: x.std(), x)
    check(lambda x: x.var(0, correction=2), lambda x: x.var(0, correction=2), x)
    equal = np.ones((3, 4), np.float32)
    check(lambda x: x.std(1), lambda x: x.std(1), equal, finite_difference=False)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_prod(axis: int) -> None:
    x = floats(2, 3, 4)
    x[0, 1, 2] = 0
    check(lambda x: x.prod(axis), lambda x: x.prod(axis), x)
    check(lambda x: x.prod(), lambda x: x.prod(), x)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_positions(axis: Any, keepdim: bool) -> None:
    x = integers(5, 7, low=0, high=4).astype(np.float32)
    options = {"dim": axis, "keepdim": keepdim}
    check(lambda x: x.argmax(**options), None, x)
    check(lambda x: x.argmin(**options), None, x)
    x[2, 3] = np.nan
    check(lambda x: x.argmax(**options), None, x)
    check(lambda x: x.argmin(**options), None, x)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int32, np.int64])
def test_integers(kind: Any) -> None:
    x = integers(4, 5, low=0, high=3).astype(kind)
    check(lambda x: x.sum(0), None, x)
    check(lambda x: x.prod(1), None, x)
    check(lambda x: x.any(1), lambda x: x.bool().any(1), x)  # PyTorch keeps uint8
    check(lambda x: x.all(1), lambda x: x.bool().all(1), x)
    check(lambda x: x.max(1), lambda x: x.amax(1), x)


def test_ties_share_the_gradient() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], np.float32)
    check(lambda x: x.max(1), lambda x: x.amax(1), x, finite_difference=False)


def test_nan_and_infinity() -> None:
    x = np.array([[1, np.nan, 2], [np.inf, -np.inf, 0], [-np.inf] * 3], np.float32)
    for name in ("sum", "mean"):
        check(lambda x, n=name: getattr(x, n)(1), None, x, grad=False)
    check(lambda x: x.max(1), lambda x: x.amax(1), x, grad=False)
    check(lambda x: x.min(1), lambda x: x.amin(1), x, grad=False)
    check(lambda x: x.softmax(1), None, x, grad=False)
    check(lambda x: x.log_softmax(1), None, x, grad=False)
    check(lambda x: x.logsumexp(1), None, x, grad=False)


def test_nothing_to_reduce() -> None:
    empty = np.zeros((0, 3), np.float32)
    check(lambda x: x.sum(0), None, empty, grad=False)
    check(lambda x: x.prod(0), None, empty, grad=False)
    check(lambda x: x.mean(0), None, empty, grad=False)
    check(lambda x: x.sum(1), None, empty, grad=False)
    check(lambda x: x.logsumexp(0), None, empty, grad=False)
    check(lambda x: x.logsumexp((0, 1), True), None, empty, grad=False)
    with pytest.raises(ValueError, match=r"max: shape \(0, 3\) has no element"):
        Tensor(empty).max(0)


def test_scalars() -> None:
    x = np.array(2.5, np.float32)
    check(lambda x: x.sum() + x.mean() + x.max(), lambda x: x.sum() + x.mean() + x.amax(), x)
    check(lambda x: x.softmax(0) * x, None, x)
    check(lambda x: x.argmax(), None, x)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis: int) -> None:
    for x in (floats(3, 4, 5), floats(3, 4, 5) * 1000):
        precise = abs(x).max() < 10
        check(lambda x: x.softmax(axis), None, x, finite_difference=precise)
        check(lambda x: x.log_softmax(axis), None, x, finite_difference=precise)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_floats_add_up_in_float32(kind: Any) -> None:
    ones = Tensor(np.ones(5000, kind))
    assert ones.dtype.numpy == kind
    assert ones.sum().item() == np.float32(5000).astype(kind)
    assert ones.mean().item() == 1
    assert (ones @ ones).item() == np.float32(5000).astype(kind)


def test_names_of_arguments() -> None:
    x = Tensor(floats(2, 3))
    assert x.sum(dim=1, keepdims=True).shape == (2, 1)
    assert x.sum(dtype="float64").dtype is dtypes.float64
    assert_same(x.sum(axis=(0, 1)), torch.from_numpy(x.numpy()).sum(), 1e-5, 1e-5)
    with pytest.raises(IndexError, match="sum: axis 2 is out of range"):
        x.sum(2)
    with pytest.raises(ValueError, match="twice"):
        x.sum((0, -2))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 7, 1), (2, 33, 2), (0, 3, 2)])
def test_running_results(axis: int, shape: tuple[int, ...]) -> None:
    x = floats(*shape, low=-1.5, high=1.5)
    check(lambda x: x.cumsum(axis), None, x)
    check(lambda x: x.cumprod(axis), None, x)
    for name in ("cummax", "cummin"):
        check(lambda x, n=name: getattr(x, n)(axis)[0], None, x)
        check(lambda x, n=name: getattr(x, n)(axis)[1], None, x, grad=False)


def test_running_products_with_zeros() -> None:
    x = floats(4, 6)
    x[0, 2] = x[1, 0] = x[2, 3] = x[2, 5] = x[3, 5] = 0
    check(lambda x: x.cumprod(1), None, x)
    check(lambda x: x.cumprod(0), None, x)


def test_running_extremes_of_equals_and_nan() -> None:
    x = integers(6, 9, low=0, high=3).astype(np.float32)
    x[1, 3] = x[1, 6] = x[2, 0] = np.nan
    x[3, 2], x[4, 1] = np.inf, -np.inf
    for name in ("cummax", "cummin"):
        check(lambda x, n=name: getattr(x, n)(1)[0], None, x)
        check(lambda x, n=name: getattr(x, n)(1)[1], None, x, grad=False)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int32, np.int64, np.float64])
def test_running_results_of_other_dtypes(kind: Any) -> None:
    x = integers(4, 37, low=0, high=3).astype(kind)
    check(lambda x: x.cumsum(1), None, x)
    check(lambda x: x.cumprod(0), None, x)
    if kind is not np.bool_:
        check(lambda x: x.cummax(1)[0], None, x, grad=False)
        check(lambda x: x.cummin(1)[1], None, x, grad=False)


def test_running_results_of_scalars_and_names() -> None:
    x = np.array(2.5, np.float32)
    check(lambda x: x.cumsum(0) * x.cumprod(0), None, x)
    check(lambda x: x.cummax(0)[1], None, x)
    assert Tensor([1, 2]).cumsum(dim=0, dtype="float32").tolist() == [1.0, 3.0]
    with pytest.raises(IndexError, match="cumsum: axis 1 is out of range"):
        Tensor([1, 2]).cumsum(1)


LARGE = [(200_003,), (3, 30_001), (30_001, 3), (257, 301), (17, 5, 1003)]


@pytest.mark.parametrize("shape", LARGE)
def test_large_arrays(shape: tuple[int, ...]) -> None:
    """Where work is split into blocks, strips and lanes, and something is left over of each."""
    x = floats(*shape)
    whole = integers(*shape)
    for axis in range(len(shape)):
        check(lambda x, a=axis: x.sum(a), None, x, atol=1e-2, finite_difference=False)
        check(lambda x, a=axis: x.max(a), lambda x, a=axis: x.amax(a), x, finite_difference=False)
        check(lambda x, a=axis: x.argmax(a), None, x)
        check(lambda x, a=axis: x.cumsum(a), None, x, atol=0.05, grad=False)
        check(lambda x, a=axis: x.cummin(a)[1], None, x, grad=False)
        check(lambda x, a=axis: x.flip(a).cumsum(a), lambda x, a=axis: x.flip(a).cumsum(a), whole)
        check(lambda x, a=axis: x.argmin(a), None, whole)
    check(lambda x: x.sum(), None, x, atol=1e-2, rtol=1e-4, finite_difference=False)
    check(lambda x: x.sum(), None, whole)
    check(lambda x: x.min(), lambda x: x.amin(), whole)
    check(lambda x: x.flatten().argmin(), None, x)


def test_long_sums_are_accurate_and_the_same_every_time() -> None:
    x = np.random.default_rng(0).random(1 << 22, np.float32)
    for array, axis in ((x, None), (x.reshape(-1, 64), 0), (x.reshape(4, -1), 1)):
        results = [Tensor(array).sum(axis).numpy() for _ in range(3)]
        exact = array.sum(axis, dtype=np.float64)
        np.testing.assert_allclose(results[0], exact, rtol=4e-7)
        assert all(np.array_equal(results[0], again) for again in results)


KINDS = [
    np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint32,
    np.float16, ml_dtypes.bfloat16, np.float32, np.float64,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_positions_in_every_dtype(kind: Any) -> None:
    dtype = Tensor(np.zeros(1, kind)).dtype
    extremes = [dtype.min, dtype.max, 0, 1]
    if dtype.is_float:
        extremes += [-0.0, 0.0, np.nan, -1.5, np.float32(dtype.max) * 0.99]
    generator = np.random.default_rng(0)
    x = generator.choice(np.array(extremes).astype(kind), (40, 19))
    for rows in (x, x[:, :1], x[:, ::-1].copy()):
        for axis in (0, 1, None):
            wide = rows.astype(np.float64 if dtype.is_float else np.int64)
            assert Tensor(rows).argmax(axis).tolist() == np.argmax(wide, axis).tolist()
            assert Tensor(rows).argmin(axis).tolist() == np.argmin(wide, axis).tolist()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_in_another_dtype(name: str) -> None:
    x = floats(3, 4).astype(np.float16)
    ours = lambda x: getattr(x, name)(dim=1, dtype="float64")  # noqa: E731
    theirs = lambda x: getattr(x, name)(dim=1, dtype=torch.float64)  # noqa: E731
    check(ours, theirs, x, finite_difference=False, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["mean", "nanmean"])
def test_means_in_another_dtype(name: str) -> None:
    for x in (floats(7), integers(7), floats(7).astype(np.float16)):
        for dtype in ("float64", "float32"):
            ours = lambda x, d=dtype: getattr(x, name)(dtype=d)  # noqa: E731
            theirs = lambda x, d=dtype: getattr(x.to(getattr(torch, d)), name)()  # noqa: E731
            check(ours, theirs, x, finite_difference=False, rtol=1e-4)
    with pytest.raises(TypeError, match="dtype must be a float"):
        getattr(Tensor([1.0]), name)(dtype="int32")
