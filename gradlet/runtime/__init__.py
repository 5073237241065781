"""Where programs run: buffers, devices, and the devices that are known by name."""

from gradlet.runtime.device import register

_HERE = "gradlet.runtime"

register("cpu", f"{_HERE}.cpu.device:CpuDevice", "compiled by LLVM, all cores")
register("numpy", f"{_HERE}.numpy_device:NumpyDevice", "op by op with NumPy, the reference")
register(
    "torch", f"{_HERE}.pytorch.device:TorchDevice",
    "op by op with PyTorch, on torch:cpu, torch:cuda:0, torch:mps and torch:xpu",
    needs="torch", place="cpu",
)  # fmt: skip
register(
    "webgpu", f"{_HERE}.webgpu.device:WebGpuDevice",
    "graphics processors, compiled to WGSL", needs="wgpu",
)  # fmt: skip
