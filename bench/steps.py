"""Times training steps of every framework that is installed, in turns.

A round gives each framework two fresh processes: one with an empty cache of compiled code, which
takes the first step and then the timed ones, and one that finds the cache filled and takes the
first step only. Frameworks alternate within a round, so that a machine that slows down slows all
of them; ratios are taken within rounds and the median over rounds is shown.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contestants import environment
from bench.process import ChildError, run

LOSS_TOLERANCE = 1e-3


@dataclass
class Record:
    """What was measured of one framework on one workload: a value for each round.

    Attributes:
        cold, warm: what `child.py` reported with an empty and with a filled cache.
        problem: why it did not run, or "".
    """

    cold: list[dict[str, Any]] = field(default_factory=list)
    warm: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Settings:
    """How long to measure. `steps` of None leaves it to the workload."""

    rounds: int
    warmup: int
    steps: int | None
    threads: int


def run_child(
    name: str, workload: str, cache: Path, settings: Settings, steps: int | None
) -> dict[str, Any]:
    """What one fresh process reports of a framework; `process.run` says what it raises."""
    arguments = ["--threads", str(settings.threads), "steps", name, workload]
    arguments += ["--warmup", str(settings.warmup)]
    arguments += [] if steps is None else ["--steps", str(steps)]
    return run("bench.child", arguments, environment(name, cache, settings.threads))


def compare(workload: str, names: Sequence[str], settings: Settings) -> dict[str, Record]:
    """Measures all frameworks on one workload."""
    records = {name: Record() for name in names}
    for turn in range(settings.rounds):
        for name, record in records.items():
            if record.problem:
                continue
            print(f"{workload}: round {turn + 1}, {name}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                try:
                    cold = run_child(name, workload, Path(folder), settings, settings.steps)
                    warm = run_child(name, workload, Path(folder), settings, 0)
                except ChildError as error:
                    record.problem = str(error)
                else:
                    record.cold.append(cold)
                    record.warm.append(warm)
    mark_different(records)
    return records


def mark_different(records: dict[str, Record]) -> None:
    """Gives a problem to each framework whose losses are not those that the first one computed.

    The first two losses take a forward pass, a backward pass and an update. Later ones drift
    apart by themselves: Adam makes as much of a gradient of 1e-9 as of one of 1.
    """
    measured = [record for record in records.values() if record.cold and not record.problem]
    if not measured:
        return
    expected = measured[0].cold[0]["losses"]
    for record in measured[1:]:
        found = record.cold[0]["losses"]
        pairs = zip(expected, found, strict=False)
        if not all(math.isclose(a, b, rel_tol=LOSS_TOLERANCE) for a, b in pairs):
            record.problem = f"computes something else: losses {found}, not {expected}"


def middle(reports: Sequence[dict[str, Any]], key: str) -> float | None:
    """The median over rounds of one figure, or None if it was not measured."""
    values = [report[key] for report in reports if report[key] is not None]
    return statistics.median(values) if values else None


def ratio(record: Record, base: Record | None) -> float | None:
    """The median over rounds of step time over gradlet's in the same round."""
    if base is None or base.problem:
        return None
    pairs = zip(record.cold, base.cold, strict=True)
    ratios = [mine["step_ms"] / theirs["step_ms"] for mine, theirs in pairs if mine["step_ms"]]
    return statistics.median(ratios) if ratios else None


def summary(records: dict[str, Record]) -> dict[str, dict[str, Any]]:
    """The figures of the table, by framework."""
    base = records.get("gradlet")
    rows: dict[str, dict[str, Any]] = {}
    for name, record in records.items():
        if record.problem:
            rows[name] = {"problem": record.problem}
            continue
        rows[name] = {
            "step_ms": middle(record.cold, "step_ms"),
            "ratio": ratio(record, base),
            "first_cold_s": middle(record.cold, "first_s"),
            "first_warm_s": middle(record.warm, "first_s"),
            "import_s": middle(record.cold + record.warm, "import_s"),
            "peak_mib": middle(record.cold, "peak_mib"),
        }
    return rows
