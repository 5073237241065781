"""WebGPU as a device, by way of the package `wgpu`: memory, shaders, and the queue."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.ir.node import Node
from gradlet.lower.linear import LinearProgram
from gradlet.render import wgsl
from gradlet.runtime.compiled import Assembly
from gradlet.runtime.webgpu.program import WebGpuProgram

_FEATURES = ("shader-int64", "shader-f64")
_MOST_BUFFERS = 8  # a shader may touch on every adapter
_WORKGROUP = 256  # invocations, and
_SHARED_BYTES = 16 << 10  # of shared memory, that every adapter has
_ALIGNMENT = 256  # of a piece of an array
_KEPT_BYTES = 1 << 28  # of memory for intermediate arrays between programs


class WebGpuKernel(NamedTuple):
    """The shaders of a kernel."""

    text: str
    shaders: list[wgsl.Shader]


class WebGpuDevice:
    """Runs shaders on the adapter that the system prefers. Its memory is a `GPUBuffer`.

    Attributes:
        submits: how often work was handed to the adapter.
    """

    name = "webgpu"
    language = "WGSL"

    def __init__(self) -> None:
        wgpu = _wgpu()
        adapter = _adapter()
        limits = {
            name: adapter.limits[name]
            for name in ("max-buffer-size", "max-storage-buffer-binding-size")
        }
        features = [name for name in _FEATURES if name in adapter.features]
        self.gpu = adapter.request_device_sync(required_features=features, required_limits=limits)
        self.usage = wgpu.BufferUsage
        self.largest = limits["max-buffer-size"]
        self.target = Target(
            name=self.name,
            cpu=adapter.info["device"] or "this adapter",
            features=",".join(features),
            vector_bytes=4,
            vector_registers=64,
            l1_bytes=_SHARED_BYTES,
            l2_bytes=_SHARED_BYTES,
            threads=1,
            workgroup=_WORKGROUP,
            shared_bytes=_SHARED_BYTES,
            max_buffers=_MOST_BUFFERS,
            binding_bytes=limits["max-storage-buffer-binding-size"] // _ALIGNMENT * _ALIGNMENT,
        )
        self.lock = threading.RLock()
        self.submits = 0
        self.pipelines: dict[tuple[str, tuple[bool, ...]], Any] = {}
        self.spare: dict[int, list[Any]] = {}
        self.status = self.allocate(16)
        self.nothing = self.gpu.create_buffer(size=16, usage=self.usage.UNIFORM)
        self.readback = self.gpu.create_buffer(
            size=16, usage=self.usage.MAP_READ | self.usage.COPY_DST
        )

    @property
    def lacks(self) -> tuple[DType, ...]:
        """The dtypes in which this adapter cannot compute."""
        return wgsl.lacks(self.target)

    # Memory

    def allocate(self, count: int) -> Any:
        """A buffer of so many bytes, which are 0.

        Raises:
            MemoryError: there is no such buffer.
        """
        size = max(16, -(-count // 4) * 4)
        if size > self.largest:
            raise MemoryError(
                f"an array of {size} bytes is larger than {self.target.cpu} allows, "
                f"{self.largest}; compute it in pieces, or on the device 'cpu'"
            )
        usage = self.usage.STORAGE | self.usage.COPY_SRC | self.usage.COPY_DST
        return self.gpu.create_buffer(size=size, usage=usage)

    def borrow(self, size: int) -> Any:
        """A buffer whose content does not matter."""
        kept = self.spare.get(size)
        return kept.pop() if kept else self.allocate(size)

    def give_back(self, size: int, buffer: Any) -> None:
        """Lets programs that are submitted later use a borrowed buffer."""
        held = sum(kept * len(buffers) for kept, buffers in self.spare.items())
        if held + size > _KEPT_BYTES:
            self.spare.clear()
        self.spare.setdefault(size, []).append(buffer)

    def from_numpy(self, array: np.ndarray) -> Any:
        stored = _stored(array)
        with self.lock:
            buffer = self.allocate(stored.nbytes)
            self.write(buffer, array)
        return buffer

    def write(self, memory: Any, array: np.ndarray) -> None:
        """Copies an array into a buffer, before whatever is submitted later."""
        if array.size:
            self.gpu.queue.write_buffer(memory, 0, _stored(array))

    def to_numpy(self, memory: Any, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        kind = stored_dtype(dtype.numpy)
        count = int(np.prod(shape)) * kind.itemsize
        if count == 0:
            return np.zeros(shape, dtype.numpy)
        with self.lock:
            data = self.gpu.queue.read_buffer(memory, 0, count)
        words = np.frombuffer(data, kind).reshape(shape)
        if dtype.is_float and dtype.itemsize < 4:
            return words.astype(f"u{dtype.itemsize}").view(dtype.numpy)
        return words.astype(dtype.numpy)

    # Shaders and the queue

    def bytes_of(self, array: Node) -> int:
        return array.size * wgsl.stored_bytes(array.dtype)

    def load(self, program: LinearProgram) -> WebGpuKernel:
        shaders = wgsl.render(program, self.target)
        return WebGpuKernel("\n".join(shader.text for shader in shaders), shaders)

    def program(self, assembly: Assembly) -> WebGpuProgram:
        return WebGpuProgram(self, assembly)

    def pipeline(self, text: str, written: Sequence[bool]) -> Any:
        """A shader made ready to run, its bindings one for each of `written` and a uniform."""
        key = (text, tuple(written))
        found = self.pipelines.get(key)
        if found is None:
            kinds = ["storage" if w else "read-only-storage" for w in written] + ["uniform"]
            layout = self.gpu.create_bind_group_layout(
                entries=[
                    {"binding": n, "visibility": _wgpu().ShaderStage.COMPUTE, "buffer": {"type": k}}
                    for n, k in enumerate(kinds)
                ]
            )
            made = self.gpu.create_compute_pipeline(
                layout=self.gpu.create_pipeline_layout(bind_group_layouts=[layout]),
                compute={
                    "module": self.gpu.create_shader_module(code=text),
                    "entry_point": "main",
                },
            )
            found = self.pipelines[key] = (made, layout)
        return found

    def submit(self, encoder: Any) -> None:
        """Hands recorded work to the adapter."""
        self.submits += 1
        self.gpu.queue.submit([encoder.finish()])


def stored_dtype(kind: np.dtype) -> np.dtype:
    """The NumPy dtype with the layout of an array in the device's memory."""
    if kind.itemsize >= 4:
        return kind
    return np.dtype(np.int32 if kind.kind == "i" else np.uint32)


def _stored(array: np.ndarray) -> np.ndarray:
    if dtypes.from_numpy(array.dtype).is_float and array.itemsize < 4:
        array = array.view(f"u{array.itemsize}")
    return np.ascontiguousarray(array.astype(stored_dtype(array.dtype), copy=False))


@functools.cache
def _wgpu() -> Any:
    """The package, imported when the device is first asked for."""
    import wgpu

    return wgpu


def _adapter() -> Any:
    try:
        return _wgpu().gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:
        raise RuntimeError(
            f"the device 'webgpu' finds no graphics adapter ({error}). On Linux install a Vulkan "
            "driver, such as the packages mesa-vulkan-drivers and libvulkan1, or use device='cpu'."
        ) from None
