"""Loop transforms: each takes a loop tree and gives another that computes the same.

They compose freely; each checks what it needs and raises `ScheduleError` where the result
would not be the same. `choose.py` decides which to apply.
"""

from __future__ import annotations

from itertools import groupby

from gradlet.ir import build, index, ops
from gradlet.ir.node import Node, Rewriting, node, rewrite, topological
from gradlet.lower.loops import (
    Assign,
    Body,
    Loop,
    ScheduleError,
    Statement,
    assigns,
    change_loop,
    loop,
    loops,
    map_assigns,
    read,
    rename,
)


def split(body: Body, counter: Node, factor: int) -> tuple[Body, Node, Node]:
    """One loop becomes two, and a third for what is left over.

        for i in 10: f(i)   ->   for io in 3:
                                   for ii in 3: f(io * 3 + ii)
                                 for it in 1: f(9 + it)

    Returns:
        the tree and the counters `io` and `ii`; a counter with one iteration is the constant 0.
    """
    name, size = counter.arg
    if not 1 <= factor <= size:
        raise ScheduleError(f"cannot split a loop of {size} iterations by {factor}")
    whole, rest = divmod(size, factor)
    outer, inner = index.loop(f"{name}o", whole), index.loop(f"{name}i", factor)
    tail = index.loop(f"{name}t", rest) if rest else None

    def change(found: Loop) -> Body:
        place = index.add(index.scale(outer, factor), inner)
        made = loop(outer, loop(inner, rename(found.body, {counter: place})))
        if tail is not None:
            left = index.add(tail, whole * factor)
            made += loop(tail, rename(found.body, {counter: left}))
        return made

    return change_loop(body, counter, change), outer, inner


def fuse(body: Body, outer: Node, inner: Node) -> tuple[Body, Node]:
    """Two perfectly nested loops become one.

    for i in 4: for j in 5: f(i, j)   ->   for ij in 20: f(ij // 5, ij % 5)
    """
    fused = index.loop(f"{outer.arg[0]}{inner.arg[0]}", outer.arg[1] * inner.arg[1])
    size = inner.arg[1]

    def change(found: Loop) -> Body:
        if len(found.body) != 1 or not _is_loop_over(found.body[0], inner):
            raise ScheduleError(f"{inner.arg[0]} is not all that stands in {outer.arg[0]}")
        places = {outer: index.floordiv(fused, size), inner: index.mod(fused, size)}
        assert isinstance(found.body[0], Loop)
        return loop(fused, rename(found.body[0].body, places))

    return change_loop(body, outer, change), fused


def reorder(body: Body, wanted: tuple[Node, ...]) -> Body:
    """Perfectly nested loops in another order.

    for i: for j: f(i, j)   ->   for j: for i: f(i, j)
    """
    wanted = tuple(c for c in wanted if c.op is ops.RANGE)
    if len(wanted) < 2:
        return body
    first = next(found.counter for found in loops(body) if found.counter in wanted)

    def change(found: Loop) -> Body:
        kinds: dict[Node, str] = {}
        current: Statement = found
        inside: Body = (found,)
        while len(kinds) < len(wanted):
            if not isinstance(current, Loop) or current.counter not in wanted or len(inside) != 1:
                raise ScheduleError("only perfectly nested loops can change places")
            kinds[current.counter] = current.kind
            inside = current.body
            current = inside[0]
        for counter in reversed(wanted):
            inside = loop(counter, inside, kinds[counter])
        return inside

    return change_loop(body, first, change)


def mark(body: Body, counter: Node, kind: str, check: bool = True) -> Body:
    """Says how a loop runs: `parallel`, `vector` or `unroll`.

    for i in 16: f(i)   ->   for i in vector 16: f(i)
    """
    if counter.op is not ops.RANGE:
        return body

    def change(found: Loop) -> Body:
        if check and kind == "vector" and any(isinstance(s, Loop) for s in found.body):
            raise ScheduleError(f"{counter.arg[0]} is not innermost and cannot be a vector")
        if check and kind in ("parallel", "vector"):
            _require_independent(found, threads=kind == "parallel")
        if check and kind == "parallel":
            _require_own_locals(found)
        return (found._replace(kind=kind),)

    return change_loop(body, counter, change)


def parallel_if_possible(statement: Statement) -> Body:
    """The statement as a parallel loop, or as it is where its iterations need each other."""
    if isinstance(statement, Loop) and statement.kind == "serial":
        try:
            return mark((statement,), statement.counter, "parallel")
        except ScheduleError:
            return (statement,)
    return (statement,)


