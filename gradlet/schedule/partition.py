"""Where kernels begin and end: which nodes of a graph get memory of their own.

Everything between two stored nodes is computed inside the kernel of the later one and never
reaches memory. The choice, in order:

1. sinks are stored, and scatters and scans, and what a library computes and reads;
2. the operands of a contraction are stored, because it reads each element many times;
3. a reduction takes the elementwise chain behind it along as an epilogue, as long as the chain
   has one consumer a node; the end of the chain is stored;
4. an elementwise node that several kernels want is stored when computing it again would cost
   more than writing and reading it, and so is one that a broadcast or window would repeat;
5. what reads more arrays than a kernel may touch is taken apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.schedule.limit import NO_LIMIT, Limit

# Rough cost of an op, in units of one vector addition.
COST = {
    ops.EXP: 8, ops.EXP2: 8, ops.LOG: 12, ops.LOG2: 12, ops.SIN: 11, ops.COS: 11, ops.TANH: 9,
    ops.ERF: 16, ops.POW: 50, ops.DIV: 3, ops.SQRT: 4, ops.FLOORDIV: 8, ops.MOD: 8,
}  # fmt: skip
_COST_OF_MEMORY = 7.0  # one element written or read, in the same unit
_LARGEST_EXPRESSION = 400  # ops in one kernel, lest compile time run away
_DEEPEST_EXPRESSION = 200  # nodes on top of each other in one kernel, which recursion walks
_LONGEST_DETOUR = 32  # nodes between a value and where all that is made of it meets
_BIJECTIVE = (ops.RESHAPE, ops.PERMUTE, ops.FLIP)
_SOURCES = (ops.PARAM, ops.CONST, ops.IOTA)


@dataclass
class Partition:
    """The outcome.

    Attributes:
        order: all nodes, each after its sources.
        stored: the nodes that get memory, in the order of `order`.
        epilogue: for a stored node that ends a reduction the path from it down to that
            reduction, whose axes are the kernel's loops.
        limit: how many arrays a kernel may touch.
    """

    order: list[Node]
    limit: Limit = NO_LIMIT
    stored: dict[Node, None] = field(default_factory=dict)
    epilogue: dict[Node, list[Node]] = field(default_factory=dict)


def partition(sinks: Sequence[Node], limit: Limit = NO_LIMIT) -> Partition:
    """Decides which nodes under `sinks` are stored."""
    order = topological(sinks)
    consumers: dict[Node, list[Node]] = {current: [] for current in order}
    for current in order:
        for source in set(current.src):
            consumers[source].append(current)
    result = Partition(order, limit)
    stored = set(sinks)
    for current in order:
        if current.op in (ops.SCATTER, ops.SCAN):
            stored.add(current)
        elif is_contraction(current):
            stored.update(_beneath_movement(operand) for operand in current.src[0].src)
        elif current.op is ops.HOST:
            stored.update((current, *current.src))
    _close_reductions(result, stored, consumers)
    _store_what_is_dear(result, stored, consumers)
    while limit.arrays and _store_what_is_too_much(result, stored):
        pass
    result.stored = {n: None for n in order if n in stored and n.op not in _SOURCES}
    return result


def is_contraction(current: Node) -> bool:
    """True for a sum of products in which both factors are broadcast: each is used repeatedly."""
    if current.op is not ops.REDUCE or current.arg[0] is not ops.ADD:
        return False
    product = current.src[0]
    return product.op is ops.MUL and all(_is_repeated(operand) for operand in product.src)


def _is_repeated(operand: Node) -> bool:
    while operand.op in ops.MOVEMENT:
        if operand.op in (ops.EXPAND, ops.WINDOW):
            return True
        operand = operand.src[0]
    return False


def _beneath_movement(operand: Node) -> Node:
    while operand.op in ops.MOVEMENT:
        operand = operand.src[0]
    return operand


def _close_reductions(
    result: Partition, stored: set[Node], consumers: dict[Node, list[Node]]
) -> None:
    """Finds for each reduction the end of its epilogue and stores that."""
    claimed: set[Node] = set()
    position = {n: i for i, n in enumerate(result.order)}

    def follow(start: Node) -> list[Node]:
        """The nodes behind `start` up to the one through which all its uses go.

        Such as [LE, WHERE] in where(x <= 0, 0, x); none if there is no such node in reach.
        """
        waiting = set(consumers[start])
        passed: list[Node] = []
        while waiting and len(passed) < _LONGEST_DETOUR:
            current = min(waiting, key=position.__getitem__)
            waiting.remove(current)
            passed.append(current)
            moves = current.op in _BIJECTIVE and len(passed) == 1 and not waiting
            if current in claimed or not (current.op.elementwise or moves):
                return []
            if not waiting:
                return passed
            if current in stored:
                return []
            waiting.update(consumers[current])
        return []

    for current in result.order:
        if current.op not in (ops.REDUCE, ops.FOLD):
            continue
        if _merges_into_next(current, stored, consumers):
            continue
        path = [current]
        while path[0] not in stored:
            between = follow(path[0])
            if between:
                claimed.update(between)
                path.insert(0, between[-1])
            elif [c.op for c in consumers[path[0]]] == [ops.SLICE]:
                path = consumers[path[0]][:]  # no more than the slice needs to be computed
            else:
                break
        while path[0] not in stored and path[0].op in _BIJECTIVE:
            path.pop(0)  # movement at the end costs nothing in the kernel that reads it
        stored.add(path[0])
        result.epilogue[path[0]] = path


def _merges_into_next(current: Node, stored: set[Node], consumers: dict[Node, list[Node]]) -> bool:
    """True if `current` is a sum that a later sum takes in: sums of sums are one sum."""
    if current.op is ops.REDUCE and current.arg[0] is not ops.ADD:
        return False
    last = current
    while last not in stored and len(consumers[last]) == 1:
        last = consumers[last][0]
        if last.op is ops.FOLD or (last.op is ops.REDUCE and last.arg[0] is ops.ADD):
            return True
        if last.op not in _BIJECTIVE:
            return False
    return False


def _store_what_is_dear(
    result: Partition, stored: set[Node], consumers: dict[Node, list[Node]]
) -> None:
    """Stores elementwise nodes that would otherwise be computed too often."""
    kernels = _kernels_of(result.order, stored, consumers)
    meeting = _meeting_points(result.order, stored, consumers)
    work: dict[Node, frozenset[Node]] = {}  # the ops that computing a node in place takes
    leaves: dict[Node, frozenset[Node]] = {}
    depth: dict[Node, int] = {}
    for current in result.order:
        depth[current] = 1 + max((depth[s] for s in current.src), default=0)
        if current in stored or current.op in _SOURCES:
            depth[current] = 0
            work[current] = frozenset()
            leaves[current] = frozenset([current] if current.op not in _SOURCES[1:] else [])
            continue
        work[current] = frozenset().union(*(work[s] for s in current.src))
        leaves[current] = frozenset().union(*(leaves[s] for s in current.src))
        if not current.op.elementwise:
            continue
        work[current] |= {current}
        cost = sum(COST.get(n.op, 1) for n in work[current])
        full_size = sum(1 for leaf in leaves[current] if leaf.size * 2 > current.size)
        uses = len(kernels[current])
        again = uses * (full_size * _COST_OF_MEMORY + cost)
        once = (full_size + 1 + uses) * _COST_OF_MEMORY + cost
        repeated = cost > 2 and any(
            _repeats(current, consumer, consumers) for consumer in consumers[current]
        )
        waits = _had_better_wait(current, meeting[current], stored, kernels)
        too_large = cost > _LARGEST_EXPRESSION or depth[current] > _DEEPEST_EXPRESSION
        if repeated or (uses > 1 and again > once and not waits) or too_large:
            stored.add(current)
            depth[current] = 0
            work[current] = frozenset()
            leaves[current] = frozenset([current])


def _store_what_is_too_much(result: Partition, stored: set[Node]) -> bool:
    """Stores parts of what reads more arrays than a kernel may; False if there is none."""
    before = len(stored)
    reads: dict[Node, frozenset[Node]] = {}  # what a kernel reads to have a node
    for current in result.order:
        sources = list(dict.fromkeys(current.src)) if current.op is not ops.HOST else []
        while True:
            needed = frozenset().union(*(reads[s] for s in sources))
            apart = [s for s in sources if len(reads[s]) > 1]
            if result.limit.allows((current, *needed)) or not apart:
                break
            widest = max(apart, key=lambda s: len(reads[s]))
            beneath = _beneath_movement(widest)
            stored.add(beneath)
            reads[beneath] = reads[widest] = frozenset([beneath])
            _end_epilogue_at(beneath, result)
        is_leaf = current in stored or current.op is ops.PARAM
        reads[current] = frozenset([current]) if is_leaf else needed
    return len(stored) > before


def _end_epilogue_at(last: Node, result: Partition) -> None:
    """A reduction whose epilogue is cut in two ends where the first part does."""
    for end, path in list(result.epilogue.items()):
        if last in path[1:]:
            del result.epilogue[end]
            result.epilogue[last] = path[path.index(last) :]


def _kernels_of(
    order: list[Node], stored: set[Node], consumers: dict[Node, list[Node]]
) -> dict[Node, set[Node]]:
    """For each node the stored nodes in whose kernels it would be computed."""
    kernels: dict[Node, set[Node]] = {}
    for current in reversed(order):
        used: set[Node] = {current} if current in stored else set()
        for consumer in consumers[current]:
            used |= {consumer} if consumer in stored else kernels[consumer]
        kernels[current] = used
    return kernels


def _had_better_wait(
    current: Node, later: Node | None, stored: set[Node], kernels: dict[Node, set[Node]]
) -> bool:
    """True if the same kernels could as well share `later`, which all uses of `current` go into.

    A random word goes through twenty rounds of two numbers, and only the last one is worth memory.
    """
    if later is None or later in stored or not later.op.elementwise:
        return False
    return later.size <= current.size and kernels[later] == kernels[current]


def _meeting_points(
    order: list[Node], stored: set[Node], consumers: dict[Node, list[Node]]
) -> dict[Node, Node | None]:
    """For each node the next one through which all that is made of it goes, if there is one.

    These are the immediate postdominators. A stored node has none: its uses are loads.
    """
    meeting: dict[Node, Node | None] = {}
    depth: dict[Node | None, int] = {None: 0}
    for current in reversed(order):
        ways = [] if current in stored else consumers[current]
        together: Node | None = ways[0] if ways else None
        for way in ways[1:]:
            other: Node | None = way
            while together is not other:
                if depth[together] < depth[other]:
                    together, other = other, together
                together = meeting[together] if together is not None else None
        meeting[current] = together
        depth[current] = depth[together] + 1
    return meeting


def _repeats(current: Node, consumer: Node, consumers: dict[Node, list[Node]]) -> bool:
    """True if `consumer`, or movement behind it, reads elements of `current` many times."""
    if consumer.op is ops.EXPAND:
        return consumer.size >= 4 * consumer.src[0].size
    if consumer.op in (ops.WINDOW, ops.GATHER, ops.FOLD):
        return True
    if consumer.op in ops.MOVEMENT:
        return any(_repeats(current, c, consumers) for c in consumers[consumer])
    return False
