"""Indexed operations along one axis against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, jit, vmap
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


REDUCTIONS = ["sum", "prod", "mean", "amax", "amin"]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scatter(dim: int) -> None:
    """At indices without repeats, for PyTorch does not say which of equals stays."""
    index, source = np.argsort(floats(3, 5, 4, seed=2), dim)[:2, :3], floats(3, 4, 4, seed=1)
    check(
        lambda x, i, s: x.scatter(dim, i, s),
        lambda x, i, s: x.scatter(dim, i, s[:2, :3]),
        X, index, source,
    )  # fmt: skip
    index[...] = 1
    check(lambda x, i: x.scatter(dim, i, 7.0), None, X, index)
    check(lambda x, i: x.scatter(dim, i, value=-0.0) * 2, None, X, index)
    check(lambda x, i: x.scatter(dim, i, 2.0, reduce="add"), None, X, index, grad=False)
    check(lambda x, i: x.scatter(dim, i, 2.0, reduce="multiply"), None, X, index, grad=False)


def test_the_last_of_equals_stays_and_takes_the_gradient() -> None:
    x, source = Tensor([1.0, 2.0, 3.0]), Tensor([10.0, 20.0, 30.0])
    y = x.scatter(0, Tensor([2, 0, 2]), source)
    assert y.tolist() == [20, 2, 30]
    assert x.scatter(0, [1], np.float32([7])).tolist() == [1, 7, 3]
    (y * Tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 10, 0]
    assert source.grad is not None and source.grad.tolist() == [0, 1, 100]


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_scatter_reduce(reduce: str, include_self: bool) -> None:
    def both(x: Any, index: Any, source: Any) -> Any:
        return x.scatter_reduce(1, index, source, reduce, include_self=include_self)

    index, source = integers(2, 7, 2, low=0, high=4), floats(2, 7, 3, seed=1)[:, :, :2]
    check(both, None, X, index, source, finite_difference=include_self)
    check(both, None, X, index[:, :0], source[:, :0])
    check(both, None, integers(3, 5, 4), index, integers(2, 7, 2, seed=1), grad=False)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_reductions_of_rows_and_scalars(reduce: str) -> None:
    def both(x: Any, index: Any, source: Any) -> Any:
        return x.scatter_reduce(0, index, source, reduce)

    x, index, source = floats(), np.int64(0), floats(seed=1)
    check(both, None, np.asarray(x), np.asarray(index), np.asarray(source))
    check(lambda x, i: x.gather(0, i) * 2, None, np.asarray(x), np.asarray(index))
    check(both, None, floats(13), integers(101, low=0, high=13), floats(101, low=0.5, high=1.5),
          finite_difference=False)  # fmt: skip
    check(both, None, np.float32([np.inf, -np.inf, np.nan, 1]), np.array([0, 1, 2, 3, 3]),
          np.float32([1, 0, 2, np.nan, 4]), grad=False)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint8"])
def test_reductions_of_short_numbers(dtype: str) -> None:
    """Half floats are rounded once, where PyTorch rounds at each step."""
    x, source, index = [4, 0, 5, 1], [1, 3, 2, 7, 4, 2], np.array([0, 1, 1, 3, 0, 0])
    kind = getattr(torch, dtype)
    for reduce in REDUCTIONS:
        got = Tensor(x).cast(dtype).scatter_reduce(0, index, Tensor(source).cast(dtype), reduce)
        known = torch.tensor(x, dtype=kind), torch.tensor(source, dtype=kind)
        expected = known[0].scatter_reduce(0, torch.from_numpy(index), known[1], reduce)
        assert got.dtype.name == dtype
        np.testing.assert_allclose(got.double().numpy(), expected.double().numpy(), rtol=1e-2)


def test_means_of_many_short_integers() -> None:
    many = Tensor(np.full(300, -100, np.int8))
    assert Tensor(np.zeros(1, np.int8)).scatter_reduce(0, [0] * 300, many, "mean").item() == -100


@pytest.mark.parametrize("reduce", ["amax", "amin"])
def test_equals_share_the_gradient_of_an_extreme(reduce: str) -> None:
    x, source = np.float32([2, 5, 2, 9]), np.float32([2, 2, 5, 2, 2, -4])
    index = np.array([0, 0, 1, 1, 2, 3])
    check(lambda x, i, s: x.scatter_reduce(0, i, s, reduce), None, x, index, source,
          finite_difference=False)  # fmt: skip


def test_the_gradient_of_products_with_zeros() -> None:
    x, source = np.float32([0, 3, 2]), np.float32([4, 0, 5, 0, 0, 6])
    index = np.array([0, 1, 1, 2, 2, 2])
    for include_self in (True, False):
        check(
            lambda x, i, s, own=include_self: x.scatter_reduce(0, i, s, "prod", include_self=own),
            None, x, index, source,
        )  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.filterwarnings("ignore:index_reduce")
def test_index_fill_and_index_reduce(dim: int) -> None:
    index, shape = np.array([2, 0, 2]), [3, 5, 4]
    check(lambda x, i: x.index_fill(dim, i, 7), None, X, index)
    check(lambda x, i: x.index_fill(dim, i, 1.5), None, integers(3, 5, 4), index, grad=False)
    check(lambda x, i, v: x.index_fill(dim, i, v), None, X, index[:2], np.asarray(np.float32(3)))
    shape[dim] = 3
    check(lambda x, i, s: x.index_reduce(dim, i, s, REDUCTIONS[dim + 2]), None, X, index,
          floats(*shape, seed=1), finite_difference=False)  # fmt: skip


def test_parts_that_are_replaced() -> None:
    check(lambda x, s: x.select_scatter(s, 1, -2), None, X, floats(3, 4, seed=1))
    check(lambda x, s: x.slice_scatter(s, -1, -3, None, 2), None, X, floats(3, 5, 2, seed=1))
    check(lambda x, s: x.slice_scatter(s, 0, 2, 1), None, X, floats(0, 5, 4))
    check(lambda x, s: x.slice_scatter(s, end=9), None, X, floats(3, 5, 4, seed=1))
    check(lambda x, s: x.select_scatter(s, 0, 1), None, integers(3, 5), floats(5), grad=False)
    for offset, count in ((0, 3), (2, 1), (-1, 3), (5, 0)):
        check(
            lambda x, s, o=offset: x.diagonal_scatter(s, o, 1, -1),
            None, floats(2, 4, 3), floats(2, count, seed=1),
        )  # fmt: skip


def test_recorded_steps_scatter() -> None:
    @jit
    def both(x: Tensor, index: Tensor) -> Tensor:
        return x.scatter(0, index, x * 10).scatter_reduce(0, index, x, "amax").index_fill(0, [0], 7)

    x = Tensor([1.0, 2.0, 3.0], requires_grad=False)
    assert both(x, Tensor([1, 2, 1])).tolist() == [7, 30, 20]
    assert both(x, Tensor([2, 2, 0])).tolist() == [7, 2, 20]
    with pytest.raises(IndexError):
        both(x, Tensor([2, 3, 0])).numpy()


@pytest.mark.parametrize("reduce", ["mean", "prod", "amin"])
def test_examples_at_once(reduce: str) -> None:
    index, source = integers(3, 6, low=0, high=5), floats(3, 6, seed=1)
    x, index, source = (Tensor(a) for a in (floats(3, 5), index, source))
    got = vmap(lambda x, i, s: x.scatter_reduce(0, i, s, reduce))(x, index, source)
    expected = x.scatter_reduce(1, index, source, reduce)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6)


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
        (lambda x: x.scatter(0, np.full((1, 5, 4), 3), x).numpy(), IndexError, "3"),
        (lambda x: x.scatter(0, np.full((1, 5, 4), 3), 1.0).numpy(), IndexError, "3"),
        (lambda x: x.scatter(0, np.zeros((1, 5, 4), int), x.double()), ValueError, "float64"),
        (lambda x: x.scatter(0, np.zeros((1, 5, 4), int), x, "max"), ValueError, "'multiply'"),
        (lambda x: x.scatter(0, np.zeros((1, 5, 4), int)), TypeError, "src or value"),
        (lambda x: x.scatter(0, np.zeros((1, 5, 4)), x), IndexError, "integers"),
        (lambda x: x.int().scatter(0, np.zeros((1, 5, 4), int), 1 << 31), OverflowError, "int32"),
        (lambda x: x.scatter_reduce(0, np.full((1, 5, 4), -4), x, "prod").numpy(), IndexError, "-"),
        (lambda x: x.scatter_reduce(0, np.zeros((1, 5, 4), int), x, "max"), ValueError, "amax"),
        (lambda x: x.scatter_reduce(0, np.zeros((1, 5, 4), int), 1, "sum"), TypeError, "a tensor"),
        (lambda x: x.bool().scatter_reduce(0, [[[0]]], x.bool(), "sum"), TypeError, "bools"),
        (lambda x: x.scatter_reduce(0, [[[0]]], "x", "sum"), TypeError, "must be a tensor"),
        (lambda x: x.index_fill(0, [3], 1).numpy(), IndexError, "3"),
        (lambda x: x.index_fill(0, [1], x), ValueError, "one number"),
        (lambda x: x.index_reduce(0, [1], x, "mean"), ValueError, "index_reduce: source"),
        (lambda x: x.select_scatter(x[0], 0, 3), IndexError, "3 is out of range"),
        (lambda x: x.select_scatter(x[0, :1], 0, 1), ValueError, "select_scatter: src has shape"),
        (lambda x: x.slice_scatter(x, 0, 1), ValueError, "slice_scatter: src has shape"),
        (lambda x: x.slice_scatter(x, step=-1), ValueError, "step"),
        (lambda x: x.diagonal_scatter(x[0, :2]), ValueError, "diagonal_scatter"),
    ],
)  # fmt: skip
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor(X))
