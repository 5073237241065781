"""Random tensor programs give the same numbers on every device as on the oracle."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import gradlet.runtime  # noqa: F401  (registers the devices)
from gradlet.base import dtypes
from gradlet.engine.realize import realize, value_of
from gradlet.ir import build, ops
from gradlet.ir.node import Node, rewrite, topological, with_sources
from gradlet.ir.show import show_graph
from gradlet.ir.verify import verify_graph
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import Device, get_device
from tests.adapters import adapter
from tests.strategies import GROWING, Program, accepts, programs

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
DEVICES = ["cpu", "torch:cpu"]
ORACLE = "numpy"


def results(program: Program, device: Device) -> list[np.ndarray]:
    """The sinks as the engine computes them on `device`."""
    bound = {
        param: from_numpy(array, param.dtype, device)
        for param, array in zip(program.params, program.arrays, strict=True)
    }

    def bind(current: Node, src: tuple[Node, ...]) -> Node:
        return bound[current] if current in bound else with_sources(current, src)

    sinks = rewrite(program.sinks, bind)
    realize(sinks, device)
    return [value_of(sink, device).numpy() for sink in sinks]


def assert_same(program: Program, got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for position, (a, b) in enumerate(zip(got, expected, strict=True)):
        context = f"sink {position} of\n{show_graph(program.sinks)}"
        assert a.dtype == b.dtype and a.shape == b.shape, context
        tolerance = program.tolerances[position]
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=context)


@pytest.mark.parametrize("device", DEVICES)
@given(program=programs())
@settings(max_examples=200, suppress_health_check=QUIET)
def test_programs_agree_with_the_oracle(device: str, program: Program) -> None:
    expected = results(program, get_device(ORACLE))
    assert_same(program, results(program, get_device(device)), expected)


def special_values(dtype: dtypes.DType) -> np.ndarray:
    """Where the rules of `dtype` are easy to get wrong, all of it exactly representable."""
    if dtype is dtypes.bool_:
        return np.array([False, True])
    whole = [0, 1, 2, 7, 31, 32, 64, dtype.max, dtype.min]
    if dtype.is_float:
        whole = [0.0, 1.0, 2.0, 0.5, 2.5, 300.0, 1e10, 0.25, np.inf, np.nan]
    signed = whole if dtype.is_unsigned else [*whole, *(-v for v in whole if v != dtype.min)]
    with np.errstate(over="ignore"):
        return np.array(signed, dtype.numpy)


def elementwise_program(dtype: dtypes.DType) -> Program:
    """Every elementwise op that `dtype` has, and every cast, of all pairs of special values."""
    values = special_values(dtype)
    arrays = [np.repeat(values, len(values)), np.tile(values, len(values))]
    x, y = (build.param(i, dtype, array.shape) for i, array in enumerate(arrays))
    legal = [
        op for op in ops.GRAPH_OPS if op.elementwise and op.kind != "ternary" and accepts(op, dtype)
    ]
    casts = (ops.CAST, ops.BITCAST)
    sinks = [
        build.unary(op, x) if op.kind == "unary" else build.binary(op, x, y)
        for op in legal
        if op not in casts
    ]
    sinks += [build.cast(x, other) for other in dtypes.ALL if other is not dtype]
    return Program(sinks, [x, y], arrays, [])


@pytest.mark.parametrize("device", [*DEVICES, "webgpu"])
@pytest.mark.parametrize("dtype", dtypes.ALL)
def test_special_values_agree_with_the_oracle(device: str, dtype: dtypes.DType) -> None:
    if device == "webgpu":
        adapter()  # or this test is skipped
    program = elementwise_program(dtype)
    assert_edges_agree(program, results(program, get_device(device)))


def assert_edges_agree(program: Program, got: list[np.ndarray]) -> None:
    """What a device made of an `elementwise_program` is what the oracle makes of it."""
    expected = results(program, get_device(ORACLE))
    for sink, a, b in zip(program.sinks, got, expected, strict=True):
        places = 8 * float(ml_dtypes.finfo(b.dtype).eps) if sink.dtype.is_float else 0
        np.testing.assert_allclose(a, b, rtol=places, atol=places / 8, err_msg=str(sink))


@given(programs())
@settings(max_examples=50, suppress_health_check=QUIET)
def test_the_engine_passes_programs_on_unchanged(program: Program) -> None:
    oracle = get_device(ORACLE)
    verify_graph(program.sinks)
    expected = oracle.compile(program.sinks, program.params)(program.arrays)
    for a, b in zip(results(program, oracle), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_programs_reach_every_op_and_dtype() -> None:
    """The strategy itself: nothing that a program may hold is left out of what is tried."""
    seen_ops: set[ops.Op] = set()
    seen_dtypes: set[dtypes.DType] = set()

    @given(programs())
    @settings(max_examples=300, database=None, derandomize=True, suppress_health_check=QUIET)
    def look(program: Program) -> None:
        for current in topological(program.sinks):
            seen_ops.add(current.op)
            seen_dtypes.add(current.dtype)

    look()
    assert seen_ops >= {*GROWING, ops.PARAM, ops.CONST}
    assert len(seen_dtypes) == 7
