"""Kernels that work on the same rows become one: loop fusion with array contraction.

Softmax is scheduled as three kernels, each with a loop over rows outside: the largest element,
the sum of exponentials, the quotient. The later ones need of each row only what the earlier ones
made of that same row, so one loop can do all three while the row is in cache, and what they hand
on needs no more memory than one row:

    for i: m[i] = max(x[i, r] for r)                 for i:
    for i: s[i] = sum(exp(x[i, r] - m[i]) for r)       t0[] = max(x[i, r] for r)
    for i, j: y[i, j] = exp(x[i, j] - m[i]) / s[i] ->  for j: t2[j] = exp(x[i, j] - t0[])
                                                       t1[] = sum(t2[r] for r)
                                                       for j: y[i, j] = t2[j] / t1[]

Which kernels are joined is decided in `cluster.py`, and what is made twice in `recompute.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import prod

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Group, Kernel, Nest, Store, load
from gradlet.ir.node import Node, node, rewrite, topological
from gradlet.schedule.cluster import clusters
from gradlet.schedule.partition import COST
from gradlet.schedule.plan import Schedule, Step
from gradlet.schedule.recompute import recompute
from gradlet.schedule.rows import Cluster

CACHE_BYTES = 1 << 19  # what may stay in cache while a row is worked on, if nobody says
THREADS = 2  # if nobody says

_POINTWISE = (
    ops.LOAD, ops.RANGE, ops.CONST, ops.CHECKED, ops.PARAM, ops.PRIVATE,
)  # fmt: skip
_DEAR = 8  # cost of an expression from which on it is kept rather than computed twice


def fuse(plan: Schedule, cache_bytes: int, threads: int) -> Schedule:
    """The same program with kernels joined that work on the same rows.

    Args:
        cache_bytes: how much of a core's cache the data of a row may fill.
        threads: how many are to have rows.
    """
    found = clusters(plan.steps, plan.buffers, cache_bytes, threads)
    plan, found = recompute(plan, found, cache_bytes)
    found, readers = _wanted(plan, found)

    def joined(cluster: Cluster) -> Step:
        if len(cluster.steps) == 1:
            return plan.steps[cluster.steps[0]]
        return _Joining(cluster, readers, plan).step(cache_bytes)

    made = {cluster.steps: [joined(cluster)] for cluster in found}
    kernels = {step.kernel for (step,) in made.values()}
    for cluster in found:
        apart = [joined(part) for part in _like_another(cluster, found, plan)]
        if any(step.kernel in kernels for step in apart):
            made[cluster.steps] = apart
    return replace(plan, steps=tuple(step for steps in made.values() for step in steps))


def _like_another(
    cluster: Cluster, others: Sequence[Cluster], plan: Schedule
) -> tuple[Cluster, ...]:
    """A cluster in two parts, of which the larger does what another cluster does, if it can be.

    The last layer of a network may be joined with what follows it, as no other layer is. If all
    layers write the same arrays, one kernel for them all is less to compile, and what follows the
    last reads what is stored anyway.
    """
    steps, forms = cluster.steps, _forms(cluster, plan)
    for other in others:
        size = len(other.steps)
        if cluster.adds or not len(steps) > size > len(steps) // 2:
            continue
        for cut, part in ((size, forms[:size]), (len(steps) - size, forms[-size:])):
            if part == _forms(other, plan):
                return tuple(replace(cluster, steps=half) for half in (steps[:cut], steps[cut:]))
    return ()


def _forms(cluster: Cluster, plan: Schedule) -> list[Kernel]:
    return [plan.steps[number].kernel for number in cluster.steps]


def _wanted(plan: Schedule, found: Sequence[Cluster]) -> tuple[list[Cluster], Counter[int]]:
    """The clusters without steps that nobody reads, since others make the same again.

    Returns:
        them, and how many steps and sinks read each buffer.
    """
    while True:
        readers: Counter[int] = Counter(plan.sinks)
        for cluster in found:
            for number in cluster.steps:
                readers.update(plan.steps[number].read)
        left = []
        for cluster in found:
            steps = tuple(
                n for n in cluster.steps if any(readers[b] for b in plan.steps[n].written)
            )
            adds = {number: step for number, step in cluster.adds.items() if number in steps}
            left.append(replace(cluster, steps=steps, adds=adds))
        if sum(len(c.steps) for c in left) == sum(len(c.steps) for c in found):
            return [cluster for cluster in found if cluster.steps], readers
        found = left


@dataclass(frozen=True)
class _Place:
    """What stands for a buffer: an array without some of its axes."""

    array: Node
    dropped: frozenset[int] = frozenset()

    def at(self, indices: Sequence[Node]) -> tuple[Node, ...]:
        return tuple(i for axis, i in enumerate(indices) if axis not in self.dropped)


class _Joining:
    """Makes one kernel of the steps of a cluster.

    Args:
        readers: how many steps and sinks of the whole program read each buffer.
    """

    def __init__(self, cluster: Cluster, readers: Counter[int], plan: Schedule) -> None:
        self.steps = [cluster.adds.get(number, plan.steps[number]) for number in cluster.steps]
        self.adds = list(cluster.adds.values())
        self.buffers = plan.buffers
        self.axes = cluster.axes
        self.ranges = tuple(index.loop(f"g{n}", size) for n, size in enumerate(cluster.extents))
        inside: Counter[int] = Counter()
        for step in self.steps:
            inside.update(step.read)
        written = [b for step in self.steps for b in step.written]
        self.kept = [b for b in written if readers[b] > inside[b]]
        self.unused = {b for b in written if readers[b] == 0}
        self.inputs = [b for b in inside if b not in written]
        self.places = self._places([b for b in written if b not in self.kept])

    def _places(self, temporaries: Sequence[int]) -> dict[int, _Place]:
        made = {
            b: _Place(build.param(n, self.buffers[b].dtype, self.buffers[b].shape))
            for n, b in enumerate((*self.kept, *self.inputs))
        }
        for n, b in enumerate(temporaries):
            shape = self.buffers[b].shape
            rows = [min(axes) for axes in self.axes[b]]
            dropped = frozenset(a for a, extent in enumerate(shape) if a in rows or extent == 1)
            left = tuple(extent for axis, extent in enumerate(shape) if axis not in dropped)
            made[b] = _Place(private(f"t{n}", self.buffers[b], left), dropped)
        return made

    def step(self, cache_bytes: int) -> Step:
        zeros = [self.moved(step.kernel.nests[0], step, 0) for step in self.adds]
        nests = []
        for step in self.steps:
            inside = step.kernel.nests[1:] if step in self.adds else step.kernel.nests
            moved = [self.moved(nest, step, len(self.ranges)) for nest in inside]
            nests += [nest for nest in moved if nest.stores]
        nests = in_place(compute_once(nests, self.ranges, cache_bytes))
        params = tuple(self.places[b].array for b in (*self.kept, *self.inputs))
        kernel = Kernel((*zeros, Group(self.ranges, tuple(nests))), params, len(self.kept))
        return Step(kernel, (*self.kept, *self.inputs))

    def moved(self, nest: Nest | Group, step: Step, depth: int) -> Nest:
        """A nest of one of the steps, whose first `depth` counters are the loops over rows."""
        assert isinstance(nest, Nest)
        places = {p: self.places[b] for p, b in zip(step.kernel.params, step.buffers, strict=True)}
        counters = dict(zip(nest.ranges[:depth], self.ranges[:depth], strict=True))

        def rule(current: Node, src: tuple[Node, ...]) -> Node:
            if current.op is ops.LOAD and current.src[0] in places:
                place = places[current.src[0]]
                return load(place.array, place.at(src[2:]), src[1])
            return index.rebuild(current, src)

        def expression(x: Node) -> Node:
            return rewrite([index.replace(x, counters)], rule)[0]

        stores = []
        for s in nest.stores:
            if step.buffers[s.target.arg] in self.unused:
                continue
            place = places[s.target]
            at = tuple(expression(i) for i in place.at(s.index))
            stores.append(Store(place.array, at, expression(s.value), s.accumulate))
        return Nest(nest.ranges[depth:], tuple(stores))


def private(name: str, like: Node, shape: tuple[int, ...]) -> Node:
    """An array of one row's own, of the dtype of `like`."""
    return node(ops.PRIVATE, (), name, like.dtype, shape)


