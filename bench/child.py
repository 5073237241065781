"""One measurement in a process of its own; prints it as one line of JSON.

Nothing but the standard library is imported above `measure`, so that the time a framework takes
to import includes all that it brings along.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time

from bench.contestants import CONTESTANTS


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


def measure(name: str, workload: str, warmup: int, steps: int | None) -> dict[str, object]:
    """Imports a framework, takes the first step, warms up, and times `steps` more."""
    contestant = CONTESTANTS[name]
    framework = importlib.import_module(contestant.file)
    start = time.perf_counter()
    framework.load(contestant.compiled)
    import_seconds = time.perf_counter() - start

    from bench.workloads.problem import problem

    task = problem(workload)
    start = time.perf_counter()
    step = framework.build(task, contestant.compiled)
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.child")
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("workload")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    keep_to_cores(args.threads)
    print(json.dumps(measure(args.contestant, args.workload, args.warmup, args.steps)))


if __name__ == "__main__":
    main()
