"""The oracle against values worked out by hand, by Python and by plain loops."""

from __future__ import annotations

import itertools
import math
import warnings

import ml_dtypes
import numpy as np
import pytest

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.runtime.device import get_device
from gradlet.runtime.numpy_device import GIVEN, NUMPY

NAN, INF = float("nan"), float("inf")


def leaf(position: int, values: object, dtype: DType) -> tuple[Node, np.ndarray]:
    """A parameter and what it is bound to."""
    array = np.array(values, dtype.numpy)
    return build.param(position, dtype, array.shape), array


def run(result: Node, *leaves: tuple[Node, np.ndarray]) -> np.ndarray:
    """The value of `result`, computed without a single warning."""
    program = get_device("numpy").compile([result], [p for p, _ in leaves])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (value,) = program([array for _, array in leaves])
    assert value.dtype == result.dtype.numpy
    assert value.shape == result.shape
    return value


def unary(op: Op, values: object, dtype: DType) -> list:
    x = leaf(0, values, dtype)
    return run(build.unary(op, x[0]), x).tolist()


def binary(op: Op, a: object, b: object, dtype: DType) -> list:
    x, y = leaf(0, a, dtype), leaf(1, b, dtype)
    return run(build.binary(op, x[0], y[0]), x, y).tolist()


def cast(values: object, source: DType, target: DType) -> list:
    x = leaf(0, values, source)
    return run(build.cast(x[0], target), x).tolist()


def test_every_op_has_a_row() -> None:
    assert set(NUMPY) == set(ops.GRAPH_OPS) - set(GIVEN)


# Elementwise


def test_floats_saturate_into_integers_and_nan_gives_zero() -> None:
    values = [NAN, INF, -INF, 1e30, -1e30, 2.9, -2.9]
    for dtype in (d for d in dtypes.ALL if d.is_int):
        small = [2, 0 if dtype.is_unsigned else -2]
        expected = [0, dtype.max, dtype.min, dtype.max, dtype.min, *small]
        assert cast(values, dtypes.float32, dtype) == expected
        assert cast(values, dtypes.bfloat16, dtype) == expected
    assert cast(2.0**63, dtypes.float64, dtypes.int64) == 2**63 - 1
    assert cast(2.0**63, dtypes.float64, dtypes.uint64) == 2**63
    assert cast(2.0**64, dtypes.float64, dtypes.uint64) == 2**64 - 1
    assert cast(127.9, dtypes.float64, dtypes.int8) == 127


def test_other_casts() -> None:
    assert cast([300, -1], dtypes.int32, dtypes.uint8) == [44, 255]
    assert cast([2**31, 255], dtypes.int64, dtypes.int32) == [-(2**31), 255]
    assert cast([0.0, -0.0, NAN, 0.5], dtypes.float32, dtypes.bool_) == [False, False, True, True]
    assert cast([0, 256], dtypes.int32, dtypes.bool_) == [False, True]
    assert cast([True, False], dtypes.bool_, dtypes.float16) == [1.0, 0.0]
    assert cast([1.01], dtypes.float32, dtypes.bfloat16) == [float(ml_dtypes.bfloat16(1.01))]
    assert cast([1e300], dtypes.float64, dtypes.float32) == [INF]


def test_bitcast() -> None:
    x = leaf(0, [1.0, -0.0], dtypes.float32)
    assert run(build.bitcast(x[0], dtypes.uint32), x).tolist() == [0x3F800000, 0x80000000]


def test_integers_wrap() -> None:
    low, high = dtypes.int32.min, dtypes.int32.max
    assert binary(ops.ADD, high, 1, dtypes.int32) == low
    assert binary(ops.SUB, 0, 1, dtypes.uint8) == 255
    assert binary(ops.MUL, high, 2, dtypes.int32) == -2
    assert unary(ops.NEG, low, dtypes.int32) == low
    assert unary(ops.ABS, low, dtypes.int32) == low
    x = leaf(0, [200, 100], dtypes.uint8)
    assert run(build.sum_(x[0], (0,)), x).tolist() == 44


