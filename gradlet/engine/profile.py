"""Where the time of a program goes: kernel by kernel, on every thread, and in Python."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlet.engine.costs import compulsory_bytes, float_operations
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel, Nest
from gradlet.ir.node import topological
from gradlet.runtime import observe
from gradlet.runtime.cpu.device import CpuDevice, CpuProgram
from gradlet.runtime.cpu.limits import measured_once
from gradlet.runtime.cpu.memory import pool
from gradlet.runtime.device import get_device
from gradlet.schedule.rows import contractions

_MOST_CHUNKS = 1 << 18  # of one program that are noted
_MOST_EVENTS = 1_000_000  # that a trace shows
_NAMES = {ops.ADD: "sum", ops.MUL: "product", ops.MAXIMUM: "max", ops.MINIMUM: "min"}
_ARGS, _BEGIN, _THREAD, _STARTED, _ENDED = range(5)  # columns of the log


@contextlib.contextmanager
def profile() -> Iterator[Profile]:
    """Notes what runs on the CPU device while it lasts, and when, on which thread.

    The result prints as a table with a line for each kernel; `save` writes a trace for
    https://ui.perfetto.dev or chrome://tracing; `counters` are plain numbers. Tensors are lazy:
    what is to be seen has to be computed inside, as `.realize()` and `opt.step()` do.

    Raises:
        RuntimeError: another profile is being made, or the system has no clock for it (Windows).

    >>> from gradlet import Tensor, profile
    >>> with profile() as seen:
    ...     y = (Tensor.ones(64, 64, device="cpu") @ Tensor.ones(64, 64, device="cpu")).realize()
    >>> seen.counters["programs run"], seen.kernels[0].calls
    (1, 1)
    """
    others = observe.recorder
    if isinstance(others, Profile):
        raise RuntimeError("profile: another profile is being made; only one can be at a time")
    if not hasattr(time, "CLOCK_MONOTONIC"):
        raise RuntimeError("profile: this system has no clock that kernels could read")
    device = get_device("cpu")
    assert isinstance(device, CpuDevice)
    made = Profile(device, others)
    pool.reset_peak()
    device.workers.begin_log(_MOST_CHUNKS)
    observe.recorder = made
    try:
        yield made
    finally:
        observe.recorder = others
        made.end()
        device.workers.end_log()


@dataclass
class KernelTime:
    """What one kernel has taken in all its calls.

    Attributes:
        name: what it computes.
        calls: how often it ran.
        seconds: from the beginning of its first chunk to the end of its last, over all calls.
        busy: seconds that threads spent in it, added up over threads.
        operations: float operations that its result takes, over all calls.
        read, written: bytes, each array once a call.
    """

    name: str
    calls: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    operations: int = 0
    read: int = 0
    written: int = 0


@dataclass(frozen=True)
class _Span:
    """Something that one thread of Python was busy with."""

    what: str
    thread: int
    begin: int
    end: int


class Profile:
    """What was noted; see `profile`.

    Attributes:
        kernels: the kernels that ran, the one that took longest first.
        counters: programs and kernels run, programs and kernels compiled or found in memory or on
            disk, bytes read and written, and the most memory that tensors took at once.
        seconds: how long the profile lasted.
    """

    def __init__(self, device: CpuDevice, others: observe.Recorder | None = None) -> None:
        self.kernels: list[KernelTime] = []
        self.counters: Counter[str] = Counter()
        self.seconds = 0.0
        self._device = device
        self._others = others  # who counts programs all the time
        self._lock = threading.Lock()
        self._began = time.perf_counter_ns()
        self._programs: list[CpuProgram] = []
        self._numbers: dict[int, int] = {}  # by identity of a program its place among those
        self._runs: list[np.ndarray] = []  # what was logged up to the end of each program
        self._spans: list[_Span] = []
        self._threads: dict[int, str] = {}

    # What it is told

    def ran(self, program: object, begin: int, end: int) -> None:
        """A program has run on the CPU device."""
        if self._others is not None:
            self._others.ran(program, begin, end)
        assert isinstance(program, CpuProgram)
        chunks, lost = self._device.workers.take_log()
        with self._lock:
            if id(program) not in self._numbers:
                self._numbers[id(program)] = len(self._programs)
                self._programs.append(program)
            self.counters["programs run"] += 1
            if lost:
                self.counters["chunks not noted"] += lost
            self._runs.append(chunks)
        self.spent("program", begin, end)

    def spent(self, what: str, begin: int, end: int) -> None:
        """A thread of Python was busy."""
        thread = threading.current_thread()
        with self._lock:
            self._threads.setdefault(thread.native_id or 0, thread.name)
            self._spans.append(_Span(what, thread.native_id or 0, begin, end))

    def counted(self, what: str, times: int) -> None:
        """Something has happened that often."""
        with self._lock:
            self.counters[what] += times

    def end(self) -> None:
        """Adds up what was noted."""
        self.seconds = (time.perf_counter_ns() - self._began) * 1e-9
        rows = self._rows()
        found: dict[Kernel, KernelTime] = {}
        for chunks in self._runs:
            for args, part in _by_arguments(chunks):
                if args not in rows:
                    continue
                kernel, first = rows[args]
                if kernel not in found:
                    found[kernel] = KernelTime(title(kernel))
                total = found[kernel]
                total.calls += first
                total.seconds += float(part[:, _ENDED].max() - part[:, _STARTED].min()) * 1e-9
                total.busy += float((part[:, _ENDED] - part[:, _STARTED]).sum()) * 1e-9
        for kernel, total in found.items():
            read, written = compulsory_bytes(kernel)
            total.operations = total.calls * float_operations(kernel)
            total.read, total.written = total.calls * read, total.calls * written
        self.kernels = sorted(found.values(), key=lambda k: -k.seconds)
        self.counters["kernels run"] = sum(k.calls for k in self.kernels)
        self.counters["bytes read"] = sum(k.read for k in self.kernels)
        self.counters["bytes written"] = sum(k.written for k in self.kernels)
        self.counters["peak bytes"] = pool.peak_bytes

    def _rows(self) -> dict[int, tuple[Kernel, bool]]:
        """By the address of its arguments each row's kernel, and whether the row is its first."""
        made: dict[int, tuple[Kernel, bool]] = {}
        for program in self._programs:
            before = -1
            for launch, row in zip(program.launches, program.table.rows[1:], strict=False):
                made[int(row[1])] = (program.definitions[launch.kernel], launch.kernel != before)
                before = launch.kernel
        return made

    # What it shows

    def __str__(self) -> str:
        return self.table()

    def table(self, most: int = 30) -> str:
        """A line for each of the kernels that took longest, and what the rest of the time was."""
        machine = measured_once(self._device.target, self._device.workers, self._device.cache)
        threads = self._device.target.threads
        lines = [("ms", "share", "calls", "GFLOP/s", "GB/s", "limit", "busy", "kernel")]
        for k in self.kernels[:most]:
            seconds = max(k.seconds, 1e-9)
            lines.append((
                f"{k.seconds * 1e3:.3f}", f"{k.seconds / self.seconds:.1%}", f"{k.calls:,}",
                f"{k.operations / seconds / 1e9:.1f}",
                f"{(k.read + k.written) / seconds / 1e9:.1f}",
                f"{machine.seconds(k.operations, k.read, k.written) / seconds:.0%}",
                f"{k.busy / seconds / threads:.0%}", k.name,
            ))  # fmt: skip
        rest = self.kernels[most:]
        if rest:
            spent = sum(k.seconds for k in rest)
            lines.append((
                f"{spent * 1e3:.3f}", f"{spent / self.seconds:.1%}",
                f"{sum(k.calls for k in rest):,}", "", "", "", "", f"{len(rest)} more kernels",
            ))  # fmt: skip
        other = self.seconds - sum(k.seconds for k in self.kernels)
        lines.append((
            f"{other * 1e3:.3f}", f"{other / self.seconds:.1%}", "", "", "", "", "",
            "between kernels: Python, compiling, waiting",
        ))  # fmt: skip
        facts = ", ".join(f"{self.counters[key]:,} {key}" for key in sorted(self.counters))
        return f"{_aligned(lines)}\n\n{facts}"

    def save(self, path: str | Path) -> None:
        """Writes a trace in Chrome's JSON format: every chunk on its thread, and Python's spans.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps({"traceEvents": self._events(), "displayTimeUnit": "ns"})
        Path(path).write_text(text, encoding="utf-8")

    def _events(self) -> list[dict[str, Any]]:
        rows = self._rows()
        names = {args: title(kernel) for args, (kernel, _) in rows.items()}
        events: list[dict[str, Any]] = [_label("process_name", 0, {"name": "gradlet"})]
        for number in range(self._device.target.threads):
            name = "kernels, calling thread" if number == 0 else f"kernels, helper {number}"
            events.append(_label("thread_name", number, {"name": name}))
        python = {thread: len(events) + n for n, thread in enumerate(self._threads)}
        for thread, number in python.items():
            events.append(_label("thread_name", number, {"name": self._threads[thread]}))
        for span in self._spans:
            events.append(self._event(span.what, python[span.thread], span.begin, span.end, {}))
        for chunks in self._runs:
            if len(events) > _MOST_EVENTS:
                break
            for args, begin, thread, started, ended in chunks.tolist():
                name = names.get(args, "unknown")
                events.append(self._event(name, thread, started, ended, {"from": begin}))
        return events

    def _event(
        self, name: str, thread: int, begin: int, end: int, args: dict[str, Any]
    ) -> dict[str, Any]:
        """A span in microseconds since the profile began."""
        return {
            "name": name, "ph": "X", "pid": 0, "tid": thread, "args": args,
            "ts": (begin - self._began) / 1e3, "dur": (end - begin) / 1e3,
        }  # fmt: skip


def _label(name: str, thread: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": 0, "tid": thread, "args": args}


def _by_arguments(chunks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The chunks of each row of a program's table, by the address of its arguments."""
    if len(chunks):
        ordered = chunks[np.argsort(chunks[:, _ARGS], kind="stable")]
        starts = np.flatnonzero(np.diff(ordered[:, _ARGS])) + 1
        for part in np.split(ordered, starts):
            yield int(part[0, _ARGS]), part


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of numbers, right-aligned, and a last one of text."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([*(f"{x:>{w}}" for x, w in zip(row[:-1], widths, strict=False)), row[-1]])
        for row in lines
    )


def title(kernel: Kernel) -> str:
    """What a kernel computes, in a few words: `contraction, sum -> 2 float32[128, 10]`."""
    kinds: dict[str, None] = {}
    for nest in kernel.innermost:
        kinds.update(dict.fromkeys(_kinds(nest)))
    results = Counter(f"{p.dtype.name}{list(p.shape)}" for p in kernel.params[: kernel.outputs])
    several = [what if times == 1 else f"{times} {what}" for what, times in results.items()]
    return f"{', '.join(kinds)} -> {', '.join(several)}"


def _kinds(nest: Nest) -> Iterator[str]:
    """What a nest does beside arithmetic on single elements, or `map`."""
    if any(True for _ in contractions(nest)):
        yield "contraction"
        return
    found = False
    for store in nest.stores:
        if store.accumulate is not None:
            found = True
            yield "scatter"
        for x in topological([store.value]):
            if x.op in (ops.FOLD_RANGES, ops.SCAN_RANGE):
                found = True
                yield ("running " if x.op is ops.SCAN_RANGE else "") + _NAMES[x.arg]
    if not found:
        yield "map"
