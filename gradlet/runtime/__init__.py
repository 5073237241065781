"""Where programs run: buffers, devices, and the devices that are known by name."""

from gradlet.runtime.device import register

_HERE = "gradlet.runtime"

register("cpu", f"{_HERE}.cpu.device:CpuDevice", "compiled by LLVM, all cores")
register("numpy", f"{_HERE}.numpy_device:NumpyDevice", "op by op with NumPy, the reference")
