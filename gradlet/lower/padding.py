"""Padding that many reads would test for is put into a copy once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import Node, node


def pad_once(value: Node) -> tuple[Nest, Node] | None:
    """A masked load becomes a plain one from a copy with the zeros in place.

        x[i - 1] if 1 <= i <= n else 0   ->   padded[i], after padded[1 + j] = x[j] for all j

    Returns:
        the nest that fills the copy and the load from it, or None where there is no mask, or one
        that says more than that the indices exist.
    """
    if value.op is not ops.LOAD or value.src[1] is index.TRUE:
        return None
    array, valid, *at = value.src
    spans = [index.bounds(i) for i in at]
    exists = _inside(at, array.shape)
    if index.and_(exists, valid) is not exists:
        return None
    shape = tuple(high - low + 1 for low, high in spans)
    if prod(shape) > 4 * array.size + 4096:
        return None
    padded = node(ops.SCRATCH, (), f"padded{array.arg}", array.dtype, shape)
    counters = tuple(index.loop(f"z{axis}", extent) for axis, extent in enumerate(shape))
    source = tuple(index.add(c, low) for c, (low, _) in zip(counters, spans, strict=True))
    copied = load(array, source, _inside(source, array.shape))
    loops = tuple(c for c in counters if c.op is ops.RANGE)
    fill = Nest(loops, (Store(padded, counters, copied),))
    moved = tuple(index.sub(i, low) for i, (low, _) in zip(at, spans, strict=True))
    return fill, load(padded, moved)


def _inside(at: Sequence[Node], shape: tuple[int, ...]) -> Node:
    """The condition that an array of `shape` has an element at `at`."""
    return index.and_(
        *(
            index.and_(index.le(0, i), index.le(i, extent - 1))
            for i, extent in zip(at, shape, strict=True)
        )
    )
