"""tinygrad's `GlobalCounters`: what has run on the CPU device."""

from __future__ import annotations

import threading
from collections import Counter

from gradlet.engine.costs import compulsory_bytes, float_operations
from gradlet.runtime import observe
from gradlet.runtime.cpu.device import CpuProgram
from gradlet.runtime.cpu.memory import pool

__all__ = ["GlobalCounters"]


class Counters:
    """What has run on the device `cpu` since the last `reset`; other devices are not counted.

    What a kernel must do is counted, as `gradlet.profile` does: float operations of its result, and
    each array that it reads or writes once.
    """

    not_state = ("_lock", "_runs", "_nanoseconds")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        with self._lock:
            self._runs: Counter[CpuProgram] = Counter()
            self._nanoseconds = 0

    @property
    def kernel_count(self) -> int:
        """How many kernels ran."""
        return sum(times * len(program.definitions) for program, times in self._seen())

    @property
    def global_ops(self) -> int:
        """Float operations."""
        return sum(
            times * sum(map(float_operations, program.definitions))
            for program, times in self._seen()
        )

    @property
    def global_mem(self) -> int:
        """Bytes read and written."""
        return sum(
            times * sum(sum(compulsory_bytes(kernel)) for kernel in program.definitions)
            for program, times in self._seen()
        )

    @property
    def time_sum_s(self) -> float:
        """Seconds in which programs of kernels ran."""
        return self._nanoseconds * 1e-9

    @property
    def mem_used(self) -> int:
        """Bytes that tensors take now."""
        return pool.in_use_bytes

    def _seen(self) -> list[tuple[CpuProgram, int]]:
        with self._lock:
            return list(self._runs.items())

    # What `observe` tells

    def ran(self, program: object, begin: int, end: int) -> None:
        """A program has run."""
        assert isinstance(program, CpuProgram)
        with self._lock:
            self._runs[program] += 1
            self._nanoseconds += end - begin

    def spent(self, what: str, begin: int, end: int) -> None:
        """Of no interest."""

    def counted(self, what: str, times: int) -> None:
        """Of no interest."""


GlobalCounters = Counters()
if observe.recorder is None:
    observe.recorder = GlobalCounters
