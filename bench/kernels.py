"""Times single kernels of every framework that is installed, in turns, and measures the machine.

In a round each framework has one fresh process, which calls the kernel many times and reports the
median; the median over rounds is shown. gradlet, JAX and tinygrad run kernels through their `jit`.
Results are compared with those of PyTorch, or else of the first framework. A process in each round
measures the machine's limits (`roofline.py`). The best figure of the whole run counts for
arithmetic. For memory it is the best of the kernel's own rounds, since on a shared machine that
changes from minute to minute.

Gradients of convolutions and of the embedding are timed alone, that of attention with the forward
pass. Results go where each framework puts them by itself: gradlet and tinygrad use memory again,
PyTorch and JAX may get large results anew from the system, which clears every page. What fits into
the caches, such as the rows of `embedding`, may be faster than the limit of memory says.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.contestants import environment
from bench.process import ChildError, run
from bench.workloads.kernel import KERNELS, Kernel
from gradlet.runtime.cpu.limits import Roofline

OURS, REFERENCE = "gradlet", "torch"
TOLERANCE = 1e-4  # of the largest element
SLOW_MS = 1000  # one round is enough for a framework that takes longer


@dataclass
class Record:
    """What was measured of one framework on one kernel: the milliseconds of each round.

    Attributes:
        problem: why it did not run, or "".
    """

    ms: list[float] = field(default_factory=list)
    problem: str = ""

    @property
    def middle(self) -> float | None:
        return statistics.median(self.ms) if self.ms and not self.problem else None


def compare(
    kernel: Kernel, names: Sequence[str], rounds: int, threads: int, caches: Path
) -> tuple[dict[str, Record], Roofline]:
    """Measures all frameworks on one kernel, and the machine's limits meanwhile.

    Args:
        caches: a folder for compiled code, which the rounds share.
    """
    records = {name: Record() for name in names}
    machine = Roofline(0, 0, 0, 0)
    with TemporaryDirectory(prefix="bench-") as folder:
        files = {name: Path(folder) / f"{name}.npz" for name in names}
        for turn in range(rounds):
            machine = machine.best(measure_roofline(threads, caches))
            for name, record in records.items():
                if record.problem or (record.ms and record.ms[0] > SLOW_MS):
                    continue
                print(f"{kernel.name}: round {turn + 1}, {name}", file=sys.stderr, flush=True)
                arguments = ["--threads", str(threads), "kernels", name, kernel.name]
                arguments += [] if turn else ["--output", str(files[name])]
                cache = caches / name
                cache.mkdir(exist_ok=True)
                try:
                    report = run("bench.child", arguments, environment(name, cache, threads))
                    record.ms.append(report["ms"])
                except ChildError as error:
                    record.problem = str(error)
            if turn == 0:
                mark_different(records, files)
    return records, machine


def mark_different(records: dict[str, Record], files: dict[str, Path]) -> None:
    """Gives a problem to each framework whose results are not those of the reference."""
    names = [name for name, record in records.items() if not record.problem]
    if not names:
        return
    expected = _read(files[REFERENCE if REFERENCE in names else names[0]])
    for name in names:
        records[name].problem = difference(_read(files[name]), expected)


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str:
    """How two lists of results differ, or ""."""
    shapes, wanted = [a.shape for a in found], [a.shape for a in expected]
    if shapes != wanted:
        return f"computes something else: shapes {shapes}, not {wanted}"
    for a, b in zip(found, expected, strict=True):
        error, largest = float(np.abs(a - b).max()), float(np.abs(b).max())
        if not error <= TOLERANCE * largest:
            return f"computes something else: off by {error:.2g} where {largest:.2g} is the largest"
    return ""


def _read(file: Path) -> list[np.ndarray]:
    with np.load(file) as arrays:
        return [arrays[name] for name in arrays.files]


def measure_roofline(threads: int, cache: Path) -> Roofline:
    """The machine's limits now, measured in a process of their own."""
    arguments = ["--threads", str(threads)]
    return Roofline(**run("bench.roofline", arguments, environment(OURS, cache, threads)))


@dataclass(frozen=True)
class Row:
    """One kernel's line in the tables and the chart.

    Attributes:
        ms: the median of each framework that gave a result.
        limit_ms: the least time that the machine's limits allow.
        work: what sets the limit: operations if that is arithmetic, or else bytes moved.
        unit: of `work` in a nanosecond, "GFLOP/s" or "GB/s".
    """

    kernel: str
    ms: dict[str, float]
    limit_ms: float
    work: int
    unit: str

    @property
    def best_peer(self) -> str | None:
        peers = [name for name in self.ms if name != OURS]
        return min(peers, key=self.ms.__getitem__, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as long as gradlet the best peer takes."""
        if self.best_peer is None or OURS not in self.ms:
            return None
        return self.ms[self.best_peer] / self.ms[OURS]

    def share(self, name: str) -> float | None:
        """The part of the limit's speed that a framework reaches."""
        return self.limit_ms / self.ms[name] if name in self.ms else None

    def speed(self, name: str) -> float | None:
        """What a framework reaches, in `unit`."""
        return self.work / self.ms[name] / 1e6 if name in self.ms else None


def summary(kernel: Kernel, records: dict[str, Record], machine: Roofline) -> Row:
    """The figures of one kernel."""
    ms = {name: record.middle for name, record in records.items()}
    measured = {name: value for name, value in ms.items() if value is not None}
    read, written = kernel.read_bytes, kernel.written_bytes
    limit = machine.seconds(kernel.flops, read, written)
    if limit > machine.seconds(0, read, written):
        return Row(kernel.name, measured, 1e3 * limit, kernel.flops, "GFLOP/s")
    return Row(kernel.name, measured, 1e3 * limit, read + written, "GB/s")


def rows(measured: dict[str, tuple[dict[str, Record], Roofline]]) -> list[Row]:
    """The figures of all kernels of a run, by name what `compare` gave for each."""
    flops = max(machine.flops for _, machine in measured.values())
    return [
        summary(KERNELS[name], records, replace(machine, flops=flops))
        for name, (records, machine) in measured.items()
    ]


def mean_ratio(rows: Sequence[Row]) -> float | None:
    """The geometric mean of all ratios."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    return statistics.geometric_mean(ratios) if ratios else None
