"""Maps and scatters: every store by itself, a few vectors at a time, on all threads."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod

from gradlet.base import dtypes
from gradlet.base.target import Target
from gradlet.ir import index, ops
from gradlet.ir.kernel import Nest, Store
from gradlet.ir.node import Node, topological
from gradlet.lower import transforms
from gradlet.lower.loops import Body, Loop, ScheduleError
from gradlet.lower.nest import loops_of
from gradlet.lower.transpose import transposed

_AHEAD = 1024  # elements, from which to fetch on takes as long as to compute up to there
_ROWS_AHEAD = 8  # rows before they are copied, they are fetched from a distant cache
PARALLEL_WORK = 1 << 14  # element visits below which a second thread does not pay
PIECES = 16  # iterations that a parallel loop should at least have, to be shared evenly
_HEAVY = (
    ops.EXP, ops.EXP2, ops.LOG, ops.LOG2, ops.SIN, ops.COS, ops.TANH, ops.ERF, ops.POW,
    ops.FLOORDIV, ops.MOD,
)  # fmt: skip


def map_phases(nest: Nest, target: Target) -> Body:
    """Lanes along the counter with the most neighbouring accesses, the others around it."""
    squares = transposed(nest, target)
    if squares is not None:
        return spread_over_threads(squares)
    body = loops_of(nest)
    vector = best_vector(nest.ranges, nest, target)
    if vector is None:
        return spread_over_threads(body)
    if any(store.accumulate is not None for store in nest.stores):
        return spread_over_threads(_scatter_loops(body, nest, vector, target))
    others = [c for c in nest.ranges if c is not vector]
    body = transforms.reorder(body, (*others, vector))
    body = spread_over_threads(vectorize(body, vector, target.lanes(4), nest))
    return fetching(body, nest, target)


def fetching(body: Body, nest: Nest, target: Target, inner: tuple[Node, ...] = ()) -> Body:
    """Loops over vectors fetch from memory what they will read, if it is more than a cache holds.

    Those are long loops, and such along a row if the next row lies behind it: `inner` has the
    counter of rows and the one along a row.

    for i in 4096: for l in vector 16: ...   ->   for i in 4096, fetching 64 ahead: ...
    """
    loads = [x for x in topological([s.value for s in nest.stores]) if x.op is ops.LOAD]
    largest = max(loads, key=lambda x: _bytes(x.src[0]), default=None)
    if largest is None or _bytes(largest.src[0]) <= target.l2_bytes:
        return body
    in_rows = False
    if len(inner) == 2:
        place = index.ravel(largest.src[2:], largest.src[0].shape)
        in_rows = index.coefficient(place, inner[0]) == inner[1].arg[1]
    return _fetching(body, in_rows)


def _fetching(body: Body, in_rows: bool) -> Body:
    made: Body = ()
    for s in body:
        if isinstance(s, Loop) and s.kind in ("serial", "parallel"):
            s = replace(s, body=_fetching(s.body, in_rows))
            lanes = [x.size for x in s.body if isinstance(x, Loop) and x.kind == "vector"]
            ahead = max(1, _AHEAD // sum(lanes)) if len(lanes) == len(s.body) else 0
            s = replace(s, ahead=ahead if in_rows or s.size >= 4 * ahead else 0)
        made += (s,)
    return made


def fetching_rows(body: Body) -> Body:
    """Loops that copy rows fetch those that are copied some iterations later.

       for k in 1024: for v in 2: for n in vector 32: ...
    ->
       for k in 1024, fetching 8 ahead: for v in unroll 2: for n in vector 32: ...
    """
    made: Body = ()
    for s in body:
        if isinstance(s, Loop) and s.kind in ("serial", "parallel"):
            inside, ahead = fetching_rows(s.body), s.ahead
            if s.size > 4 * _ROWS_AHEAD:
                row = s.body[0] if len(s.body) == 1 else None
                if isinstance(row, Loop) and row.size <= 4 and _copies(row.body):
                    inside, ahead = (replace(row, kind="unroll", ahead=0),), _ROWS_AHEAD
                elif _copies(s.body):
                    ahead = ahead or _ROWS_AHEAD
            s = replace(s, body=inside, ahead=ahead)
        made += (s,)
    return made


def _copies(body: Body) -> bool:
    """True for vectors that are read and written, a few."""
    inside = [s.body for s in body if isinstance(s, Loop) and s.kind == "vector"]
    return len(inside) == len(body) <= 2 and all(len(assigns) == 1 for assigns in inside)


def _bytes(array: Node) -> int:
    return array.size * array.dtype.itemsize


def _scatter_loops(body: Body, nest: Nest, vector: Node, target: Target) -> Body:
    """Loops whose iterations may add into one place go inside, so that others run in parallel.

        for u in 1000: for v in vector 768: out[checked(p[u]), v] += y[u, v]
    ->
        for vo in parallel 8:
          for u in 1000: for vi in 96: out[checked(p[u]), vo * 96 + vi] += y[u, vo * 96 + vi]
    """
    meeting = [c for c in nest.ranges if any(blocks_vector(s, c) for s in nest.stores)]
    apart = [c for c in nest.ranges if c not in meeting and c is not vector]
    body = transforms.reorder(body, (*apart, vector, *meeting))
    size, unit = vector.arg[1], 2 * target.lanes(4)
    width = min(size, max(1, ceil(size / (PIECES // 2) / unit)) * unit)
    body, _, inner = transforms.split(body, vector, width)
    tail = index.loop(f"{vector.arg[0]}t", size % width) if size % width else None
    for counter in (inner, tail):
        if counter is not None and counter.op is ops.RANGE:
            body = transforms.distribute(body, counter)
            body = vectorize(body, counter, target.lanes(4), nest)
    return body


def unit_loads(nest: Nest, counter: Node | None) -> int:
    """Elements of the arrays that are read at neighbours when `counter` grows by one."""
    if counter is None:
        return -1
    return sum(
        x.src[0].size * (index.coefficient(index.ravel(x.src[2:], x.src[0].shape), counter) == 1)
        for store in nest.stores
        for x in topological([store.value])
        if x.op is ops.LOAD
    )


def best_vector(counters: tuple[Node, ...], nest: Nest, target: Target) -> Node | None:
    """The counter that becomes the lanes: most neighbouring accesses, then the longest."""
    best = (-1, 0)
    found = None
    for position, counter in enumerate(counters):
        if any(blocks_vector(store, counter) for store in nest.stores):
            continue
        stored = sum(
            s.target.size * (index.coefficient(index.ravel(s.index, s.target.shape), counter) == 1)
            for s in nest.stores
        )
        long_enough = counter.arg[1] >= target.lanes(4) // 2
        score = ((unit_loads(nest, counter) + 2 * stored) * (4 if long_enough else 1), position)
        if score > best:
            best, found = score, counter
    return found


def blocks_vector(store: Store, counter: Node) -> bool:
    """Lanes may not meet in one place of an accumulating store."""
    return store.accumulate is not None and not any(i is counter for i in store.index)


def is_heavy(nest: Nest) -> bool:
    """True if an element costs so much that one vector at a time keeps the processor busy."""
    values = [store.value for store in nest.stores]
    return any(x.op in _HEAVY and x.dtype is not dtypes.index for x in topological(values))


def vectorize(body: Body, counter: Node, lanes: int, nest: Nest) -> Body:
    """The loop in pieces of several vectors, then one vector, then what is left."""
    for width in (lanes,) if is_heavy(nest) else (2 * lanes, lanes):
        if counter.op is not ops.RANGE or counter.arg[1] < width:
            continue
        size = counter.arg[1]
        body, _, inner = transforms.split(body, counter, width)
        body = to_lanes(body, inner)
        counter = index.loop(f"{counter.arg[0]}t", size % width) if size % width else inner
        if counter is inner:
            return body
    return to_lanes(body, counter)


def to_lanes(body: Body, counter: Node) -> Body:
    """The loop as lanes of vectors, moved inside all that it holds."""
    if counter.op is not ops.RANGE:
        return body
    return transforms.distribute(transforms.mark(body, counter, "vector", check=False), counter)


def spread_over_threads(body: Body) -> Body:
    """Each phase's outer loops, fused until all threads get work, if there is enough to do."""
    made: Body = ()
    for phase in body:
        if work((phase,)) <= PARALLEL_WORK:
            made += (phase,)
            continue
        while isinstance(phase, Loop) and phase.kind == "serial" and phase.size < PIECES:
            inside = phase.body
            if len(inside) != 1 or not isinstance(inside[0], Loop) or inside[0].kind != "serial":
                break
            try:
                transforms.mark(inside, inside[0].counter, "parallel")
                fused = transforms.fuse((phase,), phase.counter, inside[0].counter)[0]
            except ScheduleError:
                break
            (phase,) = fused
        made += transforms.parallel_if_possible(phase)
    return made


def work(body: Body) -> int:
    """How many times the assignments in a tree run in all."""
    return sum(s.size * work(s.body) if isinstance(s, Loop) else 1 for s in body)


def extent(counters: tuple[Node, ...] | list[Node]) -> int:
    """How many iterations loops over `counters` make together."""
    return prod(c.arg[1] for c in counters if c.op is ops.RANGE)