def _require_independent(found: Loop, threads: bool) -> None:
    """Iterations may run at once if none adds into a place that another one writes.

    Threads have private arrays of their own; lanes of one vector share them.
    """
    begun = {a.target for a in assigns(found.body) if a.accumulate is None}
    for a in assigns(found.body):
        shared = a.target.op not in (ops.LOCAL, ops.PRIVATE) or a.target not in begun
        if shared and not any(found.counter in index.variables(i) for i in a.at):
            raise ScheduleError(f"iterations of {found.counter.arg[0]} write to one place")
        scattered = any(x.op is ops.CHECKED for i in a.at for x in _nodes(i))
        own = threads and not shared
        if a.accumulate and scattered and not own and not _plain_axis(a, found.counter):
            raise ScheduleError(f"iterations of {found.counter.arg[0]} may meet in one place")


def _require_own_locals(found: Loop) -> None:
    """Threads do not see each other's locals: a parallel loop may use those it begins alone."""
    begun: set[Node] = set()
    for a in assigns(found.body):
        used = {x.src[0] for x in topological([a.value]) if x.op is ops.LOAD}
        used |= set() if a.accumulate is None else {a.target}
        for array in used - begun:
            if array.op in (ops.LOCAL, ops.PRIVATE):
                raise ScheduleError(f"iterations of {found.counter.arg[0]} share {array.arg}")
        begun.add(a.target)


def _plain_axis(a: Assign, counter: Node) -> bool:
    """True if one index alone keeps iterations apart: `counter * 8 + k` with k below 8."""
    for i in a.at:
        step = index.coefficient(i, counter)
        if step:
            low, high = index.bounds(index.sub(i, index.scale(counter, step)))
            if high - low < abs(step):
                return True
    return False


def _nodes(x: Node) -> list[Node]:
    return [x, *(n for s in x.src for n in _nodes(s))]


def distribute(body: Body, counter: Node) -> Body:
    """A loop moves inside the statements and loops it holds, and local values get an axis for it.

        for j in 4:                      for j in 4: acc[j] = 0
          acc[] = 0                  ->  for k in 9:
          for k in 9: acc[] += f           for j in 4: acc[j] += f
          out[j] = acc[]                 for j in 4: out[j] = acc[j]

    Iterations of the loop must not depend on each other, but may add into one value from before
    the loop, and a local array that has an axis for the counter already needs no other.
    """
    if counter.op is not ops.RANGE:
        return body

    def change(found: Loop) -> Body:
        own = [a for a in assigns(found.body) if a.target.op is ops.LOCAL]
        local = {
            a.target
            for a in own
            if a.accumulate is None and not any(counter in index.variables(i) for i in a.at)
        }
        wider = {
            array: node(ops.LOCAL, (), array.arg, array.dtype, (*array.shape, found.size))
            for array in local
        }
        widened = _replace_locals(found.body, wider, counter)
        return _push(widened, counter, found.kind)

    return change_loop(body, counter, change)


def _push(body: Body, counter: Node, kind: str) -> Body:
    made: list[Statement] = []
    for is_loop, run in groupby(body, lambda s: isinstance(s, Loop)):
        if is_loop:
            inner = (s for s in run if isinstance(s, Loop))
            made += [s._replace(body=_push(s.body, counter, kind)) for s in inner]
        else:
            made += loop(counter, tuple(run), kind)
    return tuple(made)


