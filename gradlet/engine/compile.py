"""A graph becomes a program: scheduled, lowered, rendered, compiled and laid out in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradlet.base import settings
from gradlet.base.target import Target
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node, topological
from gradlet.ir.verify import verify_graph
from gradlet.lower.choose import lower
from gradlet.lower.decompose import decompose
from gradlet.lower.linear import LinearProgram, linearize
from gradlet.lower.verify import verify_linear, verify_loops
from gradlet.render import llvm
from gradlet.runtime.cpu.compiler import LoadedObject
from gradlet.runtime.cpu.device import CpuDevice, CpuProgram, Launch
from gradlet.runtime.device import Device, Executable, Interpreter
from gradlet.schedule.memory import lifetimes, place
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule
from gradlet.schedule.verify import verify_schedule


@dataclass(frozen=True)
class CompiledKernel:
    """One kernel in all its forms."""

    program: LinearProgram
    source: str
    code: LoadedObject


_kernels: dict[tuple[Kernel, Target], CompiledKernel] = {}


def compile_program(device: Device, sinks: Sequence[Node], params: Sequence[Node]) -> Executable:
    """Makes a graph over `params` ready to run on `device`."""
    if settings.verify():
        verify_graph(sinks)
    if isinstance(device, Interpreter):
        return device.compile(sinks, params)
    assert isinstance(device, CpuDevice), f"no compiler for {device.name}"
    plan = schedule(sinks, params)
    if settings.verify():
        verify_schedule(plan)
    kernels = compile_kernels(device, [step.kernel for step in plan.steps])
    return _assemble(device, plan, kernels, indexed_axes(sinks))


def compile_kernels(device: CpuDevice, kernels: Sequence[Kernel]) -> list[CompiledKernel]:
    """Each kernel compiled, equal ones once in the life of the process."""
    missing = [k for k in dict.fromkeys(kernels) if (k, device.target) not in _kernels]
    programs = [linear_program(k, device.target) for k in missing]
    sources = [llvm.render(p, device.target) for p in programs]
    loaded = device.load([(s, len(p.phases)) for s, p in zip(sources, programs, strict=True)])
    for kernel, program, source, code in zip(missing, programs, sources, loaded, strict=True):
        _kernels[kernel, device.target] = CompiledKernel(program, source, code)
    return [_kernels[k, device.target] for k in kernels]


def linear_program(kernel: Kernel, target: Target) -> LinearProgram:
    """The kernel's loops chosen, transformed and written out as instructions."""
    body = decompose(lower(kernel, target))
    program = linearize(body, kernel.params)
    if settings.verify():
        verify_loops(body)
        verify_linear(program)
    return program


def indexed_axes(sinks: Sequence[Node]) -> list[tuple[str, tuple[int, ...], int]]:
    """(op, shape, axis) for every axis that a gather or scatter of the graph indexes."""
    return [
        (current.op.name.lower(), current.src[0].shape, axis)
        for current in topological(sinks)
        if current.op in (ops.GATHER, ops.SCATTER)
        for axis in range(len(current.src) - (1 if current.op is ops.GATHER else 2))
    ]


def _assemble(
    device: CpuDevice,
    plan: Schedule,
    kernels: Sequence[CompiledKernel],
    indexed: Sequence[tuple[str, tuple[int, ...], int]],
) -> CpuProgram:
    """Gives every array of a program its place and every phase its row."""
    lives = lifetimes(plan)
    outputs = [b for b in dict.fromkeys(plan.sinks) if b >= plan.params]
    place_of = {b: 1 + b for b in range(plan.params)}
    place_of |= {b: 1 + plan.params + i for i, b in enumerate(outputs)}
    first_arena = 1 + plan.params + len(outputs)
    requests: list[tuple[int, int, int]] = []
    for b, (first, last) in lives.items():
        place_of[b] = first_arena + len(requests)
        requests.append((first, last, _bytes(plan.buffers[b])))
    launches = []
    for number, (step, kernel) in enumerate(zip(plan.steps, kernels, strict=True)):
        arrays = [0, *(place_of[b] for b in step.buffers)]
        for scratch in kernel.program.scratch:
            arrays.append(first_arena + len(requests))
            requests.append((number, number, _bytes(scratch)))
        for i, phase in enumerate(kernel.program.phases):
            address = kernel.code.address[f"phase{i}"]
            launches.append(Launch(address, tuple(arrays), phase.extent))
    offsets, arena = place(requests)
    return CpuProgram(
        device, launches, plan.params, [_bytes(plan.buffers[b]) for b in outputs], offsets, arena,
        [place_of[b] - 1 for b in plan.sinks], [k.code for k in kernels],
        indexed,
    )  # fmt: skip


def _bytes(array: Node) -> int:
    return array.size * array.dtype.itemsize
