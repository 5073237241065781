"""How long a contraction takes with a tile, by what its loops load, multiply and copy."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod

from gradlet.base.target import LINE_BYTES, Target
from gradlet.ir import index, ops
from gradlet.ir.node import Node
from gradlet.lower.loops import size
from gradlet.lower.tile import Contraction, Tile

_MEMORY = 0.5  # cycles to write an element to memory and read it again
_COPY = 1.5  # cycles to move an element that is not in line
_FAR = 20.0  # cycles to write to a cache line that has to come from the second-level cache
_TRANSPOSE = 0.6  # cycles to move an element in squares that are transposed in registers
_RETURN = 0.6  # cycles to write a sum to the second-level cache and read it again
_PER_TILE = 40.0  # cycles to begin and end a tile
_CACHE_BYTES = 24.0  # that the second-level cache delivers in a cycle
_WAYS = 8  # lines with equal lower address bits that the first-level cache holds
_LATENCY = 4.0  # cycles from a multiplication and addition to the next on the same register


def estimate(c: Contraction, tile: Tile, target: Target) -> float:
    """Cycles that a contraction takes one core with a tile."""
    lanes = target.lanes(c.fold.dtype.itemsize)
    vectors = tile.width // lanes
    terms = prod(size(t) for t in c.terms)
    results = prod(size(r) for r in c.nest.ranges)
    chunks = ceil(size(tile.lanes[0]) / tile.chunk)
    rows_wasted = tile.padded * chunks / prod(size(r) for r in tile.lanes)
    height_wasted = prod(u.tiles * u.height / size(u.counter) for u in tile.unrolled)
    tiles = results * rows_wasted * height_wasted / (tile.width * tile.height)
    rows, other = c.factors[tile.rows], c.factors[1 - tile.rows]
    loads = 2 * vectors if tile.strip else vectors  # those of strips lie across two cache lines
    step = max(vectors * tile.height, loads + tile.height, 2 * _LATENCY) / 2
    if not tile.strip:
        step = max(step, vectors * target.vector_bytes / _CACHE_BYTES)
    step += 0.02 * (loads + tile.height)
    if not tile.pack_broadcast and tile.height > _WAYS and _meet(c, tile):
        step = max(step, tile.height * LINE_BYTES / _CACHE_BYTES)
    cycles = tiles * (terms * step + _PER_TILE)
    if not tile.pack_broadcast:
        flat = c.addresses[1 - tile.rows]
        assert flat is not None, "what is no plain load is packed"
        used = {t: size(t) for t in c.terms} | {u.counter: u.height for u in tile.unrolled}
        touched = _lines(flat, used, other.dtype.itemsize) * LINE_BYTES
        cycles += tiles * touched / _CACHE_BYTES if touched > target.l1_bytes / 2 else 0
    if tile.strip:
        chunks *= prod(size(v) for v in index.variables(rows) & {*c.nest.ranges} - {*tile.lanes})
        packed = tile.strip.length(tile.padded, size(tile.lanes[0]) - tile.chunk)
        packed *= prod(size(t) for t in tile.strip.terms) * chunks
        cycles += packed * _copying(size(tile.strip.places[-1]), lanes, whole=False)
        cycles += packed * _MEMORY if tile.rows_at == "before" else 0
    elif tile.rows_at != "place":
        elements = prod(size(v) for v in index.variables(rows) & c.counters)
        # Loops around the nest that only the other factor varies with share what is packed.
        sharing = index.variables(other) - index.variables(rows) - c.counters
        elements = ceil(elements / prod(size(v) for v in sharing))
        last = size(tile.lanes[-1])
        in_line = last > 1 and c.is_in_line(tile.rows, tile.lanes[-1])
        across = _TRANSPOSE if last >= lanes and _transposes(c, tile, lanes) else _COPY
        cycles += elements * (_copying(last, lanes, last % lanes == 0) if in_line else across)
        cycles += elements * _MEMORY if tile.rows_at == "before" else 0
    if tile.pack_broadcast:
        cycles += prod(size(v) for v in index.variables(other) & c.counters) * _COPY
    for factor in (rows, other):
        if factor.op is ops.LOAD and factor.src[0].op is ops.SCRATCH:  # padded; strips are by this
            copied = 0 if tile.strip and factor is rows else factor.src[0].size
            kept = tile.pad_by_block and factor is other
            cycles += copied * ((0 if kept else _MEMORY) + 4 / lanes)
    in_line = index.coefficient(c.stored, tile.lanes[-1]) == 1
    exact = tile.strip is None or tile.strip.spans[1:] == tuple(size(x) for x in tile.lanes[1:])
    direct = exact and tile.padded == tile.used and tile.block == (0, size(c.terms[0]))
    sums = prod(u.chunk for u in tile.unrolled) * tile.padded * c.fold.dtype.itemsize
    if not (in_line and direct):
        cycles += results * (_RETURN if sums > target.l1_bytes else 3 / lanes)
    return cycles + results * (3 / lanes if in_line else _scattering(c, tile, target))


def _scattering(c: Contraction, tile: Tile, target: Target) -> float:
    """Cycles to store a result that is not in line with the one before."""
    chunk = {r: size(r) for r in tile.lanes} | {u.counter: u.chunk for u in tile.unrolled}
    chunk[tile.lanes[0]] = tile.chunk
    lines = _lines(c.stored, chunk, c.fold.dtype.itemsize)
    if lines * LINE_BYTES <= target.l1_bytes / 2:
        return _COPY
    return max(_COPY, _FAR * lines / prod(chunk.values()))


def _lines(flat: Node, counters: Mapping[Node, int], itemsize: int) -> int:
    """About how many cache lines the elements at an address lie in, as counters run so far."""
    distinct: dict[int, int] = {}
    for counter, extent in counters.items():
        step = abs(index.coefficient(flat, counter) or 0)
        if step:
            distinct[step] = distinct.get(step, 1) + extent - 1
    line = LINE_BYTES // itemsize
    run, lines = 1, 1
    for step, count in sorted(distinct.items()):
        if step <= max(run, line):
            run += step * (count - 1)
        else:
            lines *= count
    return lines * ceil(run / line)


def _meet(c: Contraction, tile: Tile) -> bool:
    """True if the elements that a tile broadcasts together compete for places in the cache."""
    flat, itemsize = c.addresses[1 - tile.rows], c.factors[1 - tile.rows].dtype.itemsize
    assert flat is not None, "what is no plain load is packed"
    steps = [index.coefficient(flat, u.counter) for u in tile.unrolled]
    return any(s is not None and s * itemsize % 2048 == 0 for s in steps)


def _transposes(c: Contraction, tile: Tile, lanes: int) -> bool:
    """True if rows lie along a term that is long enough to read them in squares."""
    return any(c.is_in_line(tile.rows, t) and size(t) >= lanes for t in c.terms)


def _copying(length: int, lanes: int, whole: bool) -> float:
    """Cycles to copy one of `length` neighbours, in `whole` vectors or under a mask."""
    return (2 if whole else 4) * ceil(length / lanes) / length
