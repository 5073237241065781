"""How many kernels a graph takes, in which order they run, and what the verifier refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Kernel, Nest, Store, load
from gradlet.ir.node import Node, node
from gradlet.ir.verify import VerifyError
from gradlet.schedule.verify import verify_kernel, verify_schedule
from tests.graphs import GRAPHS, leaf, plan

KERNELS = {
    "bias_chain": 1, "row_sum": 1, "full_sum": 1, "softmax": 1, "matmul_bias_relu": 1,
    "linear_transposed": 1, "conv_forward": 1, "max_pool": 1, "scatter": 1, "cat": 1, "adam": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_schedules_are_legal(name: str) -> None:
    verify_schedule(plan(*GRAPHS[name]()))


@pytest.mark.parametrize("name", KERNELS)
def test_number_of_kernels(name: str) -> None:
    assert len(plan(*GRAPHS[name]()).steps) == KERNELS[name]


def test_equal_layers_are_equal_kernels() -> None:
    x = leaf(8, 8)
    first = (x @ leaf(8, 8) + leaf(8)).relu()
    second = (first @ leaf(8, 8) + leaf(8)).relu()
    steps = plan(second).steps
    assert len(steps) == 2 and steps[0].kernel == steps[1].kernel
    assert steps[0].buffers != steps[1].buffers


def test_a_producer_runs_before_its_reader() -> None:
    x = leaf(8, 8)
    total = x.exp().sum(0)
    made = plan(x * total, total * 2.0, (x * total).sum(1))
    verify_schedule(made)


def test_nodes_of_one_shape_share_a_kernel_unless_one_waits_for_another_kernel() -> None:
    x = leaf(8, 8)
    assert len(plan(x + 1.0, x * 2.0).steps) == 1
    doubled = x * 2.0
    assert len(plan(doubled, doubled - doubled.sum(0)).steps) == 3


def test_a_constant_sink_and_a_repeated_sink() -> None:
    y = leaf(3) + 1.0
    made = plan(y, y, y * 0.0)
    assert made.sinks[0] == made.sinks[1]
    verify_schedule(made)


def test_steps_in_the_wrong_order_are_refused() -> None:
    good = plan(leaf(8, 6).sum(0).exp().sum(0) * leaf(6, 8))
    with pytest.raises(VerifyError, match="unwritten"):
        verify_schedule(replace(good, steps=good.steps[::-1]))
    with pytest.raises(VerifyError, match="written already"):
        verify_schedule(replace(good, steps=good.steps[:1] * 2))
    with pytest.raises(VerifyError, match="never written"):
        verify_schedule(replace(good, steps=good.steps[:-1]))


def test_a_reshaped_result_is_stored_as_it_is_computed() -> None:
    rows = leaf(6, 8).sum(1)
    made = plan(rows.reshape(2, 3))
    verify_schedule(made)
    assert made.buffers[made.sinks[0]].shape == (6,)


def test_results_that_differ_in_shape_alone_have_memory_each() -> None:
    rows = leaf(6, 8).sum(1)
    made = plan(rows.reshape(2, 3), rows, rows.reshape(3, 2), leaf(4).reshape(2, 2))
    verify_schedule(made)
    assert len(set(made.sinks)) == 4
    made = plan(rows.reshape(2, 3), rows.reshape(3, 2))
    verify_schedule(made)
    assert len(set(made.sinks)) == 2


OUT = build.param(0, dtypes.float32, (4, 6))
IN = build.param(1, dtypes.float32, (4, 6))
H, J = index.loop("i", 4), index.loop("j", 6)


def kernel(value: Node, at: tuple[Node, ...] = (H, J), ranges: tuple[Node, ...] = (H, J)) -> Kernel:
    return Kernel((Nest(ranges, (Store(OUT, at, value),)),), (OUT, IN), 1)


def test_a_legal_kernel() -> None:
    verify_kernel(kernel(load(IN, (H, J))))
    inside = index.le(J, 4)
    verify_kernel(kernel(load(IN, (H, index.add(J, 1)), inside)))
    total = node(ops.FOLD_RANGES, (load(IN, (H, J)), J), ops.ADD, dtypes.float32, ())
    verify_kernel(kernel(total, (H, index.const(0)), (H,)))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (kernel(load(IN, (H, index.add(J, 1)))), "reaches 6 in an axis of 6"),
        (kernel(load(IN, (H, index.add(J, 1)), index.le(1, J))), "reaches 6"),
        (kernel(load(IN, (J, J))), "reaches 5 in an axis of 4"),
        (kernel(load(IN, (H,))), "1 indices for 2 axes"),
        (kernel(load(IN, (H, J)), (H, index.sub(J, 1))), "store leaves its array"),
        (kernel(load(IN, (H, J)), ranges=(H,)), "no loop counts"),
        (kernel(load(OUT, (H, J))), "is no input"),
        (kernel(build.cast(load(IN, (H, J)), dtypes.float64)), "is stored into float32"),
        (replace(kernel(load(IN, (H, J))), params=(IN, OUT)), "the params are"),
    ],
)
def test_illegal_kernels(bad: Kernel, says: str) -> None:
    with pytest.raises(VerifyError, match=says):
        verify_kernel(bad)
