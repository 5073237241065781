"""Where a program's intermediate arrays live: one arena, in which they share space over time."""

from __future__ import annotations

from dataclasses import dataclass

from gradlet.schedule.plan import Schedule

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class MemoryPlan:
    """Attributes:
    offsets: byte offset in the arena of each buffer that lives there, by buffer number.
    arena: bytes that the arena needs.
    """

    offsets: dict[int, int]
    arena: int


def plan_memory(schedule: Schedule) -> MemoryPlan:
    """Places every buffer that is neither a param nor a sink so that lifetimes never overlap.

    Large buffers choose first; each takes the lowest place that is free while it lives.
    """
    lives = _lifetimes(schedule)
    sizes = {b: schedule.buffers[b].size * schedule.buffers[b].dtype.itemsize for b in lives}
    offsets: dict[int, int] = {}
    for b in sorted(lives, key=lambda b: (-sizes[b], b)):
        first, last = lives[b]
        taken = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other][0] <= last and first <= lives[other][1]
        )
        place = 0
        for start, stop in taken:
            if place + sizes[b] <= start:
                break
            place = max(place, -(-stop // ALIGNMENT) * ALIGNMENT)
        offsets[b] = place
    arena = max((offsets[b] + sizes[b] for b in offsets), default=0)
    return MemoryPlan(offsets, arena)


def _lifetimes(schedule: Schedule) -> dict[int, tuple[int, int]]:
    """For each intermediate buffer the steps that first and last touch it."""
    lives: dict[int, tuple[int, int]] = {}
    outside = set(range(schedule.params)) | set(schedule.sinks)
    for number, step in enumerate(schedule.steps):
        for b in step.buffers:
            if b not in outside:
                lives[b] = (lives.get(b, (number, number))[0], number)
    return lives
