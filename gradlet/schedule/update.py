"""Arrays that are changed where they stand: outputs that begin as what a param holds.

A step that was recorded replaces parameters, moments and kept keys by new values of them. Where
one kernel of maps does that, element by element, the new value can go where the old one is:

    p0: out, p1: kept     for i in 8: p0[i] = (p2[i] if p3[i] else p1[i])
 ->
    p0: out = kept        for i in 8: p0[i] = (p1[i] if p2[i] else p0[i])

which then writes what changes, and leaves alone what does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Group, Kernel, Nest, Store, load
from gradlet.ir.node import Node, rewrite, topological, with_sources
from gradlet.schedule.plan import Schedule, Step

_SMALLEST = 4096  # bytes of an array that is worth the trouble
_ORDERED = (ops.FOLD_RANGES, ops.SCAN_RANGE)  # what reads many elements for one

Pair = tuple[int, int]


def update_in_place(plan: Schedule, wanted: Sequence[Pair]) -> tuple[Schedule, list[Pair]]:
    """Makes outputs begin as the content of params, where the kernels allow it.

    Args:
        wanted: (sink, param) for sinks that may stand where the param is.

    Returns:
        the program, and the pairs for which it now expects that the sink's array holds what the
        param does when it begins. Whatever may fail does so before the first kernel that changes
        one.
    """
    steps = list(plan.steps)
    pairs: list[Pair] = []
    safe_from = _safe_from(plan)
    for sink, param in wanted:
        output = plan.sinks[sink]
        number = _writer(plan, output, param)
        if number is None or number < safe_from:
            continue
        made = _updated(steps[number], output, param)
        if made is not None:
            steps[number] = made
            pairs.append((sink, param))
    return replace(plan, steps=tuple(steps)), pairs


def first_update(plan: Schedule, pairs: Sequence[Pair]) -> int:
    """The first step that changes an array."""
    changed = {plan.sinks[sink] for sink, _ in pairs}
    return min(n for n, s in enumerate(plan.steps) if changed & {*s.written})


def _writer(plan: Schedule, output: int, param: int) -> int | None:
    """The step that writes an output, if it may write over a param: nobody reads that later."""
    old, new = plan.buffers[param], plan.buffers[output]
    if (old.dtype, old.shape) != (new.dtype, new.shape) or param in plan.sinks:
        return None
    if output < plan.params or new.size * new.dtype.itemsize < _SMALLEST:
        return None
    writers = [n for n, step in enumerate(plan.steps) if output in step.written]
    readers = [n for n, step in enumerate(plan.steps) if param in step.buffers]
    return writers[0] if len(writers) == 1 and readers and readers[-1] == writers[0] else None


def _updated(step: Step, output: int, param: int) -> Step | None:
    """The step without its param, or None if an element is read after another is written."""
    kernel = step.kernel
    new = kernel.params[step.buffers.index(output)]
    old = kernel.params[step.buffers.index(param)]
    left = [p for p in kernel.params if p is not old]
    place = {p: build.param(n, p.dtype, p.shape) for n, p in enumerate(left)}
    place[old] = place[new]

    def updated(nest: Nest, rows: tuple[Node, ...] = ()) -> Nest | None:
        changing = [store for store in nest.stores if store.target is new]
        if not changing:
            return None if any(_loads(nest.stores, old)) else _moved(nest, place)
        stores = _in_order(nest, rows, changing[0], old)
        return None if stores is None else _moved(Nest(nest.ranges, stores), place)

    nests: list[Nest | Group | None] = []
    for nest in kernel.nests:
        if isinstance(nest, Nest):
            nests.append(updated(nest))
            continue
        inner = [updated(part, nest.ranges) for part in nest.nests]
        found = tuple(part for part in inner if part is not None)
        nests.append(Group(nest.ranges, found) if len(found) == len(inner) else None)
    made = tuple(nest for nest in nests if nest is not None)
    if len(made) < len(nests):
        return None
    buffers = tuple(b for b in step.buffers if b != param)
    return Step(Kernel(made, tuple(place[p] for p in left), kernel.outputs), buffers)


def _in_order(
    nest: Nest, rows: tuple[Node, ...], changing: Store, old: Node
) -> tuple[Store, ...] | None:
    """The stores in an order in which all that read `old` come before it changes."""
    values = topological([store.value for store in nest.stores])
    if any(x.op in _ORDERED for x in values) or any(s.accumulate for s in nest.stores):
        return None
    if any(counter not in changing.index for counter in (*rows, *nest.ranges)):
        return None
    for x in _loads(nest.stores, old):
        if x.src[1] is not index.TRUE or x.src[2:] != changing.index:
            return None
    stores = tuple(sorted(nest.stores, key=lambda store: store is changing))
    return None if _overtaken(stores) else stores


def _overtaken(stores: Sequence[Store]) -> bool:
    """Whether a store reads what an earlier one has changed already."""
    return any(
        any(_loads([later], earlier.target))
        for n, earlier in enumerate(stores)
        for later in stores[n + 1 :]
    )


def _loads(stores: Sequence[Store], array: Node) -> Iterator[Node]:
    values = topological([store.value for store in stores])
    return (x for x in values if x.op is ops.LOAD and x.src[0] is array)


def _safe_from(plan: Schedule) -> int:
    """The first step from which on nothing fails that has not been tried before."""
    known: set[Node | None] = set()
    safe = 0
    for number, step in enumerate(plan.steps):
        tried = set(_checks(step, plan))
        if step.kernel.library is not None or None in tried or not tried <= known:
            safe = number + 1
        known |= tried
    return safe


def _checks(step: Step, plan: Schedule) -> Iterator[Node | None]:
    """For each index that a step checks what is equal for the same check of the same indices.

    None stands for checks that need not be of all elements of an array.
    """
    buffers = dict(zip(step.kernel.params, step.buffers, strict=True))

    def whole(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is ops.LOAD and current.src[0] in buffers:
            array = current.src[0]
            counters = [i.arg[1] if i.op is ops.RANGE else 1 for i in current.src[2:]]
            all_of_it = tuple(counters) == array.shape and len({*current.src[2:]}) >= sum(
                extent > 1 for extent in array.shape
            )
            if all_of_it and current.src[1] is index.TRUE:
                return build.param(buffers[array], array.dtype, ())
        return with_sources(current, src)

    for nest in step.kernel.innermost:
        for x in topological([n for s in nest.stores for n in (s.value, *s.index)]):
            if x.op is ops.CHECKED:
                (made,) = rewrite([x], whole)
                yield None if index.variables(made) else made


def _moved(nest: Nest, place: dict[Node, Node]) -> Nest:
    """A nest over other params."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is ops.LOAD and current.src[0] in place:
            return load(place[current.src[0]], src[2:], src[1])
        return index.rebuild(current, src)

    stores = tuple(
        replace(s, target=place.get(s.target, s.target), value=rewrite([s.value], rule)[0])
        for s in nest.stores
    )
    return Nest(nest.ranges, stores)
