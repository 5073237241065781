"""What this machine can do at most: arithmetic, and traffic with its memory, on all threads.

Four loops are written as LLVM's text, compiled and run by gradlet's own runtime:

- `fma`: multiply-adds on vectors in registers, as many independent ones as there is room for;
- `read`: adds up the squares of a large array;
- `write`: fills one;
- `copy`: reads one and writes a multiple of it to another. Bytes read and bytes written both
  count; what the processor reads only to write it anew does not.

Loops that write are tried with ordinary stores and with ones that bypass the caches. The best of
some runs counts, since a limit is what is reached when nothing is in the way.
"""

from __future__ import annotations

import json
import string
import time
from dataclasses import dataclass

import numpy as np

from gradlet.base.target import Target
from gradlet.runtime.cpu import memory
from gradlet.runtime.cpu.cache import ObjectCache, cache_key
from gradlet.runtime.cpu.compiler import compile_object, load_object
from gradlet.runtime.cpu.workers import LaunchTable, Workers

FMA_ITERATIONS = 1 << 20
VECTORS = 8  # of memory in an iteration, so that several loads are under way at once

# Threads share the range; what they store for a result that nobody reads may be any one's.
LOOP = string.Template("""
define void @loop(ptr %args, i64 %begin, i64 %end) nounwind {
entry:
  %source = load ptr, ptr %args
  %target.at = getelementptr ptr, ptr %args, i64 1
  %target = load ptr, ptr %target.at
  $before
  br label %next
next:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %body ]
  $state
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %over
body:
  %from = getelementptr [$block x i8], ptr %source, i64 %i
  %to = getelementptr [$block x i8], ptr %target, i64 %i
  $body
  %i.next = add nsw i64 %i, 1
  br label %next
over:
  $after
  ret void
}
declare $vector @llvm.fmuladd.v${lanes}f32($vector, $vector, $vector)
!0 = !{i32 1}
""")


@dataclass(frozen=True)
class Roofline:
    """The limits of a machine.

    Attributes:
        flops: operations of float32 arithmetic a second; a multiply-add is two.
        read, write, copy: bytes a second.
    """

    flops: float
    read: float
    write: float
    copy: float

    def seconds(self, flops: int, read_bytes: int, written_bytes: int) -> float:
        """The least time for a kernel that keeps nothing in caches from call to call.

        As much as is both read and written goes at the speed of a copy, the rest at the speed of
        reading or of writing.
        """
        both = min(read_bytes, written_bytes)
        traffic = 2 * both / self.copy
        traffic += (read_bytes - both) / self.read + (written_bytes - both) / self.write
        return max(flops / self.flops, traffic)

    def best(self, other: Roofline) -> Roofline:
        """The higher of each figure."""
        figures = {name: max(value, vars(other)[name]) for name, value in vars(self).items()}
        return Roofline(**figures)


class Loop:
    """LLVM's text of one loop, written piece by piece."""

    def __init__(self, target: Target) -> None:
        self.bytes = target.vector_bytes
        self.lanes = target.lanes(4)
        self.vector = f"<{self.lanes} x float>"
        self.parts: dict[str, list[str]] = {"before": [], "state": [], "body": [], "after": []}

    def load(self, part: str, name: str, base: str, number: int) -> None:
        """%name = the vector at place `number` after `base`."""
        self.parts[part] += [
            f"%{name}.at = getelementptr i8, ptr %{base}, i64 {number * self.bytes}",
            f"%{name} = load {self.vector}, ptr %{name}.at, align {self.bytes}",
        ]

    def store(self, part: str, name: str, base: str, number: int, how: str = "") -> None:
        """Writes the vector %name to place `number` after `base`."""
        self.parts[part] += [
            f"%{name}.to = getelementptr i8, ptr %{base}, i64 {number * self.bytes}",
            f"store {self.vector} %{name}, ptr %{name}.to, align {self.bytes}{how}",
        ]

    def carry(self, name: str) -> None:
        """%name = the vector %name.first at first, and then %name.new of the last iteration."""
        sources = f"[ %{name}.first, %entry ], [ %{name}.new, %body ]"
        self.parts["state"] += [f"%{name} = phi {self.vector} {sources}"]

    def fma(self, name: str, a: str, b: str, c: str) -> None:
        """%name = a * b + c."""
        operands = ", ".join(f"{self.vector} %{x}" for x in (a, b, c))
        call = f"call {self.vector} @llvm.fmuladd.v{self.lanes}f32({operands})"
        self.parts["body"] += [f"%{name} = {call}"]

    def text(self) -> str:
        parts = {key: "\n  ".join(lines) for key, lines in self.parts.items()}
        block = VECTORS * self.bytes
        return LOOP.substitute(parts, vector=self.vector, lanes=self.lanes, block=block)


