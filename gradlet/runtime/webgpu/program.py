"""A graph compiled for WebGPU: a list of dispatches, recorded and submitted as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlet.ir import host
from gradlet.ir.node import Node
from gradlet.runtime import observe
from gradlet.runtime.errors import Indexed, index_error
from gradlet.runtime.webgpu.device import WebGpuDevice

_STATUS = 12  # bytes: whether an index was bad, which, and the size of its axis


@dataclass(frozen=True)
class Dispatch:
    """One shader.

    Attributes:
        pipeline: (pipeline, layout) as the device gives them.
        arrays: for each array that it touches the place among the program's, and the bytes.
        checks: whether its last binding is the status.
        groups: workgroups along each dimension.
    """

    pipeline: Any
    arrays: tuple[tuple[int, int], ...]
    checks: bool
    groups: tuple[int, int]


@dataclass(frozen=True)
class Call:
    """A function of a library: the HOST node over its params, and their places."""

    library: Node
    arrays: tuple[int, ...]


class WebGpuProgram:
    """A compiled graph. Its arrays are the params, the outputs, and blocks for all others.

    Args:
        steps: what runs, in order; each call of a library needs a submit before it.
        params: how many params it takes.
        outputs: bytes of each array that it fills.
        blocks: bytes of each block.
        sinks: for each result its place among params and outputs.
        indexed: (op, shape, axis) of each index that the program checks, for messages.
    """

    def __init__(
        self,
        device: WebGpuDevice,
        steps: Sequence[Dispatch | Call],
        params: int,
        outputs: Sequence[int],
        blocks: Sequence[int],
        sinks: Sequence[int],
        indexed: Indexed,
    ) -> None:
        self.device = device
        self.steps = list(steps)
        self.params = params
        self.outputs = list(outputs)
        self.blocks = list(blocks)
        self.sinks = list(sinks)
        self.indexed = list(indexed)
        self.checks = any(isinstance(s, Dispatch) and s.checks for s in steps)

    def __call__(self, memories: Sequence[Any]) -> list[Any]:
        device = self.device
        with device.lock:
            begin = time.perf_counter_ns()
            outputs = [device.allocate(size) for size in self.outputs]
            blocks = [device.borrow(size) for size in self.blocks]
            arrays = [*memories, *outputs, *blocks]
            self._run(arrays)
            for size, block in zip(self.blocks, blocks, strict=True):
                device.give_back(size, block)
            if observe.recorder is not None:
                observe.recorder.spent("webgpu", begin, time.perf_counter_ns())
        return [arrays[sink] for sink in self.sinks]

    def _run(self, arrays: Sequence[Any]) -> None:
        waiting: list[Dispatch] = []
        for step in self.steps:
            if isinstance(step, Dispatch):
                waiting.append(step)
                continue
            self._submit(waiting, arrays)
            waiting = []
            self._call(step, arrays)
        self._submit(waiting, arrays)

    def _submit(self, dispatches: Sequence[Dispatch], arrays: Sequence[Any]) -> None:
        """Runs shaders one after the other, and raises what they report."""
        if not dispatches:
            return
        device, gpu = self.device, self.device.gpu
        checks = any(d.checks for d in dispatches)
        encoder = gpu.create_command_encoder()
        if checks:
            encoder.clear_buffer(device.status, 0, device.status.size)
        work = encoder.begin_compute_pass()
        for dispatch in dispatches:
            pipeline, layout = dispatch.pipeline
            work.set_pipeline(pipeline)
            work.set_bind_group(0, self._bind(dispatch, layout, arrays))
            work.dispatch_workgroups(*dispatch.groups)
        work.end()
        if checks:
            encoder.copy_buffer_to_buffer(device.status, 0, device.readback, 0, 16)
        device.submit(encoder)
        if checks:
            self._check()

    def _bind(self, dispatch: Dispatch, layout: Any, arrays: Sequence[Any]) -> Any:
        resources = []
        piece = self.device.target.binding_bytes
        for place, used in dispatch.arrays:
            size = max(used, 8)  # there are no bindings of nothing
            for offset in range(0, size, piece):
                length = min(piece, size - offset)
                resources.append({"buffer": arrays[place], "offset": offset, "size": length})
        if dispatch.checks:
            resources.append({"buffer": self.device.status, "offset": 0, "size": _STATUS})
        resources.append({"buffer": self.device.nothing, "offset": 0, "size": 8})
        entries = [{"binding": n, "resource": r} for n, r in enumerate(resources)]
        return self.device.gpu.create_bind_group(layout=layout, entries=entries)

    def _check(self) -> None:
        readback = self.device.readback
        readback.map_sync("READ")
        bad, index, size = np.frombuffer(readback.read_mapped(0, 16), np.int32)[:3]
        readback.unmap()
        if bad:
            raise index_error(int(index), int(size), self.indexed)

    def _call(self, call: Call, arrays: Sequence[Any]) -> None:
        """Has a library compute one array."""
        device = self.device
        with observe.span(f"library: {call.library.arg[0]}"):
            sources = [
                device.to_numpy(arrays[call.arrays[x.arg]], x.dtype, x.shape)
                for x in call.library.src
            ]
            result = host.call(call.library.arg, sources)
            device.write(arrays[call.arrays[0]], result.astype(call.library.dtype.numpy))
