"""The CPU as a device: memory, loading of compiled kernels, and running whole programs."""

from __future__ import annotations

import functools
import threading
import time
from array import array
from collections.abc import Callable, Collection, Sequence
from ctypes import string_at
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from gradlet.base import settings
from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.ir import host
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node
from gradlet.runtime import observe
from gradlet.runtime.cpu import memory
from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.compiler import LoadedObject, load_object
from gradlet.runtime.cpu.memory import Block
from gradlet.runtime.cpu.runner import MARK_WORD
from gradlet.runtime.cpu.target import host_target
from gradlet.runtime.cpu.workers import LaunchTable, Workers
from gradlet.runtime.errors import InterruptedLate, index_error

SMALL_ARENA = 1 << 16  # bytes of intermediate arrays that a program keeps its own place for


@dataclass(frozen=True)
class Launch:
    """One row of a program: a phase of a kernel and where its arrays are found.

    Attributes:
        address: of the phase's code.
        arrays: places in the program's table of addresses; see `CpuProgram`.
        extent: how many iterations there are.
        kernel: which of the program's kernels it belongs to.
    """

    address: int
    arrays: tuple[int, ...]
    extent: int
    kernel: int


@dataclass(frozen=True)
class Call:
    """A function of a library that runs between the rows of a program.

    Attributes:
        library: the HOST node over the kernel's PARAM nodes; the first of those is its result.
        arrays: for each param its place in the program's table of addresses.
        row: the launch before which it runs.
        kernel: which of the program's kernels it is.
    """

    library: Node
    arrays: tuple[int, ...]
    row: int
    kernel: int