def test_integer_division() -> None:
    a, b = [7, -7, 7, -7, 5, -5], [2, 2, -2, -2, 0, 0]
    assert binary(ops.FLOORDIV, a, b, dtypes.int64) == [3, -4, -4, 3, 0, 0]
    assert binary(ops.MOD, a, b, dtypes.int64) == [1, 1, -1, -1, 0, 0]
    for dtype in (dtypes.int8, dtypes.int32, dtypes.int64):
        assert binary(ops.FLOORDIV, [dtype.min], [-1], dtype) == [dtype.min]
        assert binary(ops.MOD, [dtype.min], [-1], dtype) == [0]
    assert binary(ops.FLOORDIV, [7, 7], [2, 0], dtypes.uint32) == [3, 0]


def test_float_modulo_has_the_sign_of_the_divisor() -> None:
    pairs = [(5.5, 2.0), (-5.5, 2.0), (5.5, -2.0), (-5.5, -2.0), (-1.0, INF)]
    a, b = zip(*pairs, strict=True)
    assert binary(ops.MOD, a, b, dtypes.float64) == [x % y for x, y in pairs]
    assert math.isnan(binary(ops.MOD, 1.0, 0.0, dtypes.float32))


def test_shifts_by_counts_out_of_range() -> None:
    assert binary(ops.SHL, [1, 1, 1, 1], [3, 31, 32, -1], dtypes.int32) == [8, -(2**31), 0, 0]
    assert binary(ops.SHR, [-8, -8, -8, 8], [1, 32, -1, 32], dtypes.int32) == [-4, -1, -1, 0]
    assert binary(ops.SHR, [255, 255], [4, 8], dtypes.uint8) == [15, 0]


def test_extremes_propagate_nan() -> None:
    for dtype in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64):
        for op in (ops.MAXIMUM, ops.MINIMUM):
            assert np.isnan(binary(op, [NAN, 1.0], [1.0, NAN], dtype)).all()
            x = leaf(0, [[1.0, NAN, 2.0]], dtype)
            assert np.isnan(run(build.reduce(op, x[0], (1,)), x)).all()


def test_special_values() -> None:
    assert binary(ops.DIV, [1.0, -1.0], [0.0, 0.0], dtypes.float32) == [INF, -INF]
    assert math.isnan(unary(ops.SQRT, -1.0, dtypes.float32))
    assert unary(ops.LOG, 0.0, dtypes.float32) == -INF
    assert unary(ops.FLOOR, [-0.5, 1.5, INF], dtypes.float32) == [-1.0, 1.0, INF]
    assert binary(ops.EQ, [NAN, 0.0], [NAN, -0.0], dtypes.float32) == [False, True]
    assert binary(ops.LE, [NAN, 1.0], [1.0, 1.0], dtypes.float32) == [False, True]
    x, y = leaf(0, 2.0, dtypes.float64), leaf(1, 0.5, dtypes.float64)
    assert run(build.binary(ops.POW, x[0], y[0]), x, y) == 2.0**0.5


@pytest.mark.parametrize("op", [ops.EXP, ops.LOG, ops.SIN, ops.COS, ops.TANH, ops.ERF, ops.SQRT])
@pytest.mark.parametrize("dtype", [dtypes.bfloat16, dtypes.float16, dtypes.float32])
def test_transcendentals_round_to_the_dtype(op: Op, dtype: DType) -> None:
    points = np.linspace(0.1, 3, 17).astype(dtype.numpy)
    functions = {ops.EXP: math.exp, ops.LOG: math.log, ops.SIN: math.sin, ops.COS: math.cos}
    functions |= {ops.TANH: math.tanh, ops.ERF: math.erf, ops.SQRT: math.sqrt}
    exact = np.array([functions[op](float(p)) for p in points])
    error = np.abs(np.array(unary(op, points, dtype)) - exact)
    assert (error <= np.abs(exact) * float(ml_dtypes.finfo(dtype.numpy).eps) * 2).all()


