"""Prints measurements as tables that are also Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.kernels import Row
    from gradlet.runtime.cpu.limits import Roofline

COLUMNS = {
    "step_ms": ("step, ms", ".3f"),
    "ratio": ("x gradlet", ".2f"),
    "first_cold_s": ("first step, s", ".2f"),
    "first_warm_s": ("with cache, s", ".2f"),
    "import_s": ("import, s", ".2f"),
    "peak_mib": ("peak, MiB", ".0f"),
}


def cell(value: float | None, form: str) -> str:
    """A number in its format, or a dash."""
    return "-" if value is None else format(value, form)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Titles and rows of cells, the first column to the left and the others to the right.

    >>> print(aligned([("who", "ms"), ("torch", "0.5")]))
    | who   |  ms |
    |-------|----:|
    | torch | 0.5 |
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    made = []
    for first, *others in lines:
        cells = [f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True)]
        made.append("| " + " | ".join([f"{first:<{widths[0]}}", *cells]) + " |")
    return "\n".join([made[0], "|" + "|".join(rule) + "|", *made[1:]])


def render(workload: str, rows: dict[str, dict[str, Any]]) -> str:
    """One workload's table, with a line below for each framework that gave no result.

    >>> print(render("xor", {"torch": {"step_ms": 0.5, "ratio": 1.0}, "jax": {"problem": "no"}}))
    | xor   | step, ms | x gradlet | first step, s | with cache, s | import, s | peak, MiB |
    |-------|---------:|----------:|--------------:|--------------:|----------:|----------:|
    | torch |    0.500 |      1.00 |             - |             - |         - |         - |
    <BLANKLINE>
    jax: no
    """
    lines = [[workload, *(title for title, _ in COLUMNS.values())]]
    problems = []
    for name, row in rows.items():
        if "problem" in row:
            problems.append(f"\n\n{name}: {row['problem']}")
            continue
        lines.append([name, *(cell(row.get(key), form) for key, (_, form) in COLUMNS.items())])
    return aligned(lines) + "".join(problems)


def limits(machines: Sequence[Roofline]) -> str:
    """A line with the lowest and the highest figure for each of the machine's limits."""
    facts = {"flops": "GFLOP/s float32", "read": "GB/s read", "write": "GB/s written"}
    facts["copy"] = "GB/s copied (read + written)"
    found = []
    for name, unit in facts.items():
        figures = [vars(machine)[name] / 1e9 for machine in machines]
        found.append(f"{min(figures):.0f} to {max(figures):.0f} {unit}")
    return "Limits beside the kernels: " + ", ".join(found)


def kernels(rows: Sequence[Row]) -> str:
    """gradlet beside the best of the others, a line for each kernel."""
    lines = [["kernel", "gradlet, ms", "best peer", "ms", "ratio", "speed", "of limit"]]
    for row in rows:
        best = row.best_peer or "-"
        times = (cell(row.ms.get("gradlet"), ".3f"), best, cell(row.ms.get(best), ".3f"))
        speed = cell(row.speed("gradlet"), ".1f") + f" {row.unit}"
        share = cell(row.share("gradlet"), ".0%")
        lines.append([row.kernel, *times, cell(row.ratio, ".2f"), speed, share])
    return aligned(lines)


def contestants(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Milliseconds of everybody, a line for each kernel."""
    lines = [["ms", *names, "limit"]]
    for row in rows:
        times = [cell(row.ms.get(name), ".3f") for name in names]
        lines.append([row.kernel, *times, cell(row.limit_ms, ".3f")])
    return aligned(lines)
