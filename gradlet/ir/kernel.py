"""What passes from the scheduler to the loop compiler: kernels as pure index expressions."""

from __future__ import annotations

from dataclasses import dataclass

from gradlet.ir import index, ops
from gradlet.ir.node import Node, node
from gradlet.ir.ops import Op


@dataclass(frozen=True)
class Store:
    """`target[index] = value`, or with `accumulate` `target[index] op= value`.

    `value` is a scalar expression over RANGE counters; its FOLD_RANGES nodes are reductions
    that still have to become loops.
    """

    target: Node
    index: tuple[Node, ...]
    value: Node
    accumulate: Op | None = None


@dataclass(frozen=True)
class Nest:
    """Stores made for every combination of the counters in `ranges`, outermost first."""

    ranges: tuple[Node, ...]
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Group:
    """Nests that run one after the other for every combination of the counters in `ranges`.

    One combination needs nothing from another. What its nests hand on to each other and nobody
    else reads stands in PRIVATE arrays, which hold one combination's part alone:

        for i in 32:
          t0[] = maximum(x[i, r] for r in 50)
          for j in 50: t1[j] = exp(x[i, j] - t0[])
          t2[] = add(t1[r] for r in 50)
          for j in 50: out[i, j] = t1[j] / t2[]
    """

    ranges: tuple[Node, ...]
    nests: tuple[Nest, ...]


@dataclass(frozen=True)
class Kernel:
    """Loop nests that run one after the other over the same buffers.

    Two kernels that do the same to differently placed buffers are equal, and compile once.

    Attributes:
        nests: the work; a group stands for the nests in it.
        params: the PARAM nodes it reads and writes, by position.
        outputs: how many of `params`, from the first on, it writes.
        library: the HOST node over `params` that it is, in place of nests, if it is one.
    """

    nests: tuple[Nest | Group, ...]
    params: tuple[Node, ...]
    outputs: int
    library: Node | None = None

    @property
    def innermost(self) -> tuple[Nest, ...]:
        """All nests, those of groups one by one."""
        parts = (part.nests if isinstance(part, Group) else (part,) for part in self.nests)
        return tuple(nest for nests in parts for nest in nests)


def load(array: Node, at: tuple[Node, ...], valid: Node = index.TRUE) -> Node:
    """The element of an array at `at`, or 0 where not `valid`."""
    return node(ops.LOAD, (array, valid, *at), None, array.dtype, ())
