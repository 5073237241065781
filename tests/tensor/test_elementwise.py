"""Elementwise functions and operators against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor, dtypes
from tests.helpers import assert_same, check, floats, integers

SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 5), (2, 0, 3), (2, 1, 3)]
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 88.0, -88.0, 200.0],
    np.float32,
)
LIMITS = np.array([-(2**63), 2**63 - 1, 0, -1, 1, 7], np.int64)

# name: (ours, theirs, whether arguments must be positive)
UNARY: dict[str, tuple[Any, Any, bool]] = {
    "neg": (lambda x: -x, lambda x: -x, False),
    "abs": (abs, abs, False),
    "sign": (lambda x: x.sign() + x * 0, lambda x: x.sign() + x * 0, False),
    "reciprocal": (lambda x: x.reciprocal(), lambda x: x.reciprocal(), True),
    "square": (lambda x: x.square(), lambda x: x.square(), False),
    "sqrt": (lambda x: x.sqrt(), lambda x: x.sqrt(), True),
    "rsqrt": (lambda x: x.rsqrt(), lambda x: x.rsqrt(), True),
    "exp": (lambda x: x.exp(), lambda x: x.exp(), False),
    "exp2": (lambda x: x.exp2(), lambda x: x.exp2(), False),
    "log": (lambda x: x.log(), lambda x: x.log(), True),
    "log2": (lambda x: x.log2(), lambda x: x.log2(), True),
    "log10": (lambda x: x.log10(), lambda x: x.log10(), True),
    "log1p": (lambda x: x.log1p(), lambda x: x.log1p(), True),
    "expm1": (lambda x: x.expm1(), lambda x: x.expm1(), False),
    "sin": (lambda x: x.sin(), lambda x: x.sin(), False),
    "cos": (lambda x: x.cos(), lambda x: x.cos(), False),
    "tan": (lambda x: (x / 4).tan(), lambda x: (x / 4).tan(), False),
    "tanh": (lambda x: x.tanh(), lambda x: x.tanh(), False),
    "erf": (lambda x: x.erf(), lambda x: x.erf(), False),
    "sigmoid": (lambda x: x.sigmoid(), lambda x: x.sigmoid(), False),
    "relu": (lambda x: x.relu(), lambda x: x.relu(), False),
    "relu6": (lambda x: x.relu6(), F.relu6, False),
    "hardtanh": (lambda x: x.hardtanh(), F.hardtanh, False),
    "leaky_relu": (lambda x: x.leaky_relu(0.1), lambda x: F.leaky_relu(x, 0.1), False),
    "elu": (lambda x: x.elu(1.5), lambda x: F.elu(x, 1.5), False),
    "celu": (lambda x: x.celu(1.5), lambda x: F.celu(x, 1.5), False),
    "selu": (lambda x: x.selu(), F.selu, False),
    "gelu": (lambda x: x.gelu("none"), F.gelu, False),
    "gelu_tanh": (lambda x: x.gelu(), lambda x: F.gelu(x, approximate="tanh"), False),
    "silu": (lambda x: x.silu(), F.silu, False),
    "mish": (lambda x: x.mish(), F.mish, False),
    "softplus": (lambda x: x.softplus(), F.softplus, False),
    "softplus_beta": (lambda x: x.softplus(2.0), lambda x: F.softplus(x, 2.0), False),
    "logsigmoid": (lambda x: x.logsigmoid(), F.logsigmoid, False),
    "hardswish": (lambda x: x.hardswish(), F.hardswish, False),
    "hardsigmoid": (lambda x: x.hardsigmoid(), F.hardsigmoid, False),
    "softsign": (lambda x: x.softsign(), F.softsign, False),
    "floor": (lambda x: x.floor() + x * 0, lambda x: x.floor() + x * 0, False),
    "ceil": (lambda x: x.ceil() + x * 0, lambda x: x.ceil() + x * 0, False),
    "trunc": (lambda x: x.trunc() + x * 0, lambda x: x.trunc() + x * 0, False),
    "round": (lambda x: x.round() + x * 0, lambda x: x.round() + x * 0, False),
    "clamp": (lambda x: x.clamp(-1, 2), lambda x: x.clamp(-1, 2), False),
    "clamp_min": (lambda x: x.clamp(min=0.5), lambda x: x.clamp(min=0.5), False),
    "pow0": (lambda x: x**0, lambda x: x**0, False),
    "pow1": (lambda x: x**1, lambda x: x**1, False),
    "pow2": (lambda x: x**2, lambda x: x**2, False),
    "pow3": (lambda x: x**3, lambda x: x**3, False),
    "pow7": (lambda x: x**7, lambda x: x**7, False),
    "pow-1": (lambda x: x**-1, lambda x: x**-1, True),
    "pow-2": (lambda x: x**-2, lambda x: x**-2, True),
    "pow.5": (lambda x: x**0.5, lambda x: x**0.5, True),
    "pow1.7": (lambda x: x**1.7, lambda x: x**1.7, True),
    "rpow": (lambda x: 2.5**x, lambda x: 2.5**x, False),
    "scalars": (lambda x: 3 - 2 * x / 4 + 1.5, lambda x: 3 - 2 * x / 4 + 1.5, False),
    "rdiv": (lambda x: 2 / x, lambda x: 2 / x, True),
    "cast": (lambda x: x.double().sin(), lambda x: x.double().sin(), False),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5)])
def test_unary(name: str, shape: tuple[int, ...]) -> None:
    ours, theirs, positive = UNARY[name]
    check(ours, theirs, floats(*shape, low=0.1 if positive else -3.0))


# PyTorch's gelu gives nan at inf; its limit there, and ours, is inf.
_NO_EDGES = {"gelu"}


@pytest.mark.parametrize("name", [name for name in UNARY if name not in _NO_EDGES])
def test_edges(name: str) -> None:
    ours, theirs, _ = UNARY[name]
    got, expected = ours(Tensor(EDGES)), theirs(torch.from_numpy(EDGES))
    assert_same(got, expected, 1e-30, 1e-5)


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "abs", "sigmoid", "softplus", "logsigmoid", "clamp", "elu", "silu",
             "tanh", "hardtanh", "leaky_relu", "selu", "expm1", "log1p"]
)  # fmt: skip
def test_gradients_where_functions_bend(name: str) -> None:
    ours, theirs, _ = UNARY[name]
    points = np.array([0.0, -0.0, 1.0, 6.0, 2.0, 80.0, -80.0, 150.0], np.float32)
    if name == "log1p":
        points = np.abs(points)
    check(ours, theirs, points, finite_difference=False)


BINARY: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": lambda a, b: a.maximum(b),
    "minimum": lambda a, b: a.minimum(b),
    "lerp": lambda a, b: a.lerp(b, 0.3),
}  # fmt: skip
PAIRS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()),
    ((3,), ()),
    ((2, 3), (3,)),
    ((2, 1), (1, 5)),
    ((4, 1, 3), (7, 1)),
    ((0, 3), (1, 3)),
]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_binary(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check(BINARY[name], None, floats(*a), floats(*b, seed=1))


@pytest.mark.parametrize(
    "move",
    [lambda x: x.permute(1, 0), lambda x: x.flip(0), lambda x: x[:, 1:2].expand(4, 5)],
)
def test_arithmetic_on_views(move: Any) -> None:
    check(lambda a: move(a * a).exp(), lambda a: _torch_move(move, a * a).exp(), floats(4, 5) / 3)


def _torch_move(move: Any, x: torch.Tensor) -> torch.Tensor:
    try:
        return move(x)
    except TypeError:
        return x.flip((0,))


def test_where() -> None:
    a, b = floats(3, 1), floats(4, seed=1)
    check(lambda a, b: (a > b).where(a, b), lambda a, b: torch.where(a > b, a, b), a, b)


def test_gelu_at_the_edges() -> None:
    got = Tensor([np.inf, -np.inf, np.nan, 0.0, 200.0]).gelu("none").numpy()
    np.testing.assert_array_equal(got, [np.inf, np.nan, np.nan, 0.0, 200.0])


def test_pow_of_tensors() -> None:
    check(lambda a, b: a**b, None, floats(3, 4, low=0.1), floats(4, seed=1))


@pytest.mark.parametrize("name", ["div", "add", "sub", "mul", "maximum", "minimum"])
def test_binary_edges(name: str) -> None:
    a, b = EDGES[:, None], EDGES[None, :]
    with np.errstate(all="ignore"):
        check(BINARY[name], None, a, b, grad=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: a * b,
        lambda a, b: a - b,
        lambda a, b: a // b,
        lambda a, b: a % b,
        lambda a, b: a & b,
        lambda a, b: a | b,
        lambda a, b: a ^ b,
        lambda a, b: ~a + b,
        lambda a, b: a < b,
        lambda a, b: a <= b,
        lambda a, b: a > b,
        lambda a, b: a >= b,
        lambda a, b: a == b,
        lambda a, b: a != b,
        lambda a, b: a**3 + b,
        lambda a, b: a / b,
    ],
)
def test_integers(function: Any) -> None:
    a, b = integers(5, 7), integers(5, 7, low=1, seed=1)
    check(function, None, a, b)
    check(function, None, a, -b)


def test_integer_limits_wrap() -> None:
    check(lambda x: x + 1, None, LIMITS)
    check(lambda x: x * 3, None, LIMITS)
    check(lambda x: -x, None, LIMITS)


def test_shifts() -> None:
    check(lambda x: x << 3, None, integers(9))
    check(lambda x: x >> 1, None, integers(9))


@pytest.mark.parametrize("function", [lambda a, b: a // b, lambda a, b: a % b])
def test_float_division_rounds_down(function: Any) -> None:
    a = np.array([1.0, -1.0, 7.5, -7.5, 1e8, 0.3, 16777215.0, 0.0], np.float32)
    b = np.array([0.1, 0.1, 2.0, 2.0, 3.0, -0.1, 1.0, 5.0], np.float32)
    check(function, None, a, b, grad=False)


def test_rounding_is_half_to_even() -> None:
    points = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, 8388609.0, 1e30], np.float32)
    check(lambda x: x.round(), None, points, grad=False)


KINDS = [np.bool_, np.uint8, np.int8, np.int32, np.int64, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("a", KINDS)
@pytest.mark.parametrize("b", KINDS)
def test_promotion(a: Any, b: Any) -> None:
    x, y = np.array([0, 1, 2]).astype(a), np.array([1, 1, 3]).astype(b)
    check(lambda p, q: p + q, None, x, y, grad=False)
    check(lambda p, q: p * q, None, x, y, grad=False)
    check(lambda p, q: p == q, None, x, y, grad=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scalar", [True, 2, 2.5])
def test_python_scalars_are_weak(kind: Any, scalar: Any) -> None:
    check(lambda x: x + scalar, None, np.array([0, 1, 2]).astype(kind), grad=False)


def test_numpy_on_the_left() -> None:
    result = np.ones(3, np.float32) + Tensor([1.0, 2.0, 3.0])
    assert isinstance(result, Tensor)
    assert result.tolist() == [2, 3, 4]
    assert (np.float32(2) * Tensor([1.0])).tolist() == [2]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(np.float32, "isnan"), (np.float32, "isinf"), (np.float32, "isfinite")],
)
def test_classification(kind: Any, name: str) -> None:
    got = getattr(Tensor(EDGES.astype(kind)), name)()
    assert_same(got, getattr(torch.from_numpy(EDGES.astype(kind)), name)(), 0, 0)


def test_masked_fill_and_where_with_scalars() -> None:
    mask = np.array([True, False, True])
    check(
        lambda x, m: x.masked_fill(m, -1.0), lambda x, m: x.masked_fill(m, -1.0), floats(2, 3), mask
    )
    assert Tensor(mask).where(1.5, 0).tolist() == [1.5, 0, 1.5]
    assert Tensor(mask).where(2, 0).dtype is dtypes.int64


def test_casts() -> None:
    for name in ("float", "double", "half", "int", "long", "short", "bool", "bfloat16"):
        assert (
            getattr(Tensor([1.5, 0.0]), name)().dtype.name
            == str(getattr(torch.tensor([1.5, 0.0]), name)().dtype)[6:]
        )


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda: Tensor([1, 2]) + Tensor([1, 2, 3]), ValueError, r"add: shapes \(2,\) and \(3,\)"),
        (lambda: Tensor([1, 2]) // 0, ZeroDivisionError, "floordiv"),
        (lambda: Tensor([1, 2]) ** -1, ValueError, "negative power"),
        (lambda: Tensor([1, 2], dtype="uint8") + 300, OverflowError, "does not fit uint8"),
        (lambda: Tensor([1.0]) & 1, TypeError, "integers and bools"),
        (lambda: Tensor([True]) - Tensor([True]), TypeError, "sub: not defined"),
        (lambda: Tensor([1.0]).cast("float31"), TypeError, "float31.*float32"),
        (lambda: Tensor([1.0]).gelu("x"), ValueError, "tanh"),
        (lambda: Tensor([1.0]).clamp(), ValueError, "min="),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action()
