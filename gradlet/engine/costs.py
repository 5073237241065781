"""What any program must do that computes a kernel: arithmetic, and traffic with memory."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from gradlet.ir import ops
from gradlet.ir.kernel import Kernel, Nest
from gradlet.ir.node import Node, topological
from gradlet.lower.residues import by_residue

Counters = frozenset[Node]

_ARITHMETIC = (
    ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.NEG, ops.ABS, ops.MOD, ops.POW, ops.SQRT, ops.FLOOR,
    ops.EXP, ops.EXP2, ops.LOG, ops.LOG2, ops.SIN, ops.COS, ops.TANH, ops.ERF,
    ops.MAXIMUM, ops.MINIMUM,
)  # fmt: skip


def float_operations(kernel: Kernel) -> int:
    """Float operations, each of them one, `exp` too; moves and comparisons are not counted.

    An expression counts once for each combination of the counters that it varies with, wherever
    it stands: in `sum over k of a[i] * 2.0 * b[i, k]` there are two operations for each (i, k),
    and one for each i.
    """
    total = 0
    for nest, rows in _nests(kernel):
        for x, counters in _varying(nest, rows).items():
            if not x.dtype.is_float:
                continue
            if x.op in (ops.FOLD_RANGES, ops.SCAN_RANGE):
                total += _times(counters.union(x.src[1:]))
            elif x.op in _ARITHMETIC:
                total += _times(counters)
        adding = [s for s in nest.stores if s.accumulate is not None and s.value.dtype.is_float]
        total += len(adding) * _times(frozenset(nest.ranges))
    return total


def compulsory_bytes(kernel: Kernel) -> tuple[int, int]:
    """(read, written) bytes: each array once, or of a large one as many elements as are used."""
    read: dict[Node, int] = {}
    written: dict[Node, int] = {}
    for nest, rows in _nests(kernel):
        for x, counters in _varying(nest, rows).items():
            if x.op is ops.LOAD:
                read[x.src[0]] = read.get(x.src[0], 0) + _times(counters)
        for store in nest.stores:
            times = _times(frozenset(nest.ranges))
            written[store.target] = written.get(store.target, 0) + times
    for target in written:
        read.pop(target, None)
    for array in [a for a in (*read, *written) if a.op is ops.PRIVATE]:
        (read if array in read else written).pop(array)
    return sum(_capped(read)), sum(_capped(written))


def _nests(kernel: Kernel) -> Iterator[tuple[Nest, Counters]]:
    """The kernel's nests, none of which divides a counter; in a group with those of its rows."""
    for part in kernel.nests:
        rows = () if isinstance(part, Nest) else part.ranges
        for nest in (part,) if isinstance(part, Nest) else part.nests:
            whole = Nest((*rows, *nest.ranges), nest.stores)
            if all(counter.arg[1] for counter in whole.ranges):
                for found in by_residue(whole):
                    yield found, frozenset(found.ranges[: len(rows)])


def _capped(elements: dict[Node, int]) -> Iterator[int]:
    return (min(n, array.size) * array.dtype.itemsize for array, n in elements.items())


def _varying(nest: Nest, rows: Counters) -> dict[Node, Counters]:
    """Each expression of a nest's values with the counters that it varies with.

    Args:
        rows: the counters that a private array varies with, without an index of theirs.
    """
    found: dict[Node, Counters] = {}
    places = [i for store in nest.stores for i in store.index]
    for x in topological([*(store.value for store in nest.stores), *places]):
        if x.op is ops.RANGE:
            found[x] = frozenset((x,))
            continue
        found[x] = frozenset().union(*(found[s] for s in x.src))
        if x.op is ops.LOAD and x.src[0].op is ops.PRIVATE:
            found[x] |= rows
        if x.op is ops.FOLD_RANGES:
            found[x] -= frozenset(x.src[1:])
    return found


def _times(counters: Counters) -> int:
    return prod(counter.arg[1] for counter in counters)
