"""Linear programs: lists of instructions, each on scalars or vectors.

Renderers translate an instruction at a time and decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from gradlet.base.dtypes import DType
from gradlet.base.remembered import remembered
from gradlet.ir import index
from gradlet.ir.node import Node

LOOP, END, READ, READ_NEAR, PREFETCH, WRITE, STREAM, CHECK, BARRIER = (
    "loop", "end", "read", "read_near", "prefetch", "write", "stream", "check", "barrier",
)  # fmt: skip
BROADCAST, LANE_NUMBERS, REDUCE_LANES, PREFIX_LANES, SHUFFLE_LANES = (
    "broadcast", "lane_numbers", "reduce_lanes", "prefix_lanes", "shuffle_lanes",
)  # fmt: skip
ANY_ORDER = "any_order"


STEPS = (-1, 2, 3, 4)  # from lane to lane; those further apart are gathered one by one


class Value(NamedTuple):
    """A result: `lanes` is 0 for a scalar."""

    number: int
    dtype: DType
    lanes: int = 0


class Instruction(NamedTuple):
    """`result = op(args)`. `op` is an elementwise Op or one of the names above.

    `arg` is the constant of CONST, the extent of a loop, the array of a read or write, the Op of
    a reduction or scan over lanes, the order of a shuffle, the size that a check compares with,
    `seldom` of a WHERE so marked, True of arithmetic on an index that is never negative, and
    `any_order` of what adds to an array, however it is rounded. Reads and writes take (address[,
    mask]) and (address, value[, mask]); an address without lanes is where a vector starts. The
    lanes of a near read, whose `arg` is (array, offsets), are at these offsets from the first.
    What is prefetched may lie outside the array. `stream` is a write of whole cache lines past the
    caches. At a `barrier` the invocations of a workgroup wait for each other.
    """

    op: Any
    result: Value | None
    args: tuple[Value, ...]
    arg: Any = None


@dataclass(frozen=True)
class Phase:
    """Instructions for iterations [begin, end) of a loop of `extent`, run as one function.

    Where `invocations` of a workgroup share an iteration, `invocation` is the number of each.
    """

    extent: int
    instructions: tuple[Instruction, ...]
    counter: Value
    locals: tuple[Node, ...]
    invocations: int = 1
    invocation: Value | None = None


@dataclass(frozen=True)
class LinearProgram:
    """A kernel ready to be rendered: its phases, and the arrays that they are given.

    `scratch` holds the PRIVATE arrays too.
    """

    phases: tuple[Phase, ...]
    params: tuple[Node, ...]
    scratch: tuple[Node, ...]


def private_bytes(array: Node) -> int:
    """Bytes from one thread's copy of a private array to the next: whole cache lines."""
    return -(-array.size * array.dtype.itemsize // 128) * 128


@remembered
def near_lanes(flat: Node, lane: Node) -> tuple[int, ...]:
    """How far the address of each lane is from the first's; () where whole vectors are too many.

    lanes of 2 * j -> (0, 2, 4, 6); lanes of j // 2 -> (0, 0, 1, 1); lanes of 100 * j -> ()
    """
    lanes, step = range(lane.arg[1]), index.coefficient(flat, lane)
    if step is not None:
        return tuple(step * j for j in lanes) if step in STEPS else ()
    moving = [(x, n) for x, n in index.affine(flat)[0].items() if lane in index.variables(x)]
    if any(len(index.variables(x)) > 1 for x, _ in moving):
        return ()
    try:
        places = [sum(index.evaluate(x, {lane: j}) * n for x, n in moving) for j in lanes]
    except KeyError:  # of what is read from memory
        return ()
    offsets = tuple(place - places[0] for place in places)
    return offsets if max(map(abs, offsets)) <= STEPS[-1] * len(lanes) else ()