# Movement


def test_pad_between_neighbours() -> None:
    x = leaf(0, [[1, 2, 3], [4, 5, 6]], dtypes.int32)
    assert run(build.pad(x[0], ((0, 1, 1), (1, 0, 2))), x).tolist() == [
        [0, 1, 0, 0, 2, 0, 0, 3],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 4, 0, 0, 5, 0, 0, 6],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_slice_flip_permute_expand() -> None:
    x = leaf(0, np.arange(24).reshape(2, 3, 4), dtypes.int64)
    array = x[1]
    sliced = build.slice_(x[0], ((0, 2, 1), (1, 3, 1), (0, 4, 3)))
    assert (run(sliced, x) == array[:, 1:3, 0:4:3]).all()
    assert (run(build.flip(x[0], (0, 2)), x) == array[::-1, :, ::-1]).all()
    assert (run(build.permute(x[0], (2, 0, 1)), x) == array.transpose(2, 0, 1)).all()
    column = build.slice_(x[0], ((0, 2, 1), (0, 3, 1), (0, 1, 1)))
    assert (run(build.expand(column, (5, 2, 3, 4)), x)[3] == array[:, :, :1]).all()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_window_and_fold_follow_their_definitions(stride: int, dilation: int) -> None:
    size, length = 3, 9
    x = leaf(0, np.random.default_rng(0).integers(0, 100, (2, length, 2)), dtypes.int64)
    windows = build.window(x[0], 1, size, stride, dilation)
    got = run(windows, x)
    folded = run(build.fold(windows, 1, length + 1, stride, dilation), x)
    expected = np.zeros((2, length + 1, 2), np.int64)
    for o, k in itertools.product(range(windows.shape[1]), range(size)):
        assert (got[:, o, :, k] == x[1][:, o * stride + k * dilation]).all()
        expected[:, o * stride + k * dilation] += got[:, o, :, k]
    assert (folded == expected).all()


# Reductions and indices


def test_reductions_of_nothing_give_the_identity() -> None:
    for dtype in dtypes.ALL:
        x = leaf(0, np.zeros((0, 2)), dtype)
        reducers = [ops.MAXIMUM, ops.MINIMUM]
        reducers += [] if dtype is dtypes.bool_ else [ops.ADD, ops.MUL]
        for op in reducers:
            start = build.identity_value(op, dtype)
            assert run(build.reduce(op, x[0], (0,)), x).tolist() == [start, start]


def test_reductions() -> None:
    x = leaf(0, [[1, 2, 3], [4, 5, 6]], dtypes.int64)
    assert run(build.reduce(ops.ADD, x[0], (0, 1)), x) == 21
    assert run(build.reduce(ops.MUL, x[0], (1,)), x).tolist() == [6, 120]
    assert run(build.reduce(ops.MAXIMUM, x[0], (0,)), x).tolist() == [4, 5, 6]
    assert run(build.reduce(ops.MINIMUM, x[0], (0,)), x).tolist() == [1, 2, 3]


def test_half_precision_sums_are_rounded_once() -> None:
    for dtype in (dtypes.float16, dtypes.bfloat16):
        x = leaf(0, np.full(5000, 1), dtype)
        exact = dtype.numpy.type(5000)
        assert run(build.sum_(x[0], (0,)), x) == exact


