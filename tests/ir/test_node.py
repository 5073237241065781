"""Nodes: interned, forgotten when unused, walked and destroyed without recursion."""

from __future__ import annotations

import gc

import pytest

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import (
    Node,
    interned_count,
    node,
    rewrite,
    substitute,
    topological,
    with_sources,
)

DEEP = 100_000


def x(position: int = 0) -> Node:
    return build.param(position, dtypes.float32, (2, 3))


def chain(length: int) -> Node:
    current = x()
    for _ in range(length):
        current = build.neg(current)
    return current


def test_equal_graphs_are_one_object() -> None:
    assert build.add(x(), x(1)) is build.add(x(), x(1))
    assert build.add(x(), x(1)) is not build.add(x(1), x())
    assert chain(50) is chain(50)


def test_constants_that_compare_equal_are_still_distinct() -> None:
    zero = build.const(0.0, dtypes.float32)
    assert zero is not build.const(-0.0, dtypes.float32)
    assert zero is build.const(0, dtypes.float32)
    nan = build.const(float("nan"), dtypes.float32)
    assert nan is build.const(float("nan"), dtypes.float32)
    one, true = build.const(1, dtypes.int64), build.const(True, dtypes.bool_)
    assert one is not true
    assert type(one.value) is int
    assert build.const(1, dtypes.bool_) is true
    assert true.value is True
    assert type(build.const(True, dtypes.int64).value) is int
    assert build.const(1, dtypes.float32) is not build.const(1, dtypes.float64)


@pytest.mark.parametrize("value", [0.1, -0.0, 1e-320, float("inf"), float("-inf")])
def test_a_constant_keeps_every_bit(value: float) -> None:
    kept = build.const(value, dtypes.float64).value
    assert kept.hex() == value.hex()


def test_the_table_empties() -> None:
    gc.collect()
    before = interned_count()
    graph = build.sum_(build.mul(chain(10), x(7)), (0,))
    assert interned_count() > before
    del graph
    gc.collect()
    assert interned_count() == before


def test_a_node_can_be_made_again_after_it_died() -> None:
    for _ in range(3):
        made = build.param(4321, dtypes.int8, (5,))
        assert made is build.param(4321, dtypes.int8, (5,))
        del made


def test_deep_chains_are_walked_and_destroyed() -> None:
    gc.collect()
    before = interned_count()
    deep = chain(DEEP)
    order = topological([deep])
    assert len(order) == DEEP + 1
    assert order[-1] is deep
    (copied,) = rewrite([deep], lambda current, src: with_sources(current, src))
    assert copied is deep
    del order, copied, deep
    gc.collect()
    assert interned_count() == before


def test_deep_diamonds_are_walked_once() -> None:
    current = x()
    for _ in range(200):
        current = build.add(current, current)
    assert len(topological([current])) == 201


def test_topological_order_puts_sources_first() -> None:
    a, b = x(0), x(1)
    both = build.add(build.neg(a), build.mul(a, b))
    order = topological([both, b, both])
    assert len(order) == len(set(order)) == 5
    for current in order:
        assert all(order.index(source) < order.index(current) for source in current.src)


def test_topological_follows_what_it_is_told() -> None:
    a = build.neg(x())
    top = build.neg(a)
    assert topological([top], lambda n: () if n is a else n.src) == [a, top]


def test_substitute() -> None:
    before = build.add(build.neg(x(0)), x(1))
    after = substitute(before, {x(0): x(2)})
    assert after is build.add(build.neg(x(2)), x(1))
    assert substitute(before, {}) is before


def test_the_memo_is_no_part_of_identity() -> None:
    made = build.neg(x())
    made.realized = build.buffer("somewhere", dtypes.float32, (2, 3))
    assert build.neg(x()) is made


def test_properties() -> None:
    made = build.permute(x(), (1, 0))
    assert (made.ndim, made.size, made.is_const) == (2, 6, False)
    assert repr(made) == "<PERMUTE (1, 0) float32[3, 2]>"
    assert node(ops.CONST, (), 3, dtypes.int32, ()).value == 3
