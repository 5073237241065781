"""A graph becomes something that runs: by a device's own table, or compiled and kept on disk.

The stages between a graph and its machine code are loaded when a program is not there already.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from gradlet.base import settings
from gradlet.base.remembered import forget
from gradlet.engine import stored
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node
from gradlet.ir.verify import verify_graph
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.device import Device, Executable, Interpreter
from gradlet.runtime.errors import indexed_axes

Updates = Sequence[tuple[int, int]]


def compile_program(
    device: Device,
    sinks: Sequence[Node],
    params: Sequence[Node],
    updates: Updates = (),
) -> Executable:
    """Makes a graph over `params` ready to run on `device`.

    Args:
        updates: (sink, param) where the one may take the place of the other, if the caller says
            so in a call.
    """
    if settings.verify():
        verify_graph(sinks)
    if isinstance(device, Interpreter):
        return device.compile(sinks, params)
    made: Executable
    if not isinstance(device, CpuDevice):
        with _undisturbed():
            made = _stage("assemble").assemble(device, sinks, params)
        return made
    indexed = indexed_axes(sinks)
    plain = not (settings.verify() or settings.search())
    key = stored.name(device, sinks, params, updates) if plain else None
    if key is not None:
        again = partial(_definitions, device, sinks, params, updates)
        found = stored.recall(device, key, indexed, again)
        if found is not None:
            return found
    with _undisturbed():
        made = _stage("native").native_program(device, sinks, params, updates, indexed, key)
    return made


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Nobody looks for garbage while much is made of which little is; what helped goes then."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        forget()
        if collects:
            gc.enable()


def _definitions(
    device: CpuDevice, sinks: Sequence[Node], params: Sequence[Node], updates: Updates
) -> Sequence[Kernel]:
    """What each kernel of a program computes."""
    found: Sequence[Kernel] = _stage("native").definitions(device, sinks, params, updates)
    return found


def _stage(name: str) -> Any:
    """What makes programs for one kind of device, imported when it is first needed."""
    return importlib.import_module(f"gradlet.engine.{name}")
