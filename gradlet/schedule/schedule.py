"""A graph becomes a program: an ordered list of kernels over a table of buffers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Kernel, Nest, Store
from gradlet.ir.node import Node, node
from gradlet.schedule.fuse import CACHE_BYTES, THREADS, fuse
from gradlet.schedule.indexing import Indexer, push_forward
from gradlet.schedule.limit import NO_LIMIT, Limit
from gradlet.schedule.partition import Partition, is_contraction, partition
from gradlet.schedule.plan import Schedule, Step

CONSTANTS = (ops.CONST, ops.IOTA)


def schedule(
    sinks: Sequence[Node],
    params: Sequence[Node],
    cache_bytes: int = CACHE_BYTES,
    limit: Limit = NO_LIMIT,
    threads: int = THREADS,
) -> Schedule:
    """Plans the kernels that compute `sinks` from `params`.

    Args:
        sinks: nodes over PARAM leaves.
        params: those PARAM nodes by position.
        cache_bytes: how much of a core's cache the data of a row may fill; see `fuse.py`. With 0
            no kernels are joined.
        limit: how many arrays a kernel may touch.
        threads: how many will run the program.
    """
    sinks = _without_reshapes(sinks)
    plan = partition(sinks, limit)
    groups = group_outputs(plan)
    table: dict[Node, int] = {p: i for i, p in enumerate(params)}
    buffers = list(params)
    steps = []
    read_as_they_are = _constants(s for n in plan.stored if n.op is ops.HOST for s in n.src)
    wanted_as_they_are = _constants(sink for sink in sinks if [sink] not in read_as_they_are)
    for group in (*read_as_they_are, *groups, *wanted_as_they_are):
        for stored in group:
            table[stored] = len(buffers)
            buffers.append(stored)
        if group[0].size > 0:
            kernel, read = make_kernel(group, plan)
            steps.append(Step(kernel, tuple(table[n] for n in (*group, *read))))
    made = Schedule(tuple(steps), tuple(buffers), len(params), tuple(table[sink] for sink in sinks))
    return fuse(made, cache_bytes, threads) if cache_bytes else made


def _without_reshapes(sinks: Sequence[Node]) -> list[Node]:
    """What to store for each sink: what was only reshaped is the same in memory.

    The loops over it then have the counters of what is computed. Each sink keeps memory of its own.
    """
    made = list(sinks)
    for position, sink in enumerate(sinks):
        if sink.op is ops.RESHAPE and sinks.count(sink) == 1:
            (beneath,) = sink.src
            if beneath.op not in (ops.PARAM, *CONSTANTS) and beneath not in made:
                made[position] = beneath
    return made


def _constants(nodes: Iterable[Node]) -> list[list[Node]]:
    """The constants among some nodes, each a group of its own."""
    return [[n] for n in dict.fromkeys(nodes) if n.op in CONSTANTS]


def group_outputs(plan: Partition) -> list[list[Node]]:
    """Stored nodes in running order, those that one elementwise kernel can compute together.

    Two stored nodes of one shape share a kernel if the later reads the earlier, or both read
    one array of that shape, at their own indices, and no third kernel stands between them.
    """
    groups: list[list[Node]] = []
    group_of: dict[Node, int] = {}
    readers: dict[Node, list[int]] = {}  # array -> groups that read it at their own indices
    after: dict[int, set[int]] = {}  # group -> all groups that must run before it
    touched: dict[int, set[Node]] = {}  # group -> the arrays that its kernel reads and writes
    for stored in plan.stored:
        reads = _reads(stored, plan)
        needs = {n: pointwise for n, pointwise in reads.items() if n.op is not ops.PARAM}
        before: set[int] = set()
        for need in needs:
            before |= {group_of[need]} | after[group_of[need]]
        home = None
        if _is_map(stored, plan):
            near = {group_of[n] for n, here in needs.items() if here and _is_map(n, plan)}
            for n, pointwise in reads.items():
                near.update(readers.get(n, ()) if pointwise and n.shape == stored.shape else ())
            fits = [
                g
                for g in sorted(near)
                if _can_join(stored, g, groups, needs, after, before)
                and plan.limit.allows((*touched[g], stored, *reads))
            ]
            home = fits[-1] if fits else None
        if home is None:
            home = len(groups)
            groups.append([])
            after[home] = set()
            touched[home] = set()
        groups[home].append(stored)
        touched[home].update((stored, *reads))
        group_of[stored] = home
        after[home] |= before - {home}
        if _is_map(stored, plan):
            for n, pointwise in reads.items():
                if pointwise:
                    readers.setdefault(n, []).append(home)
        # What runs after `home` now also runs after what `stored` needs.
        for other, ahead in after.items():
            if home in ahead and other != home:
                ahead |= after[home]
    return [groups[g] for g in _in_order(after)]


def _is_map(stored: Node, plan: Partition) -> bool:
    return stored not in plan.epilogue and stored.op not in (ops.SCATTER, ops.SCAN, ops.HOST)


def _can_join(
    stored: Node,
    group: int,
    groups: list[list[Node]],
    needs: dict[Node, bool],
    after: dict[int, set[int]],
    before: set[int],
) -> bool:
    """Whether the kernel of `group` can compute `stored` as well."""
    members = groups[group]
    if members[0].shape != stored.shape:
        return False
    reads_elsewhere = any(n in members and not pointwise for n, pointwise in needs.items())
    waits_for_it = any(group in after[other] for other in before if other != group)
    return not reads_elsewhere and not waits_for_it


def _in_order(after: dict[int, set[int]]) -> list[int]:
    """Groups so that each comes after those it needs, all of which `after` names.

    What needs nothing comes first, then what needs that alone, and so on; earlier-made ones first.
    """
    rounds: dict[int, int] = {}
    for group in sorted(after, key=lambda g: len(after[g])):
        assert all(b in rounds for b in after[group]), "kernels wait for each other in a circle"
        rounds[group] = max((rounds[b] + 1 for b in after[group]), default=0)
    return sorted(rounds, key=lambda g: (rounds[g], g))


def _reads(stored: Node, plan: Partition) -> dict[Node, bool]:
    """The arrays that `stored`'s kernel reads: True where only at the store's own indices."""
    found: dict[Node, bool] = {}
    stack = [(source, stored.op.elementwise) for source in stored.src]
    seen: set[tuple[Node, bool]] = set()
    while stack:
        current, pointwise = stack.pop()
        if (current, pointwise) in seen:
            continue
        seen.add((current, pointwise))
        if current in plan.stored or current.op is ops.PARAM:
            found[current] = found.get(current, True) and pointwise
            continue
        stack.extend((s, pointwise and current.op.elementwise) for s in current.src)
    return found


def make_kernel(group: list[Node], plan: Partition) -> tuple[Kernel, list[Node]]:
    """The kernel that computes `group`, and the nodes that its further params read."""
    if group[0].op is ops.HOST:
        return _library_kernel(group[0])
    params: dict[Node, Node] = {}
    for n in group:
        params[n] = build.param(len(params), n.dtype, n.shape)
    first = group[0]
    inside = set(group)

    def load(n: Node) -> Node | None:
        if n in inside or not (n in plan.stored or n.op is ops.PARAM):
            return None
        if n not in params:
            params[n] = build.param(len(params), n.dtype, n.shape)
        return params[n]

    indexer = Indexer(load, is_contraction)
    if first.op is ops.SCATTER:
        nests = _scatter_nests(first, params[first], indexer)
    elif first.op is ops.SCAN:
        nests = (_scan_nest(first, params[first], indexer),)
    else:
        nests = (_nest(group, params, indexer, plan),)
    kernel = Kernel(nests, tuple(params.values()), len(group))
    return kernel, list(params)[len(group) :]


def _library_kernel(x: Node) -> tuple[Kernel, list[Node]]:
    read = list(dict.fromkeys(x.src))
    params = tuple(build.param(i, n.dtype, n.shape) for i, n in enumerate((x, *read)))
    library = build.library(*x.arg, *(params[1 + read.index(source)] for source in x.src))
    return Kernel((), params, 1, library), read


def _nest(group: list[Node], params: dict[Node, Node], indexer: Indexer, plan: Partition) -> Nest:
    """One store for each of `group`, over the loops that suit its reduction."""
    path = plan.epilogue.get(group[0], group[:1])
    counters = tuple(indexer.fresh(extent, "i") for extent in path[-1].shape)
    at = counters
    for movement in reversed(path[:-1]):
        if not movement.op.elementwise:
            at = push_forward(movement, at)
    stores = tuple(Store(params[n], at, indexer.element(n, at)) for n in group)
    return Nest(tuple(c for c in counters if c.op is ops.RANGE), stores)


def _scan_nest(x: Node, target: Node, indexer: Indexer) -> Nest:
    """One store, whose value is reduced over the iterations of the scanned axis so far."""
    op, axis = x.arg
    at = tuple(indexer.fresh(extent, "i") for extent in x.shape)
    value = indexer.element(x.src[0], at)
    if at[axis].op is ops.RANGE:
        value = node(ops.SCAN_RANGE, (value, at[axis]), op, x.dtype, ())
    return Nest(tuple(c for c in at if c.op is ops.RANGE), (Store(target, at, value),))


def _scatter_nests(x: Node, target: Node, indexer: Indexer) -> tuple[Nest, ...]:
    """First the copy of the base, then the updates added one after the other."""
    base, *positions, updates = x.src
    copy_at = tuple(indexer.fresh(extent, "i") for extent in x.shape)
    copy = Store(target, copy_at, indexer.element(base, copy_at))
    at = tuple(indexer.fresh(extent, "u") for extent in updates.shape)
    chosen = tuple(indexer.checked(x, i, at, index.TRUE) for i in range(1, len(positions) + 1))
    place = (*chosen, *at[positions[0].ndim :])
    add = Store(target, place, indexer.element(updates, at), accumulate=ops.ADD)
    return (
        Nest(tuple(c for c in copy_at if c.op is ops.RANGE), (copy,)),
        Nest(tuple(c for c in at if c.op is ops.RANGE), (add,)),
    )
