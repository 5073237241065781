"""Reductions: many accumulators, all threads, and sums short enough to stay accurate.

A long reduction first becomes one of blocks, each by itself, and one of their results. What
blocks there are depends on the extents alone, and results are combined in a fixed order: the
same numbers come out whatever thread took which block. Each piece then has its lanes either
*along* a counter that it reduces, with partial results in lanes, or *across* one that it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, gcd

from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import Node, node, topological
from gradlet.lower import transforms
from gradlet.lower.collapse import collapse
from gradlet.lower.linear import STEPS
from gradlet.lower.loops import Body, assigns
from gradlet.lower.maps import (
    PARALLEL_WORK,
    PIECES,
    best_vector,
    extent,
    fetching,
    is_heavy,
    map_phases,
    spread_over_threads,
    to_lanes,
    unit_loads,
    vectorize,
)
from gradlet.lower.nest import loops_of

_BLOCKS = 64  # at most so many partial results of one element
_LONG = 1 << 15  # floats that are not added up without blocks
_SHORT = 4096  # floats that the lanes of a few vectors add up in one go
_VECTORS = 12  # of accumulators that stay in registers
_WINDOW = 9  # elements that are reduced without a loop
_ROWS = 64  # rows of a column sum that a block has at least


def reduction_phases(nest: Nest, target: Target, name: str = "") -> Body:
    """The phases of a nest that reduces. `name` begins the names of its scratch arrays."""
    counters = _reduction_counters(nest)
    along = best_vector(counters, nest, target)
    across = best_vector(nest.ranges, nest, target)
    in_rows = along is not None and unit_loads(nest, along) >= unit_loads(nest, across)
    if along is not None and along.arg[1] < target.lanes(4) // 2:
        in_rows = in_rows and not _has_near_lanes(nest, across)
    fold = _only_fold(nest)
    if fold is None:
        body = loops_of(nest)
        if across is not None and not _is_nested(nest):
            body = _lanes_last(body, nest, across)
            body = vectorize(body, across, target.lanes(4), nest)
        return spread_over_threads(body)
    blocks = (
        _blocks_of_rows(nest, fold) if in_rows else _blocks_of_columns(nest, fold, across, target)
    )
    if blocks is not None:
        return _in_blocks(nest, fold, blocks, target, name)
    if in_rows and along is not None:
        body = spread_over_threads(_reduce_along(nest, fold, along, target))
        outer = [c for c in (*nest.ranges, *fold.src[1:]) if c is not along]
        return fetching(body, nest, target, (*outer[-1:], along))
    if across is not None:
        return spread_over_threads(_reduce_across(nest, fold, across, target))
    return spread_over_threads(loops_of(nest))


def _reduction_counters(nest: Nest) -> tuple[Node, ...]:
    return tuple(counter for fold in _folds(nest) for counter in fold.src[1:])


def _folds(nest: Nest) -> list[Node]:
    values = [store.value for store in nest.stores]
    return [x for x in topological(values) if x.op is ops.FOLD_RANGES]


def _only_fold(nest: Nest) -> Node | None:
    """The reduction of a nest that has just one, and one result."""
    folds = _folds(nest)
    return folds[0] if len(folds) == len(nest.stores) == 1 else None


def _is_nested(nest: Nest) -> bool:
    return any(x.op is ops.FOLD_RANGES for f in _folds(nest) for x in topological([f.src[0]]))


def _has_near_lanes(nest: Nest, counter: Node | None) -> bool:
    """True if the elements that lanes along `counter` read lie no more than a few apart."""
    values = [store.value for store in nest.stores]
    loads = [x for x in topological(values) if x.op is ops.LOAD]
    return counter is not None and all(
        index.coefficient(index.ravel(x.src[2:], x.src[0].shape), counter) in (0, 1, *STEPS)
        for x in loads
    )


# Blocks


@dataclass(frozen=True)
class Blocks:
    """How `counter`'s iterations are shared out: plain data.

    Iteration `(block * length + step) * lanes + lane` belongs to `block` and `lane`, whose
    results are kept apart; what is left over after all blocks is reduced by itself.
    """

    counter: Node
    count: int
    length: int
    lanes: int = 1


def split_reduction(
    nest: Nest, fold: Node, blocks: Blocks, name: str = ""
) -> list[tuple[str, Nest]]:
    """A long reduction as one of blocks, one of what is left over, and one of their results.

        out[i] = f(sum over k in 1000 of x[i, k])
     ->
        part[b, i] = sum over s in 240 of x[i, b * 240 + s]          for b in 4
        rest[i] = sum over t in 40 of x[i, t + 960]
        out[i] = f((sum over b in 4 of part[b, i]) + rest[i])

    Returns:
        the nests in running order, each with a name for scratch arrays of its own.
    """
    counter, width = blocks.counter, blocks.length * blocks.lanes
    (store,) = nest.stores
    label, size = counter.arg
    block, step = index.loop(f"{label}b", blocks.count), index.loop(f"{label}s", blocks.length)
    lane = index.loop(f"{label}l", blocks.lanes)
    place = index.add(index.scale(block, width), index.scale(step, blocks.lanes), lane)
    apart = [c for c in (block, lane) if c.op is ops.RANGE]
    first = _with_counter(fold, counter, place, step)
    kept = tuple(sorted((*nest.ranges, *apart), key=lambda c: -_stride(first, c)))
    part = node(ops.SCRATCH, (), f"{name}part", fold.dtype, tuple(c.arg[1] for c in kept))
    pieces = [(f"{name}part_", Nest(kept, (Store(part, kept, first),)))]
    joined = load(part, kept)
    if apart:
        joined = node(ops.FOLD_RANGES, (joined, *apart), fold.arg, fold.dtype, ())
    done = blocks.count * width
    if done < size:
        tail = index.loop(f"{label}t", size - done)
        left = _with_counter(fold, counter, index.add(tail, done), tail)
        shape = tuple(c.arg[1] for c in nest.ranges)
        rest = node(ops.SCRATCH, (), f"{name}rest", fold.dtype, shape)
        pieces.append((f"{name}rest_", replace(nest, stores=(Store(rest, nest.ranges, left),))))
        joined = build.binary(fold.arg, joined, load(rest, nest.ranges))
    value = transforms.replace_value(store.value, fold, joined)
    pieces.append((f"{name}all_", replace(nest, stores=(replace(store, value=value),))))
    return pieces


def _with_counter(fold: Node, counter: Node, place: Node, new: Node) -> Node:
    """The reduction over `new` in place of `counter`, which stands at `place`."""
    value = index.replace(fold.src[0], {counter: place})
    counters = [new if c is counter else c for c in fold.src[1:]]
    counters = [c for c in counters if c.op is ops.RANGE]
    return node(fold.op, (value, *counters), fold.arg, fold.dtype, ()) if counters else value


def _stride(value: Node, counter: Node) -> int:
    """How far one step of `counter` moves in the largest array that it moves in."""
    loads = [x for x in topological([value]) if x.op is ops.LOAD]
    steps = [
        (x.src[0].size, index.coefficient(index.ravel(x.src[2:], x.src[0].shape), counter) or 0)
        for x in loads
    ]
    return max(((size, abs(step)) for size, step in steps if step), default=(0, 0))[1]


def _in_blocks(nest: Nest, fold: Node, blocks: Blocks, target: Target, name: str) -> Body:
    phases: Body = ()
    for part, piece in split_reduction(nest, fold, blocks, name):
        piece = collapse(piece)
        if _folds(piece):
            phases += reduction_phases(piece, target, part)
        else:
            phases += map_phases(piece, target)
    return phases


def _adds_floats(fold: Node) -> bool:
    return fold.arg is ops.ADD and fold.dtype.is_float


def _blocks_of_rows(nest: Nest, fold: Node) -> Blocks | None:
    """Blocks where there are too few rows for all threads, or floats would add up too long."""
    counters = fold.src[1:]
    total, rows = extent(counters), extent(nest.ranges)
    idle = rows < PIECES and total * rows > PARALLEL_WORK
    if not idle and not (_adds_floats(fold) and total >= _LONG):
        return None
    counter = counters[0]
    size = counter.arg[1]
    length = ceil(size / _BLOCKS)
    if len(counters) == 1:
        unit = _SHORT if size >= _BLOCKS * _SHORT else _SHORT // 8
        length = ceil(length / unit) * unit
    return Blocks(counter, size // length, length) if size >= 2 * length else None


def _blocks_of_columns(
    nest: Nest, fold: Node, across: Node | None, target: Target
) -> Blocks | None:
    """Blocks of rows for all threads; several rows side by side where they are narrow."""
    counters = fold.src[1:]
    outer, inner = counters[0], counters[-1]
    size = outer.arg[1]
    many = extent(counters) * extent(nest.ranges) > PARALLEL_WORK
    lanes = _rows_side_by_side(nest, fold, across, target)
    if outer is inner:
        steps = size // lanes
        length = max(_ROWS, ceil(steps / _BLOCKS))
        if many and steps >= 2 * length:
            return Blocks(outer, steps // length, length, lanes)
        return Blocks(outer, 1, steps, lanes) if lanes > 1 else None
    length = max(ceil(size / _BLOCKS), ceil(_ROWS * size / extent(counters)))
    if many and size >= 2 * length:
        return Blocks(outer, size // length, length)
    return Blocks(inner, 1, inner.arg[1] // lanes, lanes) if lanes > 1 else None


def _rows_side_by_side(nest: Nest, fold: Node, across: Node | None, target: Target) -> int:
    """How many narrow rows, one behind the other in memory, are reduced as one wide row."""
    inner, lanes = fold.src[-1], target.lanes(4)
    if across is None or across is not nest.ranges[-1] or across.arg[1] >= 4 * lanes:
        return 1
    columns = across.arg[1]
    unit = lanes // gcd(lanes, columns)
    rows = unit * max(1, ceil(8 * lanes / (unit * columns)))
    if inner.arg[1] < 4 * rows:
        return 1
    ((_, piece), *_) = split_reduction(nest, fold, Blocks(inner, 1, inner.arg[1] // rows, rows))
    wide = rows * columns
    return rows if any(c.arg[1] == wide for c in collapse(piece).ranges) else 1


# One piece


def _reduce_along(nest: Nest, fold: Node, along: Node, target: Target) -> Body:
    """Partial results in the lanes of a few vectors, put together at the end."""
    body = loops_of(nest)
    size, lanes = along.arg[1], target.lanes(4)
    if size < lanes // 2:
        return body
    accumulator = next(a.target for a in assigns(body) if a.accumulate is not None)
    others = [c for c in fold.src[1:] if c is not along]
    body = transforms.reorder(body, (*others, along))
    wide = 4 if is_heavy(nest) or fold.dtype.itemsize > 4 else 8
    for vectors in (wide, 4, 1):
        width = vectors * lanes
        if along.op is not ops.RANGE or along.arg[1] < (2 * width if vectors > 1 else width):
            continue
        rest = along.arg[1] % width
        body, _, inner = transforms.split(body, along, width)
        body = transforms.privatize(body, inner, accumulator)
        if not rest:
            return body
        along = index.loop(f"{along.arg[0]}t", rest)
    if others and along.op is ops.RANGE and along.arg[1] < lanes:
        body = transforms.privatize(body, along, accumulator)  # so many lanes in every row
    return body


def _reduce_across(nest: Nest, fold: Node, across: Node, target: Target) -> Body:
    """One accumulator for each column: in registers if the rows are narrow, else in cache.

        for j in 1000: acc[] = 0; for k in 64: acc[] += x[k, j]; out[j] = acc[]
    ->
        for jo:                       # strips of columns
          acc[all] = 0
          for ko: for ji in vector: for ki in unroll 4: acc[ji] += x[ko * 4 + ki, jo * 512 + ji]
          out[strip] = acc[all]
    """
    body = _lanes_last(loops_of(nest), nest, across)
    lanes = target.lanes(4)
    rest = across.arg[1] % lanes
    if rest * fold.dtype.itemsize > target.vector_bytes and rest.bit_count() > 1:
        lanes = target.lanes(fold.dtype.itemsize)  # LLVM takes other accumulators apart
    rows = index.const(0) if is_heavy(nest) else fold.src[-1]
    if across.arg[1] <= _VECTORS * lanes:
        kind = "serial" if is_heavy(nest) else "unroll"
        if extent(fold.src[1:]) <= _WINDOW:
            for counter in fold.src[1:]:
                body = transforms.mark(body, counter, "unroll")
        return _strip_in_lanes(transforms.distribute(body, across), across, lanes, kind)
    return in_strips(body, nest.ranges, across, rows, fold.dtype, target)


def in_strips(
    body: Body,
    ranges: tuple[Node, ...],
    across: Node,
    rows: Node,
    dtype: DType,
    target: Target,
    pieces: int = PIECES,
) -> Body:
    """The innermost loop of `ranges` in strips, whose accumulators stay in cache for all rows.

    Strips are so narrow that there are at least `pieces` of them, for all threads. `rows` is the
    counter of which some iterations are done at once, or a constant.
    """
    size, lanes = across.arg[1], target.lanes(4)
    outer = extent([c for c in ranges if c is not across and c is not rows])
    widest = target.l1_bytes // 2 // dtype.itemsize
    even = size * outer // pieces // lanes * lanes
    width = min(widest if outer >= PIECES else max(even, 8 * lanes), widest, size)
    body, _, strip = transforms.split(body, across, width)
    last = index.loop(f"{across.arg[0]}t", size % width) if size % width else index.const(0)
    strips = [c for c in (strip, last) if c.op is ops.RANGE]
    for counter in strips:
        body = transforms.distribute(body, counter)
    body = _rows_in_groups(body, rows)
    for counter in strips:
        body = _strip_in_lanes(body, counter, lanes)
    return body


def _lanes_last(body: Body, nest: Nest, vector: Node) -> Body:
    return transforms.reorder(body, (*[c for c in nest.ranges if c is not vector], vector))


def _rows_in_groups(body: Body, counter: Node) -> Body:
    """Four rows at a time are added to an accumulator while it is in a register.

       for k in 64: for j in 512: acc[j] += f
    ->
       for ko in 16: for j in 512: for ki in unroll 4: acc[j] += f
    """
    if counter.op is not ops.RANGE:
        return body
    size = counter.arg[1]
    rows = counter
    if size > 4:
        body, _, rows = transforms.split(body, counter, 4)
    rest = index.loop(f"{counter.arg[0]}t", size % 4) if size > 4 and size % 4 else index.const(0)
    for group in (rows, rest):
        if group.op is ops.RANGE:
            body = transforms.distribute(transforms.mark(body, group, "unroll"), group)
    return body


def _strip_in_lanes(body: Body, strip: Node, lanes: int, kind: str = "serial") -> Body:
    """All loops over a strip's columns as vectors and a last one of what is left."""
    if strip.arg[1] <= lanes:
        return to_lanes(body, strip)
    body, vectors, inner = transforms.split(body, strip, lanes)
    body = to_lanes(transforms.mark(body, vectors, kind), inner)
    rest = strip.arg[1] % lanes
    return to_lanes(body, index.loop(f"{strip.arg[0]}t", rest)) if rest else body
