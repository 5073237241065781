"""The command line: `python -m bench steps [workload ...]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from bench import steps, table
from bench.contestants import CONTESTANTS, installed
from bench.workloads.problem import NAMES


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("steps", help="training steps, beside other frameworks")
    training.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(NAMES))
    training.add_argument(
        "--with",
        dest="names",
        nargs="+",
        choices=CONTESTANTS,
        metavar="NAME",
        help=f"only these of {', '.join(CONTESTANTS)}",
    )
    training.add_argument("--rounds", type=int, default=3)
    training.add_argument("--warmup", type=int, default=3, help="untimed steps after the first")
    training.add_argument("--steps", type=int, help="timed steps a round")
    training.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    training.add_argument("--json", type=Path, help="also write all measurements to this file")
    args = parser.parse_args()
    unknown = set(args.workloads) - set(NAMES)
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if min(args.rounds, args.threads, args.steps or 1) < 1 or args.warmup < 0:
        parser.error("--rounds, --threads and --steps are at least 1, --warmup at least 0")
    return args


def main() -> None:
    args = parse()
    wanted = args.names or list(CONTESTANTS)
    names = [name for name in wanted if installed(name)]
    missing = [name for name in wanted if name not in names]
    if missing:
        print(f"not installed: {', '.join(missing)} (see the extra `bench`)", file=sys.stderr)
    settings = steps.Settings(args.rounds, args.warmup, args.steps, args.threads)
    print(f"{platform.platform()}, {platform.machine()}, {args.threads} threads")
    measured = {}
    for workload in args.workloads or NAMES:
        records = steps.compare(workload, names, settings)
        measured[workload] = {name: vars(record) for name, record in records.items()}
        print("\n" + table.render(workload, steps.summary(records)), flush=True)
    if args.json:
        args.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
