"""Elements that go to one place, combined: for scattering at indices."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.tensor.core import Shape

_BY_ORDER = {"prod": ops.MUL, "amax": ops.MAXIMUM, "amin": ops.MINIMUM}
REDUCTIONS = ("sum", "mean", *_BY_ORDER)


def combined_at(
    x: Node, places: tuple[Node, ...], updates: Node, how: str, include_self: bool = True
) -> Node:
    """`x` with the updates of each place, and maybe what is there, reduced to one.

    Half floats are reduced in float32, and means of integers are taken in int64.
    """
    dtype = _wide(x.dtype, how)
    if dtype is not x.dtype:
        wide, added = build.cast(x, dtype), build.cast(updates, dtype)
        return build.cast(combined_at(wide, places, added, how, include_self), x.dtype)
    if not updates.size or (how == "sum" and include_self):
        return build.scatter(x, places, updates)
    count = count_at(x.shape, places)
    hit = is_hit(count)
    if how in ("sum", "mean"):
        base = x if include_self else build.where(hit, build.full_like(x, 0), x)
        total = build.scatter(base, places, updates)
        return total if how == "sum" else _over(total, count, include_self)
    op = _BY_ORDER[how]
    identity = build.full_like(x, build.identity_value(op, x.dtype))
    base = x if include_self else build.where(hit, identity, x)
    reduced = _reduced_at(op, places, updates, count)
    result = build.binary(op, base, build.where(hit, reduced, identity))
    if op is ops.MUL or not x.dtype.is_float:
        return result
    own = build.binary(ops.EQ, x, result)
    if not include_self:
        own = build.binary(ops.AND, own, build.logical_not(hit))
    return build.surrogate(result, _shared_by_equals(x, own, places, updates, result))


def _wide(dtype: DType, how: str) -> DType:
    if dtype.is_float:
        return dtypes.float32 if dtype.bits == 16 else dtype
    return dtypes.int64 if how == "mean" and dtype.bits < 64 else dtype


def count_at(extents: Shape, places: tuple[Node, ...]) -> Node:
    """How many indices name each place (int64)."""
    ones = build.full_like(places[0], 1)
    return build.scatter(build.const(0, dtypes.int64, extents), places, ones)


def is_hit(count: Node) -> Node:
    return build.binary(ops.LT, build.full_like(count, 0), count)


def _over(total: Node, count: Node, include_self: bool) -> Node:
    """The mean, from sums and from how many updates are in each."""
    one = build.full_like(count, 1)
    number = build.add(count, one) if include_self else build.binary(ops.MAXIMUM, count, one)
    number = build.cast(number, total.dtype)
    return build.binary(ops.DIV if total.dtype.is_float else ops.FLOORDIV, total, number)


def _shared_by_equals(
    x: Node, own: Node, places: tuple[Node, ...], updates: Node, result: Node
) -> Node:
    """What has the gradient of an extreme: the mean of the elements that equal it."""
    theirs = build.binary(ops.EQ, updates, build.gather(result, places))
    none, one = build.full_like(x, 0), build.full_like(x, 1)
    none_of, one_of = build.full_like(updates, 0), build.full_like(updates, 1)
    votes = build.where(theirs, one_of, none_of)
    number = build.scatter(build.where(own, one, none), places, votes)
    kept = build.where(theirs, updates, none_of)
    total = build.scatter(build.where(own, x, none), places, kept)
    return build.div(total, build.binary(ops.MAXIMUM, number, one))


def _reduced_at(op: Op, places: tuple[Node, ...], updates: Node, count: Node) -> Node:
    """The updates of each place reduced with `op`; anything where there are none.

    In the order of their places, each update is reduced with those of the same place among the
    2, 4, 8, ... before it. The last one of a place then has them all.
    """
    key = places[0]
    for extent, place in zip(count.shape[1:], places[1:], strict=True):
        key = build.add(build.mul(key, build.full_like(key, extent)), place)
    key = build.reshape(key, (key.size,))
    order = (build.library("argsort", (0, False), key),)
    key = build.gather(build.add(key, build.full_like(key, 1)), order)  # from 1: 0 is no place
    values = build.gather(build.reshape(updates, key.shape), order)
    identity = build.full_like(values, build.identity_value(op, values.dtype))
    step = 1
    while step < key.size:
        same = build.binary(ops.EQ, key, _moved_on(key, step))
        earlier = build.where(same, _moved_on(values, step), identity)
        # A reduction of pairs is stored, so that no step is computed again in the next.
        values = build.reduce(op, _pairs(earlier, values), (1,))
        step *= 2
    ends = build.scan(ops.ADD, build.reshape(count, (count.size,)), 0)
    last = build.sub(ends, build.full_like(ends, 1))
    last = build.binary(ops.MAXIMUM, last, build.full_like(last, 0))
    return build.reshape(build.gather(values, (last,)), count.shape)


def _pairs(first: Node, second: Node) -> Node:
    """Two vectors as the columns of a matrix."""
    shape = (first.size, 2)
    column = build.along(1, shape)
    is_second = build.binary(ops.EQ, column, build.full_like(column, 1))
    wide = [build.expand(build.reshape(x, (x.size, 1)), shape) for x in (second, first)]
    return build.where(is_second, *wide)


def _moved_on(x: Node, step: int) -> Node:
    """A vector moved by `step` places towards its end, with zeros in front."""
    kept = build.slice_(x, ((0, x.size - step, 1),))
    return build.pad(kept, ((step, 0, 0),))