def test_gather_and_scatter() -> None:
    table = leaf(0, np.arange(12).reshape(4, 3), dtypes.int32)
    rows = leaf(1, [[1, 1], [3, 0]], dtypes.uint8)
    columns = leaf(2, [[0, 0], [2, 1]], dtypes.int64)
    array = table[1]
    assert (run(build.gather(table[0], (rows[0],)), table, rows) == array[rows[1]]).all()
    picked = build.gather(table[0], (rows[0], columns[0]))
    assert run(picked, table, rows, columns).tolist() == [[3, 3], [11, 1]]
    added = build.scatter(table[0], (rows[0], columns[0]), picked)
    expected = array.copy()
    np.add.at(expected, (rows[1], columns[1]), array[rows[1], columns[1]])
    assert expected[1, 0] == 9
    assert (run(added, table, rows, columns) == expected).all()
    assert (array == np.arange(12).reshape(4, 3)).all()


@pytest.mark.parametrize("wrong", [5, 7, -1])
def test_an_index_out_of_range_raises(wrong: int) -> None:
    x = leaf(0, np.zeros((4, 5, 3)), dtypes.float32)
    i, j = leaf(1, [0, 1], dtypes.int64), leaf(2, [2, wrong], dtypes.int64)
    message = rf"index {wrong} is out of range for axis 1 with size 5 \(x of shape \(4, 5, 3\)\)"
    picked = build.gather(x[0], (i[0], j[0]))
    with pytest.raises(IndexError, match="gather: " + message):
        run(picked, x, i, j)
    updates = build.const(1, dtypes.float32, picked.shape)
    with pytest.raises(IndexError, match="scatter: " + message):
        run(build.scatter(x[0], (i[0], j[0]), updates), x, i, j)


def test_arrays_without_elements() -> None:
    x = leaf(0, np.zeros((0, 4)), dtypes.float32)
    i = leaf(1, np.zeros((0,)), dtypes.int64)
    assert run(build.unary(ops.ERF, x[0]), x).shape == (0, 4)
    assert run(build.pad(x[0], ((1, 1, 1), (0, 0, 0))), x).tolist() == [[0.0] * 4] * 2
    assert run(build.window(x[0], 1, 2), x).shape == (0, 3, 2)
    assert run(build.gather(x[0], (i[0],)), x, i).shape == (0, 4)
    assert run(build.permute(x[0], (1, 0)), x).shape == (4, 0)


# Programs


def test_results_and_parameters_share_no_memory() -> None:
    x, array = leaf(0, [1.0, 2.0], dtypes.float32)
    views = [build.reshape(x, (2, 1)), build.flip(x, (0,)), build.detach(x), x]
    results = get_device("numpy").compile(views, [x])([array])
    for result in results:
        result += 1
    assert array.tolist() == [1.0, 2.0]
    assert results[0].tolist() == [[2.0], [3.0]]
    assert results[3].tolist() == [2.0, 3.0]


def test_identities_pass_their_first_source() -> None:
    x = leaf(0, [1.0, 2.0], dtypes.float32)
    y = leaf(1, [3.0, 4.0], dtypes.float32)
    assert run(build.surrogate(x[0], y[0]), x, y).tolist() == [1.0, 2.0]
    assert run(build.detach(x[0]), x).tolist() == [1.0, 2.0]
    assert run(build.consumed(x[0]), x).tolist() == [1.0, 2.0]


def test_a_program_runs_again_on_other_arrays() -> None:
    x, first = leaf(0, [1.0, 2.0], dtypes.float32)
    squared = build.mul(x, x)
    program = get_device("numpy").compile([build.sum_(squared, (0,)), squared, squared], [x])
    assert [r.tolist() for r in program([first])] == [5.0, [1.0, 4.0], [1.0, 4.0]]
    assert program([first + 1])[0] == 13.0


def test_device_copies_what_it_takes_and_gives() -> None:
    device = get_device("numpy")
    array = np.arange(3)
    memory = device.from_numpy(array)
    array[0] = 7
    copied = device.to_numpy(memory, dtypes.int64, (3,))
    copied[1] = 7
    assert memory.tolist() == [0, 1, 2]


def test_an_unknown_device_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'abacus'.*numpy \(.*GRADLET_DEVICE"):
        get_device("abacus")
