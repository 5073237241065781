"""A graph compiled for WebGPU: a list of dispatches, recorded and submitted as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradlet.ir.node import Node
from gradlet.render import wgsl
from gradlet.runtime import observe
from gradlet.runtime.compiled import Assembly, Step, call_library
from gradlet.runtime.errors import index_error

if TYPE_CHECKING:
    from gradlet.runtime.webgpu.device import WebGpuDevice

_STATUS = 12  # bytes: whether an index was bad, which, and the size of its axis


class _Dispatch(NamedTuple):
    """One shader, and for each array that it touches the place among the program's, and bytes."""

    shader: wgsl.Shader
    pipeline: Any
    layout: Any
    arrays: list[tuple[int, int]]


class WebGpuProgram:
    """Runs shaders one after the other, with a submit before each call of a library."""

    def __init__(self, device: WebGpuDevice, assembly: Assembly) -> None:
        self.device = device
        self.assembly = assembly
        self.steps: list[_Dispatch | Step] = []
        for step in assembly.steps:
            if isinstance(step.kernel, Node):
                self.steps.append(step)
            else:
                self.steps += [self._dispatch(shader, step) for shader in step.kernel.shaders]

    def _dispatch(self, shader: wgsl.Shader, step: Step) -> _Dispatch:
        device, written = self.device, []
        for array, changes in zip(shader.arrays, shader.written, strict=True):
            written += [changes] * wgsl.pieces(array, device.target)
        pipeline, layout = device.pipeline(shader.text, written + [True] * shader.checks)
        arrays = [(step.arrays[a], device.bytes_of(a)) for a in shader.arrays]
        return _Dispatch(shader, pipeline, layout, arrays)

    def __call__(self, memories: Sequence[Any]) -> list[Any]:
        device, sizes = self.device, self.assembly.blocks
        with device.lock:
            begin = time.perf_counter_ns()
            outputs = [device.allocate(size) for size in self.assembly.outputs]
            blocks = [device.borrow(size) for size in sizes]
            arrays = [*memories, *outputs, *blocks]
            self._run(arrays)
            for size, block in zip(sizes, blocks, strict=True):
                device.give_back(size, block)
            if observe.recorder is not None:
                observe.recorder.spent("webgpu", begin, time.perf_counter_ns())
        return [arrays[sink] for sink in self.assembly.sinks]

    def _run(self, arrays: Sequence[Any]) -> None:
        waiting: list[_Dispatch] = []
        for step in self.steps:
            if isinstance(step, _Dispatch):
                waiting.append(step)
                continue
            self._submit(waiting, arrays)
            waiting = []
            result = next(iter(step.arrays.values()))
            self.device.write(arrays[result], call_library(self.device, step, arrays))
        self._submit(waiting, arrays)

    def _submit(self, dispatches: Sequence[_Dispatch], arrays: Sequence[Any]) -> None:
        """Runs shaders one after the other, and raises what they report."""
        if not dispatches:
            return
        device = self.device
        checks = any(d.shader.checks for d in dispatches)
        encoder = device.gpu.create_command_encoder()
        if checks:
            encoder.clear_buffer(device.status, 0, device.status.size)
        work = encoder.begin_compute_pass()
        for dispatch in dispatches:
            work.set_pipeline(dispatch.pipeline)
            work.set_bind_group(0, self._bind(dispatch, arrays))
            work.dispatch_workgroups(*dispatch.shader.groups)
        work.end()
        if checks:
            encoder.copy_buffer_to_buffer(device.status, 0, device.readback, 0, 16)
        device.submit(encoder)
        if checks:
            self._check()

    def _bind(self, dispatch: _Dispatch, arrays: Sequence[Any]) -> Any:
        resources = []
        piece = self.device.target.binding_bytes
        for place, used in dispatch.arrays:
            size = max(used, 8)  # there are no bindings of nothing
            for offset in range(0, size, piece):
                length = min(piece, size - offset)
                resources.append({"buffer": arrays[place], "offset": offset, "size": length})
        if dispatch.shader.checks:
            resources.append({"buffer": self.device.status, "offset": 0, "size": _STATUS})
        resources.append({"buffer": self.device.nothing, "offset": 0, "size": 8})
        entries = [{"binding": n, "resource": r} for n, r in enumerate(resources)]
        return self.device.gpu.create_bind_group(layout=dispatch.layout, entries=entries)

    def _check(self) -> None:
        readback = self.device.readback
        readback.map_sync("READ")
        bad, index, size = np.frombuffer(readback.read_mapped(0, 16), np.int32)[:3]
        readback.unmap()
        if bad:
            raise index_error(int(index), int(size), self.assembly.indexed)
