"""Hypothesis strategies: random legal tensor programs whose numbers two devices can agree on.

A program is grown op by op, and each node is evaluated on the oracle as it is added: once as it
is and twice with noise of a few units in the last place after every rounding. How far the noisy
values stray says what tolerance a result deserves. Where they stray too far, or where rounding
decides between far-apart results (floor, comparisons, casts to integers), the node is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node, node
from gradlet.ir.ops import Op
from gradlet.ir.verify import VerifyError, verify_graph
from gradlet.runtime.numpy_device import evaluate

DTYPES = [
    dtypes.float32,
    dtypes.float64,
    dtypes.int32,
    dtypes.int64,
    dtypes.bool_,
    dtypes.uint8,
    dtypes.uint32,
]
INDEX_DTYPES = [d for d in DTYPES if d.is_int]
EXTENTS = [1, 2, 3, 5, 7, 0, 4, 13]
GROWING = [o for o in ops.GRAPH_OPS if o.kind != "source"]

LARGEST = 600  # elements of a node
LOUDEST = 1e4  # magnitude of a finite float
WHOLE = 2.0**12  # sums of so small whole numbers are exact in every float type here
SAMPLES = 2  # noisy evaluations beside the clean one

DISCONTINUOUS = {ops.FLOOR, ops.MOD, ops.EQ, ops.LT, ops.LE, ops.BITCAST, ops.HOST}
SEES_SIGN_OF_ZERO = {ops.DIV: 1, ops.POW: 0, ops.BITCAST: 0}
SUMS = {ops.ADD, ops.SUB, ops.REDUCE, ops.SCAN, ops.FOLD, ops.SCATTER}
CHOOSES = {ops.NEG, ops.ABS, ops.FLOOR, ops.MAXIMUM, ops.MINIMUM, ops.WHERE, ops.CAST, ops.GATHER}


@dataclass
class Program:
    """A tensor program, what its parameters are bound to, and how well its results are known.

    Attributes:
        sinks: what is computed.
        params: the PARAM nodes that the sinks read.
        arrays: one a parameter.
        tolerances: for each sink the absolute error to allow; 0 where results must be equal.
    """

    sinks: list[Node]
    params: list[Node]
    arrays: list[np.ndarray]
    tolerances: list[float]


@dataclass
class Known:
    """A node with its value and noisy versions of it; all one array where nothing is rounded."""

    node: Node
    values: list[np.ndarray]

    @property
    def exact(self) -> bool:
        return all(value is self.values[0] for value in self.values)

    @property
    def strays(self) -> float:
        """How far the noisy values lie from the clean one."""
        if self.exact:
            return 0.0
        clean = self.values[0]
        finite = np.isfinite(clean)
        away = [np.abs(v[finite] - clean[finite]) for v in self.values[1:]]
        return max((float(a.max()) for a in away if a.size), default=0.0)


@st.composite
def programs(draw: Callable[[Any], Any], steps: int = 14) -> Program:
    """Programs of at most about `steps` operations over small arrays."""
    grower = _Grower(draw)
    for _ in range(draw(st.integers(1, 3))):
        grower.leaf(draw(st.sampled_from(DTYPES)), grower.shape())
    for op in draw(st.lists(st.sampled_from(GROWING), min_size=steps // 2, max_size=steps)):
        grower.grow(op)
    return grower.program()


@cache
def accepts(op: Op, dtype: DType) -> bool:
    """Whether an elementwise or identity op, or a reduction, is defined for `dtype`."""
    x = build.param(0, dtype, ())
    count = {"unary": 1, "binary": 2}.get(op.kind, 2 if op is ops.SURROGATE else 1)
    result = dtypes.bool_ if op.compares else dtype
    try:
        verify_graph([node(op, (x,) * count, None, result, ())])
    except VerifyError:
        return False
    return True


class _Grower:
    """A program while it grows."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.known: dict[Node, Known] = {}
        self.pool: list[Node] = []
        self.arrays: dict[Node, np.ndarray] = {}

    def program(self) -> Program:
        read = {source for n in self.pool for source in n.src}
        ends = [n for n in self.pool if n not in read and n not in self.arrays]
        sinks = [*ends, self.choose(self.pool)]
        tolerances = [_tolerance(self.known[sink]) for sink in sinks]
        return Program(sinks, list(self.arrays), list(self.arrays.values()), tolerances)

    # Choices

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def whole(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def shape(self) -> tuple[int, ...]:
        return tuple(self.draw(st.lists(st.sampled_from(EXTENTS), max_size=3)))

    def pick(self, legal: Callable[[Node], bool]) -> Node:
        """A node of the pool, the newest first when shrinking, or a new leaf."""
        found = [n for n in reversed(self.pool) if legal(n)]
        if found:
            return self.choose(found)
        shape = self.choose([(3, 4), (2, 3, 2)])
        fitting = [d for d in DTYPES if legal(build.param(0, d, shape))]
        return self.leaf(self.choose(fitting), shape)

    def partner(self, dtype: DType, shape: tuple[int, ...]) -> Node:
        """A node with this dtype and shape: one of the pool, a constant or a new leaf."""
        found = [n for n in self.pool if n.dtype is dtype and n.shape == shape]
        choice = self.choose([*found, "leaf", "constant"])
        if choice == "leaf":
            return self.leaf(dtype, shape)
        if choice == "constant":
            negative = dtype.kind in ("int", "float")
            return build.const(self.choose([1, 2, 0, -3] if negative else [1, 2, 0]), dtype, shape)
        return choice

    def leaf(self, dtype: DType, shape: tuple[int, ...], top: int | None = None) -> Node:
        """A new parameter; with `top`, of whole numbers from 0 to `top` - 1."""
        made = build.param(len(self.arrays), dtype, shape)
        if top is not None:
            array = self.random.integers(0, max(top, 1), shape).astype(dtype.numpy)
        else:
            array = self.numbers(dtype, shape)
        self.arrays[made] = array
        self.known[made] = Known(made, [array] * (1 + SAMPLES))
        self.pool.append(made)
        return made

    def numbers(self, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """Mostly small numbers, in one leaf of three with some of the dtype's extremes."""
        low = 0 if dtype.kind in ("uint", "bool") else -4
        array = np.array(self.random.integers(low, 5, shape)).astype(dtype.numpy)
        if dtype.is_float and self.draw(st.booleans()):
            array = np.array(self.random.normal(0, 2, shape)).astype(dtype.numpy)
        if self.whole(0, 2) == 2 and dtype is not dtypes.bool_:
            extremes = [dtype.min, dtype.max, *([np.nan] * 2 if dtype.is_float else [])]
            chosen = self.random.choice(np.array(extremes, dtype.numpy), shape)
            array = np.where(self.random.random(shape) < 0.2, chosen, array)
        return np.asarray(array, dtype.numpy)

    # Growth

    def grow(self, op: Op) -> None:
        """Adds one node with this op, unless its value could not be compared."""
        made = getattr(self, "make_" + op.kind)(op)
        if made.size <= LARGEST and self.learn(made) and made not in self.pool:
            self.pool.append(made)

    def learn(self, current: Node) -> bool:
        """Evaluates a node; False if rounding alone could change it beyond comparison."""
        if current in self.known:
            return True
        if not all(self.learn(source) for source in current.src):
            return False
        sources = [self.known[source] for source in current.src]
        if not _safe(current, sources):
            return False
        known = Known(current, self.evaluations(current, sources))
        if not _tame(known):
            return False
        self.known[current] = known
        return True

    def evaluations(self, current: Node, sources: list[Known]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            clean = evaluate(current, [source.values[0] for source in sources])
            rounds = _rounds(current, clean, sources)
            if not rounds and all(source.exact for source in sources):
                return [clean] * (1 + SAMPLES)
            values = [clean]
            for sample in range(1, 1 + SAMPLES):
                value = evaluate(current, [source.values[sample] for source in sources])
                values.append(self.shaken(current, value, sources) if rounds else value)
            return values

    def shaken(self, current: Node, value: np.ndarray, sources: list[Known]) -> np.ndarray:
        scale = _loudness(value)
        if current.op in SUMS:
            # The terms' own size: they may cancel, and a product may be fused into the sum.
            terms = max(_loudness(source.values[0]) for source in sources)
            scale = max(scale, terms * max(source.node.size for source in sources) ** 0.5)
        noise = self.random.uniform(-8, 8, value.shape)
        return np.asarray(value + noise * _rounding_step(value.dtype, scale), value.dtype)

    # One method a kind of op

    def make_unary(self, op: Op) -> Node:
        if op is ops.CAST:
            return build.cast(self.pick(lambda n: True), self.choose(DTYPES))
        if op is ops.BITCAST:
            x = self.pick(lambda n: n.dtype is not dtypes.bool_)
            return build.bitcast(x, self.choose(d for d in DTYPES if d.bits == x.dtype.bits))
        return build.unary(op, self.pick(lambda n: accepts(op, n.dtype)))

    def make_binary(self, op: Op) -> Node:
        x = self.pick(lambda n: accepts(op, n.dtype))
        y = self.partner(x.dtype, x.shape)
        return build.binary(op, y, x) if self.draw(st.booleans()) else build.binary(op, x, y)

    def make_ternary(self, op: Op) -> Node:
        x = self.pick(lambda n: True)
        condition = self.partner(dtypes.bool_, x.shape)
        return build.where(condition, x, self.partner(x.dtype, x.shape))

    def make_identity(self, op: Op) -> Node:
        x = self.pick(lambda n: True)
        if op is ops.SURROGATE:
            return build.surrogate(x, self.partner(x.dtype, x.shape))
        if op is ops.CUSTOM:
            return build.apart(x)
        return build.detach(x) if op is ops.DETACH else build.consumed(x)

    def make_movement(self, op: Op) -> Node:
        return getattr(self, "make_" + op.name.lower())()

    def make_reshape(self) -> Node:
        x = self.pick(lambda n: True)
        axes = list(x.shape)
        if self.draw(st.booleans()) and axes:
            at = self.whole(0, len(axes) - 1)
            divisors = [d for d in range(1, axes[at] + 1) if axes[at] % d == 0] or [1]
            part = self.choose(divisors)
            axes[at : at + 1] = [part, axes[at] // part]
        if self.draw(st.booleans()) and len(axes) > 1:
            at = self.whole(0, len(axes) - 2)
            axes[at : at + 2] = [axes[at] * axes[at + 1]]
        return build.reshape(x, tuple(axes))

    def make_expand(self) -> Node:
        x = self.pick(lambda n: True)
        wide = tuple(self.choose(EXTENTS) if extent == 1 else extent for extent in x.shape)
        lead = tuple(self.draw(st.lists(st.sampled_from([2, 1, 3]), max_size=1)))
        return build.expand(x, lead + wide)

    def make_permute(self) -> Node:
        x = self.pick(lambda n: n.ndim > 1)
        return build.permute(x, tuple(self.draw(st.permutations(range(x.ndim)))))

    def make_slice(self) -> Node:
        x = self.pick(lambda n: n.ndim > 0)
        spans = []
        for extent in x.shape:
            start = self.whole(0, extent)
            spans.append((start, self.whole(start, extent), self.whole(1, 3)))
        return build.slice_(x, tuple(spans))

    def make_pad(self) -> Node:
        x = self.pick(lambda n: n.ndim > 0)
        width = st.sampled_from([0, 1, 2])
        return build.pad(x, tuple(self.draw(st.tuples(width, width, width)) for _ in x.shape))

    def make_flip(self) -> Node:
        x = self.pick(lambda n: n.ndim > 0)
        return build.flip(x, tuple(self.draw(st.sets(st.integers(0, x.ndim - 1)))))

    def make_window(self) -> Node:
        x = self.pick(lambda n: max(n.shape, default=0) > 0)
        axis = self.choose(axis for axis, extent in enumerate(x.shape) if extent)
        size = self.whole(1, min(x.shape[axis], 4))
        widest = (x.shape[axis] - 1) // (size - 1) if size > 1 else 2
        return build.window(x, axis, size, self.whole(1, 3), self.whole(1, min(widest, 3)))

    def make_reduce(self, op: Op) -> Node:
        if op is ops.FOLD:
            return self.make_fold()
        how = self.choose([ops.ADD, ops.MAXIMUM, ops.MINIMUM, ops.MUL])
        x = self.pick(lambda n: n.ndim > 0 and accepts(how, n.dtype))
        if op is ops.SCAN:
            return build.scan(how, x, self.whole(0, x.ndim - 1))
        axes = self.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))
        return build.reduce(how, x, tuple(axes))

    def make_fold(self) -> Node:
        x = self.pick(lambda n: n.ndim > 1 and 0 not in n.shape and accepts(ops.ADD, n.dtype))
        axis = self.whole(0, x.ndim - 2)
        stride, dilation = self.whole(1, 3), self.whole(1, 3)
        reach = (x.shape[axis] - 1) * stride + (x.shape[-1] - 1) * dilation + 1
        return build.fold(x, axis, reach + self.whole(0, 2), stride, dilation)

    def make_indexed(self, op: Op) -> Node:
        adds = op is ops.SCATTER
        x = self.pick(lambda n: n.ndim > 0 and (not adds or accepts(ops.ADD, n.dtype)))
        indexed = x.shape[: self.whole(1, min(x.ndim, 2))]
        shape = (0,) if 0 in indexed else self.choose([(3,), (), (2, 5), (0,), (8,)])
        indices = tuple(self.leaf(self.choose(INDEX_DTYPES), shape, n) for n in indexed)
        if not adds:
            return build.gather(x, indices)
        updates = self.partner(x.dtype, shape + x.shape[len(indexed) :])
        return build.scatter(x, indices, updates)

    def make_host(self, op: Op) -> Node:
        x = self.pick(lambda n: n.ndim > 0)
        axis = self.whole(0, x.ndim - 1)
        return build.library("argsort", (axis, self.draw(st.booleans())), x)


def _loudness(value: np.ndarray) -> float:
    """The largest finite magnitude."""
    finite = value[np.isfinite(value)].astype(np.float64)
    return float(np.abs(finite).max(initial=0))


def _small_whole(value: np.ndarray) -> bool:
    return bool((np.floor(value) == value).all()) and bool((np.abs(value) <= WHOLE).all())


def _rounds(current: Node, clean: np.ndarray, sources: list[Known]) -> bool:
    """Whether devices may differ in the last places of this node."""
    op = current.op
    if not current.dtype.is_float or not sources or op in CHOOSES:
        return False
    if op.kind in ("movement", "identity") or op is ops.BITCAST:
        return False
    if op in (ops.REDUCE, ops.SCAN) and current.arg[0] in (ops.MAXIMUM, ops.MINIMUM):
        return False
    if op in SUMS or op is ops.MUL:
        multiplies = op in (ops.REDUCE, ops.SCAN) and current.arg[0] is ops.MUL
        arrays = [clean, *(source.values[0] for source in sources)]
        exact = all(source.exact for source in sources) and all(map(_small_whole, arrays))
        return multiplies or not exact
    return True


def _safe(current: Node, sources: list[Known]) -> bool:
    """False where differences in the last place, or in a zero's sign, could grow to anything."""
    to_whole = current.op is ops.CAST and not current.dtype.is_float
    if (to_whole or current.op in DISCONTINUOUS) and not all(s.exact for s in sources):
        return False
    if current.op is ops.MOD and current.dtype.is_float:
        return all(_small_whole(source.values[0]) for source in sources)
    if current.op in SEES_SIGN_OF_ZERO:
        seen = sources[SEES_SIGN_OF_ZERO[current.op]]
        if not seen.node.dtype.is_float or seen.node.op is ops.PARAM:
            return True
        value = seen.values[0]
        return bool((value != 0).all()) and not (
            current.op is ops.BITCAST and np.isnan(value).any()
        )
    return True


def _tame(known: Known) -> bool:
    """Finite floats are moderate, and noise changes neither which they are nor them by much."""
    clean = known.values[0]
    if not known.node.dtype.is_float:
        return True
    loudness = _loudness(clean)
    if loudness > LOUDEST or known.strays > 1e-3 * max(loudness, 1.0):
        return False
    odd = np.where(np.isfinite(clean), 0, clean)
    others = (np.where(np.isfinite(v), 0, v) for v in known.values[1:])
    return all(np.array_equal(odd, other, equal_nan=True) for other in others)


def _tolerance(known: Known) -> float:
    if known.exact:
        return 0.0
    step = _rounding_step(known.node.dtype.numpy, _loudness(known.values[0]))
    return 10 * known.strays + 8 * step


def _rounding_step(dtype: np.dtype, size: float) -> float:
    """How far rounding moves a number of this size: at least one denormal step."""
    info = np.finfo(dtype)
    return max(float(info.eps) * size, float(info.smallest_subnormal))