class CpuDevice:
    """Runs kernels that LLVM compiled in this process, on all cores."""

    name = "cpu"

    def __init__(self) -> None:
        self.target: Target = host_target(settings.threads(), settings.instruction_set())
        self.cache = ObjectCache(settings.kernel_folder())
        self.workers = Workers(self.target.threads, self.cache)

    def from_numpy(self, array: np.ndarray) -> Block:
        return memory.from_numpy(array)

    def to_numpy(self, block: Block, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        if block.nbytes <= memory.SMALL:  # a view takes longer to make than this
            return np.ndarray(shape, dtype.numpy, string_at(block.address, block.nbytes)).copy()
        return block.view(dtype.numpy, shape).copy()

    def share(self, array: np.ndarray) -> Block:
        return memory.share(array)

    def view(self, block: Block, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        return block.view(dtype.numpy, shape)

    def load_stored(self, code: Sequence[tuple[str, int]]) -> list[LoadedObject] | None:
        """Puts object code from the cache into memory, or returns None if some is not there.

        Args:
            code: the key of each object and how many phases it exports.
        """
        objects = [self.cache.get(key) for key, _ in code]
        if None in objects:
            return None
        observe.count("kernels from disk", len(objects))
        return [
            load_object(data, [f"phase{i}" for i in range(phases)])
            for data, (_, phases) in zip(objects, code, strict=True)
            if data is not None
        ]


class CpuProgram:
    """A compiled graph.

    Its table of addresses holds, in this order: the status words, the params, the sinks that
    it fills, and the arrays of its arena.

    Args:
        launches: the rows to run.
        params: how many params it takes.
        outputs: bytes of each array that it fills.
        arena: byte offset of each intermediate array.
        arena_bytes: how large the arena is.
        sinks: for each result its place among params and outputs.
        kernels: the code, kept in memory as long as this program.
        indexed: (op, shape, axis) of each index that the program checks, for messages.
        definitions: says what each of its kernels computes.
        calls: what runs between the rows, in order.
        updates: (output, param) for outputs that begin as what the param holds.
        changes_from: the launch from which on those are written; no index is reported any more.
    """

    def __init__(
        self,
        device: CpuDevice,
        launches: Sequence[Launch],
        params: int,
        outputs: Sequence[int],
        arena: Sequence[int],
        arena_bytes: int,
        sinks: Sequence[int],
        kernels: Sequence[LoadedObject],
        indexed: Sequence[tuple[str, tuple[int, ...], int]],
        definitions: Callable[[], Sequence[Kernel]],
        calls: Sequence[Call] = (),
        updates: Sequence[tuple[int, int]] = (),
        changes_from: int = 0,
    ) -> None:
        self.device = device
        self.params = params
        self.outputs = list(outputs)
        self.output_groups = [
            (group, memory.Pieces(sizes) if max(sizes) <= memory.SMALL else None)
            for group in memory.groups(outputs)
            for sizes in ([outputs[i] for i in group],)
        ]
        alone = len(self.output_groups) == 1
        self.small_outputs = self.output_groups[0][1] if alone else None  # if they are all so
        self.arena_offsets = np.array(arena, np.int64)
        self.arena_bytes = arena_bytes
        self.sinks = list(sinks)
        self.fills_sinks = self.sinks == list(range(params, params + len(self.outputs)))
        self.kernels = list(kernels)
        self.indexed = list(indexed)
        self._definitions = definitions
        self.status = np.zeros(4, np.int64)
        self.lock = threading.Lock()
        self.launches = list(launches)
        self.calls = list(calls)
        self.updates = list(updates)
        self.changes_from = changes_from
        count = 1 + params + len(self.outputs) + len(self.arena_offsets)
        self.addresses = np.zeros(count, np.int64)
        self.addresses[0] = self.status.ctypes.data
        self.table, self.places = self._table(launches)
        self.parts = self._parts()
        small = 0 < arena_bytes <= SMALL_ARENA
        self.small_arena = self._place_arena() if small else None  # kept from call to call
        # Python reads and writes these faster than arrays.
        self.words = self.addresses.data.cast("B").cast("q")
        self.state = self.status.data

    @functools.cached_property
    def definitions(self) -> Sequence[Kernel]:
        """What each of its kernels computes."""
        return self._definitions()

    def __call__(self, memories: Sequence[Any], owned: Collection[int] = ()) -> list[Block]:
        """Computes the sinks.

        Args:
            owned: params that nobody else holds, and whose memory may be that of a result.

        Raises:
            IndexError: an index was out of range; nothing of the params has changed.
            InterruptedLate: something interrupted the program when its results were there.
        """
        late = None
        with self.lock:
            outputs, _arena = self._bind(memories, owned)
            recorder = observe.recorder
            begin = time.perf_counter_ns() if recorder is not None else 0
            try:
                for part, call in self.parts[:-1]:
                    self.device.workers.run(part)
                    self._check()
                    if call is not None:
                        self._call(call)
                self.device.workers.run(self.parts[-1][0])
            except BaseException as interruption:
                if not self.state[MARK_WORD]:
                    raise
                late = interruption
            if recorder is not None:
                recorder.ran(self, begin, time.perf_counter_ns())
            self._check()
        results = outputs
        if not self.fills_sinks:
            blocks = [*memories, *outputs]
            results = [blocks[s] for s in self.sinks]
        if late is not None:
            raise InterruptedLate(results) from late
        return results

    def kernel_seconds(self, memories: Sequence[Any], runs: int) -> list[float]:
        """How long each kernel takes in the order of the program: the median of some runs."""
        numbers = sorted({x.kernel for x in self.launches} | {x.kernel for x in self.calls})
        tables = [self._table([x for x in self.launches if x.kernel == n]) for n in numbers]
        called = {numbers.index(call.kernel): call for call in self.calls}
        taken: list[list[float]] = [[] for _ in tables]
        with self.lock:
            blocks = self._bind(memories)
            for _ in range(runs):
                for n, ((table, _), seconds) in enumerate(zip(tables, taken, strict=True)):
                    start = time.perf_counter()
                    if n in called:
                        self._call(called[n])
                    else:
                        self.device.workers.run(table)
                    seconds.append(time.perf_counter() - start)
            self._check()
            del blocks  # not sooner
        return [median(seconds) for seconds in taken]

    def _table(self, launches: Sequence[Launch]) -> tuple[LaunchTable, np.ndarray]:
        """A table of some rows, behind one that gathers their arguments' addresses.

        Returns:
            the table, and what that row reads: for each argument the place of its address.
        """
        threads = self.device.target.threads
        places = np.array([p for x in launches for p in x.arrays], np.int64)
        count = len(places)
        rows = [
            (self.device.workers.bind, (0, 0, 0), count, max(count, 1)),
            *(
                (launch.address, (0,) * len(launch.arrays), launch.extent, _chunk(launch, threads))
                for launch in launches
            ),
        ]
        if self.updates:
            rows.append((self.device.workers.mark, (self.status.ctypes.data,), 0, 1))
        table = LaunchTable(rows)
        behind = table.arguments[3:]
        table.arguments[:3] = [array.ctypes.data for array in (self.addresses, places, behind)]
        return table, places

    def _parts(self) -> list[tuple[LaunchTable, Call | None]]:
        """The rows up to each call, with that call, those before updates, and the rest."""
        cuts: list[tuple[int, Call | None]] = [(call.row + 1, call) for call in self.calls]
        if self.updates:
            cuts.append((self.changes_from + 1, None))
        if not cuts:
            return [(self.table, None)]
        parts: list[tuple[LaunchTable, Call | None]] = []
        first = 0
        for row, call in (*cuts, (self.table.count, None)):
            parts.append((self.table.part(first, row), call))
            first = row
        return parts

    def _call(self, call: Call) -> None:
        """Has a library compute one array."""
        with observe.span(f"library: {call.library.arg[0]}"):
            sources = [self._array(call.arrays[x.arg], x) for x in call.library.src]
            result = self._array(call.arrays[0], call.library)
            result[...] = host.call(call.library.arg, sources)

    def _array(self, place: int, like: Node) -> np.ndarray:
        """The memory behind a place, as an array of the dtype and shape of a node."""
        block = Block(int(self.addresses[place]), like.size * like.dtype.itemsize)
        return block.view(like.dtype.numpy, like.shape)

    def _bind(
        self, memories: Sequence[Any], owned: Collection[int] = ()
    ) -> tuple[list[Block], Block | None]:
        """Fills the table of addresses; returns the outputs, and the arena if it is not kept."""
        behind = 1 + self.params + len(self.outputs)
        if self.small_outputs is not None:
            outputs, addresses = self.small_outputs.allocate()
        else:
            outputs = self._allocate(memories, owned)
            addresses = array("q", [b.address for b in outputs])
        self.words[1:behind] = array("q", [b.address for b in memories]) + addresses
        self.state[0] = self.state[MARK_WORD] = 0
        if self.arena_bytes and self.small_arena is None:
            return outputs, self._place_arena()
        return outputs, None

    def _place_arena(self) -> Block:
        """An arena, with the addresses of the arrays in it filled in."""
        arena = memory.allocate(self.arena_bytes)
        first = len(self.addresses) - len(self.arena_offsets)
        self.addresses[first:] = self.arena_offsets + arena.address
        return arena

    def _allocate(self, memories: Sequence[Any], owned: Collection[int]) -> list[Block]:
        """A block for each output."""
        blocks: list[Any] = [None] * len(self.outputs)
        for output, param in self.updates:
            before = memories[param]
            here = param in owned and before.is_ours
            blocks[output] = before if here else memory.copy(before)
        for group, parts in self.output_groups:
            if parts is None:
                if blocks[group[0]] is not None:
                    continue
                blocks[group[0]] = memory.allocate(self.outputs[group[0]])
                continue
            for i, part in zip(group, parts.allocate()[0], strict=True):
                blocks[i] = part
        return blocks

    def _check(self) -> None:
        """Raises what the kernels have reported in the status words."""
        if self.state[0]:
            raise index_error(int(self.status[1]), int(self.status[2]), self.indexed)


def _chunk(launch: Launch, threads: int) -> int:
    """Iterations that a thread takes at a time: a few times more pieces than threads.

    So a slower thread gets fewer. Where there are many iterations, each is a short one, and
    pieces may be half as long.
    """
    few, many = (-(-launch.extent // (threads * pieces)) for pieces in (4, 8))
    return max(1, many, min(few, 8))
