"""Sums of products: matrix products, convolutions and their gradients, all by one recipe.

The counters of `out[...] = sum of a[...] * b[...]` fall into three groups: M only moves `a`, N
only moves `b`, K is summed over. One N counter becomes vector lanes; a few iterations of one M
counter are unrolled beside it, so that a tile of the result stays in registers while K runs:
each step loads one row of `b` and multiplies it by single elements of `a`. (`a` and `b` may
change places.) `b` is packed first if its rows are not contiguous, `a` if it is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from gradlet.base.target import Target
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, load
from gradlet.ir.node import Node, node, topological
from gradlet.lower import transforms
from gradlet.lower.loops import Assign, Body, Loop, loop
from gradlet.lower.nest import loops_of

_BLOCK = 1024  # terms that are added up one after the other


@dataclass(frozen=True)
class Tile:
    """What was chosen for a contraction: plain data.

    Attributes:
        broadcast, rows: the factor read element by element, and the one read as vectors.
        lanes_of: the counter of `rows` that becomes lanes; `width` of them at once.
        unrolled: the counter of `broadcast` of which `height` iterations are unrolled.
        pack: whether `rows` is packed first.
    """

    broadcast: Node
    rows: Node
    lanes_of: Node
    width: int
    unrolled: Node | None
    height: int
    pack: bool


def factors(nest: Nest) -> tuple[Node, Node] | None:
    """The two factors of the nest's sum of products, if that is what it computes."""
    if len(nest.stores) != 1 or nest.stores[0].accumulate is not None:
        return None
    folds = [x for x in topological([nest.stores[0].value]) if x.op is ops.FOLD_RANGES]
    if len(folds) != 1 or folds[0].arg is not ops.ADD or folds[0].src[0].op is not ops.MUL:
        return None
    a, b = folds[0].src[0].src
    outer = set(nest.ranges)
    only_a = outer & index.variables(a) - index.variables(b)
    only_b = outer & index.variables(b) - index.variables(a)
    return (a, b) if only_a and only_b else None


def contraction_phases(nest: Nest, target: Target) -> Body | None:
    """The phases of a contraction, or None if no tile suits it."""
    fold = next(x for x in topological([nest.stores[0].value]) if x.op is ops.FOLD_RANGES)
    summed = fold.src[1:]
    tile = choose_tile(nest, summed, target)
    if tile is None:
        return None
    body = loops_of(sum_in_blocks(nest, fold))
    phases: Body = ()
    padded = pad_once(tile.broadcast, target)
    if padded is not None:
        fill, value = padded
        phases += fill
        body = transforms.map_values(body, tile.broadcast, value)
    if tile.pack:
        varying = index.variables(tile.rows)
        outer = [c for c in nest.ranges if c in varying and c is not tile.lanes_of]
        order = (*outer, *(c for c in summed if c in varying), tile.lanes_of)
        fill, body, _ = transforms.stage(body, tile.rows, order, "packed")
        phases += _fill_in_vectors(fill, tile.lanes_of, target)
    tiled = apply_tile(body, nest, tile)
    return (*phases, *_outermost_parallel(tiled))


def sum_in_blocks(nest: Nest, fold: Node) -> Nest:
    """A long sum becomes a sum of shorter ones, whose rounding errors grow with their lengths.

        sum over i, j of f   ->   sum over i of (sum over j of f)

    Sums of at most `_BLOCK` terms, and those over one counter, stay as they are.
    """
    product, *counters = fold.src
    if len(counters) < 2 or prod(c.arg[1] for c in counters) <= _BLOCK:
        return nest
    inner = [counters.pop()]
    while len(counters) > 1 and prod(c.arg[1] for c in (*inner, counters[-1])) <= _BLOCK:
        inner.insert(0, counters.pop())
    block = node(ops.FOLD_RANGES, (product, *inner), ops.ADD, fold.dtype, ())
    blocks = node(ops.FOLD_RANGES, (block, *counters), ops.ADD, fold.dtype, ())
    (store,) = nest.stores
    value = transforms.replace_value(store.value, fold, blocks)
    return replace(nest, stores=(replace(store, value=value),))


