"""The native part of running a launch table: how threads share the rows.

A kernel is `void kernel(void** args, i64 begin, i64 end, i64 thread)`: iterations [begin, end) of
its outermost loop, run by the thread of that number; the caller's is 0. A row of a launch table
names a kernel, its arguments, how many iterations there are, and how many make one chunk. Rows run
in order: a row sees everything that the rows before it wrote.

How threads share a row
-----------------------
The thread that calls `run` walks the table. A row of one chunk it runs itself. For a longer row it

1. writes the row into the state (`kernel`, `args`, `extent`, `chunk`, `total`), sets `done` to 0,
   and then stores the number of chunks in `remaining`, with release;
2. takes chunks like everybody else: `left = fetch_sub(remaining, 1)`; if `left` is positive, the
   taker owns chunk `total - left`, and else nothing is left;
3. waits until the helpers have finished theirs: `done` plus its own equals `total`.

Helpers watch `remaining`, and try to take a chunk when it is positive. The rule that makes this
safe: *a helper reads the row only after it has taken a chunk, and then the row cannot go away*,
because the caller waits in step 3 for precisely that chunk. So

- nobody waits for a helper that holds no chunk. One that sleeps, or that the system has put aside,
  delays nothing, and it need not check in or out;
- a helper that looks at an old `remaining` and comes late takes a chunk of whichever row is
  current, or gets a number that is not positive and has touched nothing but the counter. There is
  no stale row to confuse with a new one. A late subtraction may leave `remaining` below zero; the
  next row overwrites it;
- helpers never read the table, and the state outlives them, so a table may be freed when `run`
  returns.

Whoever runs a chunk also notes when, if there is a log: `gradlet.profile()` sets one up. It is a
counter of entries, their greatest number, and for each the arguments' address, the first iteration,
the thread, and when the chunk began and ended, in nanoseconds of Python's `perf_counter`.

Reads of the row happen after the release in step 1, since a chunk is taken with acquire. Step 1 of
the next row happens after they are over, since `done` is counted up with release and waited for
with acquire.
"""

from __future__ import annotations

import ctypes
import functools
import os
import string
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from gradlet.base.target import Target
from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.compiler import LoadedObject, cached_object, load_object
from gradlet.runtime.cpu.target import host_target

# A machine whose cores are all busy gets on faster if a waiting thread steps aside now and then.
SPINS_BETWEEN_YIELDS = 1024

# The state: 64-bit words, in three groups 128 bytes apart so that no two share a cache line.
STATE_WORDS = 48
DONE_WORD = 16
RUNNING_WORD = 32
LOG_WORD = 6
MARK_WORD = 3  # of a program's status words