# Within a row


def compute_once(nests: Sequence[Nest], ranges: Sequence[Node], cache_bytes: int) -> list[Nest]:
    """What is dear and wanted by several nests is computed by one more before them.

    a[] = sum(exp(x[r]) for r)                  for k: e0[k] = exp(x[k])
    for j: y[j] = exp(x[j]) / a[]      ->       a[] = sum(e0[r] for r)
                                                for j: y[j] = e0[j] / a[]

    Args:
        ranges: the counters of the rows.
        cache_bytes: what takes more than this is computed twice after all.
    """
    made = list(nests)
    names = count()
    while (found := _wanted_twice(made, ranges, cache_bytes)) is not None:
        form, first = found
        counters = tuple(c for c in _counters(form, ranges))
        array = private(f"e{next(names)}", form, tuple(c.arg[1] for c in counters))
        made = [_map_values(nest, partial(_read_instead, form, array, ranges)) for nest in made]
        made.insert(first, Nest(counters, (Store(array, counters, form),)))
    return made


def _wanted_twice(
    nests: Sequence[Nest], ranges: Sequence[Node], cache_bytes: int
) -> tuple[Node, int] | None:
    """A dear expression that two nests want, in its general form, and the first that does."""
    first: dict[Node, int] = {}
    for number, nest in enumerate(nests):
        for x in topological([store.value for store in nest.stores]):
            if COST.get(x.op, 1) < _DEAR or x.dtype is dtypes.index:
                continue
            form = _general(x, ranges)
            if form is None or first.setdefault(form, number) == number:
                continue
            if prod(c.arg[1] for c in _counters(form, ranges)) * x.dtype.itemsize <= cache_bytes:
                return form, first[form]
    return None


