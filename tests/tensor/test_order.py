"""Order statistics against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradlet import Tensor, dtypes
from tests.helpers import check, floats, integers

NAN, INF = np.nan, np.inf
EDGES = np.array([[NAN, 1, -INF, 0.0, -0.0, INF, 1], [2, 2, 2, 2, 2, 2, 2]], np.float32)
SHAPES = [(3, 4, 5), (1, 7, 1), (2, 1, 13)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort(shape: tuple[int, ...], dim: int, descending: bool) -> None:
    x = integers(*shape, low=-2, high=3).astype(np.float32)
    options: dict[str, Any] = {"dim": dim, "descending": descending, "stable": True}
    check(lambda x: x.sort(**options).values, None, x, finite_difference=False)
    check(lambda x: x.sort(**options).indices, None, x)
    check(lambda x: x.argsort(**options), None, x)
    check(lambda x: x.transpose(0, 1).flip(2).sort(**options).values,
          lambda x: x.transpose(0, 1).flip(2).sort(**options).values, floats(*shape))  # fmt: skip


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int32, np.int64, np.float64])
def test_sort_of_other_dtypes(kind: Any) -> None:
    x = integers(4, 5, low=0, high=9).astype(kind)
    check(lambda x: x.sort(0).values, None, x, finite_difference=False)
    check(lambda x: x.argsort(dim=0, stable=True), None, x)


def test_order_of_nan_and_equals() -> None:
    for descending in (False, True):
        options = {"dim": 1, "descending": descending, "stable": True}
        check(lambda x, o=options: x.sort(**o).values, None, EDGES, finite_difference=False)
        check(lambda x, o=options: x.sort(**o).indices, None, EDGES)
    half = Tensor(EDGES).cast(dtypes.bfloat16)
    assert half.sort(1).values.dtype is dtypes.bfloat16
    np.testing.assert_array_equal(half.argsort(1).numpy(), Tensor(EDGES).argsort(1).numpy())


def test_scalars_and_nothing() -> None:
    one, none = np.array(2.0, np.float32), np.zeros((0, 3), np.float32)
    for dim in (0, -1):
        check(lambda x, d=dim: x.sort(d).values, None, one)
        check(lambda x, d=dim: x.sort(d).indices, None, one)
        check(lambda x, d=dim: x.topk(1, d).values, None, one)
        check(lambda x, d=dim: x.median(d).values, None, one)
        check(lambda x, d=dim: x.sort(d).values, None, none, grad=False)
    check(lambda x: x.median(), None, none, grad=False)
    with pytest.raises(ValueError, match=r"median: shape \(0, 3\) has no element"):
        Tensor(none).median(0)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("k", [0, 1, 3, 7])
def test_topk(k: int, largest: bool) -> None:
    x = floats(4, 7)
    check(lambda x: x.topk(k, 1, largest).values, None, x)
    check(lambda x: x.topk(k, 1, largest).indices, None, x)
    check(lambda x: x.topk(min(k, 4), 0, largest).values, None, x)
    check(lambda x: x.topk(k, 1, largest).values, None, EDGES, grad=False)
    with pytest.raises(ValueError, match=r"k must lie in \[0, 7\]"):
        Tensor(x).topk(8)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_topk_is_the_beginning_of_the_sorted_row(values: list[int], data: Any) -> None:
    x = Tensor(np.array(values, np.float32), device="numpy")
    k = data.draw(st.integers(0, len(values)))
    top, places = x.topk(k)
    assert top.tolist() == sorted(values, reverse=True)[:k]
    assert [values[i] for i in places.tolist()] == top.tolist()
    assert len(set(places.tolist())) == k


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_medians_and_modes(dim: int, keepdim: bool) -> None:
    x = floats(3, 4, 5)
    for name in ("median", "nanmedian"):
        check(lambda x, n=name: getattr(x, n)(dim, keepdim).values, None, x)
        check(lambda x, n=name: getattr(x, n)(dim, keepdim).indices, None, x)
        check(lambda x, n=name: getattr(x, n)(), None, x)
    check(lambda x: x.kthvalue(2, dim, keepdim).values, None, x)
    check(lambda x: x.kthvalue(2, dim, keepdim).indices, None, x)
    few = integers(3, 4, 5, low=0, high=3).astype(np.float32)
    check(lambda x: x.mode(dim, keepdim).values, None, few, finite_difference=False)
    check(lambda x: x.mode(dim, keepdim).indices, None, few)


def test_medians_of_nan_and_equals() -> None:
    x = np.array([[NAN, 1, 3, 2, NAN], [NAN] * 5, [2, 1, 2, 2, 5]], np.float32)
    check(lambda x: x.median(1).values, None, x, finite_difference=False)
    check(lambda x: x.nanmedian(1).values, None, x[::2], finite_difference=False)
    check(lambda x: x.nanmedian(1).values, None, x, grad=False)
    check(lambda x: x.nanmedian(), None, x, finite_difference=False)
    check(lambda x: x.median(), None, x[2], finite_difference=False)
    check(lambda x: x.median(), None, integers(3, 4))


@pytest.mark.parametrize("how", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_quantiles(how: str) -> None:
    x = floats(4, 5, 6)
    several = torch.tensor([0.0, 0.3, 1.0])
    for dim in (None, 0, 2):
        for keepdim in (False, True):
            rest = (dim, keepdim)
            check(
                lambda x, r=rest: x.quantile([0.0, 0.3, 1.0], *r, interpolation=how),
                lambda x, r=rest: x.quantile(several.to(x.dtype), *r, interpolation=how),
                x,
            )
        check(lambda x, d=dim: x.quantile(0.37, d, interpolation=how), None, x)


def test_quantiles_of_nan_and_infinity() -> None:
    x = np.array([[NAN, 1, 3, 2], [NAN] * 4, [INF, INF, -INF, 1]], np.float32)
    for q in (0.0, 0.5, 1.0):
        check(lambda x, q=q: x.quantile(q, 1), None, x[:2], grad=False)
        check(lambda x, q=q: x.nanquantile(q, 1), None, x[:2], finite_difference=False)
    assert Tensor(x[2]).quantile(1.0).item() == INF
    with pytest.raises(ValueError, match=r"q must lie in \[0, 1\]"):
        Tensor(x).quantile(1.5)


def test_msort() -> None:
    check(lambda x: x.msort(), None, floats(5, 3))