RUNNER_IR = string.Template("""
%State = type {
  i64, i64, ptr, ptr, i64, i64, ptr, [9 x i64], ; remaining, total, kernel, args, extent, chunk, log
  i64, [15 x i64],                            ; done
  i64, [15 x i64]                             ; running
}
%Row = type { ptr, ptr, i64, i64 }            ; kernel, args, extent, chunk

$declarations

; Wait a moment. Every so often, let another thread have this core.
define internal void @relax(i64 %spins) alwaysinline nounwind {
  $pause
  %phase = urem i64 %spins, $spins_between_yields
  %due = icmp eq i64 %phase, ${last_spin}
  br i1 %due, label %aside, label %stay
aside:
  $step_aside
  br label %stay
stay:
  ret void
}

$clock

; Run one chunk, and note when if there is a log with room.
define internal void @run_chunk(
    ptr %state, ptr %kernel, ptr %args, i64 %begin, i64 %end, i64 %thread) nounwind {
  %log.at = getelementptr %State, ptr %state, i32 0, i32 6
  %log = load ptr, ptr %log.at
  %unseen = icmp eq ptr %log, null
  br i1 %unseen, label %plain, label %timed
plain:
  call void %kernel(ptr %args, i64 %begin, i64 %end, i64 %thread)
  ret void
timed:
  %started = call i64 @now()
  call void %kernel(ptr %args, i64 %begin, i64 %end, i64 %thread)
  %ended = call i64 @now()
  %entry = atomicrmw add ptr %log, i64 1 monotonic
  %capacity.at = getelementptr i64, ptr %log, i64 1
  %capacity = load i64, ptr %capacity.at
  %room = icmp slt i64 %entry, %capacity
  br i1 %room, label %note, label %over
note:
  %first = getelementptr i64, ptr %log, i64 2
  %args.at = getelementptr [5 x i64], ptr %first, i64 %entry
  %begin.at = getelementptr i64, ptr %args.at, i64 1
  %thread.at = getelementptr i64, ptr %args.at, i64 2
  %started.at = getelementptr i64, ptr %args.at, i64 3
  %ended.at = getelementptr i64, ptr %args.at, i64 4
  store ptr %args, ptr %args.at
  store i64 %begin, ptr %begin.at
  store i64 %thread, ptr %thread.at
  store i64 %started, ptr %started.at
  store i64 %ended, ptr %ended.at
  br label %over
over:
  ret void
}

; Take chunks of the current row until none is left. Returns how many were run.
define internal i64 @take_chunks(ptr %state, i64 %thread) nounwind {
  %total.at = getelementptr %State, ptr %state, i32 0, i32 1
  %kernel.at = getelementptr %State, ptr %state, i32 0, i32 2
  %args.at = getelementptr %State, ptr %state, i32 0, i32 3
  %extent.at = getelementptr %State, ptr %state, i32 0, i32 4
  %chunk.at = getelementptr %State, ptr %state, i32 0, i32 5
  br label %take
take:
  %count = phi i64 [ 0, %0 ], [ %count.next, %work ]
  %left = atomicrmw sub ptr %state, i64 1 acq_rel
  %mine = icmp sgt i64 %left, 0
  br i1 %mine, label %work, label %over
work:
  %total = load i64, ptr %total.at
  %kernel = load ptr, ptr %kernel.at
  %args = load ptr, ptr %args.at
  %extent = load i64, ptr %extent.at
  %chunk = load i64, ptr %chunk.at
  %index = sub i64 %total, %left
  %begin = mul i64 %index, %chunk
  %full = add i64 %begin, %chunk
  %end = call i64 @llvm.smin.i64(i64 %full, i64 %extent)
  call void @run_chunk(ptr %state, ptr %kernel, ptr %args, i64 %begin, i64 %end, i64 %thread)
  %count.next = add i64 %count, 1
  br label %take
over:
  ret i64 %count
}

; A helper's life between two waits in its mailbox: help until there is no work for `patience`.
define i64 @help(ptr %state, i64 %patience, i64 %thread) nounwind {
  %done.at = getelementptr %State, ptr %state, i32 0, i32 8
  %running.at = getelementptr %State, ptr %state, i32 0, i32 10
  br label %watch
watch:
  %helped = phi i64 [ 0, %0 ], [ %helped.now, %work ], [ %helped, %wait ]
  %idle = phi i64 [ 0, %0 ], [ 0, %work ], [ %idle.next, %wait ]
  %left = load atomic i64, ptr %state monotonic, align 8
  %any = icmp sgt i64 %left, 0
  br i1 %any, label %work, label %rest
work:
  %count = call i64 @take_chunks(ptr %state, i64 %thread)
  %before = atomicrmw add ptr %done.at, i64 %count acq_rel
  %helped.now = add i64 %helped, %count
  br label %watch
rest:
  %running = load atomic i64, ptr %running.at monotonic, align 8
  %under.way = icmp ne i64 %running, 0
  %patient = icmp slt i64 %idle, %patience
  %stay = or i1 %under.way, %patient
  br i1 %stay, label %wait, label %leave
wait:
  call void @relax(i64 %idle)
  %idle.next = add i64 %idle, 1
  br label %watch
leave:
  ret i64 %helped
}

; Run one row, with whoever helps.
define internal void @share(ptr %state, ptr %kernel, ptr %args, i64 %extent, i64 %chunk) nounwind {
  %total.at = getelementptr %State, ptr %state, i32 0, i32 1
  %kernel.at = getelementptr %State, ptr %state, i32 0, i32 2
  %args.at = getelementptr %State, ptr %state, i32 0, i32 3
  %extent.at = getelementptr %State, ptr %state, i32 0, i32 4
  %chunk.at = getelementptr %State, ptr %state, i32 0, i32 5
  %done.at = getelementptr %State, ptr %state, i32 0, i32 8
  %above = add i64 %extent, %chunk
  %above.less = sub i64 %above, 1
  %total = sdiv i64 %above.less, %chunk
  store i64 %total, ptr %total.at
  store ptr %kernel, ptr %kernel.at
  store ptr %args, ptr %args.at
  store i64 %extent, ptr %extent.at
  store i64 %chunk, ptr %chunk.at
  store atomic i64 0, ptr %done.at monotonic, align 8
  store atomic i64 %total, ptr %state release, align 8
  %mine = call i64 @take_chunks(ptr %state, i64 0)
  %theirs = sub i64 %total, %mine
  br label %check
check:
  %spins = phi i64 [ 0, %0 ], [ %spins.next, %wait ]
  %done = load atomic i64, ptr %done.at acquire, align 8
  %complete = icmp eq i64 %done, %theirs
  br i1 %complete, label %over, label %wait
wait:
  call void @relax(i64 %spins)
  %spins.next = add i64 %spins, 1
  br label %check
over:
  ret void
}

; A row that notes in the status words that those before it have run.
define void @mark(ptr %args, i64 %begin, i64 %end, i64 %thread) nounwind {
  %status = load ptr, ptr %args
  %word = getelementptr i64, ptr %status, i64 $mark_word
  store i64 1, ptr %word
  ret void
}

; A row that gathers the arguments of the others: of each address in the third array, the place in
; the first array is in the second.
define void @bind(ptr %args, i64 %begin, i64 %end, i64 %thread) nounwind {
  %places.at = getelementptr ptr, ptr %args, i64 1
  %arguments.at = getelementptr ptr, ptr %args, i64 2
  %addresses = load ptr, ptr %args
  %places = load ptr, ptr %places.at
  %arguments = load ptr, ptr %arguments.at
  br label %next
next:
  %i = phi i64 [ %begin, %0 ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %one, label %over
one:
  %place.at = getelementptr i64, ptr %places, i64 %i
  %place = load i64, ptr %place.at
  %from = getelementptr i64, ptr %addresses, i64 %place
  %address = load i64, ptr %from
  %to = getelementptr i64, ptr %arguments, i64 %i
  store i64 %address, ptr %to
  %i.next = add i64 %i, 1
  br label %next
over:
  ret void
}

; Run a table. `shared` says whether helpers should expect work before it ends.
define void @run_table(ptr %state, ptr %table, i64 %rows, i64 %shared) nounwind {
  %running.at = getelementptr %State, ptr %state, i32 0, i32 10
  store atomic i64 %shared, ptr %running.at monotonic, align 8
  br label %next
next:
  %row = phi i64 [ 0, %0 ], [ %row.next, %finished ]
  %more = icmp slt i64 %row, %rows
  br i1 %more, label %begin, label %over
begin:
  %kernel.at = getelementptr %Row, ptr %table, i64 %row, i32 0
  %args.at = getelementptr %Row, ptr %table, i64 %row, i32 1
  %extent.at = getelementptr %Row, ptr %table, i64 %row, i32 2
  %chunk.at = getelementptr %Row, ptr %table, i64 %row, i32 3
  %kernel = load ptr, ptr %kernel.at
  %args = load ptr, ptr %args.at
  %extent = load i64, ptr %extent.at
  %chunk = load i64, ptr %chunk.at
  %single = icmp sle i64 %extent, %chunk
  br i1 %single, label %alone, label %together
alone:
  call void @run_chunk(ptr %state, ptr %kernel, ptr %args, i64 0, i64 %extent, i64 0)
  br label %finished
together:
  call void @share(ptr %state, ptr %kernel, ptr %args, i64 %extent, i64 %chunk)
  br label %finished
finished:
  %row.next = add i64 %row, 1
  br label %next
over:
  store atomic i64 0, ptr %running.at monotonic, align 8
  ret void
}

declare i64 @llvm.smin.i64(i64, i64)
""")

