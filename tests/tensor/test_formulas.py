"""Short formulas against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor
from tests.helpers import assert_same, check, floats, integers

INF, NAN = math.inf, math.nan
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, INF, -INF, NAN, 1e-30, 1e-45, 1 - 2**-24, 3e38, -3e38], np.float32
)
SHAPES = [(), (0,), (1,), (37,), (3, 5)]
UNARY = ["deg2rad", "rad2deg", "logit", "absolute", "negative", "positive"]
FLAGS = ["isposinf", "isneginf", "isreal", "signbit"]
BINARY = ["fmax", "fmin", "ldexp", "logaddexp2", "xlogy", "float_power"]
OTHER_NAMES = {
    "absolute": "abs", "negative": "neg", "subtract": "sub", "multiply": "mul", "divide": "div",
    "true_divide": "div", "greater": "gt", "greater_equal": "ge", "less": "lt",
    "less_equal": "le", "not_equal": "ne", "sgn": "sign",
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", SHAPES)
def test_unary(name: str, shape: tuple[int, ...]) -> None:
    check(lambda x: getattr(x, name)(), None, floats(*shape, low=0.05, high=0.95), atol=1e-6)


@pytest.mark.parametrize("name", [*UNARY, *FLAGS])
def test_edges(name: str) -> None:
    known = getattr(torch, name)(torch.from_numpy(EDGES))
    assert_same(getattr(Tensor(EDGES), name)(), known, 1e-6, 1e-6)


@pytest.mark.parametrize("name", ["deg2rad", "rad2deg", "isposinf", "isreal", "positive"])
def test_unary_of_integers(name: str) -> None:
    check(lambda x: getattr(x, name)(), None, integers(2, 7))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((5, 3), (3,)), ((), (4,)), ((0, 2), (1, 2)), ((7, 1), (1, 7))])
def test_binary(name: str, shapes: Any) -> None:
    first, second = (floats(*s, low=0.2, high=4, seed=i) for i, s in enumerate(shapes))
    check(lambda x, y: getattr(x, name)(y), None, first, second, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in BINARY if name != "ldexp"])
def test_binary_edges(name: str) -> None:
    left, right = np.repeat(EDGES, len(EDGES)), np.tile(EDGES, len(EDGES))
    known = getattr(torch.from_numpy(left), name)(torch.from_numpy(right))
    assert_same(getattr(Tensor(left), name)(Tensor(right)), known, 1e-6, 1e-5)


@pytest.mark.parametrize("name", [name for name in BINARY if name != "logaddexp2"])
def test_binary_of_integers(name: str) -> None:
    check(lambda x, y: getattr(x, name)(y), None, integers(9, low=1), integers(9, low=0, seed=1))


@pytest.mark.parametrize("name", ["fmax", "fmin"])
def test_the_gradient_goes_to_the_one_that_is_taken(name: str) -> None:
    a = np.array([1.0, 2.0, NAN, 3.0, NAN], np.float32)
    b = np.array([1.0, 3.0, 5.0, NAN, NAN], np.float32)
    check(lambda x, y: getattr(x, name)(y), None, a, b)


def test_xlogy_at_zero() -> None:
    """The derivative along x is log(y) also there, and 0 where that does not exist."""
    x, y = np.float32([0, 0, 0, -0.0, 0, 2]), np.float32([0.5, 3, INF, 7, -1, 2])
    check(lambda x, y: x.xlogy(y), None, x, y, finite_difference=False)
    origin, zero = Tensor([0.0]), Tensor([0.0])
    origin.xlogy(zero).backward()
    assert origin.grad is not None and zero.grad is not None
    assert (origin.grad.item(), zero.grad.item()) == (0, 0)
    check(lambda x: x.xlogy(2.5), None, floats(4))


def test_logit_keeps_within_eps() -> None:
    x = np.array([-1.0, 0.0, 0.05, 0.1, 0.5, 0.9, 0.95, 1.0, 2.0], np.float32)
    check(lambda x: x.logit(0.1), lambda x: torch.logit(x, 0.1), x, finite_difference=False)
    edges = np.array([0.0, 1.0], np.float32)
    check(lambda x: x.logit(), None, edges, finite_difference=False)


def test_logit_near_one_half() -> None:
    x = (0.5 + np.array([0.0, 1e-7, -3e-6, 1e-3, 0.249, 0.251, -0.26])).astype(np.float32)
    known = torch.from_numpy(x).double().logit().float()
    assert_same(Tensor(x).logit(), known, 0, 3e-7)


def test_heaviside() -> None:
    values = floats(13, seed=3)
    known = torch.from_numpy(EDGES).heaviside(torch.from_numpy(values))
    assert_same(Tensor(EDGES).heaviside(Tensor(values)), known, 0, 0)
    x = Tensor([0.0, 1.0])
    (x.heaviside(x) * 1.0 + x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1]


def test_ldexp_does_not_overflow_on_the_way() -> None:
    x = np.array([1e-40, 1e-38, 3e38, 1.5, 0.0, -0.0, INF, NAN, 1.0], np.float32)
    exponents = np.array([200, 140, -250, -149, 1000, -1000, -1000, 5, 400])
    with np.errstate(over="ignore"):
        known = np.ldexp(x, exponents)
    assert np.array_equal(Tensor(x).ldexp(Tensor(exponents)).numpy(), known, equal_nan=True)
    check(lambda x, e: x.ldexp(e), None, floats(5), floats(5, seed=1))


@pytest.mark.parametrize("p", [1, 2, 4])
def test_mvlgamma(p: int) -> None:
    check(lambda x: x.mvlgamma(p), None, floats(3, 7, low=2, high=9))
    with pytest.raises(ValueError, match="mvlgamma: at least 1 dimension"):
        Tensor([1.0]).mvlgamma(0)


@pytest.mark.parametrize("name", ["clamp_min", "clamp_max"])
def test_one_bound(name: str) -> None:
    check(lambda x: getattr(x, name)(0.5), None, floats(4, 5))
    check(lambda x, y: getattr(x, name)(y), None, floats(4, 5), floats(5, seed=1))
    check(lambda x: getattr(x, name)(2), None, integers(9))


@pytest.mark.parametrize("name", ["gcd", "lcm"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
def test_divisors(name: str, dtype: str) -> None:
    x = np.arange(-11, 12).astype(dtype) if dtype != "uint8" else np.arange(23, dtype=dtype)
    check(lambda x, y: getattr(x, name)(y), None, x[:, None], x[None, ::-1].copy())
    six = np.array(6, dtype)
    check(lambda x: getattr(x, name)(6), lambda x: getattr(x, name)(torch.from_numpy(six)), x)


def test_divisors_of_neighbours_in_fibonacci_s_sequence() -> None:
    small, large = 1, 1
    while large + small < 2**63:
        small, large = large, small + large
    assert Tensor([large, 2**62]).gcd(Tensor([small, 3 * 2**60])).tolist() == [1, 2**60]
    assert Tensor([144, 89], dtype="uint8").gcd(Tensor([233, 144], dtype="uint8")).tolist() == [
        1,
        1,
    ]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names(name: str) -> None:
    x, y = Tensor(floats(5)), Tensor(floats(5, seed=1))
    operands = () if name in ("absolute", "negative", "sgn") else (y,)
    made, known = (getattr(x, n)(*operands) for n in (name, OTHER_NAMES[name]))
    assert made.dtype is known.dtype and made.tolist() == known.tolist()


def test_wrong_dtypes() -> None:
    with pytest.raises(TypeError, match="gcd: works on integers, not on float32"):
        Tensor([1.0]).gcd(2)
    with pytest.raises(TypeError, match="positive: not defined for bool"):
        Tensor([True]).positive()
    with pytest.raises(TypeError, match="fmax: takes a tensor, a number or an array, not str"):
        Tensor([1.0]).fmax("one")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats(dtype: str) -> None:
    x, y = floats(41, low=0.1, high=0.9), floats(41, low=0.1, high=0.9, seed=1)
    ours = [Tensor(a).cast(dtype) for a in (x, y)]
    theirs = [torch.from_numpy(a).to(getattr(torch, dtype)) for a in (x, y)]
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "float64": 1e-12}[dtype]
    for name in [*UNARY, *BINARY]:
        count = 1 if name in UNARY else 2
        made = getattr(ours[0], name)(*ours[1:count])
        known = getattr(theirs[0], name)(*theirs[1:count])
        assert made.dtype.name == str(known.dtype).removeprefix("torch."), name
        np.testing.assert_allclose(
            made.double().numpy(), known.double().numpy(), tolerance, tolerance, err_msg=name
        )


@pytest.mark.parametrize("name", ["gcd", "lcm"])
def test_divisors_of_every_int8(name: str) -> None:
    """Of -128 too, whose absolute value int8 does not have."""
    x = np.arange(-128, 128, dtype=np.int8)
    known = getattr(np, name)(x[:, None].astype(np.int64), x.astype(np.int64))
    got = getattr(Tensor(x)[:, None], name)(Tensor(x)).numpy()
    fits = known < 128
    np.testing.assert_array_equal(got[fits], known[fits])
