"""A graph becomes a program of a compiled device: scheduled, lowered, loaded, its arrays placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlet.base import settings
from gradlet.base.target import Target
from gradlet.engine.lowering import linear_program
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node
from gradlet.lower.linear import LinearProgram
from gradlet.runtime import observe
from gradlet.runtime.compiled import Assembly, Compiled, Step
from gradlet.runtime.device import Executable
from gradlet.runtime.errors import Indexed, indexed_axes
from gradlet.schedule.limit import NO_LIMIT, Limit
from gradlet.schedule.memory import lifetimes, share
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule
from gradlet.schedule.verify import verify_schedule

_RESERVED = 2  # bindings: for reports of bad indices, and for partial results

_kernels: dict[tuple[Kernel, Target], tuple[LinearProgram, Any]] = {}


def assemble(device: Compiled, sinks: Sequence[Node], params: Sequence[Node]) -> Executable:
    """Makes a graph over `params` ready to run."""
    with observe.span("schedule"):
        plan = plan_kernels(device.target, sinks, params)
    if settings.verify():
        verify_schedule(plan)
    return device.program(_placed(device, plan, indexed_axes(sinks)))


def plan_kernels(target: Target, sinks: Sequence[Node], params: Sequence[Node]) -> Schedule:
    """The kernels of a graph: none joined by rows, and none of too many arrays."""
    limit = NO_LIMIT
    if target.max_buffers:
        limit = Limit(target.max_buffers - _RESERVED, target.binding_bytes)
    return schedule(sinks, params, cache_bytes=0, limit=limit)


def loaded(device: Compiled, kernel: Kernel) -> tuple[LinearProgram, Any]:
    """A kernel as instructions and as what the device has loaded, once in a process."""
    found = _kernels.get((kernel, device.target))
    if found is None:
        with observe.span("lower"):
            program = linear_program(kernel, device.target)
            found = program, device.load(program)
        _kernels[kernel, device.target] = found
    return found


def _placed(
    device: Compiled,
    plan: Schedule,
    indexed: Indexed,
) -> Assembly:
    """Gives every array of a program its place: params, outputs, then shared blocks."""
    outputs = [b for b in dict.fromkeys(plan.sinks) if b >= plan.params]
    place: dict[Any, int] = {b: b for b in range(plan.params)}
    place |= {b: plan.params + n for n, b in enumerate(outputs)}
    requests: dict[Any, tuple[int, int, int]] = {
        b: (first, last, device.bytes_of(plan.buffers[b]))
        for b, (first, last) in lifetimes(plan).items()
    }
    kernels: list[tuple[Any, tuple[Node, ...]]] = []  # and their scratch arrays
    for number, step in enumerate(plan.steps):
        if step.kernel.library is not None:
            kernels.append((step.kernel.library, ()))
            continue
        program, kernel = loaded(device, step.kernel)
        scratch = tuple(a for a in program.scratch if a.op is ops.SCRATCH)
        kernels.append((kernel, scratch))
        requests |= {(number, a): (number, number, device.bytes_of(a)) for a in scratch}
    chosen, blocks = share(list(requests.values()))
    first = plan.params + len(outputs)
    place |= {key: first + block for key, block in zip(requests, chosen, strict=True)}
    steps = []
    for number, (step, (kernel, scratch)) in enumerate(zip(plan.steps, kernels, strict=True)):
        arrays = {p: place[b] for p, b in zip(step.kernel.params, step.buffers, strict=True)}
        steps.append(Step(kernel, arrays | {a: place[number, a] for a in scratch}))
    sizes = tuple(device.bytes_of(plan.buffers[b]) for b in outputs)
    sinks = tuple(place[b] for b in plan.sinks)
    return Assembly(tuple(steps), plan.params, sizes, tuple(blocks), sinks, indexed)
