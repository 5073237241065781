"""Sums of products: matrix products, convolutions and their gradients, all by one recipe.

The counters of `out[...] = sum of a[...] * b[...]` fall into four groups: those that only one
factor varies with, those that both do, and the terms of the sum. One factor is read as *rows*, a
few vectors at a time; the other element by element, each *broadcast* to all lanes. A tile of the
result stays in registers while a block of the sum runs:

    for each chunk of the result, in parallel:
      for each block of the sum:
        panel[k, n] = b[...]                       rows in line, whatever expression they are
        for each tile of the chunk:
          for m in unroll: for n in vector: acc[m, n] = 0
          for k in the block:
            for m in unroll: for n in vector: acc[m, n] += a[m, k] * panel[k, n]
          for m in unroll: for n in vector: sums[m, n] += acc[m, n]
      out[m, n] = epilogue of sums[m, n]

Rows that lie in line already are not packed, rows of windows that overlap are packed in strips
(see `strips.py`), and a sum of one block whose tiles fit exactly goes straight from registers to
`out`. Where the other factor is padded, a copy has the zeros in place; each block makes its own if
all blocks together copy little more than there is. The recipe is that of Goto and van de Geijn,
"Anatomy of High-Performance Matrix Multiplication" (2008). What is chosen is a `Tile`, one of
`candidates.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import Node, node
from gradlet.lower import transforms
from gradlet.lower.candidates import choose_tile
from gradlet.lower.collapse import flatten_loads, fuse_terms, is_awkward
from gradlet.lower.loops import Assign, Body, Loop, loop, read, size
from gradlet.lower.maps import fetching_rows
from gradlet.lower.padding import pad_once, pad_part
from gradlet.lower.tile import Contraction, Tile

Recipe = Callable[[Nest], Body]
Counters = tuple[Node, ...]

_TOGETHER = 16  # terms, or a few less, that are copied for all tiles before the next are


def contraction_phases(
    c: Contraction, target: Target, recipe: Recipe, tile: Tile | None = None
) -> tuple[Tile, Body] | None:
    """The tile and the phases of a contraction, or None if no tile suits it.

    Args:
        recipe: lowers the nests that fill panels and write results.
        tile: one of `best_tiles` of the padded contraction; the first if not given.
    """
    fills, c = padded(c)
    tile = tile or choose_tile(c, target)
    if tile is None:
        return None
    here = {tile.rows: tile.strip is not None, 1 - tile.rows: tile.pad_by_block}
    copied = (f for which, f in fills.items() if not here[which])
    phases = tuple(phase for nest in copied for phase in recipe(nest))
    return tile, phases + _Builder(c, tile, recipe).phases()


def padded(c: Contraction) -> tuple[dict[int, Nest], Contraction]:
    """What fills padded copies of factors, and the contraction of those copies."""
    fills: dict[int, Nest] = {}
    factors = list(c.factors)
    for which in (0, 1):
        found = pad_once(factors[which])
        if found is not None:
            fills[which], factors[which] = found
    return fills, replace(c, factors=(factors[0], factors[1]), sources=c.factors)


@dataclass(frozen=True)
class _Piece:
    """Blocks of a sum: loops over `blocks` around one over `terms`; `places` says what stands
    for the sum's counters."""

    blocks: Counters
    terms: Counters
    places: dict[Node, Node]