# The clock that Python's `perf_counter` reads.
CLOCK = """
declare i32 @clock_gettime(i32, ptr)
define internal i64 @now() nounwind {{
  %time = alloca {{ i64, i64 }}
  call i32 @clock_gettime(i32 {clock}, ptr %time)
  %seconds = load i64, ptr %time
  %rest.at = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest.at
  %whole = mul i64 %seconds, 1000000000
  %nanoseconds = add i64 %whole, %rest
  ret i64 %nanoseconds
}}"""
NO_CLOCK = "define internal i64 @now() nounwind {\n  ret i64 0\n}"


class Native:
    """The functions of `RUNNER_IR`, callable."""

    def __init__(self, loaded: LoadedObject) -> None:
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        run_table = ctypes.CFUNCTYPE(None, pointer, pointer, integer, integer)
        help_until_idle = ctypes.CFUNCTYPE(integer, pointer, integer, integer)
        self._loaded = loaded
        self.run_table: Any = run_table(loaded.address["run_table"])
        self.help: Any = help_until_idle(loaded.address["help"])
        self.mark: int = loaded.address["mark"]
        self.bind: int = loaded.address["bind"]


_loaded: list[Native] = []


def native(cache: ObjectCache | None) -> Native:
    """The native part, compiled and loaded once in a process."""
    if not _loaded:
        target = host_target()
        data = cached_object(runner_ir(target), target, cache)
        _loaded.append(Native(load_object(data, ["run_table", "help", "mark", "bind"])))
    return _loaded[0]


