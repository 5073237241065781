"""Norms, sums without nans, and differences, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor
from tests.helpers import check, floats, integers

NAN, INF = np.nan, np.inf
ORDERS = [0, 1, 2, 3, 0.5, -1, INF, -INF, "fro"]


@pytest.mark.parametrize("dim", [0, (0, 2)])
def test_pairs(dim: Any) -> None:
    x = floats(3, 4, 5)
    check(lambda x: x.amax(dim), None, x)
    check(lambda x: x.amin(dim, keepdim=True), None, x)
    for part in (0, 1):
        check(lambda x, p=part: x.var_mean(dim)[p], lambda x, p=part: torch.var_mean(x, dim)[p], x)
        check(lambda x, p=part: x.std_mean(dim)[p], lambda x, p=part: torch.std_mean(x, dim)[p], x)
        check(lambda x, p=part: x.aminmax(dim=0)[p], lambda x, p=part: x.aminmax(dim=0)[p], x)


def test_sums_without_nans() -> None:
    x = np.array([[NAN, 1, 3], [NAN] * 3, [2, 1, INF]], np.float32)
    check(lambda x: x.nansum(1), None, x)
    check(lambda x: x.nansum(), None, x)
    check(lambda x: x.nanmean(1), None, x[::2])
    check(lambda x: x.nanmean(1), None, x, grad=False)  # PyTorch has nan gradients
    check(lambda x: x.nanmean(0, keepdim=True), None, x)
    check(lambda x: x.nansum(1), None, integers(2, 3))
    check(lambda x: x.count_nonzero(1), None, integers(4, 5, low=-1, high=2))
    check(lambda x: x.count_nonzero(), None, x)


@pytest.mark.parametrize("p", ORDERS)
def test_norms(p: Any) -> None:
    x = floats(3, 4, 5)
    for dim in (None, 1, (0, 2)):
        check(lambda x, d=dim: x.norm(p, d), lambda x, d=dim: x.norm(p, d), x)
    check(lambda x: x.norm(p, 1, keepdim=True), None, x)


def test_norms_at_the_edges() -> None:
    zeros = np.array([[0, 0, 0], [0, 1, -2]], np.float32)
    for p in (1, 2, 3, INF):
        check(lambda x, p=p: x.norm(p, 1), None, zeros, finite_difference=False)
    odd = np.array([[INF, 1, 0], [NAN, 1, 0], [-INF, INF, 1]], np.float32)
    for p in (1, 2, 3, 0.5):
        check(lambda x, p=p: x.norm(p, 1), None, odd, grad=False)
    assert Tensor(np.array([3e30, 4e30], np.float32)).norm().item() == pytest.approx(5e30)
    assert Tensor(np.array([3e-30, 4e-30], np.float32)).norm().item() == pytest.approx(5e-30)
    with pytest.raises(ValueError, match="'fro'"):
        Tensor(zeros).norm("nuc")
    with pytest.raises(TypeError, match="needs floats"):
        Tensor([1, 2]).norm()


def test_normalize_and_softmin() -> None:
    x = floats(3, 4)
    x[1] = 0
    norm = torch.nn.functional.normalize
    check(lambda x: x.normalize(), norm, x, finite_difference=False)
    check(lambda x: x.normalize(1, 0), lambda x: norm(x, 1, 0), x, finite_difference=False)
    check(lambda x: x.softmin(0), lambda x: torch.nn.functional.softmin(x, 0), x)


def test_logcumsumexp() -> None:
    check(lambda x: x.logcumsumexp(1), None, floats(3, 5))
    check(lambda x: x.logcumsumexp(0), None, floats(4, 1) * 100)
    odd = np.array([-INF, -INF, 1, -200, INF, NAN], np.float32)
    check(lambda x: x.logcumsumexp(0), None, odd, grad=False)
    assert Tensor([-1000.0, 0.0]).logcumsumexp(0).tolist() == [-1000.0, 0.0]


def test_diff() -> None:
    x = floats(3, 5)
    for n in (0, 1, 2, 6):
        check(lambda x, n=n: x.diff(n), None, x, grad=n < 5)
    check(lambda x: x.diff(dim=0), None, x)
    check(lambda x, a: x.diff(prepend=a), lambda x, a: x.diff(prepend=a), x, floats(3, 2))
    check(lambda x: x.diff(), None, x > 0)
