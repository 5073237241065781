"""Which nodes get memory: few, but all that would otherwise be computed again and again."""

from __future__ import annotations

from gradlet import Tensor
from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.schedule.partition import is_contraction, partition
from tests.graphs import graph, leaf


def stored(*tensors: Tensor) -> list[Node]:
    return list(partition(graph(*tensors)[0]).stored)


def test_a_chain_is_stored_only_at_its_end() -> None:
    x = leaf(6, 8)
    assert len(stored(((x + 1.0) * x).exp().log())) == 1


def test_a_sink_inside_a_chain_is_stored() -> None:
    inner = leaf(6, 8).exp()
    assert len(stored(inner, inner + 1.0)) == 2


def test_a_reduction_takes_its_epilogue_along() -> None:
    (sink,), _ = graph((leaf(6, 8).sum(1) * 2.0 + 1.0).relu())
    plan = partition([sink])
    (end,) = plan.stored
    assert end is sink
    assert plan.epilogue[end][-1].op is ops.REDUCE
    assert plan.epilogue[end][0] is end


def test_operands_of_a_contraction_are_stored() -> None:
    found = stored(leaf(8, 8).exp() @ leaf(8, 8))
    assert len(found) == 2 and found[0].op is ops.EXP
    assert is_contraction(found[1]) or found[1].op is ops.RESHAPE


def test_what_a_broadcast_repeats_is_stored() -> None:
    cheap = leaf(8) + 1.0
    assert len(stored(leaf(64, 8) * cheap)) == 1
    assert len(stored(leaf(64, 8) * leaf(8).exp())) == 2


def test_a_sum_of_a_sum_is_one_reduction() -> None:
    assert len(stored(leaf(4, 5, 6).sum(2).sum(1))) == 1


def test_a_sum_of_products_of_whole_arrays_is_no_contraction() -> None:
    (sink,), _ = graph((leaf(4, 5) * leaf(4, 5)).sum(1))
    assert sink.op is ops.REDUCE and not is_contraction(sink)


def test_long_chains_of_operations_are_cut() -> None:
    """What one kernel computes is walked by recursion, which must not go too deep."""
    total = sum((Tensor([float(i), 1.0]) for i in range(700)), Tensor(0.0))
    assert total.tolist() == [700 * 699 / 2, 700]
    x = Tensor([1.0, 2.0])
    y = x
    for _ in range(1500):
        y = y * 1.0001 + 0.5
    y.sum().backward()
    assert x.grad is not None and abs(x.grad.numpy() - 1.0001**1500).max() < 1e-3
