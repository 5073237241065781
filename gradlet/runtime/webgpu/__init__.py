"""Graphics processors through WebGPU, that is through Vulkan, Metal or Direct3D 12.

    pip install 'gradlet[webgpu]'; GRADLET_DEVICE=webgpu python train.py

All of gradlet runs on it, with these differences:

- float64 needs an adapter with the features shader-f64 and shader-int64, and is a TypeError
  elsewhere. Optimisers, norms of gradients and `multinomial`, which count in float64, then do so
  in float32.
- 64-bit integers are pairs of words where an adapter has none; they are right, and slower.
- Dtypes below 32 bits take 32 in its memory, and half floats are computed as float32.
- Adapters may take denormal numbers for 0, and their division and square root may be off by 2 ulp.
- What NumPy computes (sorting, linear algebra, Fourier transforms) is read back, computed and
  written again, between two submits. Everything else of a program is one submit.
- Programs that look indices up wait for the adapter, to raise IndexError in time; a number that 32
  bits do not hold is named by the nearest that they do.
- An array is a MemoryError beyond the adapter's largest buffer, and loops and indices of more than
  32 bits are a ValueError.
- Updates that may meet in one place (`scatter`, gradients of indexing) are added one by one: in
  order, so that results are the same every time, but by few invocations.
- `profile` sees nothing of it, and `explain` shows WGSL in place of machine code.
"""
