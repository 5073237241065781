"""Special functions against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor
from tests.helpers import assert_same, check, floats

NAMES = ["erfc", "erfinv", "lgamma", "digamma", "sinc"]
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, np.inf, -np.inf, np.nan, 1e-30, 8.0, 7.99, 1e10], np.float32
)


def domain(name: str, *shape: int) -> np.ndarray:
    """Random numbers at which a function is finite."""
    if name in ("lgamma", "digamma"):
        return floats(*shape, low=0.1, high=12.0)
    bound = 0.95 if name == "erfinv" else 4.0
    return floats(*shape, low=-bound, high=bound)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (37,), (3, 5)])
def test_unary(name: str, shape: tuple[int, ...]) -> None:
    check(lambda x: getattr(x, name)(), None, domain(name, *shape), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_edges(name: str) -> None:
    known = getattr(torch.from_numpy(EDGES), name)()
    assert_same(getattr(Tensor(EDGES), name)(), known, 1e-6, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_float64(name: str) -> None:
    x = domain(name, 300).astype(np.float64)
    exact_gradient = name != "digamma"  # PyTorch's is right to nine digits
    check(lambda x: getattr(x, name)(), None, x, atol=2e-14, rtol=2e-14, grad=exact_gradient)


def test_slope_of_digamma() -> None:
    x = Tensor(np.array([1.0, 0.5, 20.0]))
    x.digamma().sum().backward()
    assert x.grad is not None
    known = [math.pi**2 / 6, math.pi**2 / 2, 0.05127082293520324]
    np.testing.assert_allclose(x.grad.numpy(), known, rtol=1e-14)


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_below_zero(name: str) -> None:
    check(lambda x: getattr(x, name)(), None, np.linspace(-6.03, -0.03, 40), atol=1e-8, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("erfc", [3.0, 9.0, 0.5, -7.0]),
        ("erfinv", [1.0, -1.0, 0.0, 0.9999999]),
        ("lgamma", [0.0, 1.0, 2.0, 1e10]),
        ("lgamma", [-1e-40, -1e-30, -0.5, -2.5]),
        ("sinc", [0.0, 1e-3, 1.0, 7.0]),
    ],
)
def test_gradients_where_it_is_hard(name: str, points: list[float]) -> None:
    check(lambda x: getattr(x, name)(), None, np.array(points), finite_difference=False,
          atol=1e-12, rtol=1e-8)  # fmt: skip


def test_small_values_are_relatively_exact() -> None:
    x = np.linspace(4.0, 9.0, 50, dtype=np.float32)
    assert_same(Tensor(x).erfc(), torch.from_numpy(x).erfc(), 0, 2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_half_floats_round_once(name: str) -> None:
    x = domain(name, 100).astype(np.float16)
    assert_same(getattr(Tensor(x), name)(), getattr(torch.from_numpy(x), name)(), 1e-6, 1.1e-3)


def test_logaddexp() -> None:
    function: Any = lambda a, b: a.logaddexp(b)  # noqa: E731
    check(function, None, floats(4, 1) * 10, floats(5, seed=1) * 10)
    check(function, None, np.array([1.0, 100.0], np.float32), np.array([1.0, -100.0], np.float32))
    points = np.array([0.0, 1.0, -200.0, np.inf, -np.inf, np.nan], np.float32)
    check(function, None, points[:, None], points[None, :], grad=False)
