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
    "softplus_threshold": (
        lambda x: x.softplus(2.0, 1.0),
        lambda x: F.softplus(x, 2.0, 1.0),
        False,
    ),
    "tanhshrink": (lambda x: x.tanhshrink(), F.tanhshrink, False),
    "hardshrink": (lambda x: x.hardshrink(0.7), lambda x: F.hardshrink(x, 0.7), False),
    "softshrink": (lambda x: x.softshrink(0.7), lambda x: F.softshrink(x, 0.7), False),
    "threshold": (lambda x: x.threshold(0.2, 7.0), lambda x: F.threshold(x, 0.2, 7.0), False),
    "quick_gelu": (lambda x: x.quick_gelu(), lambda x: x * torch.sigmoid(1.702 * x), False),
    "frac": (lambda x: x.frac(), lambda x: x.frac(), False),
    "nan_to_num": (lambda x: x.nan_to_num(), lambda x: x.nan_to_num(), False),
    "copysign": (lambda x: x.copysign(-0.0), lambda x: x.copysign(-0.0), False),
    "round_decimals": (
        lambda x: x.round(decimals=1) + x * 0,
        lambda x: x.round(decimals=1) + x * 0,
        False,
    ),
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
_NO_EDGES = {"gelu", "round_decimals"}


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
    "lerp_far": lambda a, b: a.lerp(b, 0.8),
    "addcmul": lambda a, b: a.addcmul(a, b, value=0.5),
    "addcdiv": lambda a, b: a.addcdiv(b, a * a + 1, value=2),
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


def test_where_in_pytorch_s_order_is_refused() -> None:
    x = Tensor([1.0, 0.0])
    with pytest.raises(TypeError, match=r"where: called on float32 .*condition.where\(a, b\)"):
        x.where(x > 0, x)


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


KNOWN_TO_TORCH = [d for d in dtypes.ALL if d.name not in ("uint16", "uint32", "uint64")]


@pytest.mark.parametrize("a", KNOWN_TO_TORCH, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(), (2,)])
def test_result_types(a: dtypes.DType, shape: tuple[int, ...]) -> None:
    """As `torch.promote_types` and `torch.result_type` have them, with 0-d tensors and numbers."""
    name = "bool" if a is dtypes.bool_ else a.name
    theirs = torch.ones(shape, dtype=getattr(torch, name))
    ours = Tensor.ones(*shape, dtype=a)
    for b in KNOWN_TO_TORCH:
        kind = getattr(torch, b.name)
        promoted = str(torch.promote_types(theirs.dtype, kind)).removeprefix("torch.")
        assert dtypes.promote(a, b).name == promoted
        for other in ((), (2,)):
            known = torch.result_type(theirs, torch.ones(other, dtype=kind))
            got = (ours * Tensor.ones(*other, dtype=b)).dtype
            assert got.name == str(known).removeprefix("torch."), (a, shape, b, other)
    for number in (True, 2, 2.5):
        known = torch.result_type(theirs, number)
        assert (ours * number).dtype.name == str(known).removeprefix("torch.")


@pytest.mark.parametrize("wanted", ["uint8", "int8", "int32", "int64", "bool"])
def test_casts_of_integers_wrap(wanted: str) -> None:
    check(lambda x: x.cast(wanted) if isinstance(x, Tensor) else x.to(getattr(torch, wanted)),
          None, np.array([0, 1, -1, 127, 128, 255, 256, -129, 2**31, 2**40 + 3]))  # fmt: skip


def test_casts_of_floats_saturate() -> None:
    x = Tensor([1.9, -1.9, 300.0, -300.0, np.inf, -np.inf, np.nan])
    assert x.cast("uint8").tolist() == [1, 0, 255, 0, 255, 0, 0]
    assert x.cast("int8").tolist() == [1, -1, 127, -128, 127, -128, 0]


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


@pytest.mark.parametrize("name", ["isclose", "copysign"])
def test_pairs_at_the_edges(name: str) -> None:
    a, b = EDGES[:, None], EDGES[None, :]
    check(lambda a, b: getattr(a, name)(b), None, a, b, grad=False)


def test_closeness() -> None:
    x, nan = Tensor([1.0, np.inf, 0.0]), Tensor([np.nan])
    assert x.allclose(x * 1.000001) and not x.allclose(x * 1.01)
    assert nan.allclose(nan, equal_nan=True) and not nan.allclose(nan)
    assert x.equal(Tensor([1, np.inf, -0.0])) and not x.equal(x[:2]) and not nan.equal(nan)
    assert not Tensor([1e38]).isclose(Tensor([np.inf])).item()
    check(lambda a, b: a.isclose(b), None, np.array([True, False]), np.array([True, True]))
    near = Tensor([3], dtype="uint8").isclose(Tensor([5], dtype="uint8"), rtol=0, atol=2)
    assert near.item()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32, np.uint8, np.bool_])
def test_signs_and_rounding_of_all_kinds(kind: Any) -> None:
    x = np.array([0, 1, 3]).astype(kind)
    for name in ("signbit", "sign", "frac", "trunc", "nan_to_num"):
        if name == "frac" and x.dtype.kind != "f":
            continue
        if name == "trunc" and x.dtype.kind == "b":
            continue
        check(lambda a, name=name: getattr(a, name)(), None, x, grad=False)


@pytest.mark.parametrize("decimals", [-2, 1, 3])
def test_round_to_decimals(decimals: int) -> None:
    check(lambda x: x.round(decimals=decimals), None, floats(50) * 300, grad=False)


@pytest.mark.parametrize("kind", [np.float16])
@pytest.mark.parametrize("name", ["sigmoid", "softplus", "elu", "mish", "silu", "log1p", "expm1"])
def test_half_floats_round_once(name: str, kind: Any) -> None:
    x = floats(300, low=-0.9, high=9.0).astype(kind)
    ours, theirs, _ = UNARY[name]
    assert_same(ours(Tensor(x)), theirs(torch.from_numpy(x)), 0, 1e-3)


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
        (lambda: Tensor([1.0]).softshrink(-1.0), ValueError, "lambd"),
        (lambda: Tensor([1]).round(decimals=1), TypeError, "decimals=1 is for floats"),
        (lambda: Tensor([1.0]).isclose(Tensor([1.0]), rtol=-1), ValueError, "rtol"),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action()


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_integers_stay_integers(kind: Any) -> None:
    x = np.array([0, 3, 6, 9, 127], kind)
    check(lambda x: x.relu6(), F.relu6, x)
    check(lambda x: x.hardtanh(2, 5), lambda x: F.hardtanh(x, 2, 5), x)
    check(lambda x: x.square(), None, x)
    check(lambda x: x.square(), None, x > 3)


ODD = ["sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf", "expm1", "log1p",
       "trunc", "round", "floor", "ceil", "sqrt", "sign", "frac", "deg2rad", "rad2deg"]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ODD)
def test_zeros_keep_their_sign(name: str, dtype: type) -> None:
    zeros = np.array([0.0, -0.0], dtype)
    ours = getattr(Tensor(zeros), name)().numpy()
    theirs = getattr(torch.from_numpy(zeros), name)().numpy()
    assert not ours.any() and np.signbit(ours).tolist() == np.signbit(theirs).tolist()
