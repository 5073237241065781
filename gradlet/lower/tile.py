"""Which tile suits a contraction on a target: plain data, chosen by an estimate of cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as combinations
from math import ceil, prod

from gradlet.base.target import LINE_BYTES, Target
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store
from gradlet.ir.node import Node, topological

_WIDEST = 8  # vectors side by side in a tile
_MEMORY = 0.5  # cycles to write an element to memory and read it again
_SHORT_SUM = 128  # terms
_LONGEST_SUM = 512  # terms that are added one after the other
_LONGEST_PANEL = 32  # vectors along a panel
_COPY = 1.5  # cycles to move an element that is not in line
_PER_TILE = 40.0  # cycles to begin and end a tile
_CACHE_BYTES = 32.0  # that the second-level cache delivers in a cycle
_WAYS = 8  # lines with equal lower address bits that the first-level cache holds
_AHEAD = 8  # terms before they are used, rows are fetched from the second-level cache
_LATENCY = 4.0  # cycles from a multiplication and addition to the next on the same register


@dataclass(frozen=True)
class Contraction:
    """A nest that stores `value`, in which `fold` is the sum of `factors[0] * factors[1]`."""

    nest: Nest
    fold: Node
    factors: tuple[Node, Node]

    @property
    def store(self) -> Store:
        return self.nest.stores[0]

    @property
    def terms(self) -> tuple[Node, ...]:
        """The counters of the sum, outermost first."""
        return self.fold.src[1:]

    @cached_property
    def counters(self) -> frozenset[Node]:
        """All of its own counters; those of loops around it may occur in its expressions."""
        return frozenset((*self.nest.ranges, *self.terms))

    @cached_property
    def adds(self) -> bool:
        """True if results are added to what is there, so that none may be computed twice."""
        value = topological([self.store.value])
        return any(x.op is ops.LOAD and x.src[0] is self.store.target for x in value)

    @cached_property
    def addresses(self) -> tuple[Node | None, Node | None]:
        """The flat address of each factor that is loaded as it is."""
        loads = (x if x.op is ops.LOAD else None for x in self.factors)
        a, b = (x and index.ravel(x.src[2:], x.src[0].shape) for x in loads)
        return a, b

    @cached_property
    def stored(self) -> Node:
        """The flat address of a result."""
        return index.ravel(self.store.index, self.store.target.shape)

    def is_in_line(self, which: int, counter: Node) -> bool:
        """True for a factor that is a plain load of neighbours as `counter` grows."""
        flat = self.addresses[which]
        if flat is None or self.factors[which].src[1] is not index.TRUE:
            return False
        return index.coefficient(flat, counter) == 1

    def only(self, which: int) -> tuple[Node, ...]:
        """The result's counters that one factor alone varies with, outermost first."""
        mine = index.variables(self.factors[which])
        others = index.variables(self.factors[1 - which])
        return tuple(c for c in self.nest.ranges if c in mine and c not in others)


def contraction_of(nest: Nest) -> Contraction | None:
    """The nest as a contraction, if its sum of products has counters to make a tile of.

    That is, if each factor has counters of its own; or one has, and the sum is as short as that
    of a convolution of each channel by itself.
    """
    if len(nest.stores) != 1 or nest.stores[0].accumulate is not None:
        return None
    folds = [x for x in topological([nest.stores[0].value]) if x.op is ops.FOLD_RANGES]
    if len(folds) != 1 or folds[0].arg is not ops.ADD or folds[0].src[0].op is not ops.MUL:
        return None
    a, b = folds[0].src[0].src
    found = Contraction(nest, folds[0], (a, b))
    short = prod(size(t) for t in found.terms) <= _SHORT_SUM
    wanted = any if short else all
    return found if wanted((found.only(0), found.only(1))) else None


@dataclass(frozen=True)
class Unrolled:
    """`height` iterations of `counter` stand in one tile, `chunk` iterations in one chunk."""

    counter: Node
    height: int
    chunk: int

    @property
    def tiles(self) -> int:
        return ceil(self.chunk / self.height)