def choose_tile(nest: Nest, summed: tuple[Node, ...], target: Target) -> Tile | None:
    """The cheapest choice of lanes by an estimate of vector operations."""
    pair = factors(nest)
    assert pair is not None
    lanes = target.lanes(4)
    total = prod(c.arg[1] for c in (*nest.ranges, *summed))
    best: tuple[float, Tile] | None = None
    for broadcast, rows in (pair, pair[::-1]):
        if broadcast.op is not ops.LOAD:
            continue
        mine = index.variables(rows) - index.variables(broadcast)
        theirs = index.variables(broadcast) - index.variables(rows)
        for counter in (c for c in nest.ranges if c in mine):
            size = counter.arg[1]
            direct = _is_contiguous(rows, counter)
            vectors = ceil(size / lanes)
            packed = 0 if direct else prod(c.arg[1] for c in index.variables(rows))
            cost = total / size * vectors + packed * 2
            stored = index.ravel(nest.stores[0].index, nest.stores[0].target.shape)
            if index.coefficient(stored, counter) != 1:
                cost += prod(c.arg[1] for c in nest.ranges) / 2
            if size < lanes // 4 or (best is not None and cost >= best[0]):
                continue
            width = _width(size, lanes)
            height_limit = max(1, (target.vector_registers - 6) // max(1, ceil(width / lanes)))
            unrolled, height = _unrolled(nest.ranges, theirs, broadcast, height_limit)
            tile = Tile(broadcast, rows, counter, width, unrolled, height, not direct)
            best = (cost, tile)
    return None if best is None else best[1]


def _width(size: int, lanes: int) -> int:
    """Lanes of the tile: up to four vectors that divide the extent well."""
    if size <= lanes:
        return size
    for vectors in (4, 2, 3):
        if size % (vectors * lanes) == 0:
            return vectors * lanes
    return min(2 * lanes, size // lanes * lanes)


def _unrolled(
    ranges: tuple[Node, ...], theirs: frozenset[Node], broadcast: Node, limit: int
) -> tuple[Node | None, int]:
    """The counter to unroll and how far: as near to `limit` as divides the extent."""
    flat = index.ravel(broadcast.src[2:], broadcast.src[0].shape)
    found: tuple[float, Node | None, int] = (0, None, 1)
    for counter in ranges:
        if counter not in theirs or index.coefficient(flat, counter) is None:
            continue
        size = counter.arg[1]
        if size <= limit:
            height, score = size, float(size)
        else:
            height = max(h for h in range(1, limit + 1) if size % h == 0)
            if height < limit * 0.6:
                height = limit
            score = height * (size / (ceil(size / height) * height))
        if score >= found[0]:
            found = (score, counter, height)
    return found[1], found[2]


def _is_contiguous(rows: Node, counter: Node) -> bool:
    if rows.op is not ops.LOAD or rows.src[1] is not index.TRUE:
        return False
    return index.coefficient(index.ravel(rows.src[2:], rows.src[0].shape), counter) == 1


def apply_tile(body: Body, nest: Nest, tile: Tile) -> Body:
    """Splits, unrolls and vectorises the plain loops as the tile says."""
    inner = [c for c in (tile.lanes_of, tile.unrolled) if c is not None]
    others = [c for c in nest.ranges if c not in inner]
    body = transforms.reorder(body, (*others, *inner))
    body, _, lanes = transforms.split(body, tile.lanes_of, tile.width)
    rest = tile.lanes_of.arg[1] % tile.width
    lane_tail = index.loop(f"{tile.lanes_of.arg[0]}t", rest) if rest else None
    if tile.unrolled is not None:
        name, size = tile.unrolled.arg
        body, _, rows = transforms.split(body, tile.unrolled, tile.height)
        row_tail = index.loop(f"{name}t", size % tile.height) if size % tile.height else None
        for counter in (rows, row_tail):
            if counter is not None and counter.op is ops.RANGE:
                body = transforms.mark(body, counter, "unroll")
                body = transforms.distribute(body, counter)
    for counter in (lanes, lane_tail):
        if counter is not None and counter.op is ops.RANGE:
            body = transforms.mark(body, counter, "vector", check=False)
            body = transforms.distribute(body, counter)
    return body


def pad_once(value: Node, target: Target) -> tuple[Body, Node] | None:
    """A masked load becomes a plain one from a copy with the zeros in place.

        x[i - 1] if 1 <= i <= n else 0   ->   padded[i], after padded[1 + j] = x[j] for all j

    Returns:
        the loops that fill the copy and the load from it, or None where there is no mask, or one
        that says more than that the indices exist.
    """
    if value.op is not ops.LOAD or value.src[1] is index.TRUE:
        return None
    array, valid, *at = value.src
    spans = [index.bounds(i) for i in at]
    exists = _inside(at, array.shape)
    if index.and_(exists, valid) is not exists:
        return None
    shape = tuple(high - low + 1 for low, high in spans)
    if prod(shape) > 4 * array.size + 4096:
        return None
    padded = node(ops.SCRATCH, (), "padded", array.dtype, shape)
    counters = tuple(index.loop(f"z{axis}", extent) for axis, extent in enumerate(shape))
    source = tuple(index.add(c, low) for c, (low, _) in zip(counters, spans, strict=True))
    fill: Body = (Assign(padded, counters, load(array, source, _inside(source, array.shape))),)
    for counter in reversed(counters):
        fill = loop(counter, fill)
    moved = tuple(index.sub(i, low) for i, (low, _) in zip(at, spans, strict=True))
    return _fill_in_vectors(fill, counters[-1], target), load(padded, moved)


def _inside(at: Sequence[Node], shape: tuple[int, ...]) -> Node:
    """The condition that an array of `shape` has an element at `at`."""
    return index.and_(
        *(
            index.and_(index.le(0, i), index.le(i, extent - 1))
            for i, extent in zip(at, shape, strict=True)
        )
    )


def _fill_in_vectors(fill: Body, counter: Node, target: Target) -> Body:
    """Scratch memory is filled a vector at a time along `counter`, the innermost loop."""
    if counter.op is not ops.RANGE:
        return _outermost_parallel(fill)
    width = min(counter.arg[1], target.lanes(4))
    fill, _, inner = transforms.split(fill, counter, width)
    fill = transforms.mark(fill, inner, "vector", check=False)
    rest = counter.arg[1] % width
    if rest > 1:
        tail = index.loop(f"{counter.arg[0]}t", rest)
        fill = transforms.mark(fill, tail, "vector", check=False)
    return _outermost_parallel(fill)


def _outermost_parallel(body: Body) -> Body:
    """Each phase's outer loops, fused until there are enough iterations for all threads."""
    made: Body = ()
    for phase in body:
        while isinstance(phase, Loop) and phase.kind == "serial" and phase.size < 16:
            inside = phase.body
            if len(inside) != 1 or not isinstance(inside[0], Loop) or inside[0].kind != "serial":
                break
            (phase,) = transforms.fuse((phase,), phase.counter, inside[0].counter)[0]
        made += transforms.parallel_if_possible(phase)
    return made
