"""What is large and made from little is made again where it is wanted, rather than stored.

Attention's probabilities are wanted by the forward pass and again by the backward pass, which
cannot run together. They are many times larger than the queries and keys and the two numbers a
row that they are made from, so the backward pass makes its own:

    rows of F: s = q k; m, l = max, sum; p = exp(s - m) / l; o = p v
    rows of B: dv += p do; ...
 ->
    rows of F: as before, where p is no longer wanted outside and needs no memory
    rows of B: s' = q k; p' = exp(s' - m) / l; dv += p' do; ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradlet.schedule.plan import Schedule, Step
from gradlet.schedule.rows import Cluster, describe, union

_SMALLER = 4  # times that what an array is made from must be smaller than it


def recompute(
    plan: Schedule, found: Sequence[Cluster], cache_bytes: int
) -> tuple[Schedule, list[Cluster]]:
    """The program with clusters that make again what they would read from others.

    Args:
        cache_bytes: how much of a core's cache a row of what is made again may fill.

    Returns:
        the program with the added steps at its end, and the clusters, which say where they run.
    """
    making = _Recomputing(plan, cache_bytes)
    made = [making.closed(cluster) for cluster in found]
    new = replace(plan, steps=tuple(making.steps), buffers=tuple(making.buffers))
    return new, made


class _Recomputing:
    """Adds steps and their buffers as it goes from cluster to cluster."""

    def __init__(self, plan: Schedule, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self.steps = list(plan.steps)
        self.buffers = list(plan.buffers)
        self.sinks = set(plan.sinks)
        self.writer: dict[int, int] = {}  # buffer -> the step that can make it again
        for number, step in enumerate(plan.steps):
            if len(step.kernel.nests) == 1:
                self.writer.update((b, number) for b in step.written)
        self.extents: dict[int, tuple[int, ...]] = {}  # of the rows of steps

    def bytes(self, b: int) -> int:
        return self.buffers[b].size * self.buffers[b].dtype.itemsize

    def closed(self, cluster: Cluster) -> Cluster:
        """The cluster with what it is better to make again than to read."""
        if len(cluster.steps) == 1:
            return cluster
        wanted = [
            b for b in sorted(cluster.reads - cluster.writes)
            if self.made_in_rows(b, cluster) and b not in self.sinks and all(cluster.axes[b])
        ]  # fmt: skip
        largest = max((self.bytes(b) for b in wanted), default=0)
        wanted = [b for b in wanted if self.bytes(b) * _SMALLER > largest]
        chain: dict[int, None] = {}
        leaves: dict[int, int] = {}
        for b in wanted:
            self.trace(b, b, cluster, chain, leaves)
        leaves |= {b: self.bytes(b) for b in leaves if b in cluster.reads}
        saved = 2 * sum(self.bytes(b) for b in wanted)  # neither written nor read
        if not chain or sum(leaves.values()) > saved:
            return cluster
        return self.with_steps(cluster, list(chain)) or cluster

    def made_in_rows(self, b: int, cluster: Cluster) -> bool:
        """Whether a step makes `b` alone, for the rows of a cluster."""
        if b not in self.writer:
            return False
        number = self.writer[b]
        if number not in self.extents:
            self.extents[number] = describe(number, self.steps[number]).extents
        return self.extents[number][: len(cluster.extents)] == cluster.extents

    def trace(
        self, b: int, goal: int, cluster: Cluster, chain: dict[int, None], leaves: dict[int, int]
    ) -> None:
        """Finds out what it takes to make `b`, and with it `goal`.

        Args:
            chain: gets the steps, in order.
            leaves: gets what these read, with what it costs: as many bytes, if it is read in
                place of `goal` as attention's mask is, and else more, since it may be read often.
        """
        if self.writer[b] in chain:
            return
        step = self.steps[self.writer[b]]
        for source in step.read:
            large = self.bytes(source) * _SMALLER > self.bytes(goal)
            if large and self.made_in_rows(source, cluster):
                self.trace(source, goal, cluster, chain, leaves)
            else:
                in_place = self.buffers[source].size == self.buffers[goal].size
                leaves[source] = self.bytes(source) * (1 if in_place else _SMALLER)
        chain[self.writer[b]] = None

    def with_steps(self, cluster: Cluster, copied: Sequence[int]) -> Cluster | None:
        """The cluster behind copies of some steps, or None if those work on other rows."""
        depth = len(cluster.extents)
        made = [b for n in copied for b in self.steps[n].written]
        names = {b: len(self.buffers) + i for i, b in enumerate(made)}
        copies = [_over(self.steps[n], names) for n in copied]
        moved = {n: _over(self.steps[n], names) for n in cluster.steps}
        joined = replace(
            cluster,
            axes={names.get(b, b): axes for b, axes in cluster.axes.items()},
            reads=frozenset(names.get(b, b) for b in cluster.reads),
            adds={n: _over(step, names) for n, step in cluster.adds.items()},
        )
        order = tuple(range(len(self.steps), len(self.steps) + len(copies)))
        for number, copy in zip(order, copies, strict=True):
            alone = describe(number, copy)
            if alone.extents[:depth] != cluster.extents:
                return None
            joined = union(joined, alone, depth)
        if not all(all(joined.axes[b]) for b in names.values()):
            return None
        if sum(self.bytes(b) for b in names) > self.cache_bytes * joined.rows:
            return None
        self.buffers += [self.buffers[b] for b in made]
        self.steps += copies
        for number, step in moved.items():
            self.steps[number] = step
        return replace(joined, steps=(*order, *cluster.steps))


def _over(step: Step, names: Mapping[int, int]) -> Step:
    """The step over other buffers."""
    return replace(step, buffers=tuple(names.get(b, b) for b in step.buffers))
