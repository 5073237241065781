"""A general graph, built once at its largest size, for all sizes.

What stands beyond the size at hand is computed, and kept out of reductions, scatters and windows
that are added up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node, node
from gradlet.jit.sizes import Entry, General, Linear, Number, UnfitError


def bounded(general: General, positions: Sequence[int]) -> tuple[list[Node], list[Node]]:
    """(sinks, params) of the graph at its largest size.

    The last param is the size, an int64 scalar; the others are those of the captures.

    Raises:
        UnfitError: an operation whose elements beyond the size cannot be kept apart.
    """
    builder = _Builder(general)
    return [builder.made[p] for p in positions], [*builder.params, builder.size]


class _Builder:
    """Builds each entry at the largest size.

    Of an axis that is `extent` long the elements below that are what they should be; those beyond
    are whatever comes out.
    """

    def __init__(self, general: General) -> None:
        self.general = general
        self.params: list[Node] = []
        self.made: list[Node] = []
        count = sum(entry.op is ops.PARAM for entry in general.entries)
        self.size = build.param(count, dtypes.int64, ())
        for position, entry in enumerate(general.entries):
            src = [self.made[s] for s in entry.src]
            shape = general.largest_shape(position)
            varies = [general.entries[p].shape for p in (*entry.src, position)]
            if any(extent.slope for shape_ in varies for extent in shape_) or entry.has_size():
                self.made.append(self.build(entry, src, shape))
            elif entry.op is ops.PARAM:
                self.made.append(self.param(entry, shape))
            else:
                self.made.append(node(entry.op, tuple(src), entry.argument, entry.dtype, shape))

    def param(self, entry: Entry, shape: tuple[int, ...]) -> Node:
        self.params.append(build.param(len(self.params), entry.dtype, shape))
        return self.params[-1]

    def build(self, entry: Entry, src: list[Node], shape: tuple[int, ...]) -> Node:
        """An entry with an axis that varies, or next to one."""
        op, argument = entry.op, entry.argument
        before = [self.general.entries[s].shape for s in entry.src]
        if op.kind in ("unary", "binary", "ternary"):
            return node(op, tuple(src), argument, entry.dtype, shape)
        if op is ops.PARAM:
            return self.param(entry, shape)
        if op is ops.CONST:
            return self.constant(argument, entry.dtype, shape)
        if op is ops.IOTA:
            return build.iota(shape[0], entry.dtype)
        if op is ops.RESHAPE:
            self.check_reshape(before[0], entry.shape)
            return build.reshape(src[0], shape)
        if op is ops.EXPAND:
            return build.expand(src[0], shape)
        if op is ops.PERMUTE:
            return build.permute(src[0], argument)
        if op is ops.SLICE:
            return self.slice(src[0], before[0], argument, entry.shape)
        if op is ops.PAD:
            return self.pad(src[0], before[0], argument, entry.shape)
        if op is ops.FLIP:
            return self.flip(src[0], before[0], argument)
        if op is ops.REDUCE:
            return self.reduce(src[0], before[0], argument)
        if op is ops.SCAN:
            return build.scan(argument[0], src[0], argument[1])
        if op is ops.GATHER:
            indices = self.indices(src[1:], before[1], before[0])
            return build.gather(src[0], indices)
        if op is ops.SCATTER:
            indices = self.indices(src[1:-1], before[1], before[0])
            return build.scatter(src[0], indices, self.only(src[-1], before[-1], 0))
        if op is ops.WINDOW and not before[0][argument[0]].slope:
            return build.window(src[0], *argument)
        if op is ops.FOLD and not entry.shape[argument[0]].slope:
            kept = self.only(src[0], before[0], 0, {argument[0], src[0].ndim - 1})
            return build.fold(kept, *argument)
        raise UnfitError(f"{op.name.lower()} over an axis that varies is not supported")

    # Numbers

    def number(self, extent: Linear) -> Node:
        """An extent as an int64 scalar."""
        scaled = build.mul(self.size, build.full_like(self.size, extent.slope))
        return build.add(scaled, build.full_like(self.size, extent.offset))

    def constant(self, value: Any, dtype: DType, shape: tuple[int, ...]) -> Node:
        if isinstance(value, Linear):
            return build.expand(build.cast(self.number(value), dtype), shape)
        if not isinstance(value, Number):
            return node(ops.CONST, (), value, dtype, shape)
        size = build.cast(self.size, dtype)
        factor = build.full_like(size, value.by_size)
        if value.inverse:
            return build.expand(build.div(factor, size), shape)
        return build.expand(
            build.add(build.mul(size, factor), build.full_like(size, value.offset)), shape
        )

    # What stands beyond the size

    def inside(self, shape: tuple[int, ...], axis: int, extent: Linear) -> Node:
        """Whether an element stands below `extent` on an axis."""
        place = build.along(axis, shape)
        return build.binary(ops.LT, place, build.expand(self.number(extent), shape))

    def only(
        self,
        x: Node,
        extents: Sequence[Linear],
        filler: bool | int | float,
        axes: set[int] | None = None,
    ) -> Node:
        """`x` with `filler` beyond the extents of the axes that vary."""
        for axis, extent in enumerate(extents):
            if extent.slope and (axes is None or axis in axes):
                x = build.where(self.inside(x.shape, axis, extent), x, build.full_like(x, filler))
        return x

    def reduce(self, x: Node, extents: Sequence[Linear], argument: Any) -> Node:
        op, axes = argument
        identity = build.identity_value(op, x.dtype)
        return build.reduce(op, self.only(x, extents, identity, set(axes)), axes)

    def indices(
        self, indices: Sequence[Node], extents: Sequence[Linear], indexed: Sequence[Linear]
    ) -> tuple[Node, ...]:
        """Indices that are 0 beyond their own extents, and too large beyond those they index."""
        made = []
        for index, extent in zip(indices, indexed, strict=False):
            if extent.slope:
                limit = build.expand(build.cast(self.number(extent), index.dtype), index.shape)
                outside = build.binary(ops.LE, limit, index)
                most = build.full_like(index, self.general.largest(extent))
                index = build.where(outside, build.add(index, most), index)
            made.append(self.only(index, extents, 0))
        return tuple(made)

    # Movement

    def check_reshape(self, before: Sequence[Linear], after: Sequence[Linear]) -> None:
        """An axis that varies may be joined with, or split off from, those behind it alone."""
        sizes = self.general.sizes
        left, right = list(before), list(after)
        while left or right:
            first: list[Linear] = [left.pop(0)] if left else []
            second: list[Linear] = [right.pop(0)] if right else []
            while _products(first, sizes) != _products(second, sizes):
                shorter = _products(first, sizes) < _products(second, sizes)
                source, group = (left, first) if shorter else (right, second)
                if not source:
                    raise UnfitError("a reshape mixes an axis that varies with others")
                group.append(source.pop(0))
            for group in (first, second):
                while group and group[0] == (0, 1):
                    group.pop(0)
                if any(extent.slope for extent in group[1:]):
                    raise UnfitError("a reshape joins an axis that varies to one before it")
            if first and second and bool(first[0].slope) != bool(second[0].slope):
                raise UnfitError("a reshape mixes an axis that varies with others")

    def take(self, x: Node, axis: int, places: Node) -> Node:
        """The elements of an axis at some places."""
        order = (axis, *(a for a in range(x.ndim) if a != axis))
        taken = build.gather(build.permute(x, order), (places,))
        return build.permute(taken, tuple(order.index(a) for a in range(x.ndim)))

    def clipped(self, places: Node, extent: int) -> Node:
        """Places moved into an axis."""
        low = build.binary(ops.MAXIMUM, places, build.full_like(places, 0))
        return build.binary(ops.MINIMUM, low, build.full_like(places, extent - 1))

    def slice(
        self, x: Node, extents: Sequence[Linear], spans: Any, after: Sequence[Linear]
    ) -> Node:
        plain = []
        moving = []
        for axis, ((start, _, step), extent) in enumerate(zip(spans, after, strict=True)):
            count = self.general.largest(extent)
            if isinstance(start, Linear) or isinstance(step, Linear):
                moving.append((axis, start, step, count))
                plain.append((0, x.shape[axis], 1))
                continue
            stop = start + (count - 1) * step + 1 if count else start
            if stop > x.shape[axis]:
                raise UnfitError("a slice reaches beyond an axis at the largest size")
            plain.append((start, stop, step))
        x = build.slice_(x, tuple(plain))
        for axis, start, step, count in moving:
            if isinstance(step, Linear):
                raise UnfitError("the step of a slice varies")
            line = build.iota(count)
            steps = build.mul(line, build.full_like(line, step))
            places = build.add(build.expand(self.number(start), line.shape), steps)
            x = self.take(x, axis, self.clipped(places, x.shape[axis]))
        return x

    def pad(self, x: Node, extents: Sequence[Linear], widths: Any, after: Sequence[Linear]) -> Node:
        for axis, (front, _, between) in enumerate(widths):
            count = self.general.largest(after[axis])
            if isinstance(front, Linear) or isinstance(between, Linear):
                if between != 0:
                    raise UnfitError("where the zeros between elements stand in a pad varies")
                x = self.moved(x, axis, front, extents[axis], count)
                continue
            covered = front + x.shape[axis] + max(x.shape[axis] - 1, 0) * between
            wide = _along(x, axis, (front, max(count - covered, 0), between), (0, 0, 0))
            x = build.pad(x, wide)
            if count < x.shape[axis]:
                x = build.slice_(x, tuple((0, n, 1) for n in _along(x, axis, count)))
            if extents[axis].slope:
                reach = 1 + between
                end = Linear(
                    extents[axis].slope * reach, front + extents[axis].offset * reach - between
                )
                inside = self.inside(x.shape, axis, end)
                x = build.where(inside, x, build.full_like(x, 0))
        return x

    def moved(self, x: Node, axis: int, front: Linear, extent: Linear, count: int) -> Node:
        """The elements of an axis from place `front` on in one of `count`, with zeros around."""
        line = build.iota(count)
        places = build.sub(line, build.expand(self.number(front), line.shape))
        taken = self.take(x, axis, self.clipped(places, x.shape[axis]))
        end = Linear(front.slope + extent.slope, front.offset + extent.offset)
        place = build.along(axis, taken.shape)
        begin = build.expand(self.number(front), taken.shape)
        within = build.binary(
            ops.AND,
            build.binary(ops.LE, begin, place),
            self.inside(taken.shape, axis, end),
        )
        return build.where(within, taken, build.full_like(taken, 0))

    def flip(self, x: Node, extents: Sequence[Linear], axes: Sequence[int]) -> Node:
        plain = tuple(axis for axis in axes if not extents[axis].slope)
        x = build.flip(x, plain)
        for axis in axes:
            if extents[axis].slope:
                line = build.iota(x.shape[axis])
                last = Linear(extents[axis].slope, extents[axis].offset - 1)
                places = build.sub(build.expand(self.number(last), line.shape), line)
                x = self.take(x, axis, self.clipped(places, x.shape[axis]))
        return x


def _along(x: Node, axis: int, value: Any, others: Any = None) -> tuple:
    """`value` for one axis, and `others`, or its extent, for each other one."""
    return tuple(
        value if a == axis else extent if others is None else others
        for a, extent in enumerate(x.shape)
    )


def _products(extents: Sequence[Linear], sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(extent.at(size) for extent in extents) for size in sizes)
