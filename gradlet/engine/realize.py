"""Computes what has been built: the one place where lazy graphs turn into numbers."""

from __future__ import annotations

import contextlib
import importlib
import weakref
from collections.abc import Sequence
from typing import Any

from gradlet.engine import trace
from gradlet.engine.program import Capture, capture
from gradlet.ir import functions, ops
from gradlet.ir.node import Node
from gradlet.runtime import observe
from gradlet.runtime.buffer import Buffer, Holder, node_of
from gradlet.runtime.device import Device, Executable

# Every Tensor alive, by weak references that leave the set without a line of Python. What a user
# still holds is stored when a graph that contains it runs, so that looking at it later computes
# nothing twice.
_holders: set[weakref.ref[Holder]] = set()
_let_go = _holders.discard


def hold(holder: Holder) -> None:
    """Says that a holder is alive."""
    _holders.add(weakref.ref(holder, _let_go))


def live() -> list[Holder]:
    """All holders alive, while other threads may make more of them."""
    while True:
        with contextlib.suppress(RuntimeError):  # the set has changed its size meanwhile
            references = list(_holders)
            return [holder for r in references if (holder := r()) is not None]


_programs: dict[tuple, Executable] = {}  # by the form of a graph
_compiled: dict[tuple, Executable] = {}  # by the graph over PARAM nodes, which forms may share


def compile_program(
    device: Device,
    sinks: Sequence[Node],
    params: Sequence[Node],
    updates: Sequence[tuple[int, int]] = (),
) -> Executable:
    """As in `engine/compile.py`, which is loaded when there is something to compute."""
    compiler = importlib.import_module("gradlet.engine.compile")
    made: Executable = compiler.compile_program(device, sinks, params, updates)
    return made


def realize(nodes: Sequence[Node], device: Device, calls: Sequence[Node] = ()) -> list[Any]:
    """Computes `nodes` on `device`, all in one program, and remembers their values.

    Afterwards `value_of` finds each of them. Nodes of live tensors that the program passes
    through are computed and remembered with them. While a step is recorded nothing happens.

    Args:
        calls: CALL nodes, all results of which are computed as well.

    Returns:
        the memory of each result of the calls, which nothing else remembers.
    """
    if trace.current() is not None:
        return []
    wanted = [n for n in nodes if filled(n, device) is None]
    if not wanted and not calls:
        return []
    graph = capture((*wanted, *calls), device)
    seen = dict.fromkeys(wanted)
    for holder in live():
        held = holder.node
        if held.op is ops.CONSUMED and held in seen:
            continue  # nobody shows what it stands for
        while held.op in ops.IDENTITIES:
            held = held.src[0]
        if held not in seen and held in graph.position and _worth_storing(held, device):
            seen[held] = None
    sinks = list(seen)
    # Several sinks may stand at one place, such as a value and its detached twin. In order of
    # place, since that of holders differs from step to step.
    at_place = {graph.position[sink]: sink for sink in reversed(sinks)}
    places = dict(sorted(at_place.items(), key=lambda item: item[0]))
    program = _program(graph, [*places.values(), *calls], device)
    memories = program([b.memory for b in graph.buffers])
    stored = dict(zip(places, memories, strict=False))
    for sink in sinks:
        _remember(sink, stored[graph.position[sink]], device)
    return memories[len(places) :]


def value_of(current: Node, device: Device) -> Buffer:
    """The filled buffer with the value of `current`, computing it if need be."""
    trace.refuse(
        "a value is needed while the step is recorded, as .item(), .numpy(), print and `if` need "
        "one; return the tensor and look at it outside"
    )
    found = filled(current, device)
    if found is None:
        realize([current], device)
        found = filled(current, device)
        assert found is not None
    return found


def program_for(
    nodes: Sequence[Node], device: Device, before: Sequence[Node | None]
) -> tuple[Executable, Capture, list[int]]:
    """A program that computes `nodes` from filled buffers alone, whatever is remembered.

    Args:
        before: for each node the one, if any, whose place its value will take.

    Returns:
        the program, the graph with its buffers in the order of the program's params, and for
        each node which of the program's results it is.
    """
    graph = capture(nodes, device, memos=False)
    at_place = {graph.position[n]: n for n in reversed(nodes)}
    places = sorted(at_place)
    results = [places.index(graph.position[n]) for n in nodes]
    position = {id(b): number for number, b in enumerate(graph.buffers)}
    updates = []
    for result, old in zip(results, before, strict=True):
        buffer = None if old is None else filled(old, device)
        if buffer is not None and id(buffer) in position and results.count(result) == 1:
            updates.append((result, position[id(buffer)]))
    program = _program(graph, [at_place[place] for place in places], device, updates)
    return program, graph, results


def program_over(
    params: Sequence[Node],
    nodes: Sequence[Node],
    device: Device,
    updates: Sequence[tuple[int, int]] = (),
) -> Executable:
    """The program that computes `nodes` from PARAM nodes."""
    key = (device.name, tuple(params), tuple(nodes), *updates)
    program = _compiled.get(key)
    observe.count("programs from memory" if program is not None else "programs compiled")
    if program is None:
        program = _compiled[key] = compile_program(device, nodes, params, updates)
    return program


def _program(
    graph: Capture, sinks: list[Node], device: Device, updates: Sequence[tuple[int, int]] = ()
) -> Executable:
    """The compiled program of a graph of this form."""
    key = (device.name, graph.key(sinks), *updates)
    program = _programs.get(key)
    if program is not None:
        observe.count("programs from memory")
        return program
    made, params = graph.canonical(sinks)
    program = _programs[key] = program_over(params, made, device, updates)
    return program


def clear_programs() -> None:
    """Forgets every compiled program, as tests of cold starts want."""
    _programs.clear()
    _compiled.clear()
    functions.forget()


def filled(current: Node, device: Device) -> Buffer | None:
    """The buffer that already holds `current`, if one does."""
    while current.op in ops.IDENTITIES and current.realized is None:
        current = current.src[0]
    if current.op is ops.BUFFER:
        return current.arg if current.arg.memory is not None else None
    memo = current.realized
    return memo.arg if memo is not None and memo.arg.device is device else None


def _worth_storing(held: Node, device: Device) -> bool:
    """True for what takes computing: neither stored already nor a plain constant."""
    if held.op is ops.BUFFER:
        return held.arg.memory is None
    return held.op is not ops.CONST and filled(held, device) is None


def _remember(sink: Node, memory: object, device: Device) -> None:
    if sink.op is ops.BUFFER:
        sink.arg.fill(memory)
    else:
        sink.realized = node_of(Buffer(device, sink.dtype, sink.shape, memory))
