"""Groups become loops over tiles of rows, around what each nest of the group becomes by itself.

A tile is a number of neighbouring rows. One is enough where rows are long. Contractions want
many, so that what they read is used that often; short rows want enough to fill vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod

from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Group, Nest, Store, load
from gradlet.ir.node import Node, Rewriting, node, rewrite, topological
from gradlet.lower import transforms
from gradlet.lower.loops import Assign, Body, Loop, Statement, assigns, loop, loops, map_assigns
from gradlet.lower.maps import PIECES, unit_loads
from gradlet.lower.tile import contraction_of

LowerNest = Callable[[Nest, Target], Body]

_TILE = 64  # rows in a tile of contractions
_SHORT_ROW = 1024  # elements that a tile of short rows should have


def lower_group(group: Group, target: Target, lower_nest: LowerNest) -> Body:
    """The phases of a group: first what all rows share, then the rows.

    Args:
        lower_nest: gives the phases of one nest.
    """
    if any(counter.arg[1] == 0 for counter in group.ranges):
        return ()
    phases: Body = ()
    *outer, last = group.ranges
    size = tile_rows(group, target)
    whole, rest = divmod(last.arg[1], size)
    tiles, row = index.loop(f"{last.arg[0]}o", whole), index.loop(f"{last.arg[0]}i", size)
    place = index.add(index.scale(tiles, size), row)
    phases += _lower_tiles(group, place, row, (*outer, tiles), target, lower_nest)
    if rest:
        row = index.loop(f"{last.arg[0]}t", rest)
        place = index.add(row, whole * size)
        phases += _lower_tiles(group, place, row, tuple(outer), target, lower_nest)
    return phases


def tile_rows(group: Group, target: Target) -> int:
    """How many rows are worked on together."""
    extent = group.ranges[-1].arg[1]
    if any(_is_product(nest, group.ranges[-1]) for nest in group.nests):
        most = min(_TILE, target.l2_bytes // 2 // max(1, _private_bytes(group)))
        if not _adds(group):  # else threads share what is around the tiles, not the tiles
            most = min(most, prod(c.arg[1] for c in group.ranges) // (4 * target.threads))
    else:
        most = _SHORT_ROW // max(1, *(_elements(nest) for nest in group.nests))
        if extent >= PIECES * 2 * target.lanes(4) and _lies_across(group, 2 * target.lanes(4)):
            most = max(most, 2 * target.lanes(4))
    if extent <= most:
        return extent
    lanes = target.lanes(4)
    most -= most % lanes if most > lanes else 0
    whole = [n for n in range(most, most // 2, -1) if extent % n == 0]
    in_vectors = [n for n in whole if n % lanes == 0]
    return (*in_vectors, *whole, max(1, most))[0]


def _adds(group: Group) -> bool:
    """Whether rows are added up, so that tiles cannot run at the same time."""
    return any(_sums_rows(s, group.ranges[-1]) for nest in group.nests for s in nest.stores)


def _is_product(nest: Nest, last: Node) -> bool:
    """True for what is a larger matrix product when it is done for many rows."""
    found = contraction_of(_in_tile(nest, last, last, last))
    if found is None or not (found.only(0) and found.only(1)):
        return False
    return last in found.only(0) or last in found.only(1)


def _lies_across(group: Group, size: int) -> bool:
    """True where neighbours in memory belong to neighbouring rows, `size` rows being a tile."""
    last = group.ranges[-1]
    row = index.loop("row", size)
    place = index.add(index.scale(index.loop("tile", last.arg[1] // size), size), row)
    nests = [_in_tile(nest, last, place, row) for nest in group.nests]
    along = {c for nest in nests for c in (*nest.ranges, *_folded(nest)) if c is not row}
    elements = [sum(unit_loads(nest, c) for nest in nests) for c in along]
    return sum(unit_loads(nest, row) for nest in nests) > max(elements, default=0)


def _folded(nest: Nest) -> list[Node]:
    values = topological([store.value for store in nest.stores])
    return [c for x in values if x.op is ops.FOLD_RANGES for c in x.src[1:]]


def _elements(nest: Nest) -> int:
    """How many elements a nest visits in one row."""
    return prod(c.arg[1] for c in (*nest.ranges, *_folded(nest)))


def _private_bytes(group: Group) -> int:
    """Bytes of the arrays that a row has for itself, single values aside."""
    arrays = {s.target for n in group.nests for s in n.stores if s.target.op is ops.PRIVATE}
    return sum(array.size * array.dtype.itemsize for array in arrays if array.shape)


# One tile


def _lower_tiles(
    group: Group,
    place: Node,
    row: Node,
    outer: tuple[Node, ...],
    target: Target,
    lower_nest: LowerNest,
) -> Body:
    """The phases for the rows that `place` gives for `row` and the counters in `outer`."""
    outer = tuple(c for c in outer if c.op is ops.RANGE)
    tiles = outer[-1] if outer and outer[-1] in index.variables(place) else None
    wanted = 8 * target.threads
    apart = _adds(group) or prod(c.arg[1] for c in outer[:-1]) >= wanted
    before: Body = ()
    around: Body = ()
    body: Body = ()
    written = {s.target for nest in group.nests for s in nest.stores}
    alone = replace(target, threads=1)  # a tile is one thread's
    for number, nest in enumerate(group.nests):
        inner = _renamed(lower_nest(_in_tile(nest, group.ranges[-1], place, row), alone), number)
        inner = _serial(inner)
        if tiles is not None:
            first, once, inner = hoist(inner, outer, written, apart)
            before += first
            around += once
        body += inner
    if row.op is not ops.RANGE:
        body = _fetch_next_row(body)
    for counter in reversed(outer):
        body = loop(counter, body)
        if counter is tiles:
            body = around + body
    last = tiles if apart else None
    return (*before, *_own(_fewer_loops(body, wanted, last)))


def _fetch_next_row(body: Body) -> Body:
    """The last loop along a row of each param fetches the row that lies behind it in memory.

    The others then find theirs in the cache.
    """
    made: list[Statement] = []
    seen: set[Node] = set()
    for s in reversed(body):
        params = {x for x in _needed((s,)) if x.op is ops.PARAM} - seen
        if isinstance(s, Loop) and s.kind == "serial":
            seen |= params
            s = s._replace(ahead=s.size if params else 0)
        made.append(s)
    return tuple(reversed(made))


def _in_tile(nest: Nest, last: Node, place: Node, row: Node) -> Nest:
    """The nest for each row of a tile; private arrays get a first axis for the row."""
    tiled = row.op is ops.RANGE

    def wider(array: Node) -> Node:
        return node(array.op, (), array.arg, array.dtype, (row.arg[1], *array.shape))

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if tiled and current.op is ops.LOAD and src[0].op is ops.PRIVATE:
            return load(wider(src[0]), (row, *src[2:]), src[1])
        return index.rebuild(current, src)

    def expression(x: Node) -> Node:
        return rewrite([index.replace(x, {last: place})], rule)[0]

    if not tiled:
        return Nest(nest.ranges, tuple(_map_store(s, expression) for s in nest.stores))
    if any(_sums_rows(s, last) for s in nest.stores):
        sums = [_plus_tile(_map_store(s, expression), row) for s in nest.stores]
        return Nest(nest.ranges, tuple(sums))
    stores = []
    for s in nest.stores:
        made = _map_store(s, expression)
        if s.target.op is ops.PRIVATE:
            made = replace(made, target=wider(s.target), index=(row, *made.index))
        stores.append(made)
    return Nest((row, *nest.ranges), tuple(stores))


def _map_store(s: Store, change: Callable[[Node], Node]) -> Store:
    return replace(s, index=tuple(change(i) for i in s.index), value=change(s.value))


def _sums_rows(s: Store, last: Node) -> bool:
    """Whether different rows are added up in one place."""
    within = any(last in index.variables(i) for i in s.index)
    return s.accumulate is not None and s.target.op is ops.PARAM and not within


def _plus_tile(s: Store, row: Node) -> Store:
    """y[j] += f(row, j)   ->   y[j] = y[j] + sum(f(row, j) for row)"""
    assert s.accumulate is not None
    total = node(ops.FOLD_RANGES, (s.value, row), s.accumulate, s.value.dtype, ())
    value = build.binary(s.accumulate, load(s.target, s.index), total)
    return Store(s.target, s.index, value)


def _serial(body: Body) -> Body:
    """Parallel loops run one iteration after the other: threads have rows of their own."""
    made: list[Statement] = []
    for s in body:
        if isinstance(s, Loop):
            kind = "serial" if s.kind == "parallel" else s.kind
            made.append(Loop(s.counter, _serial(s.body), kind, s.ahead))
        else:
            made.append(s)
    return tuple(made)


def _renamed(body: Body, number: int) -> Body:
    """The nest's number in the names of scratch arrays that it fills, so that each has its own."""
    filled = {a.target for a in assigns(body)}

    def change(array: Node) -> Node | None:
        if array.op is not ops.SCRATCH or array not in filled:
            return None
        return node(array.op, (), f"{array.arg}{number}", array.dtype, array.shape)

    return map_arrays(body, change)


