"""What is joined from many arrays, taken apart: nests in which few of them come into question."""

from __future__ import annotations

from dataclasses import replace

from gradlet.base import dtypes
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest
from gradlet.ir.node import Node, rewrite, topological
from gradlet.lower.maps import extent

_FEWEST = 8  # pieces that are worth being taken apart, each half being compiled by itself
_SMALL = 1 << 12  # elements of an array for which they are not


def by_piece(nest: Nest) -> list[Nest]:
    """The nest as two, each of which makes half of the pieces that an array is joined from.

       for i in 8: out[i] = a[0] if i < 1 else b[0] if i < 2 else ... else h[0]
    ->
       for i in 4: out[i] = a[0] if i < 1 else ... else d[0]
       for i in 4: out[i + 4] = e[0] if i < 1 else ... else h[0]

    Otherwise every element would ask for every array whether it comes from there.
    """
    if extent(nest.ranges) < _SMALL:
        return [nest]
    nodes = topological([store.value for store in nest.stores])
    elsewhere = any(store.accumulate is not None for store in nest.stores)
    if elsewhere or any(x.op in (ops.FOLD_RANGES, ops.SCAN_RANGE) for x in nodes):
        return [nest]
    conditions = {x.src[0]: _of_index(x.src[0]) for x in nodes if x.op is ops.WHERE}
    for counter in nest.ranges:
        found = {cut for condition in conditions.values() for cut in _cuts(condition, counter)}
        cuts = sorted(cut for cut in found if 0 < cut < counter.arg[1])
        if len(cuts) >= _FEWEST - 1:
            middle = cuts[len(cuts) // 2]
            spans = ((0, middle), (middle, counter.arg[1]))
            return [_between(nest, counter, begin, end, conditions) for begin, end in spans]
    return [nest]


def _of_index(condition: Node) -> Node:
    """A comparison that tensors make of int64, as one of indices if it is."""
    if condition.op is not ops.LT or condition.src[0].dtype is not dtypes.int64:
        return condition
    place, limit = condition.src
    if place.op is not ops.CAST or place.src[0].dtype is not dtypes.index:
        return condition
    return index.lt(place.src[0], limit.value) if limit.op is ops.CONST else condition


def _cuts(condition: Node, counter: Node) -> list[int]:
    """Where a condition on this counter alone begins or ceases to hold."""
    interval = index.interval_of(condition)
    if interval is None or index.variables(interval[0]) != {counter}:
        return []
    x, low, high = interval
    if index.coefficient(x, counter) != 1:
        return []
    offset = index.evaluate(x, {counter: 0})
    return [low - offset, high + 1 - offset]


def _between(nest: Nest, counter: Node, begin: int, end: int, conditions: dict[Node, Node]) -> Nest:
    """The nest for the iterations [begin, end) of one of its loops."""
    inner = index.loop(counter.arg[0], end - begin)
    places = {counter: index.add(inner, begin)}

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current in conditions:
            return index.replace(conditions[current], places)
        return places.get(current) or index.rebuild(current, src)

    ranges = tuple(inner if c is counter else c for c in nest.ranges)
    stores = tuple(
        replace(
            store,
            index=tuple(index.replace(i, places) for i in store.index),
            value=rewrite([store.value], rule)[0],
        )
        for store in nest.stores
    )
    return Nest(tuple(c for c in ranges if c.op is ops.RANGE), stores)
