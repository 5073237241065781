"""Padding that many reads would test for is put into a copy once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import Node, node
from gradlet.ir.ops import Op


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
    exists = _inside(at, array.shape)
    if index.and_(exists, valid) is not exists:
        return None
    fill, padded = pad_part(value, frozenset(), ops.SCRATCH)
    return (fill, padded) if padded.src[0].size <= 4 * array.size + 4096 else None


def pad_part(value: Node, around: Collection[Node], kind: Op) -> tuple[Nest, Node]:
    """The same with a copy of what is reached while the counters `around` stand still.

       x[8 * b + i - 1] if it exists else 0, where b is around and i in 8
    ->
       padded[i], after padded[j] = x[8 * b + j - 1] if it exists else 0, for j in 8
    """
    array, _, *at = value.src
    first = [
        index.replace(i, dict.fromkeys(index.variables(i) - {*around}, index.const(0))) for i in at
    ]
    spans = [index.bounds(index.sub(i, f)) for i, f in zip(at, first, strict=True)]
    shape = tuple(high - low + 1 for low, high in spans)
    padded = node(kind, (), f"padded{array.arg}", array.dtype, shape)
    first = [index.add(f, low) for f, (low, _) in zip(first, spans, strict=True)]
    counters = tuple(index.loop(f"z{axis}", extent) for axis, extent in enumerate(shape))
    source = tuple(index.add(c, f) for c, f in zip(counters, first, strict=True))
    copied = load(array, source, _inside(source, array.shape))
    loops = tuple(c for c in counters if c.op is ops.RANGE)
    fill = Nest(loops, (Store(padded, counters, copied),))
    moved = tuple(index.sub(i, f) for i, f in zip(at, first, strict=True))
    return fill, load(padded, moved)


def _inside(at: Sequence[Node], shape: tuple[int, ...]) -> Node:
    """The condition that an array of `shape` has an element at `at`."""
    return index.and_(
        *(
            index.and_(index.le(0, i), index.le(i, extent - 1))
            for i, extent in zip(at, shape, strict=True)
        )
    )
