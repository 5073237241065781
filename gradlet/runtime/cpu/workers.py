"""Runs a table of kernels on several threads with one call from Python.

A row of a launch table names a kernel, its arguments, how many iterations there are, and how many
make one chunk. Rows run in order: a row sees everything that the rows before it wrote. How threads
share a row is explained, and done, in `runner`; here are the table and the threads.

Where helpers are when there is nothing to do
---------------------------------------------
Each is a daemon thread of Python in a native loop, without the interpreter lock. After a while
without a chunk (`SPIN_SECONDS`; as long as it takes if a run is under way) the loop returns and
the thread waits in its mailbox, a `SimpleQueue`. `run` puts a token into every empty mailbox. A
token that comes early stays there, so no wake-up is lost. No lock is held meanwhile.

Linux likes to wake a thread on the core of whoever wakes it. There the helper would stand in line
behind the caller, which does not sleep: on two cores it often came too late for rows of two
milliseconds. So on machines with few cores helpers are kept off the caller's core.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.runner import LOG_WORD, Native, aligned_state, native, spins_in

SPIN_SECONDS = 300e-6

# With more cores than this, the system finds an idle one for a helper by itself.
FEW_CORES = 8


class LaunchTable:
    """Kernels to run one after another.

    Attributes:
        rows: shape (n, 4), int64: kernel's address, arguments' address, extent, chunk. A row
            without iterations calls its kernel once, with the range [0, 0).
        arguments: the addresses that kernels are given, one after another for all rows. Writing
            another buffer's address here changes what the next run works on.
        offsets: where in `arguments` each row's begin; one more for the end.
        parallel: whether helpers are called for; set to False where waking them costs more
            than they bring.
    """

    def __init__(
        self, launches: Sequence[tuple[int, Sequence[int], int, int]], parallel: bool | None = None
    ) -> None:
        """Build a table from one `(kernel, argument addresses, extent, chunk)` for each row."""
        offsets = [0]
        flat: list[int] = []
        for _, addresses, _, _ in launches:
            flat += addresses
            offsets.append(len(flat))
        self.offsets = offsets
        self.arguments: npt.NDArray[np.int64] = np.array(flat, np.int64)
        first = self.arguments.ctypes.data
        fields: list[int] = []
        shared = False
        for (kernel, _, extent, chunk), offset in zip(launches, offsets, strict=False):
            if kernel <= 0 or extent < 0 or chunk < 1:
                raise ValueError(f"not a launch: {kernel=}, {extent=}, {chunk=}")
            shared = shared or extent > chunk
            fields += (kernel, first + 8 * offset, extent, chunk)
        self.rows: npt.NDArray[np.int64] = np.array(fields, np.int64).reshape(-1, 4)
        self.parallel = shared if parallel is None else parallel
        # Looked up once: asking NumPy for an address costs more than running a small kernel.
        self.address = self.rows.ctypes.data
        self.count = len(launches)

    def part(self, first: int, stop: int) -> LaunchTable:
        """Rows [first, stop) as a table that works on the same arguments."""
        made = copy.copy(self)
        made.rows = self.rows[first:stop]
        made.offsets = self.offsets[first : stop + 1]
        made.parallel = self.parallel and bool((made.rows[:, 2] > made.rows[:, 3]).any())
        made.address = made.rows.ctypes.data
        made.count = stop - first
        return made


class Workers:
    """Threads that run launch tables. They start with the first table that has work for them.

    Args:
        threads: how many threads work on a table, the calling one included.
        cache: where the native part is kept, so that it need not be compiled in every run.
    """

    def __init__(self, threads: int, cache: ObjectCache | None = None) -> None:
        if threads < 1:
            raise ValueError(f"a table needs at least one thread to run on, not {threads}")
        self.threads = threads
        self._native = native(cache)
        self.mark = self._native.mark  # a kernel that says that the rows before it have run
        self.bind = self._native.bind  # one that gathers the arguments of those behind it
        self._mailboxes: list[SimpleQueue[bool]]
        self._helpers: list[threading.Thread]
        self._avoided_core: int
        self._stop_helpers: weakref.finalize[[list[SimpleQueue[bool]]], Workers] | None
        self._renew()
        _all_workers.add(self)

    def run(self, table: LaunchTable) -> None:
        """Run every row of `table` in order. Callers in several threads take turns."""
        with self._lock:
            shared = table.parallel and self.threads > 1
            if shared:
                self._wake()
            self._native.run_table(self._state_address, table.address, table.count, shared)

    def begin_log(self, entries: int) -> None:
        """From now on note when each chunk begins and ends, up to so many of them."""
        with self._lock:
            self._log = np.zeros(2 + 5 * entries, np.int64)
            self._log[1] = entries
            self._state[LOG_WORD] = self._log.ctypes.data

    def take_log(self) -> tuple[npt.NDArray[np.int64], int]:
        """What was noted since the last time: rows as `runner` says, and how many had no room."""
        with self._lock:
            count = int(self._log[0])
            kept = min(count, int(self._log[1]))
            self._log[0] = 0
            return self._log[2 : 2 + 5 * kept].reshape(-1, 5).copy(), count - kept

    def end_log(self) -> None:
        """Note nothing any more."""
        with self._lock:
            self._state[LOG_WORD] = 0
            self._log = np.zeros(2, np.int64)

    def close(self) -> None:
        """End the helper threads. They would start again if there were work for them."""
        with self._lock:
            if self._stop_helpers is not None:
                self._stop_helpers()
            self._forget_helpers()

    def _renew(self) -> None:
        """Begin without helpers, as at first and in a forked child, where threads are gone."""
        self._lock = threading.Lock()
        self._state = aligned_state()
        self._state_address = self._state.ctypes.data
        self._log = np.zeros(2, np.int64)
        self._forget_helpers()

    def _forget_helpers(self) -> None:
        self._mailboxes = []
        self._helpers = []
        self._avoided_core = -1
        self._stop_helpers = None

    def _wake(self) -> None:
        """Put a token into every empty mailbox, and make the mailboxes if there are none."""
        if self._stop_helpers is None:
            self._start()
        waiting = [mailbox for mailbox in self._mailboxes if mailbox.empty()]
        if waiting:
            self._keep_helpers_off_this_core()
            for mailbox in waiting:
                mailbox.put(True)

    def _keep_helpers_off_this_core(self) -> None:
        """Let helpers run on every core but the caller's, if there is a core for each."""
        core = _current_core()()
        if core == self._avoided_core:
            return
        self._avoided_core = core
        with contextlib.suppress(OSError):  # some containers forbid it
            others = os.sched_getaffinity(0) - {core}
            if len(self._helpers) <= len(others) < FEW_CORES:
                for helper in self._helpers:
                    os.sched_setaffinity(helper.native_id or 0, others)

    def _start(self) -> None:
        patience = spins_in(SPIN_SECONDS, self._native)
        mailboxes: list[SimpleQueue[bool]] = []
        self._mailboxes = mailboxes
        # Helpers refer to the state and their mailbox, not to this object, which may then die.
        self._stop_helpers = weakref.finalize(self, _stop, mailboxes)
        self._stop_helpers.atexit = False
        for number in range(1, self.threads):
            mailbox: SimpleQueue[bool] = SimpleQueue()
            arguments = (mailbox, self._native, self._state, patience, number)
            helper = threading.Thread(
                target=_help, args=arguments, name=f"gradlet-{number}", daemon=True
            )
            try:
                helper.start()
            except RuntimeError:  # the system grants no more threads; those we have will do
                break
            mailboxes.append(mailbox)
            self._helpers.append(helper)


_all_workers: weakref.WeakSet[Workers] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for workers in list(_all_workers):
        workers._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


@functools.cache
def _current_core() -> Callable[[], int]:
    """A function that tells which core the calling thread is on, or -1 where that is unknown."""
    if hasattr(os, "sched_setaffinity"):
        # PyDLL keeps the interpreter lock, which is faster for a call this short.
        function: Callable[[], int] | None = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
        if function is not None:
            return function
    return lambda: -1


def _help(
    mailbox: SimpleQueue[bool],
    native: Native,
    state: npt.NDArray[np.int64],
    patience: int,
    number: int,
) -> None:
    """What a helper thread does: wait for a token, help until there is nothing to do, repeat."""
    address = state.ctypes.data
    while mailbox.get():
        native.help(address, patience, number)


def _stop(mailboxes: list[SimpleQueue[bool]]) -> None:
    """Tell the helpers behind `mailboxes` to end."""
    for mailbox in mailboxes:
        mailbox.put(False)
