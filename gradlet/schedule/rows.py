"""The rows of a kernel: what it does for one combination of its leading loop counters.

Kernels can run row by row together if each reads of the others' arrays only its own row. What is
noted here of each says whether that is so; `cluster.py` decides what is joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from gradlet.base.remembered import remembered
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Nest
from gradlet.ir.node import Node, topological
from gradlet.schedule.plan import Step

_READS = (ops.LOAD, ops.CHECKED)

Axes = tuple[frozenset[int], ...]
_Counters = frozenset[int]


@dataclass(frozen=True)
class Product:
    """A contraction: its matrices, and which counters move one of its factors alone, or both.

    Of each matrix it has the bytes that are touched, such as the queries' of one projection to
    queries, keys and values. Not among the matrices is what is only added to the result, or
    multiplied with it: no part of that is read twice.
    """

    matrices: Mapping[int, int]
    first: frozenset[int]
    second: frozenset[int]
    both: frozenset[int]

    def remains(self, depth: int) -> bool:
        """Whether a tile of rows is still a product of two matrices."""
        return max(self.first) >= depth - 1 and max(self.second) >= depth - 1


@dataclass(frozen=True)
class Cluster:
    """Kernels that are to run together.

    Attributes:
        steps: their numbers in the schedule.
        extents: of the leading counters that all their nests have in common.
        axes: for each buffer they touch and for each of those counters, the axes of the buffer
            that every access indexes by just that counter.
        sweeps: for each counter whether some access runs along memory with it: its rows are
            columns.
        writes, reads: buffers.
        shared: the buffers that more than one of the kernels touches.
        reduces: some nest reduces or scatters.
        products: the contractions among them.
        adds: by number the steps that are taken as `row_by_row` gives them.
    """

    steps: tuple[int, ...]
    extents: tuple[int, ...]
    axes: dict[int, Axes]
    sweeps: tuple[bool, ...]
    writes: frozenset[int]
    reads: frozenset[int]
    shared: frozenset[int]
    reduces: bool
    products: tuple[Product, ...]
    adds: dict[int, Step] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return prod(self.extents)

    @property
    def independent(self) -> int:
        """How many parts of the work need nothing of each other."""
        return prod(self.extents[:-1] if self.adds else self.extents)


def describe(number: int, step: Step, sums: bool = False) -> Cluster:
    """One step by itself.

    Args:
        sums: different rows may be added up in one place.
    """
    nests = [nest for nest in step.kernel.nests if isinstance(nest, Nest)]
    assert len(nests) == len(step.kernel.nests), "a kernel is joined once"
    written = frozenset(step.written)
    if step.kernel.library is not None:  # it has no rows
        touched = frozenset(step.buffers)
        axes_of: dict[int, Axes] = dict.fromkeys(step.buffers, ())
        return Cluster(
            (number,), (), axes_of, (), written, touched - written, frozenset(), True, ()
        )
    accesses = [
        (nest, step.buffers[array.arg], array, at)
        for nest in nests
        for array, at in _accesses(nest)
    ]
    extents = common_prefix([_independent(nest) for nest in nests])
    axes: dict[int, Axes] = {}
    for nest, b, _, at in accesses:
        here = tuple(
            frozenset(axis for axis, i in enumerate(at) if i is nest.ranges[position])
            for position in range(len(extents))
        )
        axes[b] = tuple(x & y for x, y in zip(axes.get(b, here), here, strict=True))
    depth = 0
    while depth < len(extents) and (sums or all(axes[b][depth] for b in written)):
        depth += 1
    places = [(nest, index.ravel(at, array.shape)) for nest, _, array, at in accesses if depth]
    sweeps = [
        any(_sweeps(nest, place, position) for nest, place in places) for position in range(depth)
    ]
    touched = frozenset(axes)
    return Cluster(
        (number,),
        extents[:depth],
        {b: found[:depth] for b, found in axes.items()},
        tuple(sweeps),
        written,
        touched - written,
        frozenset(),
        len(nests) > 1 or any(_reductions(nest) for nest in nests),
        _products(step),
    )


def _touched(x: Node, step: Step) -> dict[int, int]:
    """The buffers that an expression reads, with how many bytes of each."""
    found: dict[int, int] = {}
    for load in topological([x]):
        if load.op is ops.LOAD:
            array = load.src[0]
            elements = prod(counter.arg[1] for counter in index.variables(load))
            b = step.buffers[array.arg]
            found[b] = found.get(b, 0) + min(elements, array.size) * array.dtype.itemsize
    return found


@remembered
def _independent(nest: Nest) -> tuple[int, ...]:
    """The extents of the leading counters whose iterations may be rows."""
    if any(len(x.src) > 2 for x, *_ in contractions(nest)):
        return ()  # convolutions have loops of their own
    values = topological([store.value for store in nest.stores])
    carried = {c for x in values if x.op not in _READS and not x.op.elementwise for c in x.src[1:]}
    extents: list[int] = []
    for counter in nest.ranges:
        if counter in carried:  # as by a scan, from each iteration to the next
            break
        extents.append(counter.arg[1])
    return tuple(extents)


def row_by_row(step: Step, position: int) -> Step | None:
    """A sum over rows as additions to a result that begins as zeros, or None if it is no such sum.

    Its counter comes to stand at `position` among the others:

        for b, j: y[b, j] = sum(f(b, r, j) for r)  ->  for b, j: y[b, j] = 0
                                                       for b, r, j: y[b, j] += f(b, r, j)
    """
    if len(step.kernel.nests) != 1:
        return None
    (nest,) = step.kernel.nests
    if not isinstance(nest, Nest) or len(nest.stores) > 1:
        return None
    (store,) = nest.stores
    total = store.value
    if total.op is not ops.FOLD_RANGES or total.arg is not ops.ADD or len(total.src) > 2:
        return None
    value, row = total.src
    zero = replace(store, value=build.const(0, value.dtype))
    counters = (*nest.ranges[:position], row, *nest.ranges[position:])
    adds = Nest(counters, (replace(store, value=value, accumulate=ops.ADD),))
    nests = (replace(nest, stores=(zero,)), adds)
    return replace(step, kernel=replace(step.kernel, nests=nests))


def made_in_place(step: Step) -> dict[int, int]:
    """Each buffer that a step makes of another one element by element, with the first of those."""
    if len(step.kernel.nests) != 1:
        return {}
    (nest,) = step.kernel.nests
    if not isinstance(nest, Nest) or _reductions(nest):
        return {}
    found: dict[int, int] = {}
    for store in nest.stores:
        for x in topological([store.value]):
            same = x.op is ops.LOAD and x.src[0].shape == store.target.shape
            if same and x.src[2:] == store.index:
                found.setdefault(step.buffers[store.target.arg], step.buffers[x.src[0].arg])
    return found


def _products(step: Step) -> tuple[Product, ...]:
    """The contractions of a step."""
    written = {
        b: param.size * param.dtype.itemsize
        for b, param in zip(step.buffers, step.kernel.params, strict=True)
        if param.arg < step.kernel.outputs
    }
    return tuple(
        Product(written | _touched(factors, step), *counters)
        for nest in step.kernel.nests
        if isinstance(nest, Nest)
        for factors, *counters in contractions(nest)
    )


def describe_row_by_row(number: int, step: Step, position: int) -> Cluster | None:
    """One step by itself, as `row_by_row` gives it, with rows up to the counter put in."""
    adding = row_by_row(step, position)
    if adding is None:
        return None
    alone = replace(adding.kernel, nests=adding.kernel.nests[1:])
    found = describe(number, replace(adding, kernel=alone), sums=True)
    depth = position + 1
    return replace(
        found,
        extents=found.extents[:depth],
        axes={b: axes[:depth] for b, axes in found.axes.items()},
        sweeps=found.sweeps[:depth],
        reduces=True,
        products=_products(step),
        adds={number: adding},
    )


def common_prefix(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The extents that all of several shapes begin with."""
    made: list[int] = []
    for extents in zip(*shapes, strict=False):
        if len(set(extents)) > 1:
            break
        made.append(extents[0])
    return tuple(made)


