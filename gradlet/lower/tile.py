"""Contractions, and the tiles that they are computed in: plain data; see `candidates.py`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod

from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store
from gradlet.ir.node import Node, topological
from gradlet.lower.loops import size
from gradlet.lower.strips import Strip

_SHORT_SUM = 128  # terms


@dataclass(frozen=True)
class Contraction:
    """A nest that stores `value`, in which `fold` is the sum of `factors[0] * factors[1]`.

    `sources` are the factors before padding was put into copies of them.
    """

    nest: Nest
    fold: Node
    factors: tuple[Node, Node]
    sources: tuple[Node, Node]

    @property
    def store(self) -> Store:
        return self.nest.stores[0]

    @cached_property
    def terms(self) -> tuple[Node, ...]:
        """The counters of the sum, as they follow in the factor that has the fewest elements."""
        counters = self.fold.src[1:]
        own = [prod(size(x) for x in index.variables(f) & self.counters) for f in self.factors]
        flat = self.addresses[own.index(min(own))]
        steps = {t: index.coefficient(flat, t) or 0 if flat else 0 for t in counters}
        if not all(steps.values()):
            return counters
        return tuple(sorted(counters, key=lambda t: -abs(steps[t])))

    @cached_property
    def counters(self) -> frozenset[Node]:
        """All of its own counters; those of loops around it may occur in its expressions."""
        return frozenset((*self.nest.ranges, *self.fold.src[1:]))

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

    def rows(self, tile: Tile) -> Node:
        """The factor that a tile reads as vectors; strips have its padding put into them."""
        return (self.sources if tile.strip else self.factors)[tile.rows]

    def other(self, tile: Tile) -> Node:
        """The factor whose elements it broadcasts; blocks may put its padding into a copy."""
        return (self.sources if tile.pad_by_block else self.factors)[1 - tile.rows]


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
    found = Contraction(nest, folds[0], (a, b), (a, b))
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
        pad_by_block: whether each block pads for itself what it reads of the other factor.
        ahead: how many terms before they are used rows are fetched into the nearest cache, or 0
            where they are there anyway.
        strip: how rows lie that are packed in strips, as if one chunk were all.
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
    pad_by_block: bool = False
    ahead: int = 0
    strip: Strip | None = None

    @property
    def extents(self) -> tuple[int, ...]:
        """How many places there are along each of `lanes` in a chunk."""
        spans = self.strip.spans if self.strip else tuple(size(c) for c in self.lanes)
        return (self.chunk, *spans[1:])

    @property
    def used(self) -> int:
        """Lanes of a chunk up to the last that stands for a result."""
        last = 0
        for counter, extent in zip(self.lanes, self.extents, strict=True):
            last = last * extent + (self.chunk if counter is self.lanes[0] else size(counter)) - 1
        return last + 1

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
        strips = " in strips" if self.strip else ""
        other = "padded by each block" if self.pad_by_block else "in place"
        return (
            f"tile of {tall} x {self.width} {along} in vectors of {self.vector}, "
            f"chunks of {' x '.join(chunks)}, blocks of {self.block[1]} of term {self.block[0]}; "
            f"rows from factor {self.rows} {read[self.rows_at]}{strips}, "
            f"the other {'packed before' if self.pack_broadcast else other}"
        )
