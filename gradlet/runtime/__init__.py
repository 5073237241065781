"""Where programs run: buffers, devices, and the devices that are known by name."""

from gradlet.runtime import device
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.numpy_device import NumpyDevice
from gradlet.runtime.webgpu.device import WebGpuDevice

device.register("cpu", CpuDevice, "compiled by LLVM, all cores")
device.register("numpy", NumpyDevice, "op by op with NumPy, the reference")
device.register("webgpu", WebGpuDevice, "graphics processors, by the package wgpu")