@remembered
def _accesses(nest: Nest) -> list[tuple[Node, tuple[Node, ...]]]:
    """Every array that a nest touches, with the indices."""
    found: list[tuple[Node, tuple[Node, ...]]] = []
    for store in nest.stores:
        found.append((store.target, store.index))
        nodes = topological([store.value, *store.index])
        found += [(x.src[0], x.src[2:]) for x in nodes if x.op is ops.LOAD]
    return found


@remembered
def _reductions(nest: Nest) -> list[Node]:
    values = [store.value for store in nest.stores]
    return [x for x in topological(values) if x.op is ops.FOLD_RANGES]


def contractions(nest: Nest) -> Iterator[tuple[Node, _Counters, _Counters, _Counters]]:
    """Sums of products of which each factor is used again and again.

    With each come the positions of the counters that move only its first factor, only its second,
    and both.
    """
    for x in _reductions(nest):
        product = x.src[0]
        if x.arg is ops.ADD and product.op is ops.MUL:
            a, b = (index.variables(factor) for factor in product.src)
            first = frozenset(n for n, c in enumerate(nest.ranges) if c in a and c not in b)
            second = frozenset(n for n, c in enumerate(nest.ranges) if c in b and c not in a)
            both = frozenset(n for n, c in enumerate(nest.ranges) if c in a and c in b)
            if first and second:
                yield x, first, second, both


def _sweeps(nest: Nest, place: Node, position: int) -> bool:
    """Whether an access that varies within a row moves to neighbours from row to row."""
    inside = index.variables(place).difference(nest.ranges[: position + 1])
    return bool(inside) and index.coefficient(place, nest.ranges[position]) == 1


def union(a: Cluster, b: Cluster, depth: int) -> Cluster:
    """Both clusters as one whose rows are those of the first `depth` counters."""
    axes = {t: found[:depth] for t, found in (*a.axes.items(), *b.axes.items())}
    for t in a.axes.keys() & b.axes.keys():
        pairs = zip(a.axes[t][:depth], b.axes[t][:depth], strict=True)
        axes[t] = tuple(mine & yours for mine, yours in pairs)
    sweeps = zip(a.sweeps[:depth], b.sweeps[:depth], strict=True)
    writes = a.writes | b.writes
    return Cluster(
        tuple(sorted(a.steps + b.steps)),
        a.extents[:depth],
        axes,
        tuple(mine or yours for mine, yours in sweeps),
        writes,
        a.reads | b.reads,
        a.shared | b.shared | (a.axes.keys() & b.axes.keys()),
        a.reduces or b.reduces,
        a.products + b.products,
        a.adds | b.adds,
    )
