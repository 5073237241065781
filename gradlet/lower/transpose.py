"""Maps that read along one axis and write along another, a square of registers at a time."""

from __future__ import annotations

from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest
from gradlet.ir.node import Node, node, topological
from gradlet.lower.loops import Assign, Body, loop, read
from gradlet.lower.transforms import replace_value

_SHORTEST = 4  # elements between lanes that are still read by whole vectors
_BLOCK_BYTES = 16  # of a vector, which shuffles of elements do not leave


def transposed(nest: Nest, target: Target) -> Body | None:
    """The loops of a map that transposes, or None for any other nest.

        for i in 32: for j in 48: out[i, j] = f(x[j, i])
     ->
        for i_tile in 2: for j_tile in 3:
          each row of a 16 x 16 square of x is read as one vector,
          the square is transposed in registers, in 4 steps of 16 shuffles,
          and each of its rows written as one vector

    The last squares of an axis overlap those before them where its extent is no multiple.
    """
    found = _axes(nest, target)
    if found is None:
        return None
    value, along, across = found
    lanes = target.lanes(value.dtype.itemsize)
    lane = index.loop("lane", lanes)
    steps = {c: index.loop(f"{c.arg[0]}s", -(-c.arg[1] // lanes)) for c in (along, across)}
    start = {
        c: index.minimum(index.scale(step, lanes), c.arg[1] - lanes) for c, step in steps.items()
    }
    square = _square("rows", lanes, value.dtype)
    body: Body = ()
    for i in range(lanes):
        places = {along: index.add(start[along], lane), across: index.add(start[across], i)}
        body += (Assign(square, (index.const(i), lane), index.replace(value, places)),)
    square, shuffles = _transpose(square, lane)
    body += shuffles
    (store,) = nest.stores
    for i in range(lanes):
        places = {along: index.add(start[along], i), across: index.add(start[across], lane)}
        row = read(square, index.const(i), lane)
        moved = index.replace(store.value, places)
        at = tuple(index.replace(j, places) for j in store.index)
        changed = replace_value(moved, index.replace(value, places), row)
        body += (Assign(store.target, at, changed),)
    body = loop(lane, body, "vector")
    others = [c for c in nest.ranges if c not in (along, across)]
    for counter in reversed((*others, steps[across], steps[along])):
        body = loop(counter, body)
    return body


def _axes(nest: Nest, target: Target) -> tuple[Node, Node, Node] | None:
    """The load that lies across, the counter along which it reads and that of the writes."""
    if len(nest.stores) != 1 or nest.stores[0].accumulate is not None:
        return None
    (store,) = nest.stores
    written = index.ravel(store.index, store.target.shape)
    across = next((c for c in nest.ranges if index.coefficient(written, c) == 1), None)
    loads = [x for x in topological([store.value]) if x.op is ops.LOAD]
    if across is None or any(x.op is ops.CHECKED for x in topological([store.value])):
        return None
    if any(x.src[0] is store.target for x in loads):  # what is done twice must not change it
        return None
    for x in loads:
        flat = index.ravel(x.src[2:], x.src[0].shape)
        step = index.coefficient(flat, across)
        along = next((c for c in nest.ranges if index.coefficient(flat, c) == 1), None)
        lanes = target.lanes(x.dtype.itemsize)
        if along is None or step is None or abs(step) <= _SHORTEST or x.src[1] is not index.TRUE:
            continue
        if lanes > 1 and min(along.arg[1], across.arg[1]) >= lanes and x.dtype.itemsize >= 4:
            return x, along, across
    return None


def _square(name: str, lanes: int, dtype: DType) -> Node:
    return node(ops.LOCAL, (), name, dtype, (lanes, lanes))


def _transpose(square: Node, lane: Node) -> tuple[Node, Body]:
    """Rows are shuffled in pairs, such as cards of two packs (Stone, 1971), once for each bit.

    First the even blocks of 16 bytes of two rows become one row and the odd ones another, then
    elements within blocks alternate. Processors have an instruction for either, and need no list
    of lanes for it in a register.

    Returns:
        the array whose rows are the columns of `square`, and the statements that fill it.
    """
    lanes = lane.arg[1]
    block = min(lanes, _BLOCK_BYTES // square.dtype.itemsize)
    half = block // 2
    parted = [[j for j in range(2 * lanes) if j // block % 2 == odd] for odd in (0, 1)]
    mixed = [
        [j + a for j in range(lanes) if j % block // half == upper for a in (0, lanes)]
        for upper in (0, 1)
    ]
    steps = [(block << n, parted) for n in range((lanes // block).bit_length() - 1)]
    steps += [(half >> n, mixed) for n in range(half.bit_length())]
    body: Body = ()
    for step, orders in steps:
        before, square = square, _square(f"rows{step}", lanes, square.dtype)
        for i in range(lanes):
            pair = tuple(read(before, index.const(r), lane) for r in (i & ~step, i | step))
            order = tuple(orders[i // step % 2])
            row = node(ops.SHUFFLE, pair, order, square.dtype, ())
            body += (Assign(square, (index.const(i), lane), row),)
    return square, body
