"""Prints what becomes of a lazy tensor: its graph, kernels, loops, LLVM, machine code and time."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Protocol

from gradlet.base.target import Target
from gradlet.engine.assemble import loaded, plan_kernels
from gradlet.engine.compile import compile_program
from gradlet.engine.costs import compulsory_bytes, float_operations
from gradlet.engine.native import CompiledKernel, compile_kernels, native_kernels, planned
from gradlet.engine.program import Capture, capture
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel, Nest
from gradlet.ir.node import Node
from gradlet.ir.show import show_graph
from gradlet.lower import linear, loops
from gradlet.lower.choose import DEFAULT, Tiles, choices, lower, show_choice
from gradlet.lower.linear import LinearProgram
from gradlet.runtime.compiled import Compiled
from gradlet.runtime.cpu.compiler import assembly
from gradlet.runtime.cpu.device import CpuDevice, CpuProgram
from gradlet.runtime.cpu.limits import measured_once
from gradlet.runtime.device import Device, Executable, get_device
from gradlet.schedule.plan import Schedule

_LINES = 24  # of a listing, unless the whole of it is wanted
_LOOP_LINES = 80  # of a hot loop
_RUNS = 20
_SECONDS = 0.5  # of measuring, should the runs take longer


class Explained(Protocol):
    """What is asked of a Tensor here."""

    node: Node
    device: str


def explain(*tensors: Explained, full: bool = False) -> None:
    """Prints how lazy tensors are computed: graph, kernels, loops, LLVM, machine code, time.

    The tensors stay lazy: the program runs, to be timed, and what it computes is dropped. Values
    that it would store for other live tensors are not part of it.

    Args:
        tensors: what one program is to compute, all on one device.
        full: print the whole LLVM and assembly text of every kernel rather than the hot loop of
            the one with the most arithmetic.

    Raises:
        TypeError: no tensor, or something that is none.
        ValueError: tensors on different devices.
        IndexError: an index of a gather or scatter is out of range, once the program runs.

    >>> from gradlet import Tensor, explain
    >>> explain(Tensor([1.0, 2.0, 3.0], device="cpu") * 2)
    1. Graph
    %0 = param 0 : float32[3]
    %1 = mul %0 2.0 : float32[3]
    return %1
    ...
    7. Time
    ... ms for the whole program, the median of ... runs
    limits of ...
    kernel 0: ... ms, ...% of the limit; 3 operations, ... GFLOP/s; 24 bytes, ... GB/s
    """
    nodes, device = _checked(tensors)
    graph = capture(nodes, device)
    computed = [n for n in nodes if graph.order[graph.position[n]].op is ops.BUFFER]
    if len(computed) == len(nodes):
        held = ", ".join(f"{n.dtype.name}{list(n.shape)}" for n in nodes)
        print(f"Already computed: {held}. There is nothing left to run.")
        return
    for section in _sections(graph, nodes, device, full):
        print(section)


def _checked(tensors: Sequence[Explained]) -> tuple[list[Node], Device]:
    if not tensors:
        raise TypeError("explain: give it at least one Tensor")
    for tensor in tensors:
        if not isinstance(getattr(tensor, "node", None), Node):
            raise TypeError(f"explain: expected Tensors, got {type(tensor).__name__}")
    names = sorted({tensor.device for tensor in tensors})
    if len(names) > 1:
        raise ValueError(
            f"explain: the tensors are on different devices ({', '.join(names)}), and a program "
            "runs on one. Explain them one device at a time."
        )
    return [tensor.node for tensor in tensors], get_device(names[0])


def _sections(graph: Capture, nodes: Sequence[Node], device: Device, full: bool) -> Iterator[str]:
    """The text under each heading, made just before it is printed."""
    sinks, params = graph.canonical(nodes)
    yield f"1. Graph\n\n{_cut(show_graph(sinks), full)}\n"
    if isinstance(device, Compiled):
        yield from _compiled_sections(plan_kernels(device.target, sinks, params), device, full)
        yield f"7. Time\n\n{_timing(compile_program(device, sinks, params), graph)}"
        return
    if not isinstance(device, CpuDevice):
        program = compile_program(device, sinks, params)
        yield (
            f"Steps 2 to 6 do not exist on {device.name!r}: it interprets the graph op by op, "
            "and compiles nothing.\n"
        )
        yield f"7. Time\n\n{_timing(program, graph)}"
        return
    plan = planned(device, sinks, params)
    if not plan.steps:
        yield "2. Kernels\n\nNone: no result has an element.\n"
        return
    native = native_kernels(plan)
    kernels = dict(zip(native, compile_kernels(device, native), strict=True))
    steps = [_cut(show_step(number, plan), full) for number in range(len(plan.steps))]
    yield "\n".join(["2. Kernels\n", *steps, ""])
    trees = [
        f"{show_choices(kernel, device.target, k.tiles)}\n"
        f"{_cut(show_loops(kernel, device.target, k.tiles), full)}"
        for kernel, k in kernels.items()
    ]
    yield _listed("3. Loops", plan, kernels, trees)
    counts = [show_counts(k.program) for k in kernels.values()]
    yield _listed("4. Linear program", plan, kernels, counts)
    shown = kernels if full else _busiest(kernels)
    texts = [llvm_text(k.source, full) for k in shown.values()]
    yield _listed("5. LLVM IR", plan, shown, texts)
    texts = [assembly_text(k.source, device.target, full) for k in shown.values()]
    yield _listed("6. Machine code", plan, shown, texts)
    program = compile_program(device, sinks, params)
    assert isinstance(program, CpuProgram)
    costs = _costs(plan, program, graph, device)
    yield "\n".join(["7. Time", "", _timing(program, graph), *costs])


def _compiled_sections(plan: Schedule, device: Compiled, full: bool) -> Iterator[str]:
    """What becomes of a graph on a device other than the CPU, where its text is all that we see."""
    steps = [_cut(show_step(number, plan), full) for number in range(len(plan.steps))]
    yield "\n".join(["2. Kernels\n", *steps, ""])
    kernels = list(dict.fromkeys(native_kernels(plan)))
    trees = [_cut(show_loops(kernel, device.target), full) for kernel in kernels]
    yield _listed("3. Loops", plan, kernels, trees)
    made = [loaded(device, kernel) for kernel in kernels]
    counts = [show_counts(program) for program, _ in made]
    yield _listed("4. Linear program", plan, kernels, counts)
    texts = [_cut(found.text, full) for _, found in made]
    yield _listed(f"5. {device.language}", plan, kernels, texts)


def _listed(heading: str, plan: Schedule, kernels: Iterable[Kernel], texts: Sequence[str]) -> str:
    """One text for each different kernel, below the numbers of the steps that run it."""
    parts = [f"{heading}\n"]
    for kernel, text in zip(kernels, texts, strict=True):
        numbers = [str(i) for i, step in enumerate(plan.steps) if step.kernel == kernel]
        parts.append(f"kernel {', '.join(numbers)}:\n{text}\n")
    return "\n".join(parts)


# Kernels


def show_step(number: int, plan: Schedule) -> str:
    """A kernel as index expressions, below the arrays that it reads and writes."""
    step = plan.steps[number]
    lines = [f"kernel {number}:"]
    for position, buffer in enumerate(step.buffers):
        array = plan.buffers[buffer]
        verb = "writes" if position < step.kernel.outputs else "reads"
        role = "result" if buffer in plan.sinks else "intermediate"
        if buffer < plan.params:
            role = f"param {buffer}"
        what = f"{array.dtype.name}{list(array.shape)}"
        lines.append(f"  {verb} p{position}: array {buffer}, {role}, {what}")
    if step.kernel.library is not None:
        lines.append(f"  by NumPy: {_show_call(step.kernel.library)}")
    for part in step.kernel.nests:
        lines.append(_show_ranges(part.ranges, "  "))
        if isinstance(part, Nest):
            lines.append(_show_stores(part, "    "))
            continue
        for nest in part.nests:
            if nest.ranges:
                lines.append(_show_ranges(nest.ranges, "    "))
            lines.append(_show_stores(nest, "      " if nest.ranges else "    "))
    return "\n".join(lines)


def _show_call(library: Node) -> str:
    """The function, its arrays and its parameters, such as `argsort(p1, 0, False)`."""
    name, parameters = library.arg
    return f"{name}({', '.join([*(f'p{s.arg}' for s in library.src), *map(repr, parameters)])})"


def _show_ranges(ranges: Sequence[Node], indent: str) -> str:
    counters = ", ".join(f"{c.arg[0]} in {c.arg[1]}" for c in ranges)
    return f"{indent}for {counters}:" if counters else f"{indent}once:"


def _show_stores(nest: Nest, indent: str) -> str:
    body = tuple(loops.Assign(s.target, s.index, s.value, s.accumulate) for s in nest.stores)
    return loops.show(body, indent)


def show_choices(kernel: Kernel, target: Target, tiles: Tiles = DEFAULT) -> str:
    """How a kernel is computed, in one line for each of its parts."""
    lines = (show_choice(choice, target) for choice in choices(kernel, target, tiles))
    return "\n".join(f"  # {line}" for line in lines)


def show_loops(kernel: Kernel, target: Target, tiles: Tiles = DEFAULT) -> str:
    """The loops that were chosen for a kernel."""
    return loops.show(lower(kernel, target, tiles), "  ")


# Linear programs


def show_counts(program: LinearProgram) -> str:
    """For each phase how many instructions of which kind it has."""
    lines = []
    for number, phase in enumerate(program.phases):
        # Loops and their ends come in pairs, and count once.
        counts = Counter(str(i.op).lower() for i in phase.instructions if i.op != linear.END)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        times = f"{phase.extent} iterations" if phase.extent > 1 else "run once"
        lines.append(f"  phase {number}, {times}: {kinds}")
    return "\n".join(lines)


def _busiest(kernels: dict[Kernel, CompiledKernel]) -> dict[Kernel, CompiledKernel]:
    """The kernel with the most arithmetic alone."""
    if not kernels:
        return {}
    most = max(kernels, key=float_operations)
    return {most: kernels[most]}


# Listings


def llvm_text(source: str, full: bool = False) -> str:
    """LLVM IR: its hot loop, or the first lines where there is none, or the whole text."""
    lines = source.splitlines()
    starts: dict[str, int] = {}
    spans = []
    for n, line in enumerate(lines):
        if re.fullmatch(r"loop\d+:", line):
            starts[line] = n
        elif re.fullmatch(r"loop\d+\.end:", line):
            spans.append((starts[line.replace(".end", "")], n))
    return _excerpt(lines, spans, full)


def assembly_text(source: str, target: Target, full: bool = False) -> str:
    """Machine code of LLVM IR: its hot loop, or the first instructions, or the whole text."""
    lines = assembly(source, target).expandtabs(8).splitlines()
    if not full:
        # Instructions and their labels, neither constants nor notes to the assembler.
        lines = [line for line in lines if re.match(r"\s+\w|\w+:|\.LBB", line)]
    label_at: dict[str, int] = {}
    spans = []
    for n, line in enumerate(lines):
        if found := re.match(r"(\.?LBB\d+_\d+):", line):
            label_at[found[1]] = n
        elif (jump := re.search(r"\.?LBB\d+_\d+", line)) and jump[0] in label_at:
            spans.append((label_at[jump[0]], n + 1))
    return _excerpt(lines, spans, full)


def _excerpt(lines: list[str], spans: list[tuple[int, int]], full: bool) -> str:
    """The innermost of the loops at `spans`, the longest if there are several, cut to size."""
    if full:
        return "\n".join(lines)
    kept = lines
    if spans:
        depth = {s: sum(o[0] <= s[0] and s[1] <= o[1] for o in spans) for s in spans}
        start, stop = max(spans, key=lambda s: (depth[s], s[1] - s[0]))
        kept = lines[start:stop]
    listing = "\n".join(f"  {line}" for line in kept)
    text = _cut(listing, full=False, most=_LOOP_LINES if spans else _LINES)
    return f"{'hot loop' if spans else 'no loop'}, {len(kept)} of {len(lines)} lines:\n{text}"


def _cut(text: str, full: bool, most: int = _LINES) -> str:
    """The first lines of a long text."""
    lines = text.splitlines()
    if full or len(lines) <= most + 1:
        return text
    rest = len(lines) - most
    return "\n".join([*lines[:most], f"  ... and {rest} more lines; full=True shows all"])


# Time


def _timing(program: Executable, graph: Capture) -> str:
    """The median over several runs, after one that is not counted."""
    memories = [buffer.memory for buffer in graph.buffers]
    program(memories)
    taken: list[float] = []
    while len(taken) < _RUNS and (not taken or sum(taken) < _SECONDS):
        start = time.perf_counter()
        program(memories)
        taken.append(time.perf_counter() - start)
    return f"{median(taken) * 1e3:.3f} ms for the whole program, the median of {len(taken)} runs"


def _costs(plan: Schedule, program: CpuProgram, graph: Capture, device: CpuDevice) -> Iterator[str]:
    """The machine's limits, and for each kernel how near it comes to them.

    Operations and bytes are those that the kernel's result takes, however it is computed.
    """
    machine = measured_once(device.target, device.workers, device.cache)
    yield (
        f"limits of {device.target.threads} threads: {machine.flops / 1e9:.0f} GFLOP/s of float32 "
        f"multiply-adds; {machine.read / 1e9:.0f} GB/s read, {machine.write / 1e9:.0f} written, "
        f"{machine.copy / 1e9:.0f} copied"
    )
    memories = [buffer.memory for buffer in graph.buffers]
    taken = program.kernel_seconds(memories, _RUNS)
    for number, (step, seconds) in enumerate(zip(plan.steps, taken, strict=True)):
        if step.kernel.library is not None:
            yield f"kernel {number}: {seconds * 1e3:.3f} ms, {step.kernel.library.arg[0]} by NumPy"
            continue
        flops, (read, written) = float_operations(step.kernel), compulsory_bytes(step.kernel)
        part = machine.seconds(flops, read, written) / seconds
        yield (
            f"kernel {number}: {seconds * 1e3:.3f} ms, {part:.0%} of the limit; "
            f"{flops:,} operations, {flops / seconds / 1e9:.2f} GFLOP/s; "
            f"{read + written:,} bytes, {(read + written) / seconds / 1e9:.2f} GB/s"
        )
