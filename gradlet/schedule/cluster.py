"""Which kernels are better one than several, because they share rows that stay in cache.

Two kernels that can run row by row together do so if no third has to run between them, and if
what they share matters beside all that they touch: what one writes and the other reads, or what
both read. A contraction joins only for a matrix that outweighs its other ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from math import prod

from gradlet.ir.node import Node
from gradlet.schedule.plan import Step
from gradlet.schedule.rows import (
    Cluster,
    Product,
    common_prefix,
    describe,
    describe_row_by_row,
    made_in_place,
    union,
)

_FEWEST_ROWS = 8  # lest threads be idle, if there are as many
_LITTLE_WORK = 1 << 16  # bytes that one thread sees to alone anyway
_TILE_ROWS = 16  # rows that a contraction wants at once
_WORTHWHILE = 8  # shared data is worth joining for from this fraction of all data on


def clusters(
    steps: Sequence[Step], buffers: Sequence[Node], cache_bytes: int, threads: int
) -> list[Cluster]:
    """What each kernel is to be made of, in an order in which they can run."""
    return _Clustering(steps, buffers, cache_bytes, threads).run()


def members(bits: int) -> Iterator[int]:
    """The numbers whose bits are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


class _Clustering:
    """Joins clusters as long as it helps.

    `before` and `after` keep the order that must hold: of each cluster those that it needs and
    those that need it, as the bits of a number.
    """

    def __init__(
        self, steps: Sequence[Step], buffers: Sequence[Node], cache_bytes: int, threads: int
    ) -> None:
        self.steps = steps
        self.threads = threads
        self.bytes = [b.size * b.dtype.itemsize for b in buffers]
        self.cache_bytes = cache_bytes
        self.found = {number: describe(number, step) for number, step in enumerate(steps)}
        self.adding: dict[tuple[int, int], Cluster | None] = {}
        self.home = {number: number for number in self.found}
        self.writer = {b: n for n, c in self.found.items() for b in c.writes}
        self.origin: dict[int, int] = {}  # what one buffer makes another of can stand for both
        self.readers: dict[int, list[int]] = {}
        for number, step in enumerate(steps):
            self.origin |= {b: self.origin.get(a, a) for b, a in made_in_place(step).items()}
            for b in step.read:
                self.readers.setdefault(self.origin.get(b, b), []).append(number)
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = dict.fromkeys(self.found, 0)
        for number, cluster in self.found.items():
            ahead = 0
            for other in {self.writer[b] for b in cluster.reads if b in self.writer}:
                ahead |= 1 << other | self.before[other]
            self.before[number] = ahead
            for other in members(ahead):
                self.after[other] |= 1 << number

    def run(self) -> list[Cluster]:
        for number in (*range(len(self.steps)), *range(len(self.steps))):
            refused: set[int] = set()
            for other in self.partners(number):
                here, there = self.home[number], self.home[other]
                if here != there and there not in refused:
                    joined = self.join(self.found[there], self.found[here])
                    if joined is not None:
                        self.replace(there, here, joined)
                        refused.clear()
                    else:
                        refused.add(there)
        return [part for cluster in self.in_order() for part in self.kept(cluster)]

    def partners(self, number: int) -> list[int]:
        """Steps that `number` reads from, latest first, then earlier ones that read the same.

        What is small is left out there: to read it twice costs nothing, and many may read it.
        """
        reads = self.steps[number].read
        near = {self.writer[b] for b in reads if b in self.writer}
        large = {self.origin.get(b, b) for b in reads if 8 * self.bytes[b] > self.cache_bytes}
        beside = {n for b in large for n in self.readers[b] if n < number}
        return [*sorted(near, reverse=True), *sorted(beside - near, reverse=True)]

    def join(self, a: Cluster, b: Cluster) -> Cluster | None:
        """Both as one, or None if they cannot be or had better not."""
        if self.stands_between(a.steps[0], b.steps[0]):
            return None
        joined = self.joined(a, b)
        for rows, sums in ((a, b), (b, a)):
            if joined is None and len(sums.steps) == 1 and len(rows.extents) > 1:
                adding = self.row_by_row(sums.steps[0], len(rows.extents) - 1)
                if adding is not None:
                    joined = self.joined(rows, adding)
        return joined

    def row_by_row(self, number: int, position: int) -> Cluster | None:
        """What `describe_row_by_row` says of a step, looked at once."""
        if (number, position) not in self.adding:
            found = describe_row_by_row(number, self.steps[number], position)
            self.adding[number, position] = found
        return self.adding[number, position]

    def joined(self, a: Cluster, b: Cluster) -> Cluster | None:
        """Both as one, or None if they do not work on the same rows or had better not be one."""
        flows = (a.writes & b.reads) | (b.writes & a.reads)
        extents = common_prefix([a.extents, b.extents])
        depth = 0
        while depth < len(extents) and all(a.axes[t][depth] & b.axes[t][depth] for t in flows):
            depth += 1
        if depth == 0 or any(c.adds and depth < len(c.extents) for c in (a, b)):
            return None
        joined = union(a, b, depth)
        joined = replace(joined, shared=joined.shared | self.common(a, b))
        return joined if self.fits(joined) and self.pays(a, b, joined, flows) else None

    def stands_between(self, a: int, b: int) -> bool:
        """Whether another cluster needs one of two and is needed by the other."""
        a, b = self.home[a], self.home[b]
        return bool(self.after[a] & self.before[b] or self.after[b] & self.before[a])

    def row_bytes(self, joined: Cluster, b: int) -> int | None:
        """Bytes of one row of a buffer, or None if other rows are read as well."""
        return self.bytes[b] // joined.rows if all(joined.axes[b]) else None

    def fits(self, joined: Cluster) -> bool:
        """Whether rows are many enough, and short enough to stay in cache."""
        fewest = min(self.threads, _FEWEST_ROWS) if joined.products else _FEWEST_ROWS
        few = joined.independent < fewest
        if few and sum(self.bytes[b] for b in joined.axes) > _LITTLE_WORK:
            return False
        inner = [self.row_bytes(joined, b) or 0 for b in joined.writes]
        if sum(inner) > self.cache_bytes:
            return False
        if joined.products and _TILE_ROWS * max(inner, default=0) > self.cache_bytes:
            return False
        tiled = all(product.remains(len(joined.extents)) for product in joined.products)
        return tiled and not joined.sweeps[-1]

    def pays(self, a: Cluster, b: Cluster, joined: Cluster, flows: frozenset[int]) -> bool:
        """Whether what stays in cache between the two matters beside all else they touch."""
        shared = {t for t in self.common(a, b) if self.stays(joined, t)}
        if not flows:
            large = sum(self.bytes[t] for t in shared) > self.cache_bytes
            if not large or not (a.reduces and b.reduces):
                return False
        gain = sum(self.bytes[t] for t in shared)
        smaller = min(sum(self.bytes[t] for t in c.axes) for c in (a, b))
        if gain * _WORTHWHILE < smaller:
            return False
        within = {t for t in joined.shared if self.stays(joined, t)}
        return all(self.product_pays(product, within, joined) for product in joined.products)

    def common(self, a: Cluster, b: Cluster) -> set[int]:
        """What both touch, and what one makes again of that before it reads it."""
        origins = [{self.origin.get(t, t) for t in c.axes} for c in (a, b)]
        both = origins[0] & origins[1]
        made = {t for t in a.axes.keys() ^ b.axes.keys() if self.origin.get(t) in both}
        return made | (a.axes.keys() & b.axes.keys())

    def stays(self, joined: Cluster, b: int) -> bool:
        row = self.row_bytes(joined, b)
        return row is not None and row <= self.cache_bytes

    def product_pays(self, product: Product, within: Set[int], joined: Cluster) -> bool:
        """Whether the matrix that stays in cache outweighs those that are read again.

        These may be larger where each of the outer rows, as a head of attention, has its own part
        of them, which stays in cache as well.
        """
        largest = max((product.matrices[b] for b in product.matrices.keys() & within), default=0)
        total = sum(product.matrices.values())
        outer = joined.extents[:-1]
        apart = bool(outer) and product.both.issuperset(range(len(outer)))
        stays = apart and total - largest <= self.cache_bytes * prod(outer)
        return total <= (4 if stays else 1.5) * largest

    def replace(self, a: int, b: int, joined: Cluster) -> None:
        """`joined` stands for both from now on."""
        del self.found[b]
        self.found[a] = joined
        for number in joined.steps:
            self.home[number] = a
        both = 1 << a | 1 << b
        for way in (self.before, self.after):
            way[a] = (way[a] | way.pop(b)) & ~both
        for way, back in ((self.before, self.after), (self.after, self.before)):
            for other in members(back[a]):
                way[other] = (way[other] & ~both) | 1 << a | way[a]

    def in_order(self) -> list[int]:
        """Clusters so that each comes after those it needs."""
        placed: list[int] = []
        there = 0
        waiting = sorted(self.found)
        while waiting:
            ready = [c for c in waiting if not self.before[c] & ~there]
            assert ready, "kernels wait for each other in a circle"
            placed += ready
            there |= sum(1 << c for c in ready)
            waiting = [c for c in waiting if not there >> c & 1]
        return placed

    def kept(self, number: int) -> list[Cluster]:
        """A cluster, or its steps one by one where joining them brings nothing."""
        cluster = self.found[number]
        if cluster.reduces:
            return [cluster]
        return [describe(step, self.steps[step]) for step in cluster.steps]
