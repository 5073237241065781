"""Long sums of products with few results: all threads take part in each."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from gradlet.base.target import Target
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import node
from gradlet.lower import transforms
from gradlet.lower.loops import size
from gradlet.lower.tile import contraction_of

_FEW_RESULTS = 64  # vectors of results that do not keep all threads busy
_LONG_SUM = 1 << 13  # terms
_MOST_PARTS = 16  # where results are few; else four times as many as threads, or twice


def split_sum(nest: Nest, target: Target) -> list[Nest] | None:
    """Few results of long sums: each thread adds up terms of its own, and then all are added.

        out[m, n] = sum over k in 6000 of a[m, k] * b[k, n]
     ->
        parts[g, m, n] = sum over k in 500 of a[m, 500 * g + k] * b[500 * g + k, n]
        out[m, n] = sum over g in 12 of parts[g, m, n]

    Returns:
        the two nests, or None where there are results enough for all threads or few terms.
    """
    c = contraction_of(nest)
    if c is None:
        return None
    ranges, (first, *others) = nest.ranges, c.terms
    results, terms = prod(size(r) for r in ranges), prod(size(t) for t in c.terms)
    few = results <= _FEW_RESULTS * target.lanes(4)
    small = results * c.fold.dtype.itemsize <= target.l2_bytes // 8
    if terms < _LONG_SUM or not (few or small):
        return None
    even = [n for n in range(2, _MOST_PARTS + 1) if size(first) % n == 0]
    if not few:
        shared = ([n for n in even if n % (k * target.threads) == 0] for k in (4, 2))
        even = next(filter(None, shared), [])
    if not even:
        return None
    pieces = even[-1] if few else even[0]
    parts = node(ops.SCRATCH, (), "parts", c.fold.dtype, (pieces, *(size(r) for r in ranges)))
    part = index.loop(f"{first.arg[0]}g", pieces)
    count = size(first) // pieces
    term = index.loop(f"{first.arg[0]}p", count)
    place = index.add(index.scale(part, count), term)
    product = index.replace(c.fold.src[0], {first: place})
    summed = node(
        ops.FOLD_RANGES,
        (product, *(x for x in (term, *others) if x.op is ops.RANGE)),
        ops.ADD,
        parts.dtype,
        (),
    )
    together = node(ops.FOLD_RANGES, (load(parts, (part, *ranges)), part), ops.ADD, parts.dtype, ())
    value = transforms.replace_value(c.store.value, c.fold, together)
    return [
        Nest((part, *ranges), (Store(parts, (part, *ranges), summed),)),
        Nest(ranges, (replace(c.store, value=value),)),
    ]