@dataclass(frozen=True)
class Tile:
    """What was chosen for a contraction.

    Attributes:
        rows: which of the factors is read as vectors.
        lanes: the counters of `rows` that run along the vectors, outermost first.
        chunk: iterations of the first of them in one chunk.
        vector: lanes of one vector; `width` lanes of a tile.
        unrolled: the counters of the other factor that a tile has several iterations of.
        block: (position, count): a block of the sum has `count` iterations of the term at
            `position` and all of those inside it.
        rows_at: where rows are read: in their `place`, or packed by each `chunk` for itself, or
            packed `before` all chunks.
        pack_broadcast: whether the other factor is packed before all chunks.
        ahead: how many terms before they are used rows are fetched into the nearest cache, or 0
            where they are there anyway.
    """

    rows: int
    lanes: tuple[Node, ...]
    chunk: int
    vector: int
    width: int
    unrolled: tuple[Unrolled, ...]
    block: tuple[int, int]
    rows_at: str
    pack_broadcast: bool
    ahead: int = 0

    @property
    def used(self) -> int:
        """Lanes of a chunk that stand for results."""
        return self.chunk * prod(size(c) for c in self.lanes[1:])

    @property
    def padded(self) -> int:
        """Lanes of a chunk, a whole number of tiles."""
        return ceil(self.used / self.width) * self.width

    @property
    def height(self) -> int:
        return prod(u.height for u in self.unrolled)

    def __str__(self) -> str:
        """One line, different for each tile of a contraction."""
        along = " ".join(c.arg[0] for c in self.lanes)
        tall = " ".join(f"{u.height} {u.counter.arg[0]}" for u in self.unrolled) or "1"
        chunks = [f"{self.chunk} {self.lanes[0].arg[0]}"]
        chunks += [f"{u.chunk} {u.counter.arg[0]}" for u in self.unrolled]
        read = {"place": "in place", "chunk": "packed by each chunk", "before": "packed before"}
        return (
            f"tile of {tall} x {self.width} {along} in vectors of {self.vector}, "
            f"chunks of {' x '.join(chunks)}, blocks of {self.block[1]} of term {self.block[0]}; "
            f"rows from factor {self.rows} {read[self.rows_at]}, "
            f"the other {'packed before' if self.pack_broadcast else 'in place'}"
        )


def size(counter: Node) -> int:
    """How many iterations a loop has; 1 where its counter is a constant."""
    return counter.arg[1] if counter.op is ops.RANGE else 1


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
        for run in runs:
            if prod(size(r) for r in run) < lanes // 4:
                continue
            for vectors in range(1, _WIDEST + 1):
                limit = (target.vector_registers - vectors - 1) // vectors
                chunk = _chunk(c, run, vectors * lanes, target)
                if limit < 1 or chunk is None:
                    continue
                unrolled = _unrolled(c, other or tuple(x for x in own if x not in run)[-1:], limit)
                tile = Tile(
                    rows, run, chunk, lanes, vectors * lanes, unrolled, (0, 0), "chunk", False
                )
                tile = _packing(c, replace(tile, block=_block(c, tile, target)), target)
                if other or tile.rows_at == "place":
                    yield tile


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


def _packing(c: Contraction, tile: Tile, target: Target) -> Tile:
    rows, other = c.factors[tile.rows], c.factors[1 - tile.rows]
    used_again = prod(size(m) for m in c.only(1 - tile.rows))
    touched = prod(size(v) for v in index.variables(rows) & c.counters) * rows.dtype.itemsize
    small = touched <= target.l2_bytes // 2
    in_place = (
        len(tile.lanes) == 1
        and c.is_in_line(tile.rows, tile.lanes[0])
        and tile.chunk == tile.width
        and (small or used_again <= 4 * tile.height)
    )
    flat = c.addresses[1 - tile.rows]
    plain = flat is not None and other.src[1] is index.TRUE
    if flat is not None and plain:
        step = index.coefficient(flat, c.terms[-1])
        large = other.src[0].size * other.dtype.itemsize > target.l1_bytes
        plain = step is not None and (abs(step) <= 16 or not large)
    special = {*tile.lanes, *(u.counter for u in tile.unrolled)}
    varying = index.variables(rows)
    repeated = bool(set(c.nest.ranges) - special - varying) or bool(varying - c.counters)
    rows_at = "place" if in_place else "before" if repeated else "chunk"
    panel = tile.padded * rows.dtype.itemsize
    panel *= prod(size(t) for t in c.terms[tile.block[0] + 1 :]) * tile.block[1]
    ahead = _AHEAD if panel > target.l1_bytes // 2 else 0
    return replace(tile, rows_at=rows_at, pack_broadcast=not plain, ahead=ahead)


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