def runner_ir(target: Target) -> str:
    """`RUNNER_IR` with this processor's way to wait and this system's way to step aside."""
    declarations = []
    pause = "fence seq_cst"
    step_aside = ""
    clock = NO_CLOCK
    if "sse2" in target.features:
        declarations.append("declare void @llvm.x86.sse2.pause()")
        pause = "call void @llvm.x86.sse2.pause()"
    elif "neon" in target.features:
        declarations.append("declare void @llvm.aarch64.isb(i32)")
        pause = "call void @llvm.aarch64.isb(i32 15)"
    if os.name == "posix":
        declarations.append("declare i32 @sched_yield()")
        step_aside = "call i32 @sched_yield()"
        clock = CLOCK.format(clock=getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC))
    return RUNNER_IR.substitute(
        declarations="\n".join(declarations),
        pause=pause,
        step_aside=step_aside,
        clock=clock,
        spins_between_yields=SPINS_BETWEEN_YIELDS,
        last_spin=SPINS_BETWEEN_YIELDS - 1,
        mark_word=MARK_WORD,
    )


def aligned_state() -> npt.NDArray[np.int64]:
    """A zeroed state that begins a cache line."""
    words = np.zeros(STATE_WORDS + 16, np.int64)
    start = -words.ctypes.data % 128 // 8
    return words[start : start + STATE_WORDS]


@functools.cache
def spins_in(seconds: float, native: Native) -> int:
    """How many turns of a helper's waiting loop take about `seconds` on this machine."""
    state = aligned_state()
    trial = 1000
    durations = []
    for _ in range(5):
        begin = time.perf_counter()
        native.help(state.ctypes.data, trial, 1)
        durations.append(time.perf_counter() - begin)
    return max(1, round(trial * seconds / min(durations)))
