"""Draws how close everybody comes to the machine's limit, kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.kernels import OURS, Row

MARKS = {"torch": "o", "torch.compile": "s", "jax": "D", "tinygrad": "^"}
COLOURS = {"torch": "#d1495b", "torch.compile": "#8d5a97", "jax": "#00798c", "tinygrad": "#6b705c"}

LANE = 0.13  # of a line's height, between the marks of two peers


def draw(rows: Sequence[Row], names: Sequence[str], file: Path) -> None:
    """A bar for gradlet and a mark for each other framework, in percent of the limit.

    Args:
        file: what it is written to; its ending says in which format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.3 * len(rows)), layout="constrained")
    places = range(len(rows))
    peers = [name for name in names if name != OURS]
    drawn = {}
    shares = {name: [100 * (row.share(name) or 0) for row in rows] for name in names}
    for name in names:
        if name == OURS:
            drawn[name] = axes.barh(places, shares[name], height=0.62, color="#f2b134", label=name)
            continue
        lane = LANE * (peers.index(name) - (len(peers) - 1) / 2)
        seen = [(share, place) for share, place in zip(shares[name], places, strict=True) if share]
        drawn[name] = axes.scatter(
            [share for share, _ in seen],
            [place + lane for _, place in seen],
            s=30,
            marker=MARKS[name],
            color=COLOURS[name],
            edgecolors="white",
            linewidths=0.6,
            label=name,
            zorder=3,
            clip_on=False,
        )
    axes.axvline(100, color="black", linewidth=1, zorder=2)
    axes.set_yticks(places, [row.kernel.replace("_", " ") for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(105, *(1.02 * max(values, default=0) for values in shares.values())))
    axes.set_xlabel("% of what the machine's arithmetic or memory allows (more is better)")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles = [drawn[name] for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    figure.savefig(file, dpi=150)
    plt.close(figure)
