"""From index expressions to loops: the plainest loop tree that computes a nest."""

from __future__ import annotations

from itertools import count

from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Group, Kernel, Nest
from gradlet.ir.node import Node, node, topological
from gradlet.lower.loops import Assign, Body, loop, read
from gradlet.lower.transforms import replace_value


def loops_of(nest: Nest) -> Body:
    """Loops over the nest's counters; each reduction a loop of its own before its use.

       out[i] = relu(sum over k of A[i, k])
    ->
       for i:
         acc0[] = 0
         for k: acc0[] += A[i, k]
         out[i] = relu(acc0[])
    """
    scan = scan_of(nest)
    if scan is not None:
        return _scan_loops(nest, scan)
    names = count()
    ready: dict[Node, Node] = {}
    body: list = []
    for store in nest.stores:
        before, value = _without_reductions(store.value, names, ready)
        body += before
        body.append(Assign(store.target, store.index, value, store.accumulate))
    made: Body = tuple(body)
    for counter in reversed(nest.ranges):
        made = loop(counter, made)
    return made


def scan_of(nest: Nest) -> Node | None:
    """The nest's SCAN_RANGE, if it has one."""
    found = [x for s in nest.stores for x in topological([s.value]) if x.op is ops.SCAN_RANGE]
    return found[0] if found else None


def _scan_loops(nest: Nest, scan: Node) -> Body:
    """A scan's loop goes innermost, since it carries a value from one iteration to the next.

       for k: for j: out[k, j] = sum of x[k, j] up to this k
    ->
       for j:
         carry[] = 0
         for k:
           carry[] += x[k, j]
           out[k, j] = carry[]
    """
    (store,) = nest.stores
    value, counter = scan.src
    carry = node(ops.LOCAL, (), "carry", scan.dtype, ())
    before, inner = _without_reductions(value, count(), {})
    result = replace_value(store.value, scan, read(carry))
    step: Body = (Assign(carry, (), inner, scan.arg), Assign(store.target, store.index, result))
    start = build.const(build.identity_value(scan.arg, scan.dtype), scan.dtype)
    made: Body = (Assign(carry, (), start), *loop(counter, (*before, *step)))
    for other in reversed(nest.ranges):
        if other is not counter:
            made = loop(other, made)
    return made


def loops_of_kernel(kernel: Kernel) -> Body:
    """The loops of all nests, those of a group within loops over its counters."""
    made: Body = ()
    for part in kernel.nests:
        nests = part.nests if isinstance(part, Group) else (part,)
        inside: Body = ()
        for nest in nests:
            inside += loops_of(nest)
        if isinstance(part, Group):
            for counter in reversed(part.ranges):
                inside = loop(counter, inside)
        made += inside
    return made


def _without_reductions(value: Node, names: count, ready: dict[Node, Node]) -> tuple[Body, Node]:
    """Statements that compute the reductions in `value`, and `value` reading their results."""
    statements: list = []
    replaced: dict[Node, Node] = {}
    for current in topological([value], lambda n: () if n.op is ops.FOLD_RANGES else n.src):
        if current.op is ops.FOLD_RANGES:
            if current not in ready:
                array = node(ops.LOCAL, (), f"acc{next(names)}", current.dtype, ())
                statements += _reduction(current, array, names)
                ready[current] = read(array)
            replaced[current] = ready[current]
        else:
            src = tuple(replaced[s] for s in current.src)
            replaced[current] = current if src == current.src else index.rebuild(current, src)
    return tuple(statements), replaced[value]


def _reduction(reduction: Node, array: Node, names: count) -> Body:
    value, *counters = reduction.src
    start = build.const(build.identity_value(reduction.arg, array.dtype), array.dtype)
    before, inner = _without_reductions(value, names, {})
    body: Body = (*before, Assign(array, (), inner, reduction.arg))
    for counter in reversed(counters):
        body = loop(counter, body)
    return (Assign(array, (), start), *body)
