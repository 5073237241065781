"""How long a contraction takes with a tile, by what its loops load, multiply and copy."""

from __future__ import annotations

from math import ceil, prod

from gradlet.base.target import LINE_BYTES, Target
from gradlet.ir import index
from gradlet.lower.tile import Contraction, Tile, size

_MEMORY = 0.5  # cycles to write an element to memory and read it again
_COPY = 1.5  # cycles to move an element that is not in line
_PER_TILE = 40.0  # cycles to begin and end a tile
_CACHE_BYTES = 32.0  # that the second-level cache delivers in a cycle
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
    step = max(vectors * tile.height, vectors + tile.height, 2 * _LATENCY) / 2
    step = max(step, vectors * target.vector_bytes / _CACHE_BYTES) + 0.02 * (vectors + tile.height)
    if not tile.pack_broadcast and tile.height > _WAYS and _meet(c, tile):
        step = max(step, tile.height * LINE_BYTES / _CACHE_BYTES)
    cycles = tiles * (terms * step + _PER_TILE)
    if not tile.pack_broadcast:
        touched = _lines(c, tile) * LINE_BYTES
        cycles += tiles * touched / _CACHE_BYTES if touched > target.l1_bytes / 2 else 0
    if tile.rows_at != "place":
        elements = prod(size(v) for v in index.variables(rows) & c.counters)
        # Loops around the nest that only the other factor varies with share what is packed.
        sharing = index.variables(other) - index.variables(rows) - c.counters
        elements = ceil(elements / prod(size(v) for v in sharing))
        together = (
            min(lanes, size(tile.lanes[-1])) if c.is_in_line(tile.rows, tile.lanes[-1]) else 1
        )
        cycles += elements * (2 / together if together > 1 else _COPY)
        cycles += elements * _MEMORY if tile.rows_at == "before" else 0
    if tile.pack_broadcast:
        cycles += prod(size(v) for v in index.variables(other) & c.counters) * _COPY
    in_line = index.coefficient(c.stored, tile.lanes[-1]) == 1
    return cycles + results * (3 / lanes if in_line else _COPY)


def _lines(c: Contraction, tile: Tile) -> int:
    """About how many cache lines the elements lie in that a tile broadcasts."""
    flat = c.addresses[1 - tile.rows]
    assert flat is not None, "what is no plain load is packed"
    distinct: dict[int, int] = {}
    for counter, extent in [
        *((t, size(t)) for t in c.terms),
        *((u.counter, u.height) for u in tile.unrolled),
    ]:
        step = abs(index.coefficient(flat, counter) or 0)
        if step:
            distinct[step] = distinct.get(step, 1) + extent - 1
    run, lines = 1, 1
    for step, count in sorted(distinct.items()):
        if step <= run:
            run += step * (count - 1)
        else:
            lines *= count
    return lines * ceil(run * c.factors[1 - tile.rows].dtype.itemsize / LINE_BYTES)


def _meet(c: Contraction, tile: Tile) -> bool:
    """True if the elements that a tile broadcasts together compete for places in the cache."""
    flat, itemsize = c.addresses[1 - tile.rows], c.factors[1 - tile.rows].dtype.itemsize
    assert flat is not None, "what is no plain load is packed"
    steps = [index.coefficient(flat, u.counter) for u in tile.unrolled]
    return any(s is not None and s * itemsize % 2048 == 0 for s in steps)