def _counters(x: Node, ranges: Sequence[Node]) -> list[Node]:
    """The counters of `x` that vary within a row, in the order in which it mentions them."""
    return [c for c in topological([x]) if c.op is ops.RANGE and c not in ranges]


def _general(x: Node, ranges: Sequence[Node]) -> Node | None:
    """`x` over counters that are called the same whatever nest it stands in.

    None for what does not vary within a row, and for what contains a reduction.
    """
    counters = _counters(x, ranges)
    if not counters or any(part.op is ops.FOLD_RANGES for part in topological([x])):
        return None
    return index.replace(x, {c: index.loop(f"k{n}", c.arg[1]) for n, c in enumerate(counters)})


def _read_instead(form: Node, array: Node, ranges: Sequence[Node], x: Node) -> Node:
    """The expression `x` with loads from `array` wherever `form` is computed."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is form.op and _general(current, ranges) is form:
            return load(array, tuple(_counters(current, ranges)))
        return index.rebuild(current, src)

    return rewrite([x], rule)[0]


def _map_values(nest: Nest, change: Callable[[Node], Node]) -> Nest:
    return replace(nest, stores=tuple(replace(s, value=change(s.value)) for s in nest.stores))


def in_place(nests: Sequence[Nest]) -> list[Nest]:
    """Arrays of a row take the place of others of the same form that nobody reads any more.

    for j: t1[j] = exp(t0[j])        ->        for j: t0[j] = exp(t0[j])
    for j: y[j] = t1[j]                        for j: y[j] = t0[j]
    """
    last_use: dict[Node, int] = {}
    for number, nest in enumerate(nests):
        last_use.update((array, number) for array in _privates(nest))
    home: dict[Node, Node] = {}
    until: dict[Node, int] = {}  # where the last of those that live in an array is last used
    for number, nest in enumerate(nests):
        for store in nest.stores:
            array = store.target
            if array.op is not ops.PRIVATE or array in home:
                continue
            free = [
                other for other, last in until.items()
                if other.shape == array.shape != () and other.dtype is array.dtype
                and (last < number or (last == number and _pointwise(nest, other, home)))
            ]  # fmt: skip
            home[array] = free[0] if free else array
            until[home[array]] = last_use[array]
    return [_renamed(nest, home) for nest in nests]


def _privates(nest: Nest) -> set[Node]:
    values = [part for s in nest.stores for part in (s.target, s.value, *s.index)]
    return {x for x in topological(values) if x.op is ops.PRIVATE}


def _pointwise(nest: Nest, slot: Node, home: dict[Node, Node]) -> bool:
    """Whether the nest has one store, and reads what lives in `slot` only where it stores."""
    if len(nest.stores) != 1 or nest.stores[0].accumulate is not None:
        return False
    (store,) = nest.stores
    nodes = topological([store.value])
    loads = [x for x in nodes if x.op is ops.LOAD and home.get(x.src[0]) is slot]
    here = all(x.src[2:] == store.index for x in loads)
    return here and all(x.op.elementwise or x.op in _POINTWISE for x in nodes)


def _renamed(nest: Nest, home: dict[Node, Node]) -> Nest:
    def expression(x: Node) -> Node:
        return rewrite([x], lambda n, src: home.get(n) or index.rebuild(n, src))[0]

    return replace(
        nest,
        stores=tuple(
            Store(
                home.get(s.target, s.target), tuple(expression(i) for i in s.index),
                expression(s.value), s.accumulate,
            )
            for s in nest.stores
        ),
    )  # fmt: skip