def _replace_locals(body: Body, wider: dict[Node, Node], counter: Node) -> Body:
    """Every access to a local array gets `counter` as its last index."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is ops.LOAD and current.src[0] in wider:
            return read(wider[current.src[0]], *src[2:], counter)
        return index.rebuild(current, src)

    rewritten = Rewriting(rule)

    def change(a: Assign) -> Body:
        value = rewritten(a.value)
        if a.target in wider:
            return (Assign(wider[a.target], (*a.at, counter), value, a.accumulate),)
        return (Assign(a.target, a.at, value, a.accumulate),)

    return map_assigns(body, change)


def replace_value(x: Node, old: Node, new: Node) -> Node:
    """The expression `x` with `new` wherever `old` stands."""
    return rewrite([x], lambda n, src: new if n is old else index.rebuild(n, src))[0]


def map_values(body: Body, old: Node, new: Node) -> Body:
    """The tree with an expression replaced in every assignment."""
    return map_assigns(body, lambda a: (a._replace(value=replace_value(a.value, old, new)),))


def privatize(body: Body, counter: Node, target: Node) -> Body:
    """A reduction keeps one partial result for each iteration of an inner loop.

        for ko:                          for ki: part[ki] = 0
          for ki: acc[] += f         ->  for ko:
                                           for ki: part[ki] += f
                                         acc[] += the parts together

    `counter` is `ki`, the loop that becomes the lanes of a vector.
    """
    size = counter.arg[1]
    (update,) = [
        a
        for found in loops(body)
        if found.counter is counter
        for a in assigns(found.body)
        if a.target is target
    ]
    op = update.accumulate
    if op is None or update.at:
        raise ScheduleError("only a reduction into one local value can keep partial results")
    part = node(ops.LOCAL, (), f"{target.arg}_part", target.dtype, (size,))
    start = build.const(build.identity_value(op, target.dtype), target.dtype)

    def change(found: Loop) -> Body:
        return loop(counter, (update._replace(target=part, at=(counter,)),), "vector")

    outermost = _outermost_reduction_loop(body, counter)

    def surround(found: Loop) -> Body:
        inside = change_loop((found,), counter, change)
        fill = loop(counter, (Assign(part, (counter,), start),), "vector")
        whole = node(ops.ACROSS, (read(part, counter),), op, target.dtype, ())
        join = loop(counter, (Assign(target, (), whole, op),), "vector")
        return (*fill, *inside, *join)

    return change_loop(body, outermost, surround)


def scan_in_lanes(body: Body, counter: Node) -> Body:
    """A loop that carries a value is done by lanes: they are scanned, the carry goes on top.

    for ki in 16:                    for ki in vector 16:
      carry[] += f               ->    prefix[ki] = prefix_add(f)
      out[ki] = carry[]                out[ki] = carry[] + prefix[ki]
                                     carry[] += prefix[15]
    """
    size = counter.arg[1]

    def change(found: Loop) -> Body:
        if len(found.body) != 2 or not all(isinstance(s, Assign) for s in found.body):
            raise ScheduleError(f"{counter.arg[0]} holds more than a scan")
        update, store = assigns(found.body)
        op, carry = update.accumulate, update.target
        if op is None or update.at or carry.op is not ops.LOCAL:
            raise ScheduleError(f"{counter.arg[0]} carries no single value")
        lanes = node(ops.LOCAL, (), f"{carry.arg}_prefix", carry.dtype, (size,))
        within = node(ops.PREFIX, (update.value, counter), op, carry.dtype, ())
        whole = build.binary(op, read(carry), read(lanes, counter))
        step: Body = (
            Assign(lanes, (counter,), within),
            store._replace(value=replace_value(store.value, read(carry), whole)),
        )
        last = Assign(carry, (), read(lanes, index.const(size - 1)), op)
        return (*loop(counter, step, "vector"), last)

    return change_loop(body, counter, change)


def _outermost_reduction_loop(body: Body, counter: Node) -> Node:
    """The outermost loop around `counter` in which all there is adds to something."""
    best = counter
    chain = [
        found for found in loops(body) if any(inner.counter is counter for inner in loops((found,)))
    ]
    for found in reversed(chain):
        if any(a.accumulate is None for a in assigns((found,))):
            break
        best = found.counter
    return best


def stage(
    body: Body, value: Node, counters: tuple[Node, ...], name: str
) -> tuple[Body, Body, Node]:
    """What an expression gives for each of `counters` is computed once, into scratch memory.

        for i: for j: out[i, j] = f(A[j]) * B[i]
     ->
        for j: packed[j] = f(A[j])
        for i: for j: out[i, j] = packed[j] * B[i]

    Returns:
        the loops that fill the scratch, the tree that reads it, and the scratch array.
    """
    missing = index.variables(value) & {found.counter for found in loops(body)} - set(counters)
    if missing:
        names = ", ".join(str(c.arg[0]) for c in missing)
        raise ScheduleError(f"the staged expression also varies with {names}")
    array = node(ops.SCRATCH, (), name, value.dtype, tuple(c.arg[1] for c in counters))
    fill: Body = (Assign(array, counters, value),)
    for counter in reversed(counters):
        fill = loop(counter, fill)
    return fill, map_values(body, value, read(array, *counters)), array


def _is_loop_over(statement: Statement, counter: Node) -> bool:
    return isinstance(statement, Loop) and statement.counter is counter
