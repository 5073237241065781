"""Which loop transforms suit a nest on a target.

There are four shapes of work: *maps* compute each element from few others, *reductions* fold
many elements into one, *scans* keep each of a reduction's steps, and *contractions* are sums of
products in which every operand is used again and again. Each has its recipe in a file of its own,
and so has a processor whose threads come in workgroups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gradlet.base.target import Target
from gradlet.ir import ops
from gradlet.ir.kernel import Group, Kernel, Nest
from gradlet.ir.node import topological
from gradlet.ir.ops import Op
from gradlet.lower.candidates import best_tiles
from gradlet.lower.collapse import collapse
from gradlet.lower.contraction import contraction_phases, padded
from gradlet.lower.group import lower_group
from gradlet.lower.invocations import invocation_phases
from gradlet.lower.loops import Body, Loop
from gradlet.lower.maps import map_phases, spread_over_threads, work
from gradlet.lower.partial_sums import split_sum
from gradlet.lower.pieces import by_piece
from gradlet.lower.reductions import reduction_phases
from gradlet.lower.residues import by_residue
from gradlet.lower.scans import scan_phases
from gradlet.lower.tile import Tile, contraction_of

Tiles = Mapping[Nest, Tile]
DEFAULT: Tiles = MappingProxyType({})


@dataclass(frozen=True)
class Choice:
    """What was chosen for one nest.

    Attributes:
        recipe: `contraction`, `scan`, `reduction`, `map` or, of a group, `rows`.
        tile: of a contraction.
        phases: the loops that follow.
    """

    recipe: str
    tile: Tile | None
    phases: Body


def lower(kernel: Kernel, target: Target, tiles: Tiles = DEFAULT) -> Body:
    """The kernel as loops: each top-level statement is one phase, which the next waits for.

    Args:
        tiles: for nests of `parts` one of their `candidates`, other than the first.
    """
    return tuple(phase for choice in choices(kernel, target, tiles) for phase in choice.phases)


def choices(kernel: Kernel, target: Target, tiles: Tiles = DEFAULT) -> list[Choice]:
    """What is chosen for each of the kernel's `parts`."""
    return [_choice(part, target, tiles) for part in parts(kernel.nests, target)]


def parts(nests: Sequence[Nest | Group], target: Target) -> Iterator[Nest | Group]:
    """What to lower, one by one: without empty nests, and with those that are better several."""
    for nest in nests:
        if any(counter.arg[1] == 0 for counter in nest.ranges):
            continue
        found: Sequence[Nest] = ()
        if isinstance(nest, Nest):
            found = by_residue(nest)
            if len(found) == 1:
                (nest,) = found
                summed = None if target.workgroup else split_sum(nest, target)
                found = summed or by_piece(nest)
            if len(found) == 1:
                found = ()
        if found:
            yield from parts(found, target)
        else:
            yield nest


def candidates(nest: Nest, target: Target, count: int) -> list[Tile]:
    """The best `count` tiles for each factor of a contraction as rows, the default first."""
    contraction = contraction_of(nest)
    if contraction is None:
        return []
    return best_tiles(padded(contraction)[1], target, count)


def _lower_nest(nest: Nest, target: Target) -> Body:
    return tuple(
        phase for part in parts((nest,), target) for phase in _choice(part, target, DEFAULT).phases
    )


def _choice(nest: Nest | Group, target: Target, tiles: Tiles) -> Choice:
    if isinstance(nest, Group):
        phases = spread_over_threads(lower_group(nest, target, _lower_nest))
        return Choice("rows", None, phases)
    if target.workgroup:
        return Choice("invocations", None, invocation_phases(nest, target))
    contraction = contraction_of(nest)
    if contraction is not None:
        found = contraction_phases(
            contraction, target, lambda inner: _lower_nest(inner, target), tiles.get(nest)
        )
        if found is not None:
            return Choice("contraction", *found)
    nest = collapse(nest)
    if _contains(nest, ops.SCAN_RANGE):
        return Choice("scan", None, scan_phases(nest, target))
    if _contains(nest, ops.FOLD_RANGES):
        return Choice("reduction", None, reduction_phases(nest, target))
    return Choice("map", None, map_phases(nest, target))


def _contains(nest: Nest, op: Op) -> bool:
    return any(x.op is op for store in nest.stores for x in topological([store.value]))


def show_choice(choice: Choice, target: Target) -> str:
    """A choice in one line, such as `map: lanes along i0i (2 vectors), parallel over i0o`."""
    if choice.tile is not None:
        return f"{choice.recipe}: {choice.tile}"
    busiest = max(choice.phases, key=lambda phase: work((phase,)))
    vectors = {loop.counter: times for loop, times in _vector_loops((busiest,), 1)}
    facts = []
    if vectors:
        name, size = max(vectors, key=vectors.__getitem__).arg
        lanes = target.lanes(4)
        width = f"{-(-size // lanes)} vectors" if size > lanes else f"{size} of {lanes} lanes"
        facts.append(f"lanes along {name} ({width})")
    else:
        facts.append("no vectors")
    if isinstance(busiest, Loop) and busiest.kind == "parallel":
        facts.append(f"parallel over {busiest.counter.arg[0]}")
    else:
        facts.append("one thread")
    if len(choice.phases) > 1:
        facts.append(f"the busiest of {len(choice.phases)} phases")
    return f"{choice.recipe}: {', '.join(facts)}"


def _vector_loops(body: Body, times: int) -> Iterator[tuple[Loop, int]]:
    """The vector loops in a tree, each with how many lanes it fills in all."""
    for statement in body:
        if isinstance(statement, Loop):
            inside = times * statement.size
            if statement.kind == "vector":
                yield statement, inside
            yield from _vector_loops(statement.body, inside)
