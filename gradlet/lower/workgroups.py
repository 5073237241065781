"""Contractions on graphics processors: a workgroup computes a tile from memory it shares.

    for g in parallel (tiles):
      for l in invocation 256: acc[i, j] = 0                           registers
      for ko in K / 16:
        for l in invocation 256: rows[..] = a[..]; columns[..] = b[..]    shared memory
        for l in invocation 256: for k in 16: acc[i, j] += rows[m, k] * columns[n, k]
      for l in invocation 256: out[m, n] = f(acc[i, j])

All invocations of a workgroup finish one loop over `l` before any begins the next. What is left
over at the edges of the tiles is computed without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradlet.base import dtypes
from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest, Store
from gradlet.ir.node import Node, node
from gradlet.lower import transforms
from gradlet.lower.loops import Assign, Body, Loop, loop, read
from gradlet.lower.maps import extent
from gradlet.lower.tile import Contraction, contraction_of

_HEIGHTS = (4, 2, 1)  # results of one invocation along each side


def workgroup_phases(nest: Nest, target: Target) -> tuple[Body, list[Nest]] | None:
    """The phase that computes whole tiles, and nests for the rest; None if no tile suits."""
    c = contraction_of(nest)
    edge = 1 << (target.workgroup.bit_length() - 1) // 2
    if c is None or edge == 1 or extent(c.terms) < edge:
        return None
    heights = _heights(c, edge, target.shared_bytes)
    return None if heights is None else _Tiling(c, edge, heights).phases()


def _heights(c: Contraction, edge: int, shared_bytes: int) -> list[int] | None:
    """Results of one invocation along each side: as many as there are, and as memory allows."""
    sizes = [extent(c.only(which)) for which in (0, 1)]
    itemsize = max(f.dtype.itemsize for f in c.factors)
    for most in _HEIGHTS:
        fitting = [h for h in _HEIGHTS if h <= most]
        heights = [next((h for h in fitting if h * edge <= size), 0) for size in sizes]
        if 0 not in heights and sum(heights) * edge * edge * itemsize <= shared_bytes:
            return heights
    return None


@dataclass
class _Side:
    """One factor: `counter` runs over its own counters, `height * edge` of them in a tile."""

    counter: Node
    height: int
    edge: int

    @property
    def width(self) -> int:
        return self.height * self.edge

    @property
    def tiles(self) -> int:
        return self.counter.arg[1] // self.width


class _Tiling:
    """Writes the loops of one contraction.

    Args:
        edge: invocations of a workgroup along each side of its tile, and terms taken at a time.
        heights: results of one invocation along each side.
    """

    def __init__(self, c: Contraction, edge: int, heights: Sequence[int]) -> None:
        self.edge = edge
        own = [c.only(which) for which in (0, 1)]
        self.both = tuple(r for r in c.nest.ranges if r not in (*own[0], *own[1]))
        self.sides = [
            _Side(index.loop(name, extent(counters)), height, edge)
            for name, counters, height in zip("mn", own, heights, strict=True)
        ]
        self.k = index.loop("k", extent(c.terms))
        self.c = c
        self.places: dict[Node, Node] = {}
        for side, counters in zip(self.sides, own, strict=True):
            self.places |= _flat(side.counter, counters)
        self.terms = _flat(self.k, c.terms)
        self.factors = [index.replace(f, self.places | self.terms) for f in c.factors]
        self.lane = index.loop("l", edge * edge)
        self.acc = node(ops.LOCAL, (), "acc", c.fold.dtype, tuple(heights))
        self.shared = [
            node(ops.PRIVATE, (), name, f.dtype, (side.width, edge))
            for name, f, side in zip(("rows", "columns"), self.factors, self.sides, strict=True)
        ]

    def phases(self) -> tuple[Body, list[Nest]]:
        tiles = [index.loop(f"{s.counter.arg[0]}o", s.tiles) for s in self.sides]
        outer = (*self.both, *tiles)
        body: Body = (*self.begin(), *self.sum(tiles), *self.end(tiles))
        counters = [c for c in outer if c.op is ops.RANGE]
        for counter in reversed(counters):
            body = loop(counter, body)
        if not counters:  # a single tile
            alone = node(ops.RANGE, (), ("g", 1), dtypes.index, ())
            return (Loop(alone, body, "parallel"),), self.rests()
        fused, *others = counters
        for counter in others:
            body, fused = transforms.fuse(body, fused, counter)
        return transforms.mark(body, fused, "parallel", check=False), self.rests()

    def by_all(self, body: Body) -> Body:
        return loop(self.lane, body, "invocation")

    def results(self) -> list[Node]:
        """The counters of one invocation's results."""
        return [index.loop(n, s.height) for n, s in zip("ij", self.sides, strict=True)]

    def unrolled(self, counters: list[Node], body: Body) -> Body:
        for counter in reversed(counters):
            body = loop(counter, body, "unroll")
        return body

    def begin(self) -> Body:
        counters = self.results()
        zero = build.const(0, self.acc.dtype)
        return self.by_all(self.unrolled(counters, (Assign(self.acc, tuple(counters), zero),)))

    def within(self, counters: list[Node]) -> list[Node]:
        """Where an invocation's results stand in the tile: neighbours side by side."""
        lanes = (index.floordiv(self.lane, self.edge), index.mod(self.lane, self.edge))
        return [
            index.add(index.scale(counter, self.edge), lane)
            for counter, lane in zip(counters, lanes, strict=True)
        ]

    def sum(self, tiles: list[Node]) -> Body:
        whole, rest = divmod(self.k.arg[1], self.edge)
        block = index.loop("ko", whole)
        body = loop(block, (*self.fill(tiles, block), *self.add()))
        if rest:
            body += (*self.fill(tiles, index.const(whole)), *self.add())
        return body

    def fill(self, tiles: list[Node], block: Node) -> Body:
        """One block of both factors into shared memory, zeros behind the last term."""
        body: Body = ()
        for factor, side, tile, array in zip(
            self.factors, self.sides, tiles, self.shared, strict=True
        ):
            piece = index.loop(f"s{side.counter.arg[0]}", side.height)
            row = index.add(index.scale(piece, self.edge), index.floordiv(self.lane, self.edge))
            term = index.mod(self.lane, self.edge)
            k = index.add(index.scale(block, self.edge), term)
            last = self.k.arg[1] - 1
            places = {
                side.counter: index.add(index.scale(tile, side.width), row),
                self.k: index.minimum(k, last),
            }
            value = index.replace(factor, places)
            inside = index.le(k, last)
            if inside is not index.TRUE:
                value = build.where(inside, value, build.const(0, value.dtype))
            body += self.unrolled([piece], (Assign(array, (row, term), value),))
        return self.by_all(body)

    def add(self) -> Body:
        """All products of one block, whose factors are read into registers first."""
        counters = self.results()
        term = index.loop("ki", self.edge)
        body: Body = ()
        factors = []
        for array, counter, at in zip(self.shared, counters, self.within(counters), strict=True):
            register = node(
                ops.LOCAL, (), f"{array.arg}_k", array.dtype, (array.shape[0] // self.edge,)
            )
            body += self.unrolled([counter], (Assign(register, (counter,), read(array, at, term)),))
            factors.append(read(register, counter))
        update = Assign(self.acc, tuple(counters), build.mul(*factors), ops.ADD)
        return self.by_all(loop(term, (*body, *self.unrolled(counters, (update,)))))

    def end(self, tiles: list[Node]) -> Body:
        counters = self.results()
        places = {
            side.counter: index.add(index.scale(tile, side.width), at)
            for side, tile, at in zip(self.sides, tiles, self.within(counters), strict=True)
        }
        store = self.store(read(self.acc, *counters), places)
        return self.by_all(
            self.unrolled(counters, (Assign(store.target, store.index, store.value),))
        )

    def store(self, total: Node, places: dict[Node, Node]) -> Store:
        """The store with `total` for the sum, and `places` for the sides' counters."""
        store = self.c.store

        def moved(x: Node) -> Node:
            return index.replace(index.replace(x, self.places), places)

        value = moved(transforms.replace_value(store.value, self.c.fold, total))
        return replace(store, index=tuple(moved(i) for i in store.index), value=value)

    def rests(self) -> list[Nest]:
        """The rows below the tiles, and the columns beside them."""
        (m, rows), (n, columns) = ((s.counter, s.tiles * s.width) for s in self.sides)
        made = []
        if rows < m.arg[1]:
            made.append(self.rest({m: _from(m, rows)}))
        if columns < n.arg[1]:
            made.append(self.rest({m: index.loop("mw", rows), n: _from(n, columns)}))
        return made

    def rest(self, places: dict[Node, Node]) -> Nest:
        product = index.replace(self.c.fold.src[0], self.terms)
        total = node(ops.FOLD_RANGES, (product, self.k), ops.ADD, self.acc.dtype, ())
        along = [places.get(side.counter, side.counter) for side in self.sides]
        counters = [c for x in along for c in index.variables(x)]
        return Nest((*self.both, *counters), (self.store(total, places),))


def _flat(counter: Node, counters: Sequence[Node]) -> dict[Node, Node]:
    """Where each of some counters stands when one runs over all of them."""
    at = index.unravel(counter, [c.arg[1] for c in counters])
    return dict(zip(counters, at, strict=True))


def _from(counter: Node, start: int) -> Node:
    """The iterations of a counter from `start` on."""
    name, size = counter.arg
    return index.add(index.loop(f"{name}r", size - start), start)
