"""Which loop transforms suit a nest on a target.

There are three shapes of work: *maps* compute each element from few others, *reductions* fold
many elements into one, *contractions* are sums of products in which every operand is used again
and again. Each gets its recipe; `contraction.py` holds the third.
"""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.base.target import Target
from gradlet.ir import index, ops
from gradlet.ir.kernel import Kernel, Nest, Store
from gradlet.ir.node import Node, node, topological
from gradlet.lower import transforms
from gradlet.lower.contraction import contraction_phases, factors
from gradlet.lower.loops import Assign, Body, Loop, assigns
from gradlet.lower.nest import loops_of

Stores = tuple[Store, ...]

_PARALLEL_WORK = 1 << 14  # element visits below which a second thread does not pay


def lower(kernel: Kernel, target: Target) -> Body:
    """The kernel as loops: each top-level statement is one phase, which the next waits for."""
    phases: Body = ()
    for nest in kernel.nests:
        phases += lower_nest(nest, target)
    return phases


def lower_nest(nest: Nest, target: Target) -> Body:
    """The phases of one nest."""
    if any(counter.arg[1] == 0 for counter in nest.ranges):
        return ()
    if factors(nest) is not None:
        phases = contraction_phases(nest, target)
        if phases is not None:
            return phases
    nest = collapse(nest)
    reductions = _reduction_counters(nest)
    if reductions:
        return _reduction_recipe(nest, reductions, target)
    return _map_recipe(nest, target)


def _reduction_counters(nest: Nest) -> list[Node]:
    return [
        counter
        for store in nest.stores
        for x in topological([store.value])
        if x.op is ops.FOLD_RANGES
        for counter in x.src[1:]
    ]


# Fewer, longer loops


def collapse(nest: Nest) -> Nest:
    """Neighbouring loops become one wherever no index expression gets harder for it.

    for i in 4: for j in 5: out[i, j] = x[i, j]   ->   for ij in 20: out[ij] = x[ij]
    """
    ranges = list(nest.ranges)
    stores = nest.stores
    position = 0
    while position + 1 < len(ranges):
        merged = _merge(stores, ranges[position], ranges[position + 1])
        if merged is None:
            position += 1
        else:
            stores, fused = merged
            ranges[position : position + 2] = [fused]
    return Nest(tuple(ranges), _collapse_reductions(stores))


def _merge(stores: Stores, outer: Node, inner: Node) -> tuple[Stores, Node] | None:
    fused = index.loop(f"{outer.arg[0]}{inner.arg[0]}", outer.arg[1] * inner.arg[1])
    size = inner.arg[1]
    places = {outer: index.floordiv(fused, size), inner: index.mod(fused, size)}
    made = []
    for store in stores:
        value = flatten_loads(index.replace(store.value, places))
        flat = index.ravel(tuple(index.replace(i, places) for i in store.index), store.target.shape)
        if _is_awkward(flat, fused) or _is_awkward(value, fused):
            return None
        at = index.unravel(flat, store.target.shape)
        made.append(Store(store.target, at, value, store.accumulate))
    return tuple(made), fused


def _collapse_reductions(stores: Stores) -> Stores:
    """The same for the counters of each reduction."""
    made = []
    for store in stores:
        value = store.value
        for x in topological([value]):
            if x.op is not ops.FOLD_RANGES or len(x.src) < 3:
                continue
            inner, counters = x.src[0], list(x.src[1:])
            position = 0
            while position + 1 < len(counters):
                a, b = counters[position : position + 2]
                fused = index.loop(f"{a.arg[0]}{b.arg[0]}", a.arg[1] * b.arg[1])
                places = {a: index.floordiv(fused, b.arg[1]), b: index.mod(fused, b.arg[1])}
                tried = flatten_loads(index.replace(inner, places))
                if _is_awkward(tried, fused):
                    position += 1
                    continue
                inner = tried
                counters[position : position + 2] = [fused]
            if len(counters) + 1 < len(x.src):
                folded = node(x.op, (inner, *counters), x.arg, x.dtype, ())
                value = transforms.replace_value(value, x, folded)
        made.append(Store(store.target, store.index, value, store.accumulate))
    return tuple(made)


