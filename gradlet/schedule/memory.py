"""Where a program's intermediate arrays live: one arena, in which they share space over time."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.schedule.plan import Schedule

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def lifetimes(schedule: Schedule) -> dict[int, tuple[int, int]]:
    """For each buffer that is neither param nor sink the steps that first and last touch it."""
    lives: dict[int, tuple[int, int]] = {}
    outside = set(range(schedule.params)) | set(schedule.sinks)
    for number, step in enumerate(schedule.steps):
        for b in step.buffers:
            if b not in outside:
                lives[b] = (lives.get(b, (number, number))[0], number)
    return lives


def place(requests: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Places arrays in one arena so that no two that live at once overlap.

    Large ones choose first; each takes the lowest place that is free while it lives.

    Args:
        requests: (first step, last step, bytes) of each array.

    Returns:
        the byte offset of each array and the bytes of the arena.
    """
    offsets: dict[int, int] = {}
    for n in sorted(range(len(requests)), key=lambda n: (-requests[n][2], n)):
        first, last, size = requests[n]
        taken = sorted(
            (offsets[other], offsets[other] + requests[other][2])
            for other in offsets
            if requests[other][0] <= last and first <= requests[other][1]
        )
        at = 0
        for start, stop in taken:
            if at + size <= start:
                break
            at = max(at, -(-stop // ALIGNMENT) * ALIGNMENT)
        offsets[n] = at
    arena = max((offsets[n] + requests[n][2] for n in offsets), default=0)
    return [offsets[n] for n in range(len(requests))], arena


def share(requests: Sequence[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
    """Gives arrays blocks of their own, which others get when they are done with.

    Args:
        requests: (first step, last step, bytes) of each array.

    Returns:
        the block of each array, and the bytes of each block.
    """
    sizes: list[int] = []
    until: list[int] = []  # the last step that uses each block
    chosen = [0] * len(requests)
    for n in sorted(range(len(requests)), key=lambda n: requests[n][0]):
        first, last, size = requests[n]
        free = [b for b, end in enumerate(until) if end < first]
        if free:
            block = min(free, key=lambda b: (abs(sizes[b] - size), b))
            sizes[block] = max(sizes[block], size)
            until[block] = last
        else:
            block = len(sizes)
            sizes.append(size)
            until.append(last)
        chosen[n] = block
    return chosen, sizes
