"""Windows that overlap, packed without repeating what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from gradlet.base.target import LINE_BYTES
from gradlet.ir import index, ops
from gradlet.ir.node import Node, topological
from gradlet.lower.loops import size


@dataclass(frozen=True)
class Strip:
    """Rows that are the same wherever a lane and a term add up to the same place.

    A panel that holds each such place once is shorter than one with a row for each term by as
    many times as windows overlap, and rows are read from it at any offset:

        x[c, i + r, j + s] for i in 28, j in 28, r in 3, s in 3
     ->
        strip[c, 30 * u + v] = x[c, u, v] for u in 30, v in 30; rows strip[c, n + 30 * r + s]

    in which lane n is at (i, j) = (n // 30, n % 30), and two of 30 lanes stand for nothing. Zeros
    at the end of one line serve as those at the beginning of the next: where `x` is 0 for v in 0
    and 29, lines of 29 places will do.

    Attributes:
        value: the element at `places`, counters along the strip, outermost first.
        terms: the terms that do not move along the strip.
        offset: how far the others have moved along it.
    """

    value: Node
    places: tuple[Node, ...]
    terms: tuple[Node, ...]
    offset: Node

    @cached_property
    def spans(self) -> tuple[int, ...]:
        """How many places there are along each of the lanes' counters."""
        return tuple(size(place) for place in self.places)

    @cached_property
    def line(self) -> int:
        """How many places an iteration of the outermost of them is worth."""
        return prod(self.spans[1:])

    @property
    def used(self) -> int:
        return self.spans[0] * self.line

    def length(self, lanes: int, fewer: int = 0) -> int:
        """Elements of a strip, with `fewer` outermost places, whose `lanes` are read at any offset.

        It is an odd number of cache lines, so that strips one behind the other do not compete
        for the same places in the cache.
        """
        reach = max(self.used - fewer * self.line, lanes + index.bounds(self.offset)[1])
        line = LINE_BYTES // self.value.dtype.itemsize
        return (-(-reach // line) | 1) * line

    def chunk(self, start: Node, fewer: int, places: dict[Node, Node]) -> Strip:
        """The part from place `start` of the outermost on, with `fewer` places along it.

        Args:
            places: what stands for the other counters.
        """
        first = self.places[0]
        inner = index.loop(first.arg[0], size(first) - fewer)
        value = index.replace(self.value, {**places, first: index.add(start, inner)})
        return replace(self, value=value, places=(inner, *self.places[1:]))


def reads_in_line(value: Node, counter: Node) -> bool:
    """True if all arrays that `value` is made of are read at neighbours as `counter` grows."""
    loads = [x for x in topological([value]) if x.op is ops.LOAD]
    steps = [index.coefficient(index.ravel(x.src[2:], x.src[0].shape), counter) for x in loads]
    return 1 in steps and all(step in (0, 1) for step in steps)


def strip_of(rows: Node, lanes: Sequence[Node], terms: Sequence[Node]) -> Strip | None:
    """How `rows` are packed as a strip, or None if no term moves along it."""
    value, left = rows, [*terms]
    places: list[Node] = []
    offsets: list[Node] = []
    for lane in lanes:
        steps = {t: step for t in left if (step := _step(value, lane, t))}
        moved = index.add(*(index.scale(t, step) for t, step in steps.items()), 0)
        low, high = index.bounds(moved)
        name, span = f"{lane.arg[0]}p", size(lane) + high - low
        place = index.loop(name, span)
        still = dict.fromkeys(steps, index.const(0))
        found = index.replace(value, {lane: index.add(place, low), **still})
        offset = index.sub(moved, low)
        if index.replace(found, {place: index.add(lane, offset)}) is not value:
            return None
        if places:
            shared = min(high - low, _zeros(found, place, 1), _zeros(found, place, -1))
            shorter = index.loop(name, span - shared)
            found = index.replace(found, {place: shorter})
            place = shorter
        value = found
        left = [t for t in left if t not in steps]
        places.append(place)
        offsets.append(offset)
    if len(left) == len(terms):
        return None
    offset = index.ravel(offsets, [size(place) for place in places])
    return Strip(value, tuple(places), tuple(left), offset)


def _zeros(value: Node, place: Node, step: int) -> int:
    """How many of the first places, or with step -1 of the last, there is nothing but 0 at."""
    order = range(size(place))[::step]
    return next((n for n, at in enumerate(order) if not _is_zero(value, place, at)), len(order))


def _is_zero(value: Node, place: Node, at: int) -> bool:
    found = index.replace(value, {place: index.const(at)})
    return found.op is ops.LOAD and found.src[1] is index.FALSE


def _step(rows: Node, lane: Node, term: Node) -> int:
    """How many iterations of `lane` one of `term` is worth; 0 if it is none."""
    for x in topological([rows]):
        if x.op is ops.LOAD:
            for place in x.src[2:]:
                along, across = index.coefficient(place, lane), index.coefficient(place, term)
                if along and across and across % along == 0:
                    return across // along
    return 0
