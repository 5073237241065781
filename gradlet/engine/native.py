"""A graph becomes a program of the CPU: scheduled, lowered, rendered, compiled, laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradlet.base import settings
from gradlet.base.target import Target
from gradlet.engine import search, stored
from gradlet.engine.lowering import linear_program
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node
from gradlet.lower.choose import DEFAULT, Tiles
from gradlet.lower.linear import LinearProgram, private_bytes
from gradlet.render import llvm
from gradlet.runtime import observe
from gradlet.runtime.cpu.compiler import LoadedObject, cached_object, load_object
from gradlet.runtime.cpu.device import Call, CpuDevice, CpuProgram, Launch
from gradlet.runtime.errors import Indexed
from gradlet.schedule.memory import lifetimes, place
from gradlet.schedule.plan import Schedule, Step
from gradlet.schedule.schedule import schedule
from gradlet.schedule.update import Pair, first_update, update_in_place
from gradlet.schedule.verify import verify_schedule


@dataclass(frozen=True)
class CompiledKernel:
    """One kernel in all its forms; `tiles` are those chosen by search."""

    tiles: Tiles
    program: LinearProgram
    source: str
    code: LoadedObject


_kernels: dict[tuple[Kernel, Target], CompiledKernel] = {}


def native_program(
    device: CpuDevice,
    sinks: Sequence[Node],
    params: Sequence[Node],
    updates: Sequence[Pair],
    indexed: Indexed,
    key: str | None,
) -> CpuProgram:
    """Makes a graph over `params` ready to run on the CPU, and stores it under `key` if any.

    Args:
        updates: as in `compile_program`.
        indexed: what the program says of indices that are out of range.
    """
    with observe.span("schedule"):
        plan = planned(device, sinks, params)
    if settings.verify():
        verify_schedule(plan)
    plan, pairs = update_in_place(plan, updates)
    kernels = compile_kernels(device, native_kernels(plan))
    program = _assemble(device, plan, kernels, indexed, pairs)
    if key is not None:
        stored.keep(device, key, program, [(k.source, k.code) for k in kernels])
    return program


def definitions(
    device: CpuDevice, sinks: Sequence[Node], params: Sequence[Node], updates: Sequence[Pair]
) -> Sequence[Kernel]:
    """What each kernel of a program computes."""
    plan, _ = update_in_place(planned(device, sinks, params), updates)
    return [step.kernel for step in plan.steps]


def planned(device: CpuDevice, sinks: Sequence[Node], params: Sequence[Node]) -> Schedule:
    """The kernels of a program, made for the caches and threads of the device."""
    target = device.target
    return schedule(sinks, params, target.l2_bytes // 2, threads=target.threads)


def native_kernels(plan: Schedule) -> list[Kernel]:
    """The kernels of a program, in order, that are not calls of a library."""
    return [step.kernel for step in plan.steps if step.kernel.library is None]


def compile_kernels(device: CpuDevice, kernels: Sequence[Kernel]) -> list[CompiledKernel]:
    """Each kernel compiled, equal ones once in the life of the process."""
    missing = [k for k in dict.fromkeys(kernels) if (k, device.target) not in _kernels]
    observe.count("kernels from memory", len(kernels) - len(missing))
    made = _compile(device, [(k, _tiles(device, k)) for k in missing])
    for kernel, compiled in zip(missing, made, strict=True):
        _kernels[kernel, device.target] = compiled
    return [_kernels[k, device.target] for k in kernels]


def _compile(device: CpuDevice, wanted: Sequence[tuple[Kernel, Tiles]]) -> list[CompiledKernel]:
    """Compiles kernels in other threads, each as soon as its text is there."""
    forms: list[tuple[Tiles, LinearProgram, str]] = []
    with ThreadPoolExecutor(device.target.threads) as pool:
        compiled: list[Future[bytes]] = []
        for kernel, tiles in wanted:
            with observe.span("lower"):
                program = linear_program(kernel, device.target, tiles)
                source = llvm.render(program, device.target)
            forms.append((tiles, program, source))
            compiled.append(pool.submit(cached_object, source, device.target, device.cache))
        made: list[CompiledKernel] = []
        for (tiles, program, source), code in zip(forms, compiled, strict=True):
            loaded = load_object(code.result(), [f"phase{i}" for i in range(len(program.phases))])
            made.append(CompiledKernel(tiles, program, source, loaded))
    return made


def _tiles(device: CpuDevice, kernel: Kernel) -> Tiles:
    """The tiles that a search has found for a kernel, now if the setting says so, or before."""
    found = search.recall(kernel, device.target, device.cache)
    if found is None and settings.search():
        found = search.fastest_tiles(
            kernel, device.target, lambda forms: _trials(device, kernel, forms)
        )
        search.remember(kernel, device.target, device.cache, found)
    return found or DEFAULT


def _trials(
    device: CpuDevice, kernel: Kernel, forms: Sequence[Tiles]
) -> list[Callable[[], object]]:
    """For each choice of tiles a function that runs the kernel, on arrays of ones."""
    inputs = len(kernel.params) - kernel.outputs
    written = tuple(range(inputs, len(kernel.params)))
    step = Step(kernel, (*written, *range(inputs)))
    buffers = (*kernel.params[kernel.outputs :], *kernel.params[: kernel.outputs])
    plan = Schedule((step,), buffers, inputs, written)
    # Zeros where they may be indices: those are always in range.
    values = [np.full(p.shape, p.dtype.is_float, p.dtype.numpy) for p in buffers[:inputs]]
    memories = [device.from_numpy(value) for value in values]
    programs = [
        _assemble(device, plan, [compiled], [])
        for compiled in _compile(device, [(kernel, tiles) for tiles in forms])
    ]
    return [partial(program, memories) for program in programs]


def _assemble(
    device: CpuDevice,
    plan: Schedule,
    kernels: Sequence[CompiledKernel],
    indexed: Indexed,
    pairs: Sequence[Pair] = (),
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
    launches: list[Launch] = []
    calls: list[Call] = []
    compiled = iter(kernels)
    for number, step in enumerate(plan.steps):
        arrays = [0, *(place_of[b] for b in step.buffers)]
        if step.kernel.library is not None:
            calls.append(Call(step.kernel.library, tuple(arrays[1:]), len(launches), number))
            continue
        kernel = next(compiled)
        for scratch in kernel.program.scratch:
            arrays.append(first_arena + len(requests))
            requests.append((number, number, _scratch_bytes(scratch, device.target.threads)))
        for i, phase in enumerate(kernel.program.phases):
            address = kernel.code.address[f"phase{i}"]
            launches.append(Launch(address, tuple(arrays), phase.extent, number))
    offsets, arena = place(requests)
    computed = [step.kernel for step in plan.steps]
    updates = [(outputs.index(plan.sinks[sink]), param) for sink, param in pairs]
    first = first_update(plan, pairs) if pairs else len(plan.steps)
    return CpuProgram(
        device, launches, plan.params, [_bytes(plan.buffers[b]) for b in outputs], offsets, arena,
        [place_of[b] - 1 for b in plan.sinks], [k.code for k in kernels],
        indexed, lambda: computed, calls,
        updates, next((row for row, x in enumerate(launches) if x.kernel >= first), len(launches)),
    )  # fmt: skip


def _scratch_bytes(array: Node, threads: int) -> int:
    return private_bytes(array) * threads if array.op is ops.PRIVATE else _bytes(array)


def _bytes(array: Node) -> int:
    return array.size * array.dtype.itemsize
