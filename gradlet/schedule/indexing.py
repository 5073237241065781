"""Movement ops become index expressions: the element of a node at given indices, as a formula.

`Indexer.element(x, indices, valid)` answers: which scalar expression over loop counters is
`x[indices]`? Movement ops change the indices and vanish; padding narrows `valid`; elementwise
ops stay; reductions become FOLD_RANGES over fresh counters; stored nodes become loads. A load
gives 0 where its `valid` does not hold, so most padding needs no select of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import load
from gradlet.ir.node import Node, node, topological

Indices = tuple[Node, ...]

# Ops that give 0 if all their sources are 0.
_KEEPS_ZERO = (
    ops.ADD, ops.SUB, ops.MUL, ops.NEG, ops.ABS, ops.SIN, ops.TANH, ops.ERF, ops.SQRT, ops.FLOOR,
    ops.CAST, ops.MAXIMUM, ops.MINIMUM, ops.AND, ops.OR, ops.XOR,
)  # fmt: skip


class Indexer:
    """Writes the elements of nodes as scalar expressions for one kernel.

    Args:
        load: gives the PARAM node of a stored node, or None for one to be computed in place.
        contraction: says whether a reduction's product should keep its operands' masks apart.
    """

    def __init__(
        self, load: Callable[[Node], Node | None], contraction: Callable[[Node], bool]
    ) -> None:
        self._load = load
        self._contraction = contraction
        self._memo: dict[tuple, Node] = {}
        self._names = count()
        self._folds = 0  # how many FOLDs the element that is being written is a term of

    def fresh(self, size: int, prefix: str = "r") -> Node:
        """A new loop counter; an extent of 1 needs none and gives the constant 0."""
        return index.loop(f"{prefix}{next(self._names)}", size) if size != 1 else index.const(0)

    def element(self, x: Node, at: Indices, valid: Node = index.TRUE) -> Node:
        """The scalar expression of `x[at]`; where not `valid` its value does not matter.

        A node that is loaded gives 0 where not valid.
        """
        key = (x, at, valid)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._element(x, at, valid)
        return found

    def _element(self, x: Node, at: Indices, valid: Node) -> Node:
        if 0 in x.shape:  # there is no valid index
            return build.const(0, x.dtype)
        param = self._load(x)
        if param is not None:
            return load(param, at, valid)
        op = x.op
        if op is ops.CONST:
            return build.const(x.value, x.dtype)
        if op is ops.IOTA:
            return build.cast(at[0], x.dtype)
        if op is ops.PAD:
            return self._padded(x, at, valid)
        if op in PULL_BACK:
            return self.element(x.src[0], PULL_BACK[op](x, at), valid)
        if op is ops.REDUCE:
            return self._reduced(x, at, valid)
        if op is ops.FOLD:
            return self._folded(x, at, valid)
        if op is ops.GATHER:
            chosen = tuple(self.checked(x, i, at, valid) for i in range(1, len(x.src)))
            rest = at[x.src[1].ndim :]
            return _with_checks(self.element(x.src[0], (*chosen, *rest), valid), chosen)
        assert op.elementwise, f"{op} has no element expression"
        value = node(op, tuple(self.element(s, at, valid) for s in x.src), x.arg, x.dtype, ())
        if op is ops.MUL and self._folds:
            product = self._product(x, at, valid)
            return product if zero_outside(product, valid) else value
        return value

    def checked(self, x: Node, source: int, at: Indices, valid: Node) -> Node:
        """Index `source` of a GATHER or SCATTER as an index expression that is in range."""
        positions = x.src[source]
        value = self.element(positions, at[: positions.ndim], valid)
        size = x.src[0].shape[source - 1]
        place = index.simplify(build.cast(value, dtypes.index))
        return index.simplify(node(ops.CHECKED, (place,), size, dtypes.index, ()))

    def _padded(self, x: Node, at: Indices, valid: Node) -> Node:
        inside: list[Node] = []
        moved: list[Node] = []
        for i, extent, (before, _, between) in zip(at, x.src[0].shape, x.arg, strict=True):
            j = index.sub(i, before)
            step = between + 1
            inside.append(index.le(0, j))
            inside.append(index.le(j, (extent - 1) * step))
            if step > 1:
                inside.append(index.eq(index.mod(j, step), 0))
            moved.append(index.floordiv(j, step))
        here = index.and_(*inside)
        both = index.and_(valid, here)
        value = self.element(x.src[0], tuple(moved), both)
        return value if zero_outside(value, both) else choose(here, value)

    def _reduced(self, x: Node, at: Indices, valid: Node) -> Node:
        op, axes = x.arg
        if 0 in x.src[0].shape:
            return build.const(build.identity_value(op, x.dtype), x.dtype)
        counters = {axis: self.fresh(x.src[0].shape[axis]) for axis in axes}
        kept = iter(at)
        inner = tuple(
            counters[axis] if axis in counters else next(kept) for axis in range(x.src[0].ndim)
        )
        if self._contraction(x) and valid is not index.TRUE:
            value = self._product(x.src[0], inner, valid)
        else:
            value = self.element(x.src[0], inner, valid)
        return fold_ranges(op, value, counters.values())

    def _folded(self, x: Node, at: Indices, valid: Node) -> Node:
        axis, _, stride, dilation = x.arg
        source = x.src[0]
        if 0 in source.shape:
            return build.const(0, x.dtype)
        windows, size = source.shape[axis], source.shape[-1]
        if dilation == 1:  # every stride-th k meets a window, from the remainder on
            term = self.fresh(-(-size // stride))
            k = index.add(index.mod(at[axis], stride), index.scale(term, stride))
            window = index.sub(index.floordiv(at[axis], stride), term)
            here = index.and_(index.le(0, window), index.lt(window, windows), index.lt(k, size))
        else:
            term = k = self.fresh(size)
            start = index.sub(at[axis], index.scale(k, dilation))
            window = index.floordiv(start, stride)
            here = index.and_(
                index.le(0, start),
                index.le(start, (windows - 1) * stride),
                index.eq(index.mod(start, stride), 0),
            )
        both = index.and_(valid, here)
        self._folds += 1
        value = self.element(source, (*at[:axis], window, *at[axis + 1 :], k), both)
        self._folds -= 1
        if not zero_outside(value, both):
            value = choose(here, value)
        return fold_ranges(ops.ADD, value, [term])

    def _product(self, product: Node, at: Indices, valid: Node) -> Node:
        """a * b where one factor has the mask, and the other what it needs to stay in bounds."""
        a, b = product.src
        about = index.variables(valid)
        for first, second in ((a, b), (b, a)):
            needed = _needed(self.element(second, at, index.TRUE), valid)
            masked = self.element(first, at, valid)
            if about <= index.variables(masked) and needed is not None:
                free = self.element(second, at, needed)
                pair = (masked, free) if first is a else (free, masked)
                return node(ops.MUL, pair, None, product.dtype, ())
        pair = (self.element(a, at, valid), self.element(b, at, valid))
        return node(ops.MUL, pair, None, product.dtype, ())


def _with_checks(value: Node, places: Indices) -> Node:
    """`value`, which asks for all places to be checked, also those on which it does not depend."""
    used = set(topological([value]))
    for place in places:
        if place.op is ops.CHECKED and place not in used:
            number = build.cast(place, dtypes.int64)
            outside = build.binary(ops.LT, number, build.full_like(number, 0))
            value = build.where(outside, value, value)
    return value


def choose(condition: Node, value: Node) -> Node:
    """`value` where `condition` holds, else 0."""
    return build.where(condition, value, build.const(0, value.dtype))


def fold_ranges(op: ops.Op, value: Node, counters: Iterable[Node]) -> Node:
    """`value` reduced over loop counters; a sum of a sum is one sum over both."""
    loops = [c for c in counters if c.op is ops.RANGE]
    if value.op is ops.FOLD_RANGES and value.arg is op:
        loops += value.src[1:]
        value = value.src[0]
    if not loops:
        return value
    return node(ops.FOLD_RANGES, (value, *loops), op, value.dtype, ())


def zero_outside(value: Node, valid: Node) -> bool:
    """True if `value` is certainly 0 where `valid` does not hold."""
    if value.op is ops.LOAD:
        return valid is index.TRUE or index.and_(value.src[1], valid) is value.src[1]
    if value.op is ops.CONST:
        return value.value == 0
    if value.op is ops.FOLD_RANGES:
        return value.arg is ops.ADD and zero_outside(value.src[0], valid)
    if value.op is ops.MUL:  # one factor may go unmasked in a contraction; see _product
        return any(zero_outside(s, valid) for s in value.src) and all(
            s.op is ops.LOAD for s in value.src
        )
    return value.op in _KEEPS_ZERO and all(zero_outside(s, valid) for s in value.src)


def _needed(value: Node, valid: Node) -> Node | None:
    """The parts of a mask that keep every load in `value` inside its array; None if none do."""
    parts = index.conjuncts(valid)
    needed: list[Node] = []
    for current in topological([value]):
        if current.op is not ops.LOAD or current.src[1] is not index.TRUE:
            continue
        for i, extent in zip(current.src[2:], current.src[0].shape, strict=True):
            low, high = index.bounds(i)
            for part in parts if low < 0 or high >= extent else ():
                least, most = index.bounds_given(part, i)
                if least > low or most < high:
                    needed.append(part)
                    low, high = max(low, least), min(high, most)
            if low < 0 or high >= extent:
                return None
    return index.and_(*needed)


def push_forward(x: Node, at: Indices) -> Indices:
    """Where the element `at` of a bijective movement's source stands in its result."""
    if x.op is ops.RESHAPE:
        return _regroup(at, x.src[0].shape, x.shape)
    if x.op is ops.PERMUTE:
        return tuple(at[axis] for axis in x.arg)
    assert x.op is ops.FLIP
    return _flip(x, at)


