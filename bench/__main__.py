"""The command line: `python -m bench steps [workload ...]`, `kernels [kernel ...]` or `mnist`.

`steps` times whole training steps. `kernels` times single operations, and measures in the same run
what this machine's arithmetic and memory allow at most. `mnist` times a whole program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import chart, kernels, mnist, steps, table
from bench.contestants import CONTESTANTS, OF_KERNELS, installed
from bench.workloads.kernel import KERNELS
from bench.workloads.problem import NAMES
from gradlet.runtime.cpu.limits import Roofline


def parse() -> argparse.Namespace:
    prose: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, **prose)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser(
        "steps",
        help="training steps, beside other frameworks",
        description=steps.__doc__,
        **prose,
    )
    add_common(training, "workload", NAMES)
    training.add_argument("--warmup", type=int, default=3, help="untimed steps after the first")
    training.add_argument("--steps", type=int, help="timed steps a round")
    single = commands.add_parser(
        "kernels",
        help="single kernels, beside other frameworks and the machine's limits",
        description=kernels.__doc__,
        **prose,
    )
    add_common(single, "kernel", KERNELS)
    single.add_argument("--chart", type=Path, metavar="FILE", help="also draw a .png or .svg")
    program = commands.add_parser(
        "mnist",
        help="the example of that name, beside the same program for PyTorch",
        description=mnist.__doc__,
        **prose,
    )
    add_extent(program)
    program.add_argument("--epochs", type=int, default=1)
    program.add_argument("--limit", type=int, help="use this many images only")
    args = parser.parse_args()
    if min(args.rounds, args.threads) < 1:
        parser.error("--rounds and --threads are at least 1")
    if args.command == "mnist":
        return args
    known = NAMES if args.command == "steps" else list(KERNELS)
    unknown = set(args.workloads) - set(known)
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(known)}")
    if args.command == "steps" and ((args.steps or 1) < 1 or args.warmup < 0):
        parser.error("--steps is at least 1, --warmup at least 0")
    return args


def add_common(parser: argparse.ArgumentParser, what: str, known: Iterable[str]) -> None:
    """The options of the commands that measure workloads one by one."""
    parser.add_argument("workloads", nargs="*", metavar=what, help=", ".join(known))
    parser.add_argument(
        "--with",
        dest="names",
        nargs="+",
        choices=CONTESTANTS,
        metavar="NAME",
        help=f"only these of {', '.join(CONTESTANTS)}",
    )
    add_extent(parser)


def add_extent(parser: argparse.ArgumentParser) -> None:
    """The options that all commands have."""
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path, help="also write all measurements to this file")


def main() -> None:
    args = parse()
    print(f"{platform.platform()}, {platform.machine()}, {args.threads} threads")
    measured = run_mnist(args) if args.command == "mnist" else run_workloads(args)
    if args.json:
        args.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def run_mnist(args: argparse.Namespace) -> dict[str, object]:
    """Measures and prints whole programs; what was measured, for JSON."""
    records = mnist.measure(args.rounds, args.threads, args.epochs, args.limit)
    print(mnist.table(records))
    return {name: vars(record) for name, record in records.items()}


def run_workloads(args: argparse.Namespace) -> dict[str, object]:
    """Measures and prints steps or kernels with what is installed; what was measured, for JSON."""
    wanted = args.names or (list(CONTESTANTS) if args.command == "steps" else OF_KERNELS)
    names = [name for name in wanted if installed(name)]
    missing = [name for name in wanted if name not in names]
    if missing:
        print(f"not installed: {', '.join(missing)} (see the extra `bench`)", file=sys.stderr)
    return (run_steps if args.command == "steps" else run_kernels)(args, names)


def run_steps(args: argparse.Namespace, names: list[str]) -> dict[str, object]:
    """Measures and prints training steps; what was measured, for JSON."""
    settings = steps.Settings(args.rounds, args.warmup, args.steps, args.threads)
    measured: dict[str, object] = {}
    for workload in args.workloads or NAMES:
        records = steps.compare(workload, names, settings)
        measured[workload] = {name: vars(record) for name, record in records.items()}
        print("\n" + table.render(workload, steps.summary(records)), flush=True)
    return measured


def run_kernels(args: argparse.Namespace, names: list[str]) -> dict[str, object]:
    """Measures and prints kernels and limits; what was measured, for JSON."""
    measured: dict[str, tuple[dict[str, kernels.Record], Roofline]] = {}
    with TemporaryDirectory(prefix="bench-") as folder:
        for name in args.workloads or KERNELS:
            measured[name] = kernels.compare(
                KERNELS[name], names, args.rounds, args.threads, Path(folder)
            )
    rows = kernels.rows(measured)
    print(table.limits([machine for _, machine in measured.values()]))
    print(f"\n{table.kernels(rows)}\n")
    mean = kernels.mean_ratio(rows)
    if mean is not None:
        print(f"Geometric mean of the ratios: {mean:.2f}\n")
    print(table.contestants(rows, names))
    for name, (records, _) in measured.items():
        for contestant, record in records.items():
            if record.problem:
                print(f"\n{name}, {contestant}: {record.problem}")
    if args.chart:
        chart.draw(rows, names, args.chart)
    return {
        name: {
            "machine": vars(machine),
            **{contestant: vars(record) for contestant, record in records.items()},
        }
        for name, (records, machine) in measured.items()
    }


if __name__ == "__main__":
    main()
