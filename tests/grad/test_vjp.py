"""Every gradient rule against central differences in float64, on the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from gradlet.base import dtypes
from gradlet.grad.vjp import VJP, GradientError, grad
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.verify import verify_graph
from gradlet.runtime.device import get_device

F64 = dtypes.float64
SOURCES = {o for o in ops.GRAPH_OPS if o.kind == "source"}

# Flat almost everywhere, or made of whole numbers: a gradient stops here.
FLAT = {
    ops.FLOOR, ops.BITCAST, ops.FLOORDIV, ops.EQ, ops.LT, ops.LE,
    ops.AND, ops.OR, ops.XOR, ops.SHL, ops.SHR, ops.DETACH,
}  # fmt: skip

# Rules that differences cannot check, since the gradient is not the value's.
SPECIAL = {ops.SURROGATE, ops.CUSTOM, ops.CONSUMED, ops.HOST}  # HOST: see test_library.py


@dataclass
class Case:
    """A function of float64 arrays, and where its gradient is looked at.

    Attributes:
        make: builds the result from one leaf an array.
        arrays: the points.
    """

    make: Callable[..., Node]
    arrays: list[np.ndarray]


def unary(op: ops.Op, values: list[float]) -> Case:
    return Case(lambda x: build.unary(op, x), [np.array(values)])


def binary(op: ops.Op, a: list[float], b: list[float]) -> Case:
    return Case(lambda x, y: build.binary(op, x, y), [np.array(a), np.array(b)])


def reduction(op: ops.Op, axes: tuple[int, ...], values: np.ndarray) -> Case:
    return Case(lambda x: build.reduce(op, x, axes), [values])


def scan(op: ops.Op, axis: int, values: np.ndarray) -> Case:
    return Case(lambda x: build.scan(op, x, axis), [values])


def whole(values: object) -> Node:
    """A small array of int64 made of constants alone."""
    array = np.array(values, np.int64)
    rows = [build.const(int(v), dtypes.int64, (1,)) for v in array.ravel()]
    total = build.const(0, dtypes.int64, (array.size,))
    for position, row in enumerate(rows):
        total = build.add(total, build.pad(row, ((position, array.size - position - 1, 0),)))
    return build.reshape(total, array.shape)


def numbers(*shape: int) -> np.ndarray:
    """Distinct values, away from zero and from one another."""
    count = int(np.prod(shape))
    order = np.random.default_rng(count).permutation(count)
    return ((order + 1) * 0.3 * np.where(order % 2, 1, -1)).reshape(shape)


MIXED = [-2.3, -0.7, 0.4, 1.9]
POSITIVE = [0.3, 0.9, 1.7, 2.6]
TIMES = np.array([[1.5, 0.0, -2.0, 0.7], [0.0, 3.0, 0.0, 1.0], [0.5, -1.1, 2.0, 0.9]])

CASES: dict[str, Case] = {
    "NEG": unary(ops.NEG, MIXED),
    "ABS": unary(ops.ABS, MIXED),
    "EXP": unary(ops.EXP, MIXED),
    "EXP2": unary(ops.EXP2, MIXED),
    "LOG": unary(ops.LOG, POSITIVE),
    "LOG2": unary(ops.LOG2, POSITIVE),
    "SIN": unary(ops.SIN, MIXED),
    "COS": unary(ops.COS, MIXED),
    "TANH": unary(ops.TANH, MIXED),
    "ERF": unary(ops.ERF, MIXED),
    "SQRT": unary(ops.SQRT, POSITIVE),
    "CAST": Case(lambda x: build.cast(x, F64), [np.array(MIXED)]),
    "ADD": binary(ops.ADD, MIXED, POSITIVE),
    "ADD of x and x": Case(lambda x: build.add(x, x), [np.array(MIXED)]),
    "SUB": binary(ops.SUB, MIXED, POSITIVE),
    "MUL": binary(ops.MUL, MIXED, POSITIVE),
    "MUL of x and x": Case(lambda x: build.mul(x, x), [np.array(MIXED)]),
    "DIV": binary(ops.DIV, MIXED, [0.6, -1.3, 2.1, -0.8]),
    "MOD": binary(ops.MOD, [5.3, -5.3, 5.3, -5.3], [2.0, 2.0, -2.1, -2.1]),
    "POW": binary(ops.POW, POSITIVE, MIXED),
    "POW of whole exponents": Case(
        lambda x: build.binary(ops.POW, x, build.full_like(x, 3)), [np.array(MIXED)]
    ),
    "MAXIMUM": binary(ops.MAXIMUM, MIXED, [-1.0, -1.0, 1.0, 1.0]),
    "MINIMUM": binary(ops.MINIMUM, MIXED, [-1.0, -1.0, 1.0, 1.0]),
    "WHERE": Case(
        lambda x, y: build.where(build.binary(ops.LT, x, build.full_like(x, 0)), x, y),
        [np.array(MIXED), np.array(POSITIVE)],
    ),
    "RESHAPE": Case(lambda x: build.reshape(x, (4, 3)), [numbers(2, 6)]),
    "EXPAND": Case(lambda x: build.expand(x, (2, 3, 4)), [numbers(3, 1)]),
    "EXPAND of a scalar": Case(lambda x: build.expand(x, (2, 3)), [np.array(1.5)]),
    "EXPAND of nothing": Case(lambda x: build.expand(x, (0, 3)), [numbers(1, 3)]),
    "PERMUTE": Case(lambda x: build.permute(x, (2, 0, 1)), [numbers(2, 3, 4)]),
    "SLICE": Case(lambda x: build.slice_(x, ((1, 3, 1), (0, 4, 1))), [numbers(3, 5)]),
    "SLICE with steps": Case(lambda x: build.slice_(x, ((0, 7, 3), (1, 5, 2))), [numbers(8, 6)]),
    "SLICE to nothing": Case(lambda x: build.slice_(x, ((2, 2, 1),)), [numbers(4)]),
    "PAD": Case(lambda x: build.pad(x, ((1, 2, 0), (0, 1, 0))), [numbers(2, 3)]),
    "PAD between": Case(lambda x: build.pad(x, ((1, 2, 2), (0, 1, 1))), [numbers(2, 3)]),
    "FLIP": Case(lambda x: build.flip(x, (0, 2)), [numbers(2, 3, 4)]),
    "WINDOW": Case(lambda x: build.window(x, 1, 3), [numbers(2, 6)]),
    "WINDOW with stride": Case(lambda x: build.window(x, 0, 2, 3, 1), [numbers(7, 2)]),
    "WINDOW with dilation": Case(lambda x: build.window(x, 1, 3, 1, 2), [numbers(2, 7, 2)]),
    "WINDOW with both": Case(lambda x: build.window(x, 0, 2, 2, 3), [numbers(9)]),
    "FOLD": Case(lambda x: build.fold(x, 0, 6), [numbers(4, 3)]),
    "FOLD with stride": Case(lambda x: build.fold(x, 1, 8, 2, 1), [numbers(2, 3, 3)]),
    "FOLD with dilation": Case(lambda x: build.fold(x, 0, 7, 1, 2), [numbers(3, 2, 3)]),
    "FOLD with a tail": Case(lambda x: build.fold(x, 0, 11, 2, 3), [numbers(3, 2)]),
    "REDUCE ADD": reduction(ops.ADD, (0, 2), numbers(2, 3, 4)),
    "REDUCE ADD of nothing": reduction(ops.ADD, (1,), np.zeros((3, 0))),
    "REDUCE MUL": reduction(ops.MUL, (1,), numbers(2, 3)),
    "REDUCE MUL of zeros": reduction(ops.MUL, (1,), TIMES),
    "REDUCE MUL over two axes": reduction(ops.MUL, (0, 2), numbers(2, 2, 2)),
    "REDUCE MAXIMUM": reduction(ops.MAXIMUM, (1,), numbers(3, 4)),
    "REDUCE MINIMUM": reduction(ops.MINIMUM, (0, 1), numbers(3, 4)),
    "SCAN ADD": scan(ops.ADD, 1, numbers(2, 3, 2)),
    "SCAN ADD of nothing": scan(ops.ADD, 0, np.zeros((0, 2))),
    "SCAN MUL": scan(ops.MUL, 0, numbers(4, 2) / 2),
    "SCAN MUL of zeros": scan(ops.MUL, 1, TIMES),
    "SCAN MAXIMUM": scan(ops.MAXIMUM, 1, numbers(3, 5)),
    "SCAN MINIMUM": scan(ops.MINIMUM, 0, numbers(5, 3)),
    "GATHER": Case(lambda x: build.gather(x, (whole([[2, 0], [2, 2]]),)), [numbers(3, 2)]),
    "GATHER of pairs": Case(
        lambda x: build.gather(x, (whole([1, 1, 0]), whole([2, 2, 3]))), [numbers(2, 4)]
    ),
    "SCATTER": Case(
        lambda x, y: build.scatter(x, (whole([1, 1, 2]),), y), [numbers(3, 2), numbers(3, 2)]
    ),
    "SCATTER of pairs": Case(
        lambda x, y: build.scatter(x, (whole([1, 1, 0]), whole([2, 2, 3])), y),
        [numbers(2, 4), numbers(3)],
    ),
}


def leaves(arrays: list[np.ndarray]) -> list[Node]:
    return [build.param(i, F64, array.shape) for i, array in enumerate(arrays)]


def run(sinks: list[Node], params: list[Node], arrays: list[np.ndarray]) -> list[np.ndarray]:
    verify_graph(sinks)
    return get_device("numpy").compile(sinks, params)(arrays)


def total(result: Node) -> Node:
    return build.sum_(result, tuple(range(result.ndim)))


def weighted(result: Node) -> Node:
    """A scalar in which each element of `result`, and its square, has a weight of its own."""
    ramp = build.reshape(build.iota(result.size, F64), result.shape)
    bent = build.add(result, build.mul(build.full_like(result, 0.1), build.mul(result, result)))
    weights = build.unary(ops.SIN, build.add(ramp, build.full_like(ramp, 1)))
    return total(build.mul(bent, weights))


def gradients(scalar: Node, params: list[Node]) -> list[Node]:
    found = grad(scalar, build.full_like(scalar, 1), params)
    return [build.full_like(p, 0) if g is None else g for g, p in zip(found, params, strict=True)]


def assert_slope(scalar: Node, params: list[Node], arrays: list[np.ndarray]) -> None:
    """The gradient of `scalar` is its change along two random directions."""
    slopes = run(gradients(scalar, params), params, arrays)
    generator = np.random.default_rng(0)
    step = 1e-6
    for _ in range(2):
        directions = [generator.standard_normal(array.shape) for array in arrays]
        pairs = list(zip(arrays, directions, strict=True))
        (above,) = run([scalar], params, [a + step * d for a, d in pairs])
        (below,) = run([scalar], params, [a - step * d for a, d in pairs])
        expected = (above - below) / (2 * step)
        got = sum(float((s * d).sum()) for s, d in zip(slopes, directions, strict=True))
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)


# Completeness


def test_every_op_has_a_rule() -> None:
    assert set(VJP) == {*ops.GRAPH_OPS, ops.APPLY} - SOURCES


def test_every_rule_is_checked() -> None:
    checked = {getattr(ops, name.split()[0]) for name in CASES}
    assert checked | FLAT | SPECIAL == set(VJP) - {ops.APPLY}  # of which test_applied is
    reducers = {getattr(ops, name.split()[1]) for name in CASES if name.startswith("REDUCE")}
    scanners = {getattr(ops, name.split()[1]) for name in CASES if name.startswith("SCAN")}
    assert reducers == scanners == {ops.ADD, ops.MUL, ops.MAXIMUM, ops.MINIMUM}


# Against differences


@pytest.mark.parametrize("name", CASES)
def test_first_derivative(name: str) -> None:
    case = CASES[name]
    params = leaves(case.arrays)
    assert_slope(weighted(case.make(*params)), params, case.arrays)


@pytest.mark.parametrize("name", CASES)
def test_second_derivative(name: str) -> None:
    case = CASES[name]
    params = leaves(case.arrays)
    first = gradients(weighted(case.make(*params)), params)
    slope = total(build.mul(first[0], first[0]))
    for part in first[1:]:
        slope = build.add(slope, total(build.mul(part, part)))
    assert_slope(slope, params, case.arrays)


def test_third_derivative() -> None:
    x = build.param(0, F64, (3,))
    current = build.mul(build.unary(ops.TANH, x), build.unary(ops.EXP, x))
    for _ in range(2):
        (current,) = gradients(total(current), [x])
    assert_slope(total(current), [x], [np.array([-0.4, 0.1, 0.8])])


# What differences do not show


@pytest.mark.parametrize("op", [ops.MAXIMUM, ops.MINIMUM])
def test_equals_share_the_gradient_of_an_extreme(op: ops.Op) -> None:
    x = build.param(0, F64, (2, 4))
    values = np.array([[3.0, 3.0, 1.0, 1.0], [2.0, 0.0, 5.0, 3.0]])
    (slopes,) = run(gradients(total(build.reduce(op, x, (1,))), [x]), [x], [values])
    best = values == (values.max if op is ops.MAXIMUM else values.min)(axis=1, keepdims=True)
    np.testing.assert_array_equal(slopes, best / best.sum(axis=1, keepdims=True))
    a, b = build.param(0, F64, (2,)), build.param(1, F64, (2,))
    both = gradients(total(build.binary(op, a, b)), [a, b])
    got = run(both, [a, b], [np.array([1.0, 4.0]), np.array([1.0, 4.0])])
    assert [g.tolist() for g in got] == [[0.5, 0.5], [0.5, 0.5]]


def test_powers_of_zero() -> None:
    base, exponent = build.param(0, F64, (3,)), build.param(1, F64, (3,))
    found = gradients(total(build.binary(ops.POW, base, exponent)), [base, exponent])
    arrays = [np.zeros(3), np.array([0.0, 1.0, 2.0])]
    by_base, by_exponent = run(found, [base, exponent], arrays)
    assert by_base.tolist() == [0.0, 1.0, 0.0]
    assert by_exponent.tolist() == [0.0, 0.0, 0.0]


def test_no_slope_at_the_corner_of_abs() -> None:
    x = build.param(0, F64, (2,))
    (slope,) = run(gradients(total(build.unary(ops.ABS, x)), [x]), [x], [np.array([0.0, -0.0])])
    assert slope.tolist() == [0.0, 0.0]


def test_casts_carry_the_gradient_back_in_the_dtype_of_the_source() -> None:
    x = build.param(0, dtypes.float16, (2,))
    (slope,) = gradients(total(build.cast(x, F64)), [x])
    assert slope.dtype is dtypes.float16
    whole_x = build.param(0, dtypes.int64, (2,))
    scalar = total(build.cast(whole_x, F64))
    assert grad(scalar, build.full_like(scalar, 1), [whole_x]) == [None]


@pytest.mark.parametrize("op", sorted(FLAT, key=lambda op: op.name))
def test_nothing_flows_through_flat_ops(op: ops.Op) -> None:
    dtype = F64 if op in (ops.FLOOR, ops.BITCAST, ops.DETACH) else dtypes.int64
    x = build.param(0, dtype, (2,))
    if op is ops.BITCAST:
        result = build.bitcast(x, dtypes.int64)
    elif op.kind == "binary":
        result = build.binary(op, x, x)
    else:
        result = build.detach(x) if op is ops.DETACH else build.unary(op, x)
    seed = build.full_like(result, 1)
    assert grad(result, seed, [x]) == [None]


def test_a_surrogate_lends_its_gradient() -> None:
    x = build.param(0, F64, (2,))
    rounded = build.surrogate(build.unary(ops.FLOOR, x), build.mul(x, build.full_like(x, 3)))
    value, slope = run([rounded, *gradients(total(rounded), [x])], [x], [np.array([1.5, -1.5])])
    assert value.tolist() == [1.0, -2.0]
    assert slope.tolist() == [3.0, 3.0]


def test_a_consumed_graph_says_so() -> None:
    x = build.param(0, F64, (2,))
    used = build.consumed(build.neg(x))
    with pytest.raises(GradientError, match="retain_graph"):
        gradients(total(used), [x])


def test_an_unused_target_has_no_gradient() -> None:
    x, y = build.param(0, F64, (2,)), build.param(1, F64, (2,))
    found = grad(total(x), build.const(1, F64), [x, y])
    assert found[0] is build.full_like(x, 1)
    assert found[1] is None


def test_deep_graphs() -> None:
    x = build.param(0, F64, ())
    current = x
    for _ in range(20_000):
        current = build.add(current, build.full_like(x, 1))
    assert grad(current, build.const(1, F64), [x]) == [build.const(1, F64)]


def test_the_gradient_of_relu_asks_what_came_out() -> None:
    """So that what went in need not be kept."""
    x = build.param(0, dtypes.float32, (3,))
    zero = build.full_like(x, 0)
    y = build.where(build.binary(ops.LE, x, zero), zero, x)
    (g,) = grad(y, build.full_like(y, 1), [x])
    assert g is not None
    assert g.op is ops.WHERE and g.src[0] is build.binary(ops.LE, y, zero)
    other = build.where(build.binary(ops.LE, x, zero), build.full_like(x, 2), x)
    (g,) = grad(other, build.full_like(y, 1), [x])
    assert g is not None
    assert g.src[0] is build.binary(ops.LE, x, zero)
