"""Graphics processors through WebGPU, that is through Vulkan, Metal or Direct3D 12."""