@dataclass
class _Builder:
    """Writes the loops that a tile asks for.

    Attributes:
        places: what stands for the contraction's counters inside the loops.
        outer: counters of the loops over chunks, outermost first.
        tiles, heights: counters of the loops over tiles, and of the unrolled ones in a tile.
        starts, within: where a chunk begins along each unrolled counter, and places in it.
        sums_at: where sums stand that wait for the others of the chunk.
        inner: counters of the loops along the lanes of one chunk.
        before: the phases that come before the chunks.
    """

    c: Contraction
    tile: Tile
    recipe: Recipe
    places: dict[Node, Node] = field(default_factory=dict)
    outer: list[Node] = field(default_factory=list)
    tiles: list[Node] = field(default_factory=list)
    heights: list[Node] = field(default_factory=list)
    starts: list[Node] = field(default_factory=list)
    within: list[Node] = field(default_factory=list)
    sums_at: Counters = ()
    inner: list[Node] = field(default_factory=list)
    before: Body = ()

    def phases(self) -> Body:
        tile, dtype = self.tile, self.c.fold.dtype
        special = {*tile.lanes, *(u.counter for u in tile.unrolled)}
        self.outer = [r for r in self.c.nest.ranges if r not in special]
        self.split_lanes()
        self.split_unrolled()
        pieces = self.split_terms()
        several = len(pieces) > 1 or bool(pieces[0].blocks)
        rows = (*self.tiles, *self.heights)
        shape = tuple(size(x) for x in rows) if several else tuple(u.chunk for u in tile.unrolled)
        self.sums_at = rows if several else tuple(self.within)
        sums = node(ops.PRIVATE, (), "sums", dtype, (*shape, tile.padded))
        chunk: Body = ()
        if several:
            lanes = index.loop("n", tile.padded)
            at = (*rows, lanes)
            chunk += self.inside(Nest(_loops(at), (Store(sums, at, build.const(0, dtype)),)))
        direct = None if several else self.direct_store()
        for number, piece in enumerate(pieces):
            chunk += self.piece(piece, sums, several, direct, str(number or ""))
        if direct is None:
            if not several:
                rows = self.loops_along_chunk()
            at = (*rows, index.ravel(self.inner, self.tile.extents))
            place, value = self.result(load(sums, at), {})
            ranges = _loops((*rows, *self.inner))
            chunk += self.inside(Nest(ranges, (Store(self.c.store.target, place, value),)))
        for counter in reversed(self.outer):
            chunk = loop(counter, chunk)
        return self.before + (spread(chunk) if _loops(self.outer) else chunk)

    # Where the contraction's counters go

    def split_lanes(self) -> None:
        """Chunks along the first counter of the lanes; the last one overlaps if need be."""
        first, *rest = self.tile.lanes
        extent, chunk = size(first), self.tile.chunk
        within = first
        if chunk < extent:
            name = first.arg[0]
            outer = index.loop(f"{name}c", -(-extent // chunk))
            within = index.loop(f"{name}w", chunk)
            start = index.minimum(index.scale(outer, chunk), extent - chunk)
            self.places[first] = index.add(start, within)
            self.outer.append(outer)
        self.inner = [within, *rest]

    def split_unrolled(self) -> None:
        """Chunks and tiles of the unrolled counters; the last ones overlap if need be."""
        for u in self.tile.unrolled:
            name, extent = u.counter.arg
            start = index.const(0)
            if u.chunk < extent:
                outer = index.loop(f"{name}c", -(-extent // u.chunk))
                start = index.minimum(index.scale(outer, u.chunk), extent - u.chunk)
                self.outer.append(outer)
            step = index.loop(f"{name}s", u.tiles)
            height = index.loop(f"{name}h", u.height)
            moved = index.minimum(index.scale(step, u.height), u.chunk - u.height)
            self.places[u.counter] = index.add(start, moved, height)
            self.starts.append(start)
            self.within.append(index.add(moved, height))
            self.tiles.append(step)
            self.heights.append(height)

    def loops_along_chunk(self) -> Counters:
        """A counter along the chunk of each unrolled one, which from here on stands for it."""
        rows = tuple(index.loop(f"{u.counter.arg[0]}w", u.chunk) for u in self.tile.unrolled)
        for u, start, row in zip(self.tile.unrolled, self.starts, rows, strict=True):
            self.places[u.counter] = index.add(start, row)
        return rows

    def split_terms(self) -> list[_Piece]:
        """The blocks of the sum, and what is left over behind them."""
        terms = self.c.terms
        position, count = self.tile.block
        around, cut, inside = terms[:position], terms[position], terms[position + 1 :]
        extent = size(cut)
        if count >= extent:
            return [_Piece(around, (cut, *inside), {})]
        name = cut.arg[0]
        whole, rest = divmod(extent, count)
        outer, within = index.loop(f"{name}b", whole), index.loop(f"{name}k", count)
        place = index.add(index.scale(outer, count), within)
        pieces = [_Piece(_loops((*around, outer)), (within, *inside), {cut: place})]
        if rest:
            left = index.loop(f"{name}l", rest)
            moved = index.add(left, whole * count)
            pieces.append(_Piece(around, (left, *inside), {cut: moved}))
        return pieces

    # What stands in a chunk

    def piece(
        self, piece: _Piece, sums: Node, several: bool, direct: Store | None, suffix: str
    ) -> Body:
        """The loops of some blocks: a panel of rows, then tile after tile."""
        places = {**self.places, **piece.places}
        lanes = index.loop("n", self.tile.padded)
        fill, rows = self.rows(piece, places, lanes, f"panel{suffix}")
        other = index.replace(self.c.other(self.tile), places)
        if self.tile.pad_by_block:
            pad, other = pad_part(other, {*self.outer, *piece.blocks}, ops.PRIVATE)
            fill += self.inside(pad)
        if self.tile.pack_broadcast:
            other = self.pack_before(other, piece, f"packed{suffix}")
        acc = node(ops.LOCAL, (), "acc", self.c.fold.dtype, ())
        store = direct
        if store is None:
            at = (*self.sums_at, lanes)
            store = Store(sums, at, read(acc), ops.ADD if several else None)
        factors = _ordered(rows, other, self.tile.rows)
        body = fill + self.tile_loops(acc, factors, piece.terms, store, lanes)
        for counter in reversed(piece.blocks):
            body = loop(counter, body)
        return body

    def rows(
        self, piece: _Piece, places: dict[Node, Node], lanes: Node, name: str
    ) -> tuple[Body, Node]:
        """How a panel is filled, if it is, and the element of the rows at `lanes`."""
        rows = index.replace(self.c.rows(self.tile), places)
        if self.tile.rows_at == "place":
            return (), index.replace(rows, {self.inner[0]: lanes})
        terms, along = piece.terms, tuple(self.inner)
        used, length = self.tile.used, self.tile.padded
        offset = index.const(0)
        if self.tile.strip:
            first = self.tile.lanes[0]
            start = index.sub(places.get(first, first), self.inner[0])
            strip = self.tile.strip.chunk(start, size(first) - self.tile.chunk, places)
            terms = tuple(t for t in terms if t not in index.variables(strip.offset))
            rows, along, offset = strip.value, strip.places, strip.offset
            used, length = strip.used, strip.length(self.tile.padded)
        kind = ops.PRIVATE
        around: list[Node] = []
        if self.tile.rows_at == "before":
            kind = ops.SCRATCH
            around = [x for x in (*self.outer, *piece.blocks) if x in index.variables(rows)]
        counters = (*around, *terms)
        panel = node(kind, (), name, rows.dtype, (*(size(x) for x in counters), length))
        fill: Body = ()
        for nest in self.fills(panel, counters, along, rows, used):
            fill += fetching_rows(self.recipe(nest))
        if self.tile.rows_at == "before":
            self.before += fill
            fill = ()
        return in_one_thread(fill), load(panel, (*counters, index.add(lanes, offset)))

    def fills(
        self, panel: Node, counters: Counters, along: Sequence[Node], rows: Node, used: int
    ) -> list[Nest]:
        """The nests that put rows into a panel, and zeros behind them."""
        place = index.ravel(along, [size(x) for x in along])
        ranges = _loops((*counters, *along))
        nests = [Nest(ranges, (Store(panel, (*counters, place), rows),))]
        length = panel.shape[-1]
        if length > used:
            behind = index.loop("pad", length - used)
            at = (*counters, index.add(behind, used))
            zero = build.const(0, panel.dtype)
            nests.append(Nest(_loops((*counters, behind)), (Store(panel, at, zero),)))
        return nests

    def pack_before(self, value: Node, piece: _Piece, name: str) -> Node:
        """`value` from a copy, made before the chunks, in which it stands in order of use.

        Some terms at a time are copied for all tiles, so that a line of memory is read once.
        """
        around = [x for x in self.outer if x in index.variables(value)]
        at = (*around, *piece.blocks, *self.tiles, *piece.terms, *self.heights)
        packed = node(ops.SCRATCH, (), name, value.dtype, tuple(size(x) for x in at))
        *far, last = piece.terms
        extent = size(last)
        count = next((n for n in range(_TOGETHER, 7, -1) if extent % n == 0), extent)
        outer = index.loop(f"{last.arg[0]}o", extent // count)
        within = index.loop(f"{last.arg[0]}w", count)
        place = {last: index.add(index.scale(outer, count), within)}
        to = tuple(index.replace(i, place) for i in at)
        ranges = (*around, *piece.blocks, *far, outer, *self.tiles, within, *self.heights)
        nest = Nest(_loops(ranges), (Store(packed, to, index.replace(value, place)),))
        self.before += self.recipe(nest)
        return load(packed, at)

    def tile_loops(
        self, acc: Node, factors: tuple[Node, Node], terms: Counters, store: Store, lanes: Node
    ) -> Body:
        """For each tile of a chunk a block of the sum, in registers."""
        step = index.loop("nt", self.tile.padded // self.tile.width)
        vector = index.loop("v", self.tile.width // self.tile.vector)
        lane = index.loop("n", self.tile.vector)
        start = index.add(index.scale(step, self.tile.width), index.scale(vector, self.tile.vector))
        place = {lanes: index.add(start, lane)}
        product, terms = fuse_terms(build.mul(*factors), terms)
        update: Body = (Assign(acc, (), index.replace(product, place), ops.ADD),)
        for term in reversed(terms):
            update = loop(term, update, ahead=self.tile.ahead if term is terms[-1] else 0)
        at = tuple(index.replace(i, place) for i in store.index)
        value = index.replace(store.value, place)
        zero = build.const(0, acc.dtype)
        body: Body = (
            Assign(acc, (), zero),
            *update,
            Assign(store.target, at, value, store.accumulate),
        )
        unrolled = (*self.heights, vector)
        for counter in (lane, *reversed(unrolled)):
            body = loop(counter, body)
        for counter in unrolled:
            if counter.op is ops.RANGE:
                body = transforms.mark(body, counter, "unroll")
                body = transforms.distribute(body, counter)
        body = transforms.mark(body, lane, "vector", check=False)
        body = transforms.distribute(body, lane)
        for counter in (*reversed(self.tiles), step):
            body = loop(counter, body)
        return body

    # Results

    def direct_store(self) -> Store | None:
        """The store from registers to the result, if lanes are neighbours there."""
        extents = [size(c) for c in self.inner]
        if self.tile.padded != self.tile.used or extents[1:] != [*self.tile.extents[1:]]:
            return None
        lanes = index.loop("n", self.tile.padded)
        along = index.unravel(lanes, extents)
        acc = node(ops.LOCAL, (), "acc", self.c.fold.dtype, ())
        at, value = self.result(read(acc), dict(zip(self.inner, along, strict=True)))
        flat = index.ravel(at, self.c.store.target.shape)
        if index.coefficient(flat, lanes) != 1 or is_awkward(value, lanes):
            return None
        return Store(self.c.store.target, index.unravel(flat, self.c.store.target.shape), value)

    def result(self, total: Node, along: dict[Node, Node]) -> tuple[Counters, Node]:
        """Where a sum's result goes and what is made of it.

        Args:
            total: the sum.
            along: what stands for the counters in `inner`.
        """
        store = self.c.store
        places = {k: index.replace(v, along) for k, v in self.places.items()}
        places |= {k: v for k, v in along.items() if k not in places}
        mark = node(ops.PRIVATE, (), "mark", total.dtype, ())
        value = transforms.replace_value(store.value, self.c.fold, load(mark, ()))
        value = flatten_loads(index.replace(value, places))
        at = tuple(index.replace(i, places) for i in store.index)
        return at, transforms.replace_value(value, load(mark, ()), total)

    def inside(self, nest: Nest) -> Body:
        return in_one_thread(self.recipe(nest))


def _loops(counters: Sequence[Node]) -> Counters:
    return tuple(c for c in counters if c.op is ops.RANGE)


def _ordered(rows: Node, other: Node, position: int) -> tuple[Node, Node]:
    return (rows, other) if position == 0 else (other, rows)


def in_one_thread(body: Body) -> Body:
    """The tree without parallel loops and with scratch memory of its thread's own."""
    made: Body = ()
    for statement in body:
        if isinstance(statement, Loop):
            kind = "serial" if statement.kind == "parallel" else statement.kind
            statement = statement._replace(kind=kind, body=in_one_thread(statement.body))
        made += (statement,)
    return made


def spread(body: Body) -> Body:
    """Each phase's outer loops, fused until there are iterations for all threads, in parallel."""
    made: Body = ()
    for phase in body:
        while isinstance(phase, Loop) and phase.kind == "serial" and phase.size < 16:
            inside = phase.body
            if len(inside) != 1 or not isinstance(inside[0], Loop) or inside[0].kind != "serial":
                break
            (phase,) = transforms.fuse((phase,), phase.counter, inside[0].counter)[0]
        made += transforms.parallel_if_possible(phase)
    return made
