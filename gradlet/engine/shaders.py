"""A graph becomes shaders: scheduled, lowered, rendered and laid out for a graphics processor."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.base import settings
from gradlet.base.target import Target
from gradlet.engine.lowering import linear_program
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node
from gradlet.render import wgsl
from gradlet.runtime import observe
from gradlet.runtime.errors import Indexed, indexed_axes
from gradlet.runtime.webgpu.device import WebGpuDevice
from gradlet.runtime.webgpu.program import Call, Dispatch, WebGpuProgram
from gradlet.schedule.limit import Limit
from gradlet.schedule.memory import lifetimes, share
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule
from gradlet.schedule.verify import verify_schedule

_RESERVED = 2  # bindings: for reports of bad indices, and for partial results

_shaders: dict[tuple[Kernel, Target], list[wgsl.Shader]] = {}


def compile_shaders(
    device: WebGpuDevice, sinks: Sequence[Node], params: Sequence[Node]
) -> WebGpuProgram:
    """Makes a graph over `params` ready to run on a WebGPU adapter."""
    with observe.span("schedule"):
        plan = plan_shaders(device.target, sinks, params)
    if settings.verify():
        verify_schedule(plan)
    return _assemble(device, plan, indexed_axes(sinks))


def plan_shaders(target: Target, sinks: Sequence[Node], params: Sequence[Node]) -> Schedule:
    """The kernels of a graph: none joined by rows, and none of too many arrays."""
    limit = Limit(target.max_buffers - _RESERVED, target.binding_bytes)
    return schedule(sinks, params, cache_bytes=0, limit=limit)


def shaders_of(kernel: Kernel, target: Target) -> list[wgsl.Shader]:
    """The shaders of a kernel; equal kernels have one set in the life of the process."""
    found = _shaders.get((kernel, target))
    if found is None:
        with observe.span("lower"):
            found = wgsl.render(linear_program(kernel, target), target)
        _shaders[kernel, target] = found
    return found


def _assemble(
    device: WebGpuDevice,
    plan: Schedule,
    indexed: Indexed,
) -> WebGpuProgram:
    """Gives every array of a program its place: params, outputs, then shared blocks."""
    outputs = [b for b in dict.fromkeys(plan.sinks) if b >= plan.params]
    fixed = {b: b for b in range(plan.params)}
    fixed |= {b: plan.params + n for n, b in enumerate(outputs)}
    first_block = plan.params + len(outputs)
    waiting: dict[Node | int, int] = {}  # arrays without a place -> their requests
    requests: list[tuple[int, int, int]] = []
    for b, (first, last) in lifetimes(plan).items():
        requests.append((first, last, _bytes(plan.buffers[b])))
        waiting[b] = len(requests) - 1
    kernels = [step.kernel for step in plan.steps]
    made = [None if k.library is not None else shaders_of(k, device.target) for k in kernels]
    scratch: list[dict[Node, int]] = []
    for number, shaders in enumerate(made):
        scratch.append({})
        for array in dict.fromkeys(a for s in shaders or () for a in s.arrays):
            if array not in kernels[number].params:
                scratch[-1][array] = len(requests)
                requests.append((number, number, _bytes(array)))
    chosen, blocks = share(requests)
    fixed |= {b: first_block + chosen[n] for b, n in waiting.items() if isinstance(b, int)}
    steps: list[Dispatch | Call] = []
    for number, (step, shaders) in enumerate(zip(plan.steps, made, strict=True)):
        kernel = step.kernel
        if shaders is None:
            assert kernel.library is not None
            steps.append(Call(kernel.library, tuple(fixed[b] for b in step.buffers)))
            continue
        place: dict[Node, int] = {a: first_block + chosen[n] for a, n in scratch[number].items()}
        place |= {p: fixed[b] for p, b in zip(kernel.params, step.buffers, strict=True)}
        for shader in shaders:
            steps.append(_dispatch(device, shader, place))
    sizes = [_bytes(plan.buffers[b]) for b in outputs]
    sinks = [fixed[b] for b in plan.sinks]
    return WebGpuProgram(device, steps, plan.params, sizes, blocks, sinks, indexed)


def _dispatch(device: WebGpuDevice, shader: wgsl.Shader, place: dict[Node, int]) -> Dispatch:
    written: list[bool] = []
    for array, changes in zip(shader.arrays, shader.written, strict=True):
        written += [changes] * wgsl.pieces(array, device.target)
    if shader.checks:
        written.append(True)
    arrays = tuple((place[a], _bytes(a)) for a in shader.arrays)
    pipeline = device.pipeline(shader.text, written)
    return Dispatch(pipeline, arrays, shader.checks, shader.groups)


def _bytes(array: Node) -> int:
    return array.size * wgsl.stored_bytes(array.dtype)