def _regroup(at: Indices, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Indices:
    """Indices into `shape` as indices into `wanted`, which holds as many elements.

    Axes are taken in the smallest groups of equal size on both sides, so that an axis that is
    only moved past axes of extent 1 keeps its index as it is, also where that is out of range
    and masked.
    """
    if 0 in shape:
        return tuple(index.const(0) for _ in wanted)
    made: list[Node] = []
    axis = 0
    position = 0
    while position < len(wanted):
        first, last = position, position + 1
        start = axis
        sizes = [1, wanted[first]]
        while sizes[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                sizes[0] *= shape[axis]
                axis += 1
            else:
                sizes[1] *= wanted[last]
                last += 1
        group = [i for i in range(start, axis) if shape[i] != 1]
        goals = [i for i in range(first, last) if wanted[i] != 1]
        if len(group) == len(goals) == 1:
            moved: Indices = (at[group[0]],)
        else:
            flat = index.ravel([at[i] for i in group], [shape[i] for i in group])
            moved = index.unravel(flat, [wanted[i] for i in goals])
        found = iter(moved)
        made += [next(found) if wanted[i] != 1 else index.const(0) for i in range(first, last)]
        position = last
    return tuple(made)


def _expand(x: Node, at: Indices) -> Indices:
    source = x.src[0]
    own = at[x.ndim - source.ndim :]
    return tuple(
        index.const(0) if extent == 1 else i for i, extent in zip(own, source.shape, strict=True)
    )


def _permute(x: Node, at: Indices) -> Indices:
    return tuple(at[x.arg.index(axis)] for axis in range(x.ndim))


def _slice(x: Node, at: Indices) -> Indices:
    return tuple(
        index.add(index.scale(i, step), start)
        for i, (start, _, step) in zip(at, x.arg, strict=True)
    )


def _flip(x: Node, at: Indices) -> Indices:
    return tuple(
        index.sub(extent - 1, i) if axis in x.arg else i
        for axis, (i, extent) in enumerate(zip(at, x.shape, strict=True))
    )


def _window(x: Node, at: Indices) -> Indices:
    axis, _, stride, dilation = x.arg
    moved = index.add(index.scale(at[axis], stride), index.scale(at[-1], dilation))
    return (*at[:axis], moved, *at[axis + 1 : -1])


# For each movement op that only renames places: result indices -> source indices.
PULL_BACK: dict[ops.Op, Callable[[Node, Indices], Indices]] = {
    ops.RESHAPE: lambda x, at: _regroup(at, x.shape, x.src[0].shape),
    ops.EXPAND: _expand,
    ops.PERMUTE: _permute,
    ops.SLICE: _slice,
    ops.FLIP: _flip,
    ops.WINDOW: _window,
}
