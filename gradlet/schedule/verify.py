"""What the scheduler promises: kernels that stay inside their arrays, in an order that works."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel, Nest, Store
from gradlet.ir.node import Node, topological
from gradlet.ir.places import misplaced
from gradlet.ir.show import show_graph
from gradlet.ir.verify import VerifyError
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
        outputs = step.buffers[: step.kernel.outputs]
        for b in step.buffers[step.kernel.outputs :]:
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
    for nest in kernel.nests:
        names = [counter.arg[0] for counter in nest.ranges if counter.op is ops.RANGE]
        _need(len(set(names)) == len(nest.ranges), f"the counters are {nest.ranges}")
        if all(counter.arg[1] for counter in nest.ranges):
            for store in nest.stores:
                _verify_store(store, nest, kernel)


def _verify_store(store: Store, nest: Nest, kernel: Kernel) -> None:
    target, value = store.target, store.value
    _need(target in kernel.params[: kernel.outputs], f"{target} is no output", value)
    typed = value.dtype is target.dtype and value.shape == ()
    _need(typed, f"{value} is stored into {target.dtype.name}", value)
    wrong = misplaced(target, store.index)
    _need(wrong is None, f"the store leaves its array: {wrong}", *store.index)
    free: dict[Node, frozenset[Node]] = {}
    for x in topological([value, *store.index]):
        _verify_expression(x, kernel)
        free[x] = _free(x, free)
    for root in (value, *store.index):
        strangers = free[root] - set(nest.ranges)
        _need(not strangers, f"no loop counts {sorted(s.arg for s in strangers)}", root)


def _verify_expression(x: Node, kernel: Kernel) -> None:
    if x.op is ops.LOAD:
        array, valid, *at = x.src
        _need(array in kernel.params[kernel.outputs :], f"{array} is no input", x)
        _need(valid.dtype is dtypes.bool_, f"the mask is {valid.dtype.name}", x)
        wrong = misplaced(array, tuple(at), valid)
        _need(wrong is None, f"a load leaves its array: {wrong}", x)
    elif x.op is ops.FOLD_RANGES:
        counters = all(c.op is ops.RANGE for c in x.src[1:])
        _need(counters and len(x.src) > 1, "a reduction without loops", x)
        _need(len(set(x.src)) == len(x.src), "a reduction loops twice over one counter", x)
    else:
        leaf = x.op in (ops.RANGE, ops.CONST, ops.CHECKED, ops.PARAM)
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
