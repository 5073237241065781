"""Prints what `gradlet/runtime/cpu/limits.py` measures as JSON: `python -m bench.roofline`."""

from __future__ import annotations

import argparse
import json

from bench.child import keep_to_cores
from gradlet.runtime.cpu.limits import measure
from gradlet.runtime.cpu.target import host_target
from gradlet.runtime.cpu.workers import Workers

ARRAY_BYTES = 1 << 28
RUNS = 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.roofline")
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    keep_to_cores(threads)
    print(json.dumps(vars(measure(host_target(threads), Workers(threads), ARRAY_BYTES, RUNS))))


if __name__ == "__main__":
    main()
