"""Search, unique, and counts, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlet import JitError, Tensor, jit
from tests.helpers import assert_same, check, floats, integers


@pytest.mark.parametrize("right", [False, True])
def test_search(right: bool) -> None:
    edges = np.sort(integers(3, 6, low=0, high=5), 1).astype(np.float32)
    x = integers(3, 4, low=-1, high=6).astype(np.float32)
    x[0, 0] = np.nan
    flags = {"right": right}
    search = torch.searchsorted
    check(lambda e, x: e.searchsorted(x, **flags), lambda e, x: search(e, x, **flags), edges, x)
    check(lambda e, x: e.searchsorted(x, **flags), lambda e, x: search(e, x, **flags), edges[0], x)
    check(lambda x, e: x.bucketize(e, **flags), lambda x, e: torch.bucketize(x, e, **flags),
          x, edges[1])  # fmt: skip
    mixed, order = edges[:, ::-1].copy(), np.argsort(edges[:, ::-1], 1)
    check(lambda e, x, o: e.searchsorted(x, sorter=o, out_int32=True),
          lambda e, x, o: search(e, x, sorter=o, out_int32=True), mixed, x, order)  # fmt: skip
    check(lambda x, e: x.bucketize(e, out_int32=True),
          lambda x, e: torch.bucketize(x, e, out_int32=True), x, edges[1])  # fmt: skip
    with pytest.raises(ValueError, match="do not go with sorted rows"):
        Tensor(edges).searchsorted(Tensor(x[:2]))


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_unique(dim: int | None) -> None:
    x = integers(5, 4, low=0, high=2)
    got = Tensor(x).unique(return_inverse=True, return_counts=True, dim=dim)
    expected = torch.from_numpy(x).unique(return_inverse=True, return_counts=True, dim=dim)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert Tensor(x).unique(dim=dim).tolist() == expected[0].tolist()


@pytest.mark.parametrize("size", [0, 3, 4, 7])
def test_unique_of_a_size(size: int) -> None:
    """Four different elements of which the first stay, or which are followed by another."""
    for x in (
        integers(5, 4, low=0, high=4),
        floats(4),
        np.float32([np.nan, 2, np.nan, 2, -0.0, 0]),
    ):
        values, inverse, counts = torch.from_numpy(x).unique(
            return_inverse=True, return_counts=True
        )
        got = Tensor(x).unique(True, True, True, size=size, fill_value=9)
        padded = torch.cat([values, torch.full((7,), 9, dtype=values.dtype)])[:size]
        assert_same(got[0], padded, 0, 0)
        assert_same(got[1], inverse, 0, 0)
        assert_same(got[2], torch.cat([counts, torch.zeros(7, dtype=torch.int64)])[:size], 0, 0)
    assert Tensor.zeros(0).unique(return_counts=True, size=2)[1].tolist() == [0, 0]


def test_a_recorded_step_needs_the_size_of_unique() -> None:
    step = jit(lambda x: x.unique(size=3, fill_value=-1))
    assert step(Tensor([3, 1, 3, 1])).tolist() == [1, 3, -1]
    assert step(Tensor([4, 3, 2, 1])).tolist() == [1, 2, 3]
    with pytest.raises(JitError, match="without size="):
        jit(lambda x: x.unique())(Tensor([1, 2]))
    with pytest.raises(ValueError, match="size=3"):
        Tensor([[1, 2]]).unique(dim=0, size=3)


def test_one_hot() -> None:
    x = integers(3, 2, low=0, high=5)
    one_hot = torch.nn.functional.one_hot
    check(lambda x: x.one_hot(), lambda x: one_hot(x), x)
    check(lambda x: x.one_hot(7), lambda x: one_hot(x, 7), x)
    with pytest.raises(JitError, match="without num_classes"):
        jit(lambda x: x.one_hot())(Tensor([1, 2]))
    with pytest.raises(IndexError):
        Tensor([3]).one_hot(2).numpy()


def test_bincount() -> None:
    x = integers(20, low=0, high=6)
    check(lambda x: x.bincount(), None, x)
    check(lambda x: x.bincount(minlength=9), None, x)
    check(lambda x, w: x.bincount(w), None, x, floats(20), grad=False)
    check(lambda x, w: x.bincount(w), None, x, integers(20), grad=False)
    check(lambda x: x.bincount(), None, x[:0])
    with pytest.raises(ValueError, match="-1 is below 0"):
        Tensor([0, -1]).bincount()


def test_histograms() -> None:
    x = floats(4, 25)
    check(lambda x: x.histc(5), None, x, grad=False)
    check(lambda x: x.histc(7, -1, 2), None, x, grad=False)
    check(lambda x: x.histc(3), None, np.full(4, 2.0, np.float32), grad=False)
    for density in (False, True):
        options = {"range": (-2.0, 2.0), "density": density}
        for part in (0, 1):
            check(
                lambda x, p=part, o=options: x.histogram(6, **o)[p],
                lambda x, p=part, o=options: torch.histogram(x, 6, **o)[p],
                x, grad=False,
            )  # fmt: skip
    with pytest.raises(ValueError, match="not finite"):
        Tensor([1.0, np.inf]).histc(3).numpy()


@pytest.mark.parametrize("density", [False, True])
def test_histograms_between_edges(density: bool) -> None:
    x, edges, weight = floats(50), np.float32([-1, 0, 0.25, 2]), floats(50, low=0, seed=1)
    x[:5] = [-1, 0, 2, 2.1, np.nan]
    for part in (0, 1):
        check(
            lambda x, e, w, p=part: x.histogram(e, weight=w, density=density)[p],
            lambda x, e, w, p=part: torch.histogram(x, e, weight=w, density=density)[p],
            x, edges, weight, grad=False,
        )  # fmt: skip
    with pytest.raises(ValueError, match="at least two edges"):
        Tensor(x).histogram(Tensor([1.0]))
    with pytest.raises(ValueError, match="range= not"):
        Tensor(x).histogram(Tensor(edges), range=(0, 1))
