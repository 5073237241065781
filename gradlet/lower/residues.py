"""Strided convolutions, transposed: a nest for each remainder that an index leaves."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest
from gradlet.ir.node import Node, node, topological
from gradlet.lower.transforms import replace_value

_MOST = 16  # nests made of one


def by_residue(nest: Nest) -> list[Nest]:
    """The nest as several, in none of which a counter is divided.

       out[i] = sum over j of a[i // 2 - j] * b[i % 2 + 2 * j]
    ->
       out[2 * q]     = sum over j of a[q - j] * b[2 * j]
       out[2 * q + 1] = sum over j of a[q - j] * b[2 * j + 1]
    """
    nest = _in_groups(nest)
    strides = _strides(nest)
    if not strides or prod(strides.values()) > _MOST:
        return [nest]
    made = []
    for remainders in product(*(range(s) for s in strides.values())):
        places: dict[Node, Node] = {}
        for (counter, stride), remainder in zip(strides.items(), remainders, strict=True):
            name, size = counter.arg
            quotient = index.loop(f"{name}q", -(-(size - remainder) // stride))
            places[counter] = index.add(index.scale(quotient, stride), remainder)
        made.append(_with(nest, places))
    return made


def _in_groups(nest: Nest) -> Nest:
    """A counter that is divided, but in no condition, becomes two: of groups and within them.

       for i: out[i] = sum over j of a[i // 8 * 8 + j] * b[i % 8]
    ->
       for q: for r: out[8 * q + r] = sum over j of a[8 * q + j] * b[r]

    A counter of a sum of products does too.
    """
    nodes = topological([store.value for store in nest.stores])
    conditions = [x.src[1] for x in nodes if x.op is ops.LOAD]
    conditions += [x.src[0] for x in nodes if x.op is ops.WHERE]
    tested = frozenset().union(*(index.variables(condition) for condition in conditions))
    places: dict[Node, Node] = {}
    for counter, stride in (_strides(nest) | _strides(nest, of_sums=True)).items():
        name, size = counter.arg
        if counter not in tested and size % stride == 0:
            groups, within = index.loop(f"{name}q", size // stride), index.loop(f"{name}r", stride)
            places[counter] = index.add(index.scale(groups, stride), within)
    return _with(nest, places) if places else nest


def _strides(nest: Nest, of_sums: bool = False) -> dict[Node, int]:
    """For each counter that sums of products, or of elements, divide, what they divide it by.

    Args:
        of_sums: for the counters of sums of products instead.
    """
    found: dict[Node, int] = {}
    for store in nest.stores:
        for fold in topological([store.value]):
            if fold.op is not ops.FOLD_RANGES or fold.src[0].op not in (ops.MUL, ops.LOAD):
                continue
            if of_sums and (fold.src[0].op is not ops.MUL or fold.arg is not ops.ADD):
                continue
            counters = fold.src[1:] if of_sums else nest.ranges
            for x in topological([fold.src[0]]):
                if x.op is not ops.MOD or x.dtype is not dtypes.index:
                    continue
                for counter in counters:
                    if index.coefficient(x.src[0], counter) == 1 and counter.arg[1] >= x.src[1].arg:
                        found[counter] = x.src[1].arg
    return found


def _with(nest: Nest, places: dict[Node, Node]) -> Nest:
    ranges = tuple(x for c in nest.ranges for x in _outermost_first(places.get(c, c)))
    stores = tuple(
        replace(
            store,
            index=tuple(index.replace(i, places) for i in store.index),
            value=_trimmed(_replaced(store.value, places)),
        )
        for store in nest.stores
    )
    return Nest(ranges, stores)


def _replaced(value: Node, places: dict[Node, Node]) -> Node:
    """The value with other indices, sums over whatever counters these have."""
    for fold in topological([value]):
        if fold.op is ops.FOLD_RANGES and any(c in places for c in fold.src[1:]):
            counters = [x for c in fold.src[1:] for x in _outermost_first(places.get(c, c))]
            inner = index.replace(fold.src[0], places)
            made = node(fold.op, (inner, *counters), fold.arg, fold.dtype, ())
            value = replace_value(value, fold, made)
    return index.replace(value, places)


def _outermost_first(place: Node) -> list[Node]:
    """The counters of an index, the one with the longest steps first."""
    return sorted(index.variables(place), key=lambda c: -(index.coefficient(place, c) or 0))


def _trimmed(value: Node) -> Node:
    """Sums without the terms at the end that a condition on their counter alone leaves out."""
    for fold in topological([value]):
        if fold.op is not ops.FOLD_RANGES or fold.arg is not ops.ADD:
            continue
        if any(x.op is ops.LOAD and x.src[1] is index.FALSE for x in _factors(fold)):
            value = replace_value(value, fold, build.const(0, fold.dtype))
            continue
        places: dict[Node, Node] = {}
        for x in topological([fold.src[0]]):
            for counter in fold.src[1:]:
                limit = index.upper_limit(x, counter) if x.op is ops.LE else None
                if limit is not None and limit + 1 < counter.arg[1] and _is_zero_without(fold, x):
                    places[counter] = index.loop(counter.arg[0], limit + 1)
        if places:
            inner = index.replace(fold.src[0], places)
            counters = [places.get(c, c) for c in fold.src[1:]]
            left = [c for c in counters if c.op is ops.RANGE]
            trimmed = node(fold.op, (inner, *left), fold.arg, fold.dtype, ()) if left else inner
            value = replace_value(value, fold, trimmed)
    return value


def _is_zero_without(fold: Node, condition: Node) -> bool:
    """True if the terms of a sum of products vanish where `condition` does not hold."""
    return any(
        factor.op is ops.LOAD and index.and_(factor.src[1], condition) is factor.src[1]
        for factor in _factors(fold)
    )


def _factors(fold: Node) -> tuple[Node, ...]:
    """What each term of a sum is the product of."""
    return fold.src[0].src if fold.src[0].op is ops.MUL else fold.src[:1]
