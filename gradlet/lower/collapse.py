"""Fewer, longer loops: neighbouring counters become one where no address gets harder for it."""

from __future__ import annotations

from collections.abc import Iterator

from gradlet.base import dtypes
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store
from gradlet.ir.node import Node, node, topological
from gradlet.lower import transforms
from gradlet.lower.loops import size

Stores = tuple[Store, ...]


def collapse(nest: Nest) -> Nest:
    """Neighbouring loops become one wherever no index expression gets harder for it.

    for i in 4: for j in 5: out[i, j] = x[i, j]   ->   for ij in 20: out[ij] = x[ij]
    """
    ranges = list(nest.ranges)
    stores = nest.stores
    values = [store.value for store in nest.stores]
    scanned = {x.src[1] for x in topological(values) if x.op is ops.SCAN_RANGE}
    position = 0
    while position + 1 < len(ranges):
        pair = ranges[position], ranges[position + 1]
        merged = None if scanned.intersection(pair) else _merge(stores, *pair)
        if merged is None:
            position += 1
        else:
            stores, fused = merged
            ranges[position : position + 2] = [fused]
    return Nest(tuple(ranges), _collapse_reductions(stores))


def _merge(stores: Stores, outer: Node, inner: Node) -> tuple[Stores, Node] | None:
    fused = index.loop(f"{outer.arg[0]}{inner.arg[0]}", outer.arg[1] * inner.arg[1])
    size = inner.arg[1]
    places = {outer: index.floordiv(fused, size), inner: index.mod(fused, size)}
    made = []
    for store in stores:
        value = flatten_loads(index.replace(store.value, places))
        flat = index.ravel(tuple(index.replace(i, places) for i in store.index), store.target.shape)
        if is_awkward(flat, fused) or is_awkward(value, fused):
            return None
        at = index.unravel(flat, store.target.shape)
        made.append(Store(store.target, at, value, store.accumulate))
    return tuple(made), fused


def _collapse_reductions(stores: Stores) -> Stores:
    """The same for the counters of each reduction."""
    made = []
    for store in stores:
        value = store.value
        for x in topological([value]):
            if x.op is not ops.FOLD_RANGES or len(x.src) < 3:
                continue
            inner, counters = x.src[0], list(x.src[1:])
            position = 0
            while position + 1 < len(counters):
                a, b = counters[position : position + 2]
                fused = index.loop(f"{a.arg[0]}{b.arg[0]}", a.arg[1] * b.arg[1])
                places = {a: index.floordiv(fused, b.arg[1]), b: index.mod(fused, b.arg[1])}
                tried = flatten_loads(index.replace(inner, places))
                if is_awkward(tried, fused):
                    position += 1
                    continue
                inner = tried
                counters[position : position + 2] = [fused]
            if len(counters) + 1 < len(x.src):
                folded = node(x.op, (inner, *counters), x.arg, x.dtype, ())
                value = transforms.replace_value(value, x, folded)
        made.append(Store(store.target, store.index, value, store.accumulate))
    return tuple(made)


def fuse_terms(product: Node, terms: tuple[Node, ...]) -> tuple[Node, tuple[Node, ...]]:
    """Neighbouring counters of a sum become one where all addresses stay linear in it.

    sum over i in 4, j in 5 of a[5 * i + j] * b[i, j]   ->   sum over ij in 20 of a[ij] * b[ij]
    """
    made = list(terms)
    position = 0
    while position + 1 < len(made):
        outer, inner = made[position : position + 2]
        if outer.op is not ops.RANGE or inner.op is not ops.RANGE:
            made.pop(position if outer.op is not ops.RANGE else position + 1)
            continue
        fused = index.loop(f"{outer.arg[0]}{inner.arg[0]}", size(outer) * size(inner))
        places = {outer: index.floordiv(fused, size(inner)), inner: index.mod(fused, size(inner))}
        tried = flatten_loads(index.replace(product, places))
        if is_awkward(tried, fused):
            position += 1
        else:
            product = tried
            made[position : position + 2] = [fused]
    return product, tuple(made)


def flatten_loads(value: Node) -> Node:
    """Every load's indices worked out again from flat addresses, which may simplify them."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is ops.LOAD and len(src) > 3:
            src = (src[0], src[1], *_flattened(src[2:], src[0].shape))
        return index.rebuild(current, src)

    return transforms.rewrite_expression(value, rule)


def _flattened(at: tuple[Node, ...], shape: tuple[int, ...]) -> Iterator[Node]:
    """Indices from the flat addresses of neighbouring axes.

    An index that may be outside its axis, where a mask holds, begins anew.
    """
    first = 0
    for axis in range(1, len(at) + 1):
        if axis < len(at):
            low, high = index.bounds(at[axis])
            if low >= 0 and high < shape[axis]:
                continue
        yield from index.unravel(index.ravel(at[first:axis], shape[first:axis]), shape[first:axis])
        first = axis


def is_awkward(value: Node, counter: Node) -> bool:
    """True if some address or condition in `value` is not linear in `counter`."""
    for x in topological([value], _addresses):
        if x.dtype is dtypes.index and counter in index.variables(x):
            if index.coefficient(x, counter) is None:
                return True
        elif x.op in (ops.LT, ops.LE, ops.EQ) and any(
            s.dtype is dtypes.index and is_awkward(s, counter) for s in x.src
        ):
            return True
    return False


def _addresses(x: Node) -> tuple[Node, ...]:
    """What to look at below `x`: a load stands for its flat address and its condition."""
    if x.dtype is dtypes.index and x.op is not ops.CHECKED:
        return ()
    if x.op is ops.LOAD:
        return (x.src[1], index.ravel(x.src[2:], x.src[0].shape))
    return x.src
