"""What the compiler needs to know about a machine, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

LINE_BYTES = 64  # of a cache line


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    Stages receive a target as an argument and never look at the machine themselves, so that a
    kernel for another machine can be written, printed and tested here.
    """

    name: str
    """Kind of device, such as `cpu`."""

    cpu: str
    """LLVM's name of the processor, such as `znver4` or `apple-m1`, or an adapter's own."""

    features: str
    """LLVM's instruction-set flags, such as `+avx2,+fma,-avx512f`, or WebGPU's features."""

    vector_bytes: int
    """Bytes in one vector register."""

    vector_registers: int
    """How many vector registers a program may use at once."""

    l1_bytes: int
    """Bytes of first-level data cache of one core."""

    l2_bytes: int
    """Bytes of second-level cache of one core."""

    threads: int
    """How many threads run one kernel."""

    triple: str = ""
    """LLVM's name of architecture and system; empty for those of this process."""

    workgroup: int = 0
    """How many invocations of a graphics processor share memory; 0 where threads run kernels."""

    shared_bytes: int = 0
    """Bytes of the memory that a workgroup shares."""

    max_buffers: int = 0
    """How many arrays a kernel may touch; 0 for any number."""

    binding_bytes: int = 0
    """The largest piece of an array that a kernel may be given at once; 0 for any size."""

    scales: bool = False
    """Whether floats are multiplied by powers of two in one instruction, even ones of no float."""

    def lanes(self, itemsize: int) -> int:
        """How many elements of `itemsize` bytes fit into one vector register."""
        return max(1, self.vector_bytes // itemsize)