def fma_ir(target: Target) -> str:
    """Every accumulator becomes itself times a plus b, and none waits for another."""
    loop = Loop(target)
    loop.load("before", "a", "source", 0)
    loop.load("before", "b", "source", 1)
    for n in range(accumulators(target)):
        loop.load("before", f"x{n}.first", "source", n + 2)
        loop.carry(f"x{n}")
        loop.fma(f"x{n}.new", f"x{n}", "a", "b")
        loop.store("after", f"x{n}", "target", n)
    return loop.text()


def accumulators(target: Target) -> int:
    """Three quarters of the registers: more than enough to keep two multipliers busy."""
    return target.vector_registers * 3 // 4


def read_ir(target: Target) -> str:
    """Several sums of squares."""
    loop = Loop(target)
    for n in range(VECTORS):
        loop.load("before", f"s{n}.first", "source", n)
        loop.carry(f"s{n}")
        loop.load("body", f"v{n}", "from", n)
        loop.fma(f"s{n}.new", f"v{n}", f"v{n}", f"s{n}")
        loop.store("after", f"s{n}", "target", n)
    return loop.text()


def write_ir(target: Target, how: str) -> str:
    """One vector everywhere."""
    loop = Loop(target)
    for n in range(VECTORS):
        loop.load("before", f"v{n}", "source", n)
        loop.store("body", f"v{n}", "to", n, how)
    return loop.text()


def copy_ir(target: Target, how: str) -> str:
    """v * a + v of every vector v, for a plain copy would become a call of the C library's."""
    loop = Loop(target)
    loop.load("before", "a", "source", 0)
    for n in range(VECTORS):
        loop.load("body", f"v{n}", "from", n)
        loop.fma(f"w{n}", f"v{n}", "a", f"v{n}")
        loop.store("body", f"w{n}", "to", n, how)
    return loop.text()


ORDINARY, PAST_CACHES = "", ", !nontemporal !0"


def measured_once(target: Target, workers: Workers, cache: ObjectCache) -> Roofline:
    """The limits of this machine, measured in a fifth of a second and then kept on disk."""
    key = cache_key(f"{', '.join(Roofline.__annotations__)} of {target}", target)
    data = cache.get(key)
    if data is not None:
        return Roofline(**json.loads(data))
    machine = measure(target, workers, array_bytes=1 << 26, runs=3)
    cache.put(key, json.dumps(vars(machine)).encode())
    return machine


def measure(target: Target, workers: Workers, array_bytes: int, runs: int) -> Roofline:
    """The limits of this machine, now: the best of some runs over arrays of that size."""
    pool = memory.Pool(free_limit=0)
    source, result = pool.allocate(array_bytes), pool.allocate(array_bytes)
    for block in (source, result):  # touched, so that no page is missing later
        block.view(np.float32, (array_bytes // 4,)).fill(1.0)

    def rate(llvm_ir: str, work: int, extent: int) -> float:
        """`work` over the seconds of the best run."""
        loaded = load_object(compile_object(llvm_ir, target), ["loop"])
        addresses = (source.address, result.address)
        chunk = max(1, extent // (8 * workers.threads))
        table = LaunchTable([(loaded.address["loop"], addresses, extent, chunk)])
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            workers.run(table)
            seconds.append(time.perf_counter() - start)
        return work / min(seconds)

    lanes = target.lanes(4)
    flops = 2 * lanes * accumulators(target) * FMA_ITERATIONS
    blocks = array_bytes // (VECTORS * target.vector_bytes)
    stores = (ORDINARY, PAST_CACHES)
    return Roofline(
        flops=rate(fma_ir(target), flops, FMA_ITERATIONS),
        read=rate(read_ir(target), array_bytes, blocks),
        write=max(rate(write_ir(target, how), array_bytes, blocks) for how in stores),
        copy=max(rate(copy_ir(target, how), 2 * array_bytes, blocks) for how in stores),
    )
