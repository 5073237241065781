"""Views: tensors that show elements of another one, as in NumPy.

Values never change, so nothing is shared in memory. A view and what it is a view of are a family:
a write into one of its members gives every other one a new node, which shows what was written. A
family knows its members weakly, so that a view does not keep alive what it was taken from.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import Node

Shape = tuple[int, ...]
Move = tuple[Callable[[Node, Any], Node], Any]  # a function of `ir.build` and its argument


class Member(Protocol):
    """A tensor."""

    node: Node
    share: Share | None

    def _become(self, made: Node) -> None:
        """Shows `made`, and stays a leaf if it can."""


class Family:
    """Tensors that share elements.

    Attributes:
        shape, dtype: those of the first one, the root, which need not be alive.
    """

    __slots__ = ("shape", "dtype", "_members", "_limit")

    def __init__(self, root: Member) -> None:
        self.shape, self.dtype = root.node.shape, root.node.dtype
        self._members: list[weakref.ref] = [weakref.ref(root)]
        self._limit = 8

    def add(self, member: Member) -> None:
        """One more member; the dead ones are forgotten now and then."""
        self._members.append(weakref.ref(member))
        if len(self._members) > self._limit:
            self._members = [r for r in self._members if r() is not None]
            self._limit = 2 * len(self._members) + 8

    def has_other(self, member: Member) -> bool:
        """Whether another member is alive."""
        for reference in self._members:
            other = reference()
            if other is not None and other is not member:
                return True
        return False

    def living(self) -> list[Any]:
        """The members that are alive."""
        return [member for r in self._members if (member := r()) is not None]


class Share(NamedTuple):
    """A tensor's place in its family.

    Attributes:
        moves: what leads from the elements of the root to those of this tensor.
    """

    family: Family
    moves: tuple[Move, ...]


def detach(x: Node, _: None) -> Node:
    """The move of a view through which no gradient flows."""
    return build.detach(x)


def window(x: Node, argument: tuple[int, int, int]) -> Node:
    """The move of `unfold`: (axis, size, stride)."""
    return build.window(x, *argument)


def diagonal(x: Node, span: tuple[int, int, int]) -> Node:
    """The move of `diagonal`: a slice of the last two axes, joined into one."""
    return build.slice_(_joined(x), _of_last_axis(x, span))


def join(view: Member, source: Member, moves: tuple[Move, ...]) -> None:
    """Makes `view`, which `moves` have led to, share the elements of `source`.

    A reshape for which NumPy would have to copy leaves `view` on its own.
    """
    share = source.share
    if share is None:
        share = source.share = Share(Family(source), ())
    moves = share.moves + moves
    if any(move is build.reshape for move, _ in moves[1:]) and _layout(share.family, moves) is None:
        return
    view.share = Share(share.family, moves)
    share.family.add(view)


def source(view: Member) -> Any:
    """The tensor that `view` is a view of, if it lives."""
    if view.share is None or not view.share.moves:
        return None
    roots = (m for m in view.share.family.living() if not m.share.moves)
    return next(roots, None)


def is_contiguous(tensor: Member) -> bool:
    """Whether NumPy would have the elements in memory one after the other."""
    if tensor.share is None or not tensor.share.moves:
        return True
    shape, strides = _layout(*tensor.share) or ((), ())
    return all(s == w for n, s, w in zip(shape, strides, _contiguous(shape), strict=True) if n > 1)


def repeats(tensor: Member) -> bool:
    """Whether an element stands in several places of `tensor`, which must then not be written."""
    if tensor.share is None or not tensor.share.moves:
        return False
    if any(move is window and argument[1] > argument[2] for move, argument in tensor.share.moves):
        return True
    shape, strides = _layout(*tensor.share) or ((), ())
    return 0 not in shape and any(n > 1 and s == 0 for n, s in zip(shape, strides, strict=True))


def same_view(tensor: Member, source: Member, moves: tuple[Move, ...]) -> bool:
    """Whether `tensor` is the view of `source` that `moves` lead to."""
    share, own = tensor.share, source.share
    if share is None or own is None or share.family is not own.family:
        return False
    return share.moves == own.moves + moves


# Writing


def spread(writer: Member, settled: Collection[int] = ()) -> None:
    """Shows what `writer` shows now in the other members of its family.

    Args:
        settled: ids of members that show it already.
    """
    share = writer.share
    if share is None:
        return
    others = [m for m in share.family.living() if m is not writer]
    if not others:
        return
    root = next((m for m in (writer, *others) if not m.share.moves), None)
    if root is None:
        _spread_from_view(writer, others, settled)
        return
    if root is not writer and id(root) not in settled:
        root._become(_put_back(root.node, writer.node, share.moves))
        if root.node.op is ops.BUFFER and id(writer) not in settled:
            writer.node = _moved(root.node, share.moves)  # so that gradients reach the root
    for member in others:
        if member is not root and id(member) not in settled:
            member.node = _moved(root.node, member.share.moves)


def _spread_from_view(writer: Member, others: Sequence[Member], settled: Collection[int]) -> None:
    """The same where the root is gone: each member has its own old elements around the new ones."""
    assert writer.share is not None
    family, moves = writer.share
    nothing = build.const(0, family.dtype, family.shape)
    nowhere = build.const(False, dtypes.bool_, family.shape)
    written = _put_back(nothing, writer.node, moves)
    where = _put_back(nowhere, build.const(True, dtypes.bool_, writer.node.shape), moves)
    for member in others:
        if id(member) not in settled:
            assert member.share is not None
            way = member.share.moves
            member.node = build.where(_moved(where, way), _moved(written, way), member.node)


def _moved(root: Node, moves: Sequence[Move]) -> Node:
    for move, argument in moves:
        root = move(root, argument)
    return root


def _put_back(root: Node, value: Node, moves: Sequence[Move]) -> Node:
    """`root` with `value` where `moves` lead to."""
    stages = [root]
    for move, argument in moves:
        stages.append(move(stages[-1], argument))
    for (move, argument), before in zip(reversed(moves), reversed(stages[:-1]), strict=True):
        value = _BACK[move](before, value, argument)
    return value


def overwrite(x: Node, value: Node, spans: Sequence[tuple[int, int, int]]) -> Node:
    """`x` with `value` at the elements that a slice takes."""
    widths = []
    for extent, count, (start, _, step) in zip(x.shape, value.shape, spans, strict=True):
        covered = start + (count - 1) * step + 1 if count else start
        widths.append((start, extent - covered, step - 1))
    inside = build.pad(build.const(True, dtypes.bool_, value.shape), tuple(widths))
    return build.where(inside, build.pad(value, tuple(widths)), x)


def _overwrite_windows(x: Node, value: Node, argument: tuple[int, int, int]) -> Node:
    axis, _, stride = argument
    ones = build.const(1, dtypes.int64, value.shape)
    covered = build.fold(ones, axis, x.shape[axis], stride)
    inside = build.binary(ops.LT, build.full_like(covered, 0), covered)
    return build.where(inside, build.fold(value, axis, x.shape[axis], stride), x)


def _overwrite_diagonal(x: Node, value: Node, span: tuple[int, int, int]) -> Node:
    return build.reshape(overwrite(_joined(x), value, _of_last_axis(x, span)), x.shape)


def _joined(x: Node) -> Node:
    *lead, rows, columns = x.shape
    return build.reshape(x, (*lead, rows * columns))


def _of_last_axis(x: Node, span: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    return (*((0, extent, 1) for extent in x.shape[:-2]), span)


# How each move is undone: (the elements before it, those after it, its argument).
_BACK: dict[Callable[[Node, Any], Node], Callable[[Node, Node, Any], Node]] = {
    build.reshape: lambda x, value, _: build.reshape(value, x.shape),
    build.permute: lambda x, value, order: build.permute(
        value, tuple(order.index(axis) for axis in range(x.ndim))
    ),
    build.flip: lambda x, value, axes: build.flip(value, axes),
    build.slice_: overwrite,
    build.expand: lambda x, value, _: build.reshape(value, x.shape),
    build.bitcast: lambda x, value, _: build.bitcast(value, x.dtype),
    detach: lambda x, value, _: value,
    window: _overwrite_windows,
    diagonal: _overwrite_diagonal,
}  # fmt: skip


# Where NumPy would have the elements


def _layout(family: Family, moves: Sequence[Move]) -> tuple[Shape, Shape] | None:
    """Shape and strides after `moves`, or None if a reshape among them needs a copy."""
    shape, strides = family.shape, _contiguous(family.shape)
    for move, argument in moves:
        if move is build.permute:
            shape = tuple(shape[axis] for axis in argument)
            strides = tuple(strides[axis] for axis in argument)
        elif move is build.slice_:
            shape = tuple(len(range(*span)) for span in argument)
            strides = tuple(s * span[2] for s, span in zip(strides, argument, strict=True))
        elif move is build.flip:
            strides = tuple(-s if axis in argument else s for axis, s in enumerate(strides))
        elif move is build.expand:
            lead = len(argument) - len(shape)
            kept = zip(argument[lead:], shape, strides, strict=True)
            strides = (0,) * lead + tuple(s if n == old else 0 for n, old, s in kept)
            shape = argument
        elif move is window:
            axis, _, stride = argument
            shape = build.window(build.const(0, dtypes.int64, shape), *argument).shape
            step = strides[axis]
            strides = (*strides[:axis], step * stride, *strides[axis + 1 :], step)
        elif move is diagonal:
            shape = (*shape[:-2], len(range(*argument)))
            strides = (*strides[:-2], strides[-2] + strides[-1])
        elif move is build.reshape:
            found = _reshaped(shape, strides, argument)
            if found is None:
                return None
            shape, strides = argument, found
    return shape, strides


def _contiguous(shape: Shape) -> Shape:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return tuple(strides)


def _reshaped(shape: Shape, strides: Shape, wanted: Shape) -> Shape | None:
    """The strides that walk the same elements in another shape, or None if there are none."""
    if 0 in shape:
        return _contiguous(wanted)
    runs: list[tuple[int, int]] = []  # axes to be walked as one: (elements, stride of the last)
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * s:
            n *= runs.pop()[0]
        runs.append((n, s))
    left, step = 1, 1
    found = []
    for n in reversed(wanted):
        if n != 1 and left == 1:
            left, step = runs.pop()
        if left % n:
            return None
        found.append(step)
        left, step = left // n, step * n
    return tuple(reversed(found))
