"""Launch tables: every row sees the rows before it, whatever the threads do meanwhile."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from gradlet.runtime.cpu import workers as workers_module
from gradlet.runtime.cpu.compiler import LoadedObject
from gradlet.runtime.cpu.runner import DONE_WORD
from gradlet.runtime.cpu.workers import FEW_CORES, LaunchTable, Workers


@pytest.fixture(params=[1, 2, 5])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    made = Workers(request.param)
    yield made
    made.close()


@pytest.fixture
def two() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.close()


class Buffers:
    """A few arrays that random kernels read and write, and what they should hold."""

    def __init__(self, kernels: LoadedObject, count: int, length: int) -> None:
        self.kernels = kernels
        self.length = length
        self.lengths = np.array([length])
        self.arrays = [np.arange(length) + i for i in range(count)]
        self.expected = [array.copy() for array in self.arrays]

    def random_launch(self, rng: random.Random) -> tuple[int, list[int], int, int]:
        """A row of random kernel and chunk size. Works out what it should compute, too."""
        out, a, b = rng.sample(range(len(self.arrays)), 3)
        chunk = rng.choice([1, 2, 3, 7, self.length // 2, self.length, 2 * self.length])
        extent = rng.choice([0, 1, self.length - 1, self.length])
        addresses = [self.arrays[i].ctypes.data for i in (out, a, b)]
        if rng.random() < 0.7:
            result = self.expected[a] + self.expected[b] + 1
            kernel = self.kernels.address["add"]
        else:
            # Every element depends on all of another array: a missing barrier shows here.
            result = np.full(self.length, self.expected[a].sum())
            kernel = self.kernels.address["gather"]
            addresses[2] = self.lengths.ctypes.data
        self.expected[out][:extent] = result[:extent]
        return kernel, addresses, extent, chunk

    def check(self) -> None:
        for found, expected in zip(self.arrays, self.expected, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_random_tables(kernels: LoadedObject, workers: Workers) -> None:
    rng = random.Random(1)
    with np.errstate(over="ignore"):
        for _ in range(1000):
            buffers = Buffers(kernels, count=4, length=rng.randint(2, 40))
            rows = [buffers.random_launch(rng) for _ in range(rng.randint(0, 12))]
            workers.run(LaunchTable(rows))
            buffers.check()
            if rng.random() < 0.02:
                time.sleep(0.001)  # long enough for helpers to go to their mailboxes


def test_every_iteration_runs_once(kernels: LoadedObject, workers: Workers) -> None:
    counts = np.zeros(1000, np.int64)
    zeros = np.zeros(1000, np.int64)
    arrays = [counts.ctypes.data, counts.ctypes.data, zeros.ctypes.data]
    rows = [(kernels.address["add"], arrays, 1000, chunk) for chunk in (1, 3, 10, 999, 1000)]
    table = LaunchTable(rows * 4)
    for _ in range(100):
        workers.run(table)
    assert (counts == 2000).all()


def test_helpers_do_help(kernels: LoadedObject, two: Workers) -> None:
    """A helper takes part in a long row, seen by the counter of chunks that others ran."""
    length = 20_000
    lengths = np.array([length])
    data = np.ones(length, np.int64)
    out = np.zeros(2_000, np.int64)
    addresses = [out.ctypes.data, data.ctypes.data, lengths.ctypes.data]
    table = LaunchTable([(kernels.address["gather"], addresses, 2_000, 20)])
    for _ in range(100):
        two.run(table)
        assert (out == length).all()
        if two._state[DONE_WORD] > 0:
            return
    pytest.fail("the helper never took a chunk")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_helpers_keep_off_the_callers_core(kernels: LoadedObject, two: Workers) -> None:
    ours = os.sched_getaffinity(0)
    if not 2 <= len(ours) <= FEW_CORES:
        pytest.skip("nothing is done on a machine with so many cores")
    two.run(LaunchTable([(kernels.address["nothing"], [], 8, 1)]))
    theirs = os.sched_getaffinity(two._helpers[0].native_id or 0)
    assert theirs == ours - {two._avoided_core}
    assert os.sched_getaffinity(0) == ours


def test_a_system_without_core_numbers_is_fine(
    kernels: LoadedObject, two: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "_current_core", lambda: lambda: -1)
    two.run(LaunchTable([(kernels.address["nothing"], [], 8, 1)]))
    assert two._avoided_core == -1


def test_tables_are_what_they_say(kernels: LoadedObject) -> None:
    address = kernels.address["nothing"]
    table = LaunchTable([(address, [10, 20], 5, 5), (address, [], 1, 1), (address, [30], 9, 2)])
    assert table.rows.shape == (3, 4)
    assert table.arguments.tolist() == [10, 20, 30]
    assert table.offsets == [0, 2, 2, 3]
    assert table.rows[2, 1] == table.arguments.ctypes.data + 16
    assert table.parallel
    assert not LaunchTable([(address, [], 5, 5)]).parallel
    assert not LaunchTable([(address, [], 9, 5)], parallel=False).parallel
    assert LaunchTable([]).count == 0


def test_arguments_can_be_replaced(kernels: LoadedObject, two: Workers) -> None:
    a, b, first, second = (np.full(8, value) for value in (1, 2, 0, 0))
    addresses = [first.ctypes.data, a.ctypes.data, b.ctypes.data]
    table = LaunchTable([(kernels.address["add"], addresses, 8, 2)])
    two.run(table)
    table.arguments[table.offsets[0]] = second.ctypes.data
    two.run(table)
    assert first.tolist() == second.tolist() == [4] * 8


@pytest.mark.parametrize("row", [(0, [], 1, 1), (8, [], -1, 1), (8, [], 1, 0)])
def test_impossible_rows_are_refused(row: tuple[int, list[int], int, int]) -> None:
    with pytest.raises(ValueError, match="not a launch"):
        LaunchTable([row])


def test_no_threads_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        Workers(0)


def test_one_thread_starts_no_other(kernels: LoadedObject) -> None:
    before = threading.active_count()
    alone = Workers(1)
    alone.run(LaunchTable([(kernels.address["nothing"], [], 100, 1)]))
    assert threading.active_count() == before


def test_a_table_may_go_when_run_returns(kernels: LoadedObject, two: Workers) -> None:
    for step in range(3000):
        counts = np.zeros(6, np.int64)
        addresses = [counts.ctypes.data] * 3
        two.run(LaunchTable([(kernels.address["add"], addresses, 6, 1)] * 3))
        assert (counts == 7).all(), step


def test_callers_take_turns(kernels: LoadedObject, workers: Workers) -> None:
    failures = []

    def call(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(200):
                buffers = Buffers(kernels, count=3, length=20)
                workers.run(LaunchTable([buffers.random_launch(rng) for _ in range(4)]))
                buffers.check()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def long_table(kernels: LoadedObject, out: np.ndarray, lengths: np.ndarray) -> LaunchTable:
    """Work for a good part of a second."""
    data = np.ones(int(lengths[0]), np.int64)
    addresses = [out.ctypes.data, data.ctypes.data, lengths.ctypes.data]
    table = LaunchTable([(kernels.address["gather"], addresses, len(out), 4)] * 20)
    table.keep = data  # type: ignore[attr-defined]
    return table


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interrupt_leaves_workers_usable(kernels: LoadedObject, workers: Workers) -> None:
    lengths = np.array([100_000])
    out = np.zeros(400, np.int64)
    table = long_table(kernels, out, lengths)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    # Where the tests run in the background, the system has the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            for _ in range(1000):
                workers.run(table)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    lengths[0] = 50_000
    out[...] = 0
    workers.run(table)
    assert (out == 50_000).all()
    assert not workers._lock.locked()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own_helpers(kernels: LoadedObject, two: Workers) -> None:
    counts = np.zeros(64, np.int64)
    table = LaunchTable([(kernels.address["add"], [counts.ctypes.data] * 3, 64, 4)])
    two.run(table)
    assert (counts == 1).all()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(3):
                two.run(table)
            alive = sum(thread.name.startswith("gradlet") for thread in threading.enumerate())
            status = 0 if (counts == 15).all() and alive == 1 else 2
        finally:
            os._exit(status)
    _, outcome = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(outcome) == 0
    two.run(table)
    assert (counts == 3).all()


def test_helpers_end_with_their_workers(kernels: LoadedObject) -> None:
    table = LaunchTable([(kernels.address["nothing"], [], 4, 1)])
    temporary = Workers(4)
    temporary.run(table)
    helpers = list(temporary._helpers)
    assert len(helpers) == 3 and all(helper.is_alive() for helper in helpers)
    del temporary
    gc.collect()
    for helper in helpers:
        helper.join(10)
    assert not any(helper.is_alive() for helper in helpers)


def test_closed_workers_start_again(kernels: LoadedObject, two: Workers) -> None:
    counts = np.zeros(8, np.int64)
    table = LaunchTable([(kernels.address["add"], [counts.ctypes.data] * 3, 8, 1)])
    two.run(table)
    two.close()
    two.close()
    two.run(table)
    assert (counts == 3).all()


def test_too_few_threads_still_finish(
    kernels: LoadedObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    counts = np.zeros(8, np.int64)
    Workers(3).run(LaunchTable([(kernels.address["add"], [counts.ctypes.data] * 3, 8, 1)]))
    assert (counts == 1).all()


PROGRAM = """
import sys, time
import numpy as np
from gradlet.runtime.cpu.compiler import compile_object, load_object
from gradlet.runtime.cpu.target import host_target
from gradlet.runtime.cpu.runner import DONE_WORD
from gradlet.runtime.cpu.workers import LaunchTable, Workers

data = compile_object("define void @f(ptr %a, i64 %b, i64 %e) { ret void }", host_target())
loaded = load_object(data, ["f"])
workers = Workers(4)
table = LaunchTable([(loaded.address["f"], [], 64, 1)] * 20)
for _ in range(20):
    workers.run(table)
print("ran", time.time())
"""


def test_a_program_ends_cleanly_and_at_once() -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        ended = time.time()
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        word, began_to_exit = done.stdout.split()
        assert word == "ran"
        assert ended - float(began_to_exit) < 5
