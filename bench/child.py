"""One measurement in a process of its own; prints it as one line of JSON.

Nothing but the standard library is imported above the functions that measure, so that the time a
framework takes to import includes all that it brings along.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.contestants import CONTESTANTS

FIRST_CALL_SECONDS = 60
WARMUP_SECONDS, WARMUP_CALLS = 0.2, 3
TIMED_SECONDS, TIMED_CALLS, LONGEST_TIMED_SECONDS = 0.5, 10, 5.0


def keep_to_cores(count: int) -> None:
    """Leaves this process that many cores, where the system can do so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def peak_memory_mib() -> float | None:
    """The most memory that this process has held at once."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10)


def framework_of(name: str, suite: str) -> Any:
    """The module that has the workloads of a suite, `steps` or `kernels`, for a contestant."""
    return importlib.import_module(f"bench.workloads.{CONTESTANTS[name].package}_{suite}")


def measure_step(name: str, workload: str, warmup: int, steps: int | None) -> dict[str, object]:
    """Imports a framework, takes the first step, warms up, and times `steps` more."""
    framework, compiled = framework_of(name, "steps"), CONTESTANTS[name].compiled
    start = time.perf_counter()
    framework.load(compiled)
    import_seconds = time.perf_counter() - start

    from bench.workloads.problem import problem

    task = problem(workload)
    start = time.perf_counter()
    step = framework.build(task, compiled)
    losses = [step()]
    first_seconds = time.perf_counter() - start

    timed = task.steps if steps is None else steps
    seconds: list[float] = []
    for i in range(warmup + timed if timed else 0):
        start = time.perf_counter()
        losses.append(step())
        if i >= warmup:
            seconds.append(time.perf_counter() - start)
    return {
        "import_s": import_seconds,
        "first_s": first_seconds,
        "step_ms": 1e3 * statistics.median(seconds) if seconds else None,
        "peak_mib": peak_memory_mib(),
        "losses": losses[:2],
    }


def measure_kernel(name: str, kernel_name: str, output: Path | None) -> dict[str, object]:
    """Times one kernel, whose first input is a different one in every other call.

    Args:
        output: where the results for both inputs are written, if anywhere.
    """
    framework, compiled = framework_of(name, "kernels"), CONTESTANTS[name].compiled
    framework.load(compiled)

    import numpy as np

    from bench.workloads.kernel import KERNELS, arrays

    kernel = KERNELS[kernel_name]
    even, odd, *rest = [framework.put(array) for array in arrays(kernel)]
    run = framework.build(kernel, compiled)

    def call(number: int) -> Any:
        return run(odd if number % 2 else even, *rest)

    with at_most(FIRST_CALL_SECONDS):
        result = call(0)
    if output:
        results = [array.copy() for array in framework.get(result)]
        np.savez(output, *results, *framework.get(call(1)))
    del result
    seconds = times(call)
    return {"ms": 1e3 * statistics.median(seconds), "calls": len(seconds)}


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends this process, saying why, if the body takes longer, even if it is in native code."""

    def end() -> None:
        print(f"over {seconds} s", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


def times(call: Callable[[int], Any]) -> list[float]:
    """Seconds of each call after a warm-up. A call begins when the last result is let go."""
    result = None
    number = 0
    begin = time.perf_counter()
    while number < WARMUP_CALLS or time.perf_counter() - begin < WARMUP_SECONDS:
        result = None
        result = call(number)
        number += 1
    seconds: list[float] = []
    spent = 0.0
    while spent < TIMED_SECONDS or (len(seconds) < TIMED_CALLS and spent < LONGEST_TIMED_SECONDS):
        result = None
        start = time.perf_counter()
        result = call(number)
        seconds.append(time.perf_counter() - start)
        spent += seconds[-1]
        number += 1
    del result
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.child")
    parser.add_argument("--threads", type=int, default=2)
    suites = parser.add_subparsers(dest="suite", required=True)
    steps = suites.add_parser("steps")
    kernels = suites.add_parser("kernels")
    for suite in (steps, kernels):
        suite.add_argument("contestant", choices=CONTESTANTS)
        suite.add_argument("workload")
    steps.add_argument("--warmup", type=int, default=3)
    steps.add_argument("--steps", type=int)
    kernels.add_argument("--output", type=Path)
    args = parser.parse_args()
    keep_to_cores(args.threads)
    if args.suite == "steps":
        report = measure_step(args.contestant, args.workload, args.warmup, args.steps)
    else:
        report = measure_kernel(args.contestant, args.workload, args.output)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
