"""Scans: running sums, products and extremes, in one pass over memory.

Lanes run *across* an axis that is not scanned, each with a carry of its own, or else *along*
the scanned one: then a vector is scanned within its lanes first, and the carry is put on top.
Where one long scan is all there is, its blocks are reduced first, so that all threads can then
scan a block each from what came before it.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import Node, node
from gradlet.lower import transforms
from gradlet.lower.collapse import collapse
from gradlet.lower.loops import Body
from gradlet.lower.maps import PARALLEL_WORK, best_vector, extent, spread_over_threads
from gradlet.lower.nest import loops_of, scan_of
from gradlet.lower.reductions import in_strips, reduction_phases

_BLOCKS = 64  # of one long scan
_FEW = 8  # scans that are too few to be shared evenly


def scan_phases(nest: Nest, target: Target) -> Body:
    """The phases of a nest that scans."""
    scan = scan_of(nest)
    assert scan is not None
    counter = scan.src[1]
    others = [c for c in nest.ranges if c is not counter]
    if extent(others) < _FEW and extent(nest.ranges) > 2 * PARALLEL_WORK:
        sums, offsets, *rest = split_scan(nest, scan)
        phases = reduction_phases(collapse(sums), target, "part_")
        for piece in (offsets, *rest):
            phases += scan_phases(collapse(piece), target)
        return phases
    vector = best_vector(nest.ranges, nest, target)
    body = loops_of(nest)
    lanes = target.lanes(4)
    if vector is not None and vector is not counter:
        body = transforms.reorder(body, (*[c for c in others if c is not vector], vector))
        body = in_strips(body, nest.ranges, vector, counter, scan.dtype, target, target.threads)
    elif counter.arg[1] >= lanes:
        rest_of_it = counter.arg[1] % lanes
        body, _, inner = transforms.split(body, counter, lanes)
        body = transforms.scan_in_lanes(body, inner)
        if rest_of_it > 1:
            tail = index.loop(f"{counter.arg[0]}t", rest_of_it)
            body = transforms.scan_in_lanes(body, tail)
    return spread_over_threads(body)


def split_scan(nest: Nest, scan: Node) -> list[Nest]:
    """One long scan as scans of blocks, each from the sum of the blocks before it.

       for k in 1000: out[k] = sum of x[k] up to this k
    ->
       for b in 4: part[b] = sum over s in 240 of x[b * 240 + s]
       for b in 5: before[b] = sum of (part[b - 1] if 1 <= b else 0) up to this b
       for b in 4: for s in 240: out[b * 240 + s] = before[b] + sum of x[..] up to this s
       for t in 40: out[t + 960] = before[4] + sum of x[t + 960] up to this t
    """
    (store,) = nest.stores
    value, counter = scan.src
    label, size = counter.arg
    length = ceil(size / _BLOCKS / 256) * 256
    count = size // length
    others = tuple(c for c in nest.ranges if c is not counter)
    shape = tuple(c.arg[1] for c in others)
    block, step = index.loop(f"{label}b", count), index.loop(f"{label}s", length)
    place = index.add(index.scale(block, length), step)

    part = node(ops.SCRATCH, (), "part", scan.dtype, (count, *shape))
    whole = node(
        ops.FOLD_RANGES, (index.replace(value, {counter: place}), step), scan.arg, scan.dtype, ()
    )
    sums = Nest((block, *others), (Store(part, (block, *others), whole),))

    before = node(ops.SCRATCH, (), "before", scan.dtype, (count + 1, *shape))
    bound = index.loop(f"{label}e", count + 1)
    follows = index.le(1, bound)
    start = build.const(build.identity_value(scan.arg, scan.dtype), scan.dtype)
    last = load(part, (index.sub(bound, 1), *others), follows)
    running = node(
        ops.SCAN_RANGE, (build.where(follows, last, start), bound), scan.arg, scan.dtype, ()
    )
    offsets = Nest((*others, bound), (Store(before, (bound, *others), running),))

    def scanned(ranges: tuple[Node, ...], at: Node, within: Node, earlier: Node) -> Nest:
        moved = index.replace(value, {counter: at})
        inner = node(ops.SCAN_RANGE, (moved, within), scan.arg, scan.dtype, ())
        total = build.binary(scan.arg, load(before, (earlier, *others)), inner)
        outer = transforms.replace_value(store.value, scan, total)
        outer = index.replace(outer, {counter: at})
        where = tuple(index.replace(i, {counter: at}) for i in store.index)
        return Nest(ranges, (replace(store, index=where, value=outer),))

    position = nest.ranges.index(counter)
    left, right = nest.ranges[:position], nest.ranges[position + 1 :]
    pieces = [sums, offsets, scanned((*left, block, step, *right), place, step, block)]
    if count * length < size:
        tail = index.loop(f"{label}t", size - count * length)
        at = index.add(tail, count * length)
        pieces.append(scanned((*left, tail, *right), at, tail, index.const(count)))
    return pieces
