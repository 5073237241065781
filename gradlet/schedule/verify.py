"""What the scheduler promises: kernels that stay inside their arrays, in an order that works."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.kernel import Group, Kernel, Nest, Store
from gradlet.ir.node import Node, topological
from gradlet.ir.places import misplaced
from gradlet.ir.show import show_graph
from gradlet.ir.verify import VerifyError, verify_graph
from gradlet.schedule.plan import Schedule, Step


def verify_schedule(plan: Schedule) -> None:
    """Checks each kernel, and that every buffer is written once and before it is read.

    Raises:
        VerifyError: says what is wrong and prints where.
    """
    written = set(range(plan.params))
    for number, step in enumerate(plan.steps):
        verify_kernel(step.kernel)
        where = f"step {number} over buffers {step.buffers}"
        _verify_binding(step, plan, where)
        outputs = step.written
        for b in step.read:
            _need(b in written or not plan.buffers[b].size, f"{where} reads {b} unwritten")
        for b in outputs:
            _need(b not in written, f"{where} writes {b}, which is a param or written already")
        written.update(outputs)
    for sink in plan.sinks:
        _need(sink in written or not plan.buffers[sink].size, f"the sink {sink} is never written")


def _verify_binding(step: Step, plan: Schedule, where: str) -> None:
    _need(len(step.buffers) == len(step.kernel.params), f"{where}: not one buffer a param")
    _need(len(set(step.buffers)) == len(step.buffers), f"{where}: one buffer stands twice")
    for b, param in zip(step.buffers, step.kernel.params, strict=True):
        buffer = plan.buffers[b]
        fits = buffer.dtype is param.dtype and buffer.shape == param.shape
        _need(fits, f"{where}: buffer {b} is {buffer}, its param {param}")


def verify_kernel(kernel: Kernel) -> None:
    """Checks that a kernel's expressions are closed, typed, and inside their arrays.

    Raises:
        VerifyError: says what is wrong and prints the expression.
    """
    positions = [p.arg for p in kernel.params if p.op is ops.PARAM]
    _need(positions == list(range(len(kernel.params))), f"the params are {kernel.params}")
    _need(0 < kernel.outputs <= len(kernel.params), f"{kernel.outputs} outputs")
    if kernel.library is not None:
        _verify_library(kernel, kernel.library)
        return
    begun: set[Node] = set()
    for part in kernel.nests:
        if isinstance(part, Nest):
            _verify_nest(part, _Scope(kernel))
            begun.update(store.target for store in part.stores)
        else:
            _verify_group(part, kernel, begun)


def _verify_library(kernel: Kernel, library: Node) -> None:
    _need(not kernel.nests, "a library's function has no nests")
    result, *read = kernel.params
    _need(set(library.src) == set(read), "it is not a function of its params", library)
    verify_graph([library])
    same = library.dtype is result.dtype and library.shape == result.shape
    _need(same, f"its result is no {result}", library)


@dataclass
class _Scope:
    """What a nest stands in: the counters of its group, and the arrays that may be read there.

    `begun` are the arrays written before the group; `rows` holds for each array that it has
    written itself the axes that its counters index.
    """

    kernel: Kernel
    outer: tuple[Node, ...] = ()
    begun: Set[Node] = frozenset()
    rows: dict[Node, tuple[frozenset[int], ...]] = field(default_factory=dict)


def _verify_group(group: Group, kernel: Kernel, begun: Set[Node]) -> None:
    """Checks also that nothing is read but inputs and what the same row has written before."""
    names = [counter.arg[0] for counter in group.ranges]
    _need(len(set(names)) == len(names) > 0, f"the group's counters are {group.ranges}")
    scope = _Scope(kernel, group.ranges, begun)
    for nest in group.nests:
        _verify_nest(nest, scope)
        for store in nest.stores:
            axes = _row_axes(store.index, group.ranges)
            known = scope.rows.setdefault(store.target, axes)
            pairs = zip(known, axes, strict=True)
            added = store.accumulate is not None and store.target in begun
            private = store.target.op is ops.PRIVATE
            same = private or added or all(a & b for a, b in pairs)
            _need(same, f"rows of {store.target} are written in different ways", store.value)


def _row_axes(at: tuple[Node, ...], counters: tuple[Node, ...]) -> tuple[frozenset[int], ...]:
    return tuple(frozenset(axis for axis, i in enumerate(at) if i is c) for c in counters)


def _verify_nest(nest: Nest, scope: _Scope) -> None:
    counters = (*scope.outer, *nest.ranges)
    names = [counter.arg[0] for counter in counters if counter.op is ops.RANGE]
    _need(len(set(names)) == len(counters), f"the counters are {counters}")
    if all(counter.arg[1] for counter in counters):
        for store in nest.stores:
            _verify_store(store, counters, scope)


def _verify_store(store: Store, counters: tuple[Node, ...], scope: _Scope) -> None:
    target, value = store.target, store.value
    private = target.op is ops.PRIVATE and bool(scope.outer)
    outputs = scope.kernel.params[: scope.kernel.outputs]
    _need(private or target in outputs, f"{target} is no output", value)
    own = private or all(_row_axes(store.index, scope.outer))
    added = store.accumulate is not None and target in scope.begun
    _need(own or added, f"rows of {target} are written in one place", value)
    typed = value.dtype is target.dtype and value.shape == ()
    _need(typed, f"{value} is stored into {target.dtype.name}", value)
    wrong = misplaced(target, store.index)
    _need(wrong is None, f"the store leaves its array: {wrong}", *store.index)
    free: dict[Node, frozenset[Node]] = {}
    for x in topological([value, *store.index]):
        _verify_expression(x, scope)
        free[x] = _free(x, free)
    for root in (value, *store.index):
        strangers = free[root] - set(counters)
        _need(not strangers, f"no loop counts {sorted(s.arg for s in strangers)}", root)


def _verify_expression(x: Node, scope: _Scope) -> None:
    if x.op is ops.LOAD:
        array, valid, *at = x.src
        if array in scope.rows and array.op is ops.PARAM:
            own = zip(scope.rows[array], _row_axes(tuple(at), scope.outer), strict=True)
            _need(all(a & b for a, b in own), f"{array} is read in other rows", x)
        else:
            known = array in (*scope.rows, *scope.kernel.params[scope.kernel.outputs :])
            _need(known, f"{array} is no input", x)
        _need(valid.dtype is dtypes.bool_, f"the mask is {valid.dtype.name}", x)
        wrong = misplaced(array, tuple(at), valid)
        _need(wrong is None, f"a load leaves its array: {wrong}", x)
    elif x.op is ops.FOLD_RANGES:
        counters = all(c.op is ops.RANGE for c in x.src[1:])
        _need(counters and len(x.src) > 1, "a reduction without loops", x)
        _need(len(set(x.src)) == len(x.src), "a reduction loops twice over one counter", x)
    elif x.op is ops.SCAN_RANGE:
        _need(len(x.src) == 2 and x.src[1].op is ops.RANGE, "a scan without a loop", x)
    else:
        leaf = x.op in (ops.RANGE, ops.CONST, ops.CHECKED, ops.PARAM, ops.PRIVATE)
        _need(leaf or x.op.elementwise, f"{x.op} cannot stand in a kernel", x)


def _free(x: Node, free: dict[Node, frozenset[Node]]) -> frozenset[Node]:
    """The counters of `x` that its own reductions do not bind."""
    if x.op is ops.RANGE:
        return frozenset((x,))
    if x.op is ops.FOLD_RANGES:
        return free[x.src[0]] - set(x.src[1:])
    return frozenset().union(*(free[s] for s in x.src))


def _need(condition: bool, otherwise: str, *shown: Node) -> None:
    if not condition:
        raise VerifyError("\n".join([otherwise, *([show_graph(shown)] if shown else [])]))