def map_arrays(body: Body, change: Callable[[Node], Node | None], *at: Node) -> Body:
    """The tree with arrays replaced where `change` gives another, whose indices begin with `at`."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        if current.op is ops.LOAD and (array := change(current.src[0])) is not None:
            return load(array, (*at, *src[2:]), src[1])
        return index.rebuild(current, src)

    rewritten = Rewriting(rule)

    def changed(a: Assign) -> Body:
        value, array = rewritten(a.value), change(a.target)
        if array is None:
            return (Assign(a.target, a.at, value, a.accumulate),)
        return (Assign(array, (*at, *a.at), value, a.accumulate),)

    return map_assigns(body, changed)


_OWN = (ops.PRIVATE, ops.SCRATCH, ops.LOCAL)  # arrays that a tile of rows fills


def hoist(
    body: Body, outer: Sequence[Node], written: set[Node], apart: bool
) -> tuple[Body, Body, Body]:
    """Scratch memory that holds the same for all rows is filled once, before them.

        for g0: for g1:                         for g0: for k: packed[g0, k] = f(A[g0, k])
          for k: packed[k] = f(A[g0, k])   ->   for g0: for g1:
          ...                                     ...

    Args:
        body: what stands in the loops over `outer`, of which the last counts tiles of rows.
        written: the params that rows write.
        apart: that last loop is one thread's, and what all of its tiles share as well.

    Returns:
        what comes before all loops, what comes before the last, and what remains.
    """
    before: Body = ()
    around: Body = ()
    left = body
    for array in dict.fromkeys(a.target for a in assigns(body) if a.target.op is ops.SCRATCH):
        moved = tuple(s for s in left if array in {a.target for a in assigns((s,))})
        filled = {a.target for a in assigns(moved)}
        needed = _needed(moved)
        others = {x for x in filled if x.op is not ops.LOCAL} - {array}
        if others or needed & written or any(x.op in _OWN for x in needed - filled):
            continue
        varying = [c for c in outer if c in needed]
        if varying and varying[-1] is outer[-1]:
            continue
        left = tuple(s for s in left if all(s is not m for m in moved))
        if apart and varying == [*outer[:-1]]:
            around += moved
            continue
        wider = partial(_with_axes, filled, tuple(c.arg[1] for c in varying))
        left = map_arrays(left, wider, *varying)
        for statement in map_arrays(moved, wider, *varying):
            fill: Body = (statement,)
            for counter in reversed(varying):
                fill = loop(counter, fill)
            before += transforms.parallel_if_possible(fill[0])
    return before, around, left


def _with_axes(arrays: set[Node], extents: tuple[int, ...], array: Node) -> Node | None:
    """The array with more axes before its own, if it is scratch memory among `arrays`."""
    if array not in arrays or array.op is not ops.SCRATCH:
        return None
    return node(array.op, (), array.arg, array.dtype, (*extents, *array.shape))


def _needed(body: Body) -> set[Node]:
    """The arrays that a tree reads, and the counters that it mentions and does not count."""
    own = {found.counter for found in loops(body)}
    found: set[Node] = set()
    for a in assigns(body):
        for x in topological([a.value, *a.at]):
            if x.op is ops.LOAD:
                found.add(x.src[0])
            elif x.op is ops.RANGE and x not in own:
                found.add(x)
    return found


def _fewer_loops(body: Body, wanted: int, apart: Node | None) -> Body:
    """The outermost loops fused until there are as many iterations as wanted, or up to `apart`."""
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].size < wanted:
        inside = body[0].body
        if len(inside) != 1 or not isinstance(inside[0], Loop) or inside[0].counter is apart:
            break
        body = transforms.fuse(body, body[0].counter, inside[0].counter)[0]
    return body


def _own(body: Body) -> Body:
    """Scratch memory that rows fill becomes each thread's own, and single values local."""
    filled = {a.target for a in assigns(body)}

    def change(array: Node) -> Node | None:
        if array.op is ops.PRIVATE and array.shape == ():
            return node(ops.LOCAL, (), array.arg, array.dtype, ())
        if array.op is ops.SCRATCH and array in filled:
            return node(ops.PRIVATE, (), array.arg, array.dtype, array.shape)
        return None

    return map_arrays(body, change)
