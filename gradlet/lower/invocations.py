"""Loops for graphics processors: one invocation for each result, and enough of them.

A graphics processor runs thousands of small programs, its *invocations*, of which a workgroup
shares some memory. Here each phase has one parallel loop, whose iterations are the invocations;
sums with few results are split first, so that there are many. Contractions are in `workgroups.py`.
"""

from __future__ import annotations

from dataclasses import replace

from gradlet.base import dtypes
from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest, Store, load
from gradlet.ir.node import Node, node, topological
from gradlet.lower import transforms
from gradlet.lower.collapse import collapse
from gradlet.lower.loops import Body, assigns, loops
from gradlet.lower.maps import blocks_vector, extent
from gradlet.lower.nest import loops_of, scan_of
from gradlet.lower.scans import split_scan
from gradlet.lower.tile import contraction_of
from gradlet.lower.workgroups import workgroup_phases

_BUSY = 4096  # invocations that a processor wants at once
_LONG = 1024  # floats that are not added up one after the other, and
_FEW = 64  # that are
_SHORT = 256  # terms that one invocation may as well take
_MOST_PARTS = 1024  # of one sum
_MOST_RESULTS = 1 << 22  # of all parts together
_LARGEST = dtypes.int32.max  # indices have 32 bits


def invocation_phases(nest: Nest, target: Target, name: str = "") -> Body:
    """The phases of a nest. `name` begins the names of its scratch arrays."""
    scan = scan_of(nest)
    if scan is not None:
        return _scan_phases(nest, scan, target, name)
    split = _split_sum(nest, name)
    if split is not None:
        first, second = split
        parts = invocation_phases(first, target, f"{name}part_")
        return (*parts, *invocation_phases(second, target, f"{name}all_"))
    tiled = workgroup_phases(nest, target)
    if tiled is not None:
        tile, rests = tiled
        for rest in rests:
            tile += invocation_phases(rest, target, f"{name}rest_")
        return tile
    adds = any(store.accumulate for store in nest.stores)
    return _in_invocations(nest if adds else collapse(nest))


def _in_invocations(nest: Nest) -> Body:
    """The counters whose iterations cannot meet, as one parallel loop around the others.

    for u: for v: out[p[u], v] += y[u, v]   ->   for v in parallel: for u: out[p[u], v] += y[u, v]
    """
    scan = scan_of(nest)
    meeting = [
        c
        for c in nest.ranges
        if (scan is not None and c is scan.src[1]) or any(blocks_vector(s, c) for s in nest.stores)
    ]
    apart = [c for c in nest.ranges if c not in meeting]
    body = loops_of(nest)
    if scan is None:
        body = transforms.reorder(body, (*apart, *meeting))
    if not apart:
        return body
    fused, *others = apart
    for counter in others:
        body, fused = transforms.fuse(body, fused, counter)
    return transforms.mark(body, fused, "parallel", check=False)


def _scan_phases(nest: Nest, scan: Node, target: Target, name: str) -> Body:
    """A scan of each row by one invocation; a long one in blocks."""
    others = [c for c in nest.ranges if c is not scan.src[1]]
    if name or extent(others) >= _SHORT or scan.src[1].arg[1] < 4 * _LONG:
        return _in_invocations(nest)
    sums, *rest = split_scan(nest, scan)
    phases = invocation_phases(sums, target, "sums_")
    for piece in rest:
        phases += invocation_phases(piece, target, "scan_")
    return phases


def _split_sum(nest: Nest, name: str) -> tuple[Nest, Nest] | None:
    """A long reduction with few results as many short ones, and one of theirs.

       out[i] = f(sum over k in 1000 of x[i, k])
    ->
       part[i, l] = sum over s in 32 of (x[i, s * 32 + l] if s * 32 + l < 1000 else 0)
       out[i] = f(sum over l in 32 of part[i, l])
    """
    folds = [x for s in nest.stores for x in topological([s.value]) if x.op is ops.FOLD_RANGES]
    if len(nest.stores) > 1 or len(folds) != 1 or nest.stores[0].accumulate is not None:
        return None
    (fold,), (store,) = folds, nest.stores
    counters = fold.src[1:]
    terms, results = extent(counters), extent(nest.ranges)
    rounds = fold.arg is ops.ADD and fold.dtype.is_float and contraction_of(nest) is None
    if terms <= (_SHORT if results < _BUSY else _LONG) or not (rounds or results < _BUSY):
        return None
    counter = max(counters, key=lambda c: c.arg[1])
    label, size = counter.arg
    lanes = 1 << (terms // _FEW).bit_length() - 1
    lanes = min(lanes, _MOST_PARTS, size, max(1, _MOST_RESULTS // results))
    lane, step = index.loop(f"{label}l", lanes), index.loop(f"{label}s", -(-size // lanes))
    if lane.op is not ops.RANGE:
        return None
    place = index.add(index.scale(step, lanes), lane)
    value = index.replace(fold.src[0], {counter: index.minimum(place, size - 1)})
    start = build.const(build.identity_value(fold.arg, fold.dtype), fold.dtype)
    value = build.where(index.lt(place, size), value, start) if size % lanes else value
    left = [step if c is counter else c for c in counters]
    left = [c for c in left if c.op is ops.RANGE]
    short = node(fold.op, (value, *left), fold.arg, fold.dtype, ()) if left else value
    at = (*nest.ranges, lane)
    shape = tuple(c.arg[1] for c in at)
    part = node(ops.SCRATCH, (), f"{name}part", fold.dtype, shape)
    joined = node(fold.op, (load(part, at), lane), fold.arg, fold.dtype, ())
    whole = transforms.replace_value(store.value, fold, joined)
    return Nest(at, (Store(part, at, short),)), replace(nest, stores=(replace(store, value=whole),))


def require_small_indices(body: Body) -> None:
    """Checks that 32 bits hold every index of a kernel.

    Raises:
        ValueError: some array or loop is too large.
    """
    for found in loops(body):
        _require_small(found.size, "a loop")
    for a in assigns(body):
        addresses = [index.ravel(a.at, a.target.shape)]
        for x in topological([a.value, *a.at]):
            if x.op is ops.LOAD:
                addresses.append(index.ravel(x.src[2:], x.src[0].shape))
            elif x.dtype is dtypes.index and x.op is not ops.CAST:
                addresses.append(x)
        for x in topological(addresses, lambda n: n.src if n.dtype is dtypes.index else ()):
            if x.dtype is dtypes.index and x.op is not ops.CAST:
                _require_small(max(map(abs, index.bounds(x))), "an index")


def _require_small(bound: int, what: str) -> None:
    if bound > _LARGEST:
        raise ValueError(
            f"{what} of this program goes up to {bound}, and on this device indices have 32 bits. "
            "Compute it in pieces, or on the device 'cpu'."
        )
