"""The tiles that come into question for a contraction on a target, the best first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product as combinations
from math import ceil, prod

from gradlet.base.target import Target
from gradlet.ir import index
from gradlet.ir.node import Node
from gradlet.lower.estimate import estimate
from gradlet.lower.loops import size
from gradlet.lower.strips import Strip, reads_in_line, strip_of
from gradlet.lower.tile import Contraction, Tile, Unrolled

_WIDEST = 8  # vectors side by side in a tile
_LONGEST_SUM = 512  # terms that are added one after the other
_LONGEST_PANEL = 32  # vectors along a panel
_AHEAD = 8  # terms before they are used, rows are fetched from the second-level cache


def choose_tile(c: Contraction, target: Target) -> Tile | None:
    """The tile with the lowest estimate, or None where none is worth while."""
    return next(iter(best_tiles(c, target, 1)), None)


def best_tiles(c: Contraction, target: Target, count: int) -> list[Tile]:
    """The `count` tiles with the lowest estimates for each factor as rows, the lowest first."""
    left = {0: count, 1: count}
    found = []
    for tile in sorted(_candidates(c, target), key=lambda tile: estimate(c, tile, target)):
        left[tile.rows] -= 1
        if left[tile.rows] >= 0:
            found.append(_share(c, tile, target))
    return found


def _candidates(c: Contraction, target: Target) -> Iterator[Tile]:
    lanes = target.lanes(c.fold.dtype.itemsize)
    for rows in (0, 1):
        own, other = c.only(rows), c.only(1 - rows)
        runs = [own[i:j] for i in range(len(own)) for j in range(i + 1, len(own) + 1)]
        tall: dict[int, tuple[Unrolled, ...]] = {}
        for run in runs:
            if prod(size(r) for r in run) < lanes // 4:
                continue
            source = c.sources[rows]
            found = other and reads_in_line(source, run[-1])
            strip = strip_of(source, run, c.terms) if found else None
            for vectors in range(1, _WIDEST + 1):
                limit = (target.vector_registers - vectors - 1) // vectors
                if limit < 1:
                    continue
                if not other:
                    unrolled = _unrolled(c, tuple(x for x in own if x not in run)[-1:], limit)
                elif limit in tall:
                    unrolled = tall[limit]
                else:
                    unrolled = tall[limit] = _unrolled(c, other, limit)
                chunk = _chunk(c, run, vectors * lanes, target)
                whole = Tile(rows, run, 0, lanes, vectors * lanes, unrolled, (0, 0), "chunk", False)
                if chunk is not None:
                    tile = replace(whole, chunk=chunk)
                    tile = _in_blocks(c, replace(tile, block=_block(c, tile, target)))
                    tile = _packing(c, tile, target)
                    if other or tile.rows_at == "place":
                        yield tile
                if strip is not None:
                    yield from _in_strips(c, whole, strip, target)


def _in_strips(c: Contraction, tile: Tile, strip: Strip, target: Target) -> Iterator[Tile]:
    """The tile with rows in strips: as many in a chunk as the cache holds, and little waste."""
    extent, itemsize = size(tile.lanes[0]), c.fold.dtype.itemsize
    others = prod(size(r) for r in c.nest.ranges if r not in (*tile.lanes, *c.only(1 - tile.rows)))
    pieces = min(extent, ceil(4 * target.threads / others) if target.threads > 1 else 1)
    terms, results = prod(size(t) for t in strip.terms), prod(u.chunk for u in tile.unrolled)
    most = target.l2_bytes // 8 // itemsize
    last = replace(tile, chunk=1, strip=strip).used  # lanes of the last iteration in a chunk
    best: tuple[float, int] | None = None
    for chunk in dict.fromkeys(ceil(extent / n) for n in range(pieces, extent + 1)):
        lanes = (chunk - 1) * strip.line + last
        lanes = ceil(lanes / tile.width) * tile.width
        length = strip.length(lanes, extent - chunk)
        if (c.adds and extent % chunk) or max(terms * length, results * lanes) > most:
            continue
        waste = (lanes + length / 8) * ceil(extent / chunk)
        if best is None or waste < best[0]:
            best = (waste, chunk)
    if best is not None:
        tile = replace(tile, chunk=best[1], strip=strip)
        tile = replace(tile, block=_block(c, tile, target))
        position, count = tile.block
        cut = c.terms[: position + (count < size(c.terms[position]))]
        if set(cut) <= set(strip.terms):
            yield _packing(c, tile, target)


def _chunk(c: Contraction, run: tuple[Node, ...], width: int, target: Target) -> int | None:
    """Iterations of the first counter in one chunk: few enough for the cache, little waste."""
    extent, inner = size(run[0]), prod(size(r) for r in run[1:])
    if inner == 1:
        fits = extent > width - target.lanes(4) and not (c.adds and extent % min(extent, width))
        return min(extent, width) if fits else None
    best: tuple[float, int] | None = None
    most = _LONGEST_PANEL * target.lanes(4) // inner
    least = max(1, (width - target.lanes(4)) // inner + 1)
    for chunk in range(min(extent, most), least - 1, -1):
        if c.adds and extent % chunk:
            continue
        waste = ceil(chunk * inner / width) * width * ceil(extent / chunk)
        if best is None or waste < best[0]:
            best = (waste, chunk)
    return None if best is None else best[1]


def _unrolled(c: Contraction, counters: tuple[Node, ...], limit: int) -> tuple[Unrolled, ...]:
    """Counters to unroll: some as a whole, one in part, with the best use of registers."""
    best: tuple[float, tuple[Unrolled, ...]] = (0.0, ())
    for whole in combinations((False, True), repeat=len(counters)):
        full = [m for m, chosen in zip(counters, whole, strict=True) if chosen]
        taken = prod(size(m) for m in full)
        if taken > limit:
            continue
        made = tuple(Unrolled(m, size(m), size(m)) for m in full)
        score = taken / (taken + 2)
        if score > best[0]:
            best = (score, made)
        for m in (m for m, chosen in zip(counters, whole, strict=True) if not chosen):
            for height in range(2, min(limit // taken, size(m)) + 1):
                if c.adds and size(m) % height:
                    continue
                useful = size(m) / (ceil(size(m) / height) * height)
                score = useful * taken * height / (taken * height + 2)
                if score > best[0]:
                    best = (score, (*made, Unrolled(m, height, size(m))))
    return tuple(sorted(best[1], key=lambda u: counters.index(u.counter)))


def _block(c: Contraction, tile: Tile, target: Target) -> tuple[int, int]:
    """How much of the sum runs at a time.

    A panel of rows is to stay in the cache; and rounding errors grow with the length of what is
    added one after the other, so that a sum of shorter sums is closer to the true one.
    """
    limit = max(64, target.l2_bytes // 2 // (tile.padded * c.fold.dtype.itemsize))
    limit = 2 * _LONGEST_SUM if tile.strip else limit
    extents = [size(t) for t in c.terms]
    if prod(extents) <= min(limit, (4 if len(extents) == 1 else 2) * _LONGEST_SUM):
        return 0, extents[0]
    limit = min(limit, _LONGEST_SUM)
    position, inner = len(extents) - 1, 1
    while position > 0 and inner * extents[position] <= limit:
        inner *= extents[position]
        position -= 1
    most = max(1, limit // inner)
    extent = extents[position]
    if most >= extent:
        return position, extent
    pieces = ceil(extent / most)
    even = [p for p in range(pieces, min(2 * pieces, extent) + 1) if extent % p == 0]
    return position, extent // even[0] if even else ceil(extent / pieces)


def _in_blocks(c: Contraction, tile: Tile) -> Tile:
    """The tile with all counters of the other factor in a chunk, if its sum runs in blocks.

    Each panel of rows is then used for all of them while it is in the cache.
    """
    if tile.block == (0, size(c.terms[0])) or c.adds:
        return tile
    heights = {u.counter: u for u in tile.unrolled}
    unrolled = tuple(heights.get(m, Unrolled(m, 1, size(m))) for m in c.only(1 - tile.rows))
    return replace(tile, unrolled=unrolled)


def _packing(c: Contraction, tile: Tile, target: Target) -> Tile:
    rows, other = c.factors[tile.rows], c.factors[1 - tile.rows]
    used_again = prod(size(m) for m in c.only(1 - tile.rows))
    touched = prod(size(v) for v in index.variables(rows) & c.counters) * rows.dtype.itemsize
    small = touched <= target.l2_bytes // 2
    in_place = (
        len(tile.lanes) == 1
        and not tile.strip
        and c.is_in_line(tile.rows, tile.lanes[0])
        and tile.chunk == tile.width
        and (small or used_again <= 4 * tile.height)
    )
    flat = c.addresses[1 - tile.rows]
    plain = flat is not None and other.src[1] is index.TRUE
    if flat is not None and plain:
        step = index.coefficient(flat, c.terms[-1])
        span = max(abs(index.coefficient(flat, t) or 0) * size(t) for t in c.terms)
        near = span * other.dtype.itemsize <= target.l2_bytes // 4
        plain = step is not None and (abs(step) <= 16 or near)
    special = {*tile.lanes, *(u.counter for u in tile.unrolled)}
    varying = index.variables(rows)
    around = (set(c.nest.ranges) - special) | (index.variables(other) - c.counters)
    repeated = bool(around - varying) or bool(varying - c.counters)
    rows_at = "place" if in_place else "before" if repeated else "chunk"
    width, line = tile.padded, c.addresses[tile.rows]
    if in_place and line is not None:  # what lies apart meets in the same places of a cache
        width = max(width, abs(index.coefficient(line, c.terms[-1]) or 0))
    panel = width * rows.dtype.itemsize
    panel *= prod(size(t) for t in c.terms[tile.block[0] + 1 :]) * tile.block[1]
    ahead = _AHEAD if panel > target.l1_bytes // 2 and not tile.strip else 0
    tile = replace(tile, rows_at=rows_at, pack_broadcast=not plain, ahead=ahead)
    pads = plain and other is not c.sources[1 - tile.rows]
    return replace(tile, pad_by_block=pads and _pads_little(c, tile, target))


def _pads_little(c: Contraction, tile: Tile, target: Target) -> bool:
    """Whether blocks pad the other factor for themselves: all together not much more than once."""
    other = c.factors[1 - tile.rows]
    position, count = tile.block
    spans = {t: size(t) for t in c.terms[position + 1 :]} | {c.terms[position]: count}
    spans |= {u.counter: u.chunk for u in tile.unrolled}
    places = {x: index.loop(x.arg[0], spans.get(x, 1)) for x in c.counters}
    reached = [index.bounds(index.replace(i, places)) for i in other.src[2:]]
    part = prod(high - low + 1 for low, high in reached)
    times = ceil(size(tile.lanes[0]) / tile.chunk)
    for counter in c.counters - {*tile.lanes}:
        times *= ceil(size(counter) / spans.get(counter, 1))
    small = part * other.dtype.itemsize <= target.l2_bytes // 4
    return small and part * times <= 2 * other.src[0].size


def _busy(counter: Node, chunk: int, jobs: int, threads: int) -> int:
    """Iterations that the busiest thread makes, where `jobs` times a counter runs in chunks."""
    return ceil(jobs * ceil(size(counter) / chunk) / threads) * chunk


def _share(c: Contraction, tile: Tile, target: Target) -> Tile:
    """The tile with chunks enough for all threads, and small enough for the cache."""
    special = {*tile.lanes, *(u.counter for u in tile.unrolled)}
    jobs = prod(size(r) for r in c.nest.ranges if r not in special)
    jobs *= ceil(size(tile.lanes[0]) / tile.chunk)
    tiles = prod(u.tiles for u in tile.unrolled)
    sums = tiles * tile.height * tile.padded * c.fold.dtype.itemsize
    wanted = 4 * target.threads if target.threads > 1 else 1
    pieces = max(ceil(wanted / jobs), ceil(sums / (target.l2_bytes // 4)))
    if pieces == 1 or not tile.unrolled or c.adds:
        return tile
    longest = max(tile.unrolled, key=lambda u: u.tiles)
    most = min(pieces, longest.tiles)
    chunks = {
        ceil(longest.tiles / n) * longest.height: None
        for n in range(most, min(2 * most, longest.tiles) + 1)
    }
    chunk = min(chunks, key=lambda chunk: _busy(longest.counter, chunk, jobs, target.threads))
    if chunk >= longest.chunk:
        return tile
    unrolled = tuple(replace(u, chunk=chunk) if u is longest else u for u in tile.unrolled)
    rows_at = "place" if tile.rows_at == "place" else "before"
    return replace(tile, unrolled=unrolled, rows_at=rows_at)
