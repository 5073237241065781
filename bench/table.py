"""Prints measurements as a table that is also Markdown."""

from __future__ import annotations

from typing import Any

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


def render(workload: str, rows: dict[str, dict[str, Any]]) -> str:
    """One workload's table, with a line below for each framework that gave no result.

    >>> print(render("xor", {"torch": {"step_ms": 0.5, "ratio": 1.0}, "jax": {"problem": "no"}}))
    | xor           | step, ms | x gradlet | first step, s | with cache, s | import, s | peak, MiB |
    |---------------|---------:|----------:|--------------:|--------------:|----------:|----------:|
    | torch         |    0.500 |      1.00 |             - |             - |         - |         - |
    <BLANKLINE>
    jax: no
    """
    titles = [title for title, _ in COLUMNS.values()]
    lines = [
        f"| {workload:<13} | " + " | ".join(titles) + " |",
        "|" + "-" * 15 + "|" + "|".join("-" * (len(title) + 1) + ":" for title in titles) + "|",
    ]
    problems = []
    for name, row in rows.items():
        if "problem" in row:
            problems.append(f"\n{name}: {row['problem']}")
            continue
        cells = [
            f"{cell(row.get(key), form):>{len(title)}}" for key, (title, form) in COLUMNS.items()
        ]
        lines.append(f"| {name:<13} | " + " | ".join(cells) + " |")
    return "\n".join(lines + problems)
