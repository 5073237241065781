"""Hyperbolic and inverse functions against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor
from tests.helpers import assert_same, check, floats

NAMES = ["sinh", "cosh", "asinh", "acosh", "atanh", "asin", "acos", "atan"]
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, np.inf, -np.inf, np.nan, 1e-40, 89.0, 1e20, -1e30],
    np.float32,
)


def domain(name: str, *shape: int) -> np.ndarray:
    """Random numbers for which a function has a value."""
    if name == "acosh":
        return floats(*shape, low=1.1, high=4.0)
    bound = 0.99 if name in ("asin", "acos", "atanh") else 4.0
    return floats(*shape, low=-bound, high=bound)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5)])
def test_unary(name: str, shape: tuple[int, ...]) -> None:
    check(lambda x: getattr(x, name)(), None, domain(name, *shape))


@pytest.mark.parametrize("name", NAMES)
def test_edges(name: str) -> None:
    got = getattr(Tensor(EDGES), name)()
    assert_same(got, getattr(torch.from_numpy(EDGES), name)(), 1e-38, 2e-6)
    if name not in ("cosh", "acosh", "acos"):  # 0.0 and -0.0 stay what they are
        np.testing.assert_array_equal(np.signbit(got.numpy()[:2]), [False, True])


# atanh and acosh have no value outside their domains, where the gradients are arbitrary.
@pytest.mark.parametrize("name", ["sinh", "cosh", "asinh", "asin", "acos", "atan"])
def test_gradients_at_the_edges(name: str) -> None:
    finite = EDGES[np.isfinite(EDGES)]
    points = finite[np.abs(finite) <= 1] if name in ("asin", "acos") else finite
    weight = torch.ones(len(points))
    x, known = Tensor(points), torch.from_numpy(points.copy()).requires_grad_()
    getattr(x, name)().sum().backward()
    getattr(known, name)().backward(weight)
    assert x.grad is not None and known.grad is not None
    assert_same(x.grad, known.grad, 1e-15, 1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_few_units_in_the_last_place(name: str, kind: Any) -> None:
    x = domain(name, 4000).astype(kind)
    x[:1000] *= np.float32(1e-4) if name != "acosh" else 1
    got = getattr(Tensor(x), name)().numpy()
    exact = getattr(np, name.replace("a", "arc", 1) if name[0] == "a" else name)(
        x.astype(np.longdouble)
    )
    assert (np.abs(got - exact) / np.spacing(np.abs(exact.astype(kind)))).max() < 4


@pytest.mark.parametrize("name", ["sinh", "asinh", "atan"])
def test_second_gradient(name: str) -> None:
    x, known = Tensor([0.3, -1.2]), torch.tensor([0.3, -1.2], requires_grad=True)
    (slope,) = getattr(x, name)().sum().gradient(x)
    (bend,) = slope.sum().gradient(x)
    first = torch.autograd.grad(getattr(known, name)().sum(), known, create_graph=True)[0]
    assert_same(bend, torch.autograd.grad(first.sum(), known)[0], 1e-6, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_half_floats_round_once(name: str) -> None:
    x = domain(name, 500).astype(np.float16)
    got, known = getattr(Tensor(x), name)(), getattr(torch.from_numpy(x), name)()
    assert_same(got, known, 0, 1.1e-3)


def test_integers_become_floats() -> None:
    check(lambda x: x.atan(), None, np.array([-2, 0, 3]))
    check(lambda x, y: x.atan2(y), None, np.array([-2, 0, 3]), np.array([1, 0, 2]))


@pytest.mark.parametrize("name", ["atan2", "hypot"])
def test_two_arguments(name: str) -> None:
    function = lambda a, b: getattr(a, name)(b)  # noqa: E731
    check(function, None, floats(4, 1), floats(5, seed=1))
    check(function, None, floats(0, 5), floats(5, seed=1))
    points = EDGES[[0, 1, 2, 3, 8, 9, 10, 11, 13, 14]]
    check(function, None, points[:, None], points[None, :], grad=False, rtol=2e-6, atol=0)


def test_gradients_at_the_origin() -> None:
    for name in ("atan2", "hypot"):
        x, y = Tensor([0.0, 0.0]), Tensor([0.0, 2.0])
        getattr(x, name)(y).sum().backward()
        assert x.grad is not None and y.grad is not None
        assert np.isfinite([x.grad.numpy(), y.grad.numpy()]).all()
    origin = np.array([0.0, -0.0, 0.0, -0.0], np.float32), np.float32([0.0, 0.0, -0.0, -0.0])
    check(lambda y, x: y.atan2(x), None, *origin, finite_difference=False)


def test_the_gradient_of_hypot_beside_an_infinity() -> None:
    far, near = np.array([np.inf], np.float32), Tensor([2.0])
    near.hypot(Tensor(far)).backward()
    assert near.grad is not None
    assert near.grad.tolist() == [0.0]
