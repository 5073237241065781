"""Which outputs may be changed where a param stands, and what becomes of their kernels."""

from __future__ import annotations

import pytest

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.node import Node, topological
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule
from gradlet.schedule.update import first_update, update_in_place

SHAPE = (64, 64)


def param(
    position: int, shape: tuple[int, ...] = SHAPE, dtype: dtypes.DType = dtypes.float32
) -> Node:
    return build.param(position, dtype, shape)


def updated(sinks: list[Node], params: list[Node]) -> tuple[Schedule, list[tuple[int, int]]]:
    """The program, of which the first sink may take the place of the first param."""
    return update_in_place(schedule(sinks, params), [(0, 0)])


def row(x: Node) -> Node:
    return build.expand(build.reshape(build.sum_(x, (1,)), (64, 1)), SHAPE)


x, y = param(0), param(1)
total = build.expand(build.reshape(build.sum_(x, (0, 1)), (1, 1)), SHAPE)
condition = param(1, SHAPE, dtypes.bool_)
labels = param(1, (64,), dtypes.int64)
picked = build.gather(x, (labels,))
product = build.sum_(build.mul(*(build.expand(build.reshape(n, s), (64, 64, 64)) for n, s in
                                 ((x, (64, 64, 1)), (y, (1, 64, 64))))), (1,))  # fmt: skip

POSSIBLE: dict[str, tuple[list[Node], list[Node]]] = {
    "a map": ([build.mul(build.add(x, y), x)], [x, y]),
    "where": ([build.where(condition, build.full_like(x, 1), x)], [x, condition]),
    "another shape": ([build.reshape(build.neg(x), (4096,))], [x]),
    "read by a kernel before": ([build.add(x, total)], [x]),
    "with another that reads it": ([build.add(x, y), build.mul(x, y)], [x, y]),
}
IMPOSSIBLE: dict[str, tuple[list[Node], list[Node]]] = {
    "read across": ([build.permute(x, (1, 0))], [x]),
    "read in the rows before it": ([build.add(x, row(x))], [x]),
    "read backwards": ([build.flip(x, (0,))], [x]),
    "a product": ([product], [x, y]),
    "another dtype": ([build.cast(x, dtypes.float16)], [x]),
    "small": ([build.neg(param(0, (8,)))], [param(0, (8,))]),
    "wanted as it was": ([build.neg(x), x], [x]),
    "read later": ([build.neg(x), build.add(row(build.neg(x)), build.permute(x, (1, 0)))], [x]),
    "an index may be out of range": ([build.add(picked, x)], [x, labels]),
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_maps_change_what_they_read_at_its_place(name: str) -> None:
    sinks, params = POSSIBLE[name]
    plan, pairs = updated(sinks, params)
    assert pairs == [(0, 0)]
    step = plan.steps[first_update(plan, pairs)]
    output = plan.sinks[0]
    assert output in step.buffers[: step.kernel.outputs] and 0 not in step.buffers
    assert [p.arg for p in step.kernel.params] == list(range(len(step.buffers)))
    target = step.kernel.params[step.buffers.index(output)]
    for nest in step.kernel.nests:
        for store in nest.stores:  # type: ignore[union-attr]
            loads = [n for n in topological([store.value]) if n.op is ops.LOAD]
            assert all(n.src[0] in step.kernel.params for n in loads)
            own = [n for n in loads if n.src[0] is target]
            assert all(n.src[1] is index.TRUE and n.src[2:] == store.index for n in own)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_all_else_gets_a_place_of_its_own(name: str) -> None:
    sinks, params = IMPOSSIBLE[name]
    plan, pairs = updated(sinks, params)
    assert pairs == [] and plan == schedule(sinks, params)


def test_what_reads_a_param_comes_before_it_is_changed() -> None:
    plan, pairs = updated([build.add(x, y), build.mul(x, y)], [x, y])
    (nest,) = plan.steps[first_update(plan, pairs)].kernel.nests
    targets = [store.target.arg for store in nest.stores]  # type: ignore[union-attr]
    assert targets == [1, 0]


def test_an_index_that_was_checked_before_does_not_hinder() -> None:
    table, tokens, others = param(1), param(2, (64,), dtypes.int64), param(3, (64,), dtypes.int64)

    def changed(again: Node) -> list[tuple[int, int]]:
        looked_up = build.gather(table, (tokens,))
        scattered = build.scatter(build.full_like(x, 0), (again,), looked_up)
        return updated([build.add(x, scattered)], [x, table, tokens, others])[1]

    assert changed(tokens) == [(0, 0)]
    assert changed(others) == [(0, 0)], "the check comes before the sum"
    late = build.gather(build.add(x, y), (others,))
    assert updated([build.add(x, y), late], [x, y, tokens, others])[1] == []
