"""Search, unique, and counts, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlet import Tensor
from tests.helpers import check, floats, integers


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
