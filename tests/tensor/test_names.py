"""Facts, dtypes and new tensors under familiar names, against PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import JitError, Tensor, dtypes, jit
from tests.helpers import assert_same, check, floats, integers

X = floats(2, 3)


def test_facts() -> None:
    x = Tensor(X)
    assert (x.ndimension(), x.nelement(), x.itemsize) == (2, 6, 4)
    assert x.is_same_size(Tensor.zeros(2, 3)) and not x.is_same_size(x.T)
    assert x.is_contiguous() and not x.T.is_contiguous() and x.T.contiguous().is_contiguous()
    assert not x.is_complex()
    signed = {dtype.name: Tensor.zeros(1, dtype=dtype).is_signed() for dtype in dtypes.ALL}
    assert signed == {name: getattr(torch, name).is_signed for name in signed}
    assert Tensor([2.0]).is_nonzero() and not Tensor(0).is_nonzero()
    assert x.tobytes() == X.tobytes() and x.T.tobytes() == X.T.tobytes()


def test_dtypes() -> None:
    x = Tensor([1.75, 3.0])
    names = [x.byte(), x.char(), x.astype(np.int16), x.type("float64"), x.type_as(Tensor([True]))]
    assert [made.dtype.name for made in names] == ["uint8", "int8", "int16", "float64", "bool"]
    assert x.byte().tolist() == [1, 3] and x.type(dtypes.int32).dtype is dtypes.int32


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool"])
def test_new_tensors_are_like_the_old(dtype: str) -> None:
    x = Tensor(X).cast(dtype)
    known = torch.from_numpy(X).to(getattr(torch, dtype))
    assert_same(x.new_zeros(2, 3), known.new_zeros(2, 3), 0, 0)
    assert_same(x.new_ones((4,)), known.new_ones((4,)), 0, 0)
    assert_same(x.new_full((2, 1), 1), known.new_full((2, 1), 1), 0, 0)
    assert_same(x.new_tensor([[0, 1]]), known.new_tensor([[0, 1]]), 0, 0)
    assert_same(x.new_zeros(1, dtype="int8"), known.new_zeros(1, dtype=torch.int8), 0, 0)
    assert x.new_empty(3).dtype is x.dtype and x.new_empty(3, 0).shape == (3, 0)
    assert x.empty_like().dtype is x.dtype and x.empty_like().shape == (2, 3)
    assert x.new_ones(2, dtype="float32", requires_grad=False).requires_grad is False


def test_random_integers_like_another() -> None:
    x = Tensor.zeros(100, dtype="float32", requires_grad=False)
    drawn = x.randint_like(3)
    assert drawn.dtype is dtypes.float32 and set(drawn.tolist()) == {0, 1, 2}
    assert set(x.randint_like(-1, 1, dtype="int8").tolist()) == {-1, 0}


def test_ramps_and_triangles() -> None:
    assert_same(Tensor.logspace(-1, 2, 5), torch.logspace(-1, 2, 5), 1e-6, 1e-6)
    assert_same(
        Tensor.logspace(0, 8, 9, base=2, dtype="int64"),
        torch.logspace(0, 8, 9, base=2, dtype=torch.int64), 0, 0,
    )  # fmt: skip
    for row, col, offset in ((3, 4, 0), (4, 2, 1), (3, 3, -2), (0, 3, 0)):
        for name in ("tril_indices", "triu_indices"):
            known = getattr(torch, name)(row, col, offset)
            assert_same(getattr(Tensor, name)(row, col, offset), known, 0, 0)


def test_nonzero_static() -> None:
    x = np.array([[0, 2], [3, 0]])
    for size in (0, 1, 2, 4):
        known = torch.from_numpy(x).nonzero_static(size=size)
        assert_same(Tensor(x).nonzero_static(size=size), known, 0, 0)


@pytest.mark.parametrize("invert", [False, True])
def test_isin(invert: bool) -> None:
    x, among = integers(4, 5), integers(2, 3, seed=1)
    known = torch.isin(torch.from_numpy(x), torch.from_numpy(among), invert=invert)
    assert_same(Tensor(x).isin(Tensor(among), invert=invert), known, 0, 0)
    assert_same(Tensor(x).isin(among, invert=invert), known, 0, 0)
    nothing = Tensor(x).isin(Tensor(np.array([], np.int64)), invert=invert)
    assert nothing.tolist() == np.full((4, 5), invert).tolist()


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_unique_consecutive(dim: int | None) -> None:
    x = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [2, 2, 2, 2]])
    options: Any = {"return_inverse": True, "return_counts": True, "dim": dim}
    known = torch.unique_consecutive(torch.from_numpy(x), **options)
    for made, expected in zip(Tensor(x).unique_consecutive(**options), known, strict=True):
        assert_same(made, expected, 0, 0)


def test_unique_consecutive_of_little() -> None:
    nan = float("nan")
    assert Tensor([nan, nan, 1.0, 1.0]).unique_consecutive(return_counts=True)[1].tolist() == [
        1, 1, 2
    ]  # fmt: skip
    assert Tensor(np.zeros(0)).unique_consecutive().shape == (0,)
    assert Tensor(5).unique_consecutive().tolist() == [5]
    with pytest.raises(JitError, match="unique_consecutive"):
        jit(lambda x: x.unique_consecutive())(Tensor([1]))


@pytest.mark.parametrize("dim", [0, -1])
def test_trapezoid(dim: int) -> None:
    y, places = floats(4, 5), floats(4, 5, seed=1)
    check(lambda y: y.trapezoid(dim=dim), lambda y: torch.trapezoid(y, dim=dim), y)
    check(lambda y: y.trapezoid(dx=0.5, dim=dim), lambda y: torch.trapezoid(y, dx=0.5, dim=dim), y)
    check(lambda y, x: y.trapezoid(x, dim=dim), lambda y, x: torch.trapezoid(y, x, dim=dim),
          y, places)  # fmt: skip
    check(lambda y, x: y.trapezoid(x, dim=dim), lambda y, x: torch.trapezoid(y, x, dim=dim),
          y, floats(y.shape[dim], seed=2))  # fmt: skip
    with pytest.raises(ValueError, match="trapezoid: a scalar"):
        Tensor(1.0).trapezoid()


def test_copies_and_devices() -> None:
    x = Tensor(X)
    copied = x.copy()
    copied += 1
    assert np.array_equal(x.numpy(), X) and np.array_equal(copied.numpy(), X + 1)
    moved = x.to("numpy").cpu()
    assert moved.device == "cpu" and np.array_equal(moved.numpy(), X)
    assert x.contiguous_backward() is x
    if not torch.cuda.is_available():
        with pytest.raises((ValueError, RuntimeError), match="cuda:1"):
            x.cuda(1)