def flatten_loads(value: Node) -> Node:
    """Every load's indices worked out again from its flat address, which may simplify them."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is ops.LOAD and len(src) > 3:
            shape = src[0].shape
            at = index.unravel(index.ravel(src[2:], shape), shape)
            src = (src[0], src[1], *at)
        return index.rebuild(current, src)

    return transforms.rewrite_expression(value, rule)


def _is_awkward(value: Node, counter: Node) -> bool:
    """True if some address or condition in `value` is not linear in `counter`."""
    for x in topological([value], _addresses):
        if x.dtype is dtypes.index and counter in index.variables(x):
            if index.coefficient(x, counter) is None:
                return True
        elif x.op in (ops.LT, ops.LE, ops.EQ) and any(
            s.dtype is dtypes.index and _is_awkward(s, counter) for s in x.src
        ):
            return True
    return False


def _addresses(x: Node) -> tuple[Node, ...]:
    """What to look at below `x`: a load stands for its flat address and its condition."""
    if x.dtype is dtypes.index and x.op is not ops.CHECKED:
        return ()
    if x.op is ops.LOAD:
        return (x.src[1], index.ravel(x.src[2:], x.src[0].shape))
    return x.src


# Recipes


def _map_recipe(nest: Nest, target: Target) -> Body:
    body = loops_of(nest)
    vector = _best_vector(list(nest.ranges), nest, target)
    if vector is not None:
        others = [c for c in nest.ranges if c is not vector]
        body = transforms.reorder(body, (*others, vector))
        body = _vectorize(body, vector, target.lanes(4), nest)
    return _parallelize(body)


def _reduction_recipe(nest: Nest, reductions: list[Node], target: Target) -> Body:
    body = loops_of(nest)
    lanes = target.lanes(4)
    along = _best_vector(reductions, nest, target)
    across = _best_vector(list(nest.ranges), nest, target)
    nested = len([1 for a in assigns(body) if a.accumulate is not None]) > 1
    if along is not None and not nested and _unit_loads(nest, along) >= _unit_loads(nest, across):
        if along.arg[1] >= lanes:
            body = _reduce_in_lanes(body, along, reductions, lanes)
    elif across is not None and not nested:
        others = [c for c in nest.ranges if c is not across]
        body = transforms.reorder(body, (*others, across))
        body = _vectorize(body, across, lanes, nest)
    return _parallelize(body)


def _unit_loads(nest: Nest, counter: Node | None) -> int:
    """Elements of the arrays that are read at neighbours when `counter` grows by one."""
    if counter is None:
        return -1
    return sum(
        x.src[0].size * (index.coefficient(index.ravel(x.src[2:], x.src[0].shape), counter) == 1)
        for store in nest.stores
        for x in topological([store.value])
        if x.op is ops.LOAD
    )


def _best_vector(counters: list[Node], nest: Nest, target: Target) -> Node | None:
    """The counter that becomes the lanes: most neighbouring accesses, then the longest."""
    best = (-1, 0)
    found = None
    for position, counter in enumerate(counters):
        if any(_blocks_vector(store, counter) for store in nest.stores):
            continue
        stored = sum(
            s.target.size * (index.coefficient(index.ravel(s.index, s.target.shape), counter) == 1)
            for s in nest.stores
        )
        long_enough = counter.arg[1] >= target.lanes(4) // 2
        score = ((_unit_loads(nest, counter) + 2 * stored) * (4 if long_enough else 1), position)
        if score > best:
            best, found = score, counter
    return found


def _blocks_vector(store: Store, counter: Node) -> bool:
    """Lanes may not meet in one place of an accumulating store."""
    return store.accumulate is not None and not any(i is counter for i in store.index)


def _vectorize(body: Body, counter: Node, lanes: int, nest: Nest) -> Body:
    """The loop in pieces of several vectors, then one vector, then what is left."""
    heavy = any(x.op in _HEAVY for s in nest.stores for x in topological([s.value]))
    for width in (lanes,) if heavy else (2 * lanes, lanes):
        if counter.op is not ops.RANGE or counter.arg[1] < width:
            continue
        size = counter.arg[1]
        body, _, inner = transforms.split(body, counter, width)
        body = _to_lanes(body, inner)
        counter = index.loop(f"{counter.arg[0]}t", size % width) if size % width else inner
        if counter is inner:
            return body
    return _to_lanes(body, counter)


_HEAVY = (ops.EXP, ops.LOG, ops.SIN, ops.COS, ops.TANH, ops.ERF, ops.POW, ops.FLOORDIV, ops.MOD)


def _to_lanes(body: Body, counter: Node) -> Body:
    if counter.op is not ops.RANGE:
        return body
    return transforms.distribute(transforms.mark(body, counter, "vector", check=False), counter)


def _reduce_in_lanes(body: Body, along: Node, reductions: list[Node], lanes: int) -> Body:
    """Partial results in the lanes of a few vectors, put together at the end."""
    target = next(a.target for a in assigns(body) if a.accumulate is not None)
    order = (*[c for c in reductions if c is not along], along)
    body = transforms.reorder(body, order)
    size = along.arg[1]
    width = lanes * (4 if size >= 8 * lanes else 1)
    body, _, inner = transforms.split(body, along, width)
    body = transforms.privatize(body, inner, target)
    rest = size % width
    if rest >= lanes and width > lanes:
        tail = index.loop(f"{along.arg[0]}t", rest)
        body, _, inner = transforms.split(body, tail, lanes)
        body = transforms.privatize(body, inner, target)
    return body


def _parallelize(body: Body) -> Body:
    """The outermost loop of each phase is spread over threads if there is enough to do."""
    made: Body = ()
    for phase in body:
        enough = work((phase,)) > _PARALLEL_WORK
        made += transforms.parallel_if_possible(phase) if enough else (phase,)
    return made


def work(body: Body) -> int:
    """How many times the assignments in a tree run in all."""
    total = 0
    for statement in body:
        if isinstance(statement, Loop):
            total += statement.size * work(statement.body)
        elif isinstance(statement, Assign):
            total += 1
    return total
