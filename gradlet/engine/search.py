"""Tries a few tiles for each contraction of a kernel, and remembers the fastest on disk.

The estimate in `lower/estimate.py` decides which are tried. The default is always among them, and
keeps its place unless another is clearly faster, so that a search costs time but never speed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from gradlet.base.target import Target
from gradlet.engine.stored import LATEST
from gradlet.ir.kernel import Kernel, Nest
from gradlet.lower import loops
from gradlet.lower.choose import DEFAULT, Tiles, candidates, parts
from gradlet.lower.tile import Tile, contraction_of
from gradlet.runtime.cpu.cache import ObjectCache, cache_key

_CANDIDATES = 3  # for each of the two factors as rows
_SECONDS = 0.2  # of measuring, should the fewest runs not take longer
_CLEARLY = 0.97  # of the default's time

Runs = Sequence[Callable[[], object]]


def fastest_tiles(
    kernel: Kernel, target: Target, trials: Callable[[Sequence[Tiles]], Runs]
) -> Tiles:
    """The tiles with which a kernel is clearly faster than by default.

    Args:
        trials: makes a function for each choice of tiles, that runs the kernel with these.
    """
    chosen: dict[Nest, Tile] = {}
    for nest in _contractions(kernel, target):
        tiles = list(dict.fromkeys(candidates(nest, target, _CANDIDATES)))
        if len(tiles) < 2:
            continue
        runs = trials([chosen, *({**chosen, nest: tile} for tile in tiles[1:])])
        taken = [median(seconds) for seconds in turns(runs, fewest=3)]
        best = min(range(len(tiles)), key=taken.__getitem__)
        if best and is_clearly_faster(runs[best], runs[0]):
            chosen[nest] = tiles[best]
    return chosen


def is_clearly_faster(run: Callable[[], object], default: Callable[[], object]) -> bool:
    """Whether it is so by the medians, and in three turns of four."""
    ours, theirs = turns([run, default], fewest=9)
    won = sum(a < _CLEARLY * b for a, b in zip(ours, theirs, strict=True))
    return median(ours) < _CLEARLY * median(theirs) and won >= 0.75 * len(ours)


def turns(runs: Runs, fewest: int, most: int = 31) -> list[list[float]]:
    """The seconds of each, which take turns; the first turn is not counted."""
    taken: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    start = time.perf_counter()
    while len(taken[0]) < most:
        if len(taken[0]) >= fewest and time.perf_counter() - start > _SECONDS:
            break
        for run, seconds in zip(runs, taken, strict=True):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
    return taken


def recall(kernel: Kernel, target: Target, cache: ObjectCache) -> Tiles | None:
    """The tiles that were remembered for a kernel, or None if there was no search yet.

    What does not fit the kernel counts as no search; a tile that is no candidate is not used.
    """
    nests = list(_contractions(kernel, target))
    if not nests:
        return DEFAULT
    try:
        lines = json.loads(cache.get(_key(kernel, target)) or b"[]")
    except ValueError:
        return None
    if not isinstance(lines, list) or len(lines) != len(nests):
        return None
    found: dict[Nest, Tile] = {}
    for nest, line in zip(nests, lines, strict=True):
        tiles = {str(tile): tile for tile in candidates(nest, target, _CANDIDATES)} if line else {}
        if line in tiles:
            found[nest] = tiles[line]
    return found


def remember(kernel: Kernel, target: Target, cache: ObjectCache, tiles: Tiles) -> None:
    """Keeps the tiles for `recall`: for each contraction a line, empty for the default."""
    lines = [str(tiles.get(nest, "")) for nest in _contractions(kernel, target)]
    cache.put(_key(kernel, target), json.dumps(lines).encode())
    cache.put(LATEST, str(time.time_ns()).encode())


def _contractions(kernel: Kernel, target: Target) -> Iterator[Nest]:
    for part in parts(kernel.nests, target):
        if isinstance(part, Nest) and contraction_of(part) is not None:
            yield part


def _key(kernel: Kernel, target: Target) -> str:
    """A name for the kernel on the target: its nests as text, and all that is known of both."""
    lines = [f"tiles for {target}"]
    lines += [f"p{p.arg}: {p.dtype.name}{list(p.shape)}" for p in kernel.params]
    for part in kernel.nests:
        for nest in (part,) if isinstance(part, Nest) else part.nests:
            lines += [f"{c.arg[0]} in {c.arg[1]}" for c in (*part.ranges, *nest.ranges)]
            stores = (loops.Assign(s.target, s.index, s.value, s.accumulate) for s in nest.stores)
            lines.append(loops.show(tuple(stores)))
    return cache_key("\n".join(lines), target)
