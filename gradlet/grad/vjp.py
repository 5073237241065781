"""Gradients: one vector-Jacobian product an op, and the reverse walk that applies them.

A rule gets the cotangent `g` of a node and the node, and returns one cotangent a source, or None
where nothing flows. The rules write graph in the same primitives that programs are made of, so
second derivatives, fusion and every device come for free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.grad import applied, library
from gradlet.grad.errors import GradientError as GradientError
from gradlet.ir import build, ops
from gradlet.ir.build import add, const, div, full_like, neg, sub, unary
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op

Cotangents = tuple[Node | None, ...]
Rule = Callable[[Node, Node], Cotangents]


class Watching(Protocol):
    """Who looks at gradients on their way."""

    @property
    def place(self) -> Mapping[Node, Node]:
        """Has the CUSTOM nodes whose rules are not to be asked."""

    def passed(self, current: Node, g: Node) -> Node:
        """What stands in place of `g`, the whole cotangent of `current`."""


def grad(
    root: Node, cotangent: Node, targets: Sequence[Node], watch: Watching | None = None
) -> list[Node | None]:
    """The gradient of `root` with respect to each of `targets`.

    Args:
        cotangent: what stands for d(loss)/d(root); shape and dtype of `root`.

    Returns:
        For each target a node of its shape and dtype, or None where `root` does not depend on it.
    """
    return pull_back([root], [cotangent], targets, watch)


def pull_back(
    roots: Sequence[Node],
    given: Sequence[Node],
    targets: Sequence[Node],
    watch: Watching | None = None,
) -> list[Node | None]:
    """`grad` of several roots, each with a cotangent of its own, in one walk."""
    order = topological(roots)
    wanted = set(targets)
    leads_to_target: set[Node] = set()
    for current in order:
        if current in wanted or any(s in leads_to_target for s in current.src):
            leads_to_target.add(current)
    cotangents: dict[Node, Node] = {}
    for root, cotangent in zip(roots, given, strict=True):
        known = cotangents.get(root)
        cotangents[root] = cotangent if known is None else add(known, cotangent)
    for current in reversed(order):
        if current not in cotangents or current not in leads_to_target:
            continue
        if watch is not None:
            cotangents[current] = watch.passed(current, cotangents[current])
        if watch is not None and current in watch.place:
            parts: Cotangents = (None, cotangents[current])
        else:
            parts = VJP[current.op](cotangents[current], current) if current.src else ()
        for source, part in zip(current.src, parts, strict=True):
            if part is None or source not in leads_to_target:
                continue
            before = cotangents.get(source)
            cotangents[source] = part if before is None else add(before, part)
    return [cotangents.get(target) for target in targets]


# Helpers


def mul(a: Node, b: Node) -> Node:
    """`a * b`, which is `b` itself where `a` is the 1 that a gradient begins with."""
    for one, other in ((a, b), (b, a)):
        if one.op is ops.CONST and one.value == 1 and one.dtype is other.dtype:
            return other
    return build.mul(a, b)


def _zero_where(condition: Node, x: Node) -> Node:
    return build.where(condition, full_like(x, 0), x)


def _unbroadcast(g: Node, source: Node) -> Node:
    """Sums `g` over the axes along which `source` was expanded."""
    lead = g.ndim - source.ndim
    stretched = [
        lead + axis
        for axis, extent in enumerate(source.shape)
        if extent == 1 and g.shape[lead + axis] != 1
    ]
    return build.reshape(build.sum_(g, (*range(lead), *stretched)), source.shape)


def _restore_axes(x: Node, axes: tuple[int, ...], shape: tuple[int, ...]) -> Node:
    """Undoes the loss of `axes` in a reduction by repeating along them."""
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    return build.expand(build.reshape(x, kept), shape)


def _inexact(dtype: DType) -> bool:
    return dtype.is_float


# Elementwise


def _abs(g: Node, n: Node) -> Cotangents:
    x = n.src[0]
    zero = full_like(x, 0)
    sign = build.where(build.binary(ops.LT, x, zero), full_like(x, -1), full_like(x, 1))
    return (mul(g, _zero_where(build.binary(ops.EQ, x, zero), sign)),)


def _tanh(g: Node, n: Node) -> Cotangents:
    return (mul(g, sub(full_like(n, 1), mul(n, n))),)


def _erf(g: Node, n: Node) -> Cotangents:
    x = n.src[0]
    slope = mul(full_like(x, 2 / math.sqrt(math.pi)), unary(ops.EXP, neg(mul(x, x))))
    return (mul(g, slope),)


def _div(g: Node, n: Node) -> Cotangents:
    below = n.src[1]
    return div(g, below, n.arg), neg(div(mul(g, n), below, n.arg))


def _cast(g: Node, n: Node) -> Cotangents:
    return (build.cast(g, n.src[0].dtype) if _inexact(n.src[0].dtype) else None,)


def _pow(g: Node, n: Node) -> Cotangents:
    base, exponent = n.src
    one, zero = full_like(base, 1), full_like(base, 0)
    lowered = build.binary(ops.POW, base, sub(exponent, one))
    flat = build.binary(ops.EQ, exponent, zero)
    by_base = mul(g, _zero_where(flat, mul(exponent, lowered)))
    # 0 ** y is constant in y for y >= 0, though log 0 is -inf.
    steady = build.binary(
        ops.AND, build.binary(ops.EQ, base, zero), build.binary(ops.LE, zero, exponent)
    )
    by_exponent = mul(g, _zero_where(steady, mul(n, unary(ops.LOG, base))))
    return by_base, by_exponent


def _mod(g: Node, n: Node) -> Cotangents:
    if not _inexact(n.dtype):
        return None, None
    a, b = n.src
    return g, neg(mul(g, unary(ops.FLOOR, div(a, b))))


def _extreme(g: Node, n: Node) -> Cotangents:
    """MAXIMUM and MINIMUM: the winner takes the gradient, equals share it."""
    a, b = n.src
    half = mul(g, full_like(g, 0.5))
    tie = build.binary(ops.EQ, a, b)
    smaller = build.binary(ops.LT, a, b)
    zero = full_like(g, 0)
    first_wins = build.logical_not(smaller) if n.op is ops.MAXIMUM else smaller
    to_a = build.where(tie, half, build.where(first_wins, g, zero))
    to_b = build.where(tie, half, build.where(first_wins, zero, g))
    return to_a, to_b


def _where(g: Node, n: Node) -> Cotangents:
    """Of relu, which is where(x <= 0, 0, x), the gradient asks its result n <= 0 and not x.

    The result is kept anyway for what comes next; x then need not be.
    """
    (condition, below, x), zero = n.src, full_like(g, 0)
    if below is full_like(n, 0) and condition.op is ops.LE and condition.src == (x, below):
        condition = build.binary(ops.LE, n, below)
    return None, build.where(condition, g, zero), build.where(condition, zero, g)


# Movement and reductions


def _slice(g: Node, n: Node) -> Cotangents:
    widths = []
    for extent, count, (start, _, step) in zip(n.src[0].shape, n.shape, n.arg, strict=True):
        covered = start + (count - 1) * step + 1 if count else start
        widths.append((start, extent - covered, step - 1))
    return (build.pad(g, tuple(widths)),)


def _pad(g: Node, n: Node) -> Cotangents:
    spans = []
    for extent, (before, _, between) in zip(n.src[0].shape, n.arg, strict=True):
        step = between + 1
        stop = before + (extent - 1) * step + 1 if extent else before
        spans.append((before, stop, step))
    return (build.slice_(g, tuple(spans)),)


def _permute(g: Node, n: Node) -> Cotangents:
    back = tuple(n.arg.index(axis) for axis in range(n.ndim))
    return (build.permute(g, back),)


def _window(g: Node, n: Node) -> Cotangents:
    axis, _, stride, dilation = n.arg
    return (build.fold(g, axis, n.src[0].shape[axis], stride, dilation),)


def _fold(g: Node, n: Node) -> Cotangents:
    axis, _, stride, dilation = n.arg
    windows = build.window(g, axis, n.src[0].shape[-1], stride, dilation)
    count = n.src[0].shape[axis]  # the fold may have left a tail that no window reaches
    spans = tuple((0, count if a == axis else extent, 1) for a, extent in enumerate(windows.shape))
    return (build.slice_(windows, spans),)


def _reduce(g: Node, n: Node) -> Cotangents:
    x = n.src[0]
    op, axes = n.arg
    spread = _restore_axes(g, axes, x.shape)
    if op is ops.ADD:
        return (spread,)
    if op is ops.MUL:
        return (_product_gradient(spread, x, axes),)
    best = build.binary(ops.EQ, x, _restore_axes(n, axes, x.shape))
    hits = build.where(best, full_like(x, 1), full_like(x, 0))
    count = _restore_axes(build.sum_(hits, axes), axes, x.shape)
    return (build.where(best, div(spread, count), full_like(x, 0)),)


def _product_gradient(spread: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """g times the product of all the *other* elements, right where some are zero.

    Each element multiplies the row in which its own place holds 1: for a row of n elements
    this costs n * n, the price of being exact without dividing by x.
    """
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    order = (*kept, *axes)
    rows_shape = tuple(x.shape[axis] for axis in kept)
    length = math.prod(x.shape[axis] for axis in axes)
    rows = build.reshape(build.permute(x, order), (*rows_shape, 1, length))
    square = (*rows_shape, length, length)
    here = build.reshape(build.iota(length), (length, 1))
    own = build.binary(ops.EQ, build.expand(here, square), build.expand(build.iota(length), square))
    others = build.where(own, const(1, x.dtype, square), build.expand(rows, square))
    product = build.reduce(ops.MUL, others, (len(square) - 1,))
    unpacked = build.reshape(product, tuple(x.shape[axis] for axis in order))
    back = tuple(order.index(axis) for axis in range(x.ndim))
    return mul(spread, build.permute(unpacked, back))


def _scan(g: Node, n: Node) -> Cotangents:
    op, axis = n.arg
    if op is ops.ADD:
        return (_sum_to_end(g, axis),)
    if op is ops.MUL:
        return (_running_product_gradient(g, n),)
    x = n.src[0]
    places = [build.along(a, x.shape) for a in range(x.ndim)]
    places[axis] = build.running_positions(x, n, axis)
    return (build.scatter(full_like(g, 0), tuple(places), g),)


def _sum_to_end(x: Node, axis: int) -> Node:
    """Each element and all those behind it on `axis`, added up."""
    return build.flip(build.scan(ops.ADD, build.flip(x, (axis,)), axis), (axis,))


def _running_product_gradient(g: Node, n: Node) -> Node:
    """The gradient of a running product in O(n), right where some elements are zero.

    Before the first zero, d(y[i])/d(x[k]) = y[i] / x[k] for i >= k. At the first zero it is the
    running product with 1 in its place. Behind it another factor is 0, and so is the gradient.
    """
    x = n.src[0]
    _, axis = n.arg
    one, nothing = full_like(x, 1), full_like(x, 0)
    zero = build.binary(ops.EQ, x, nothing)
    count = build.scan(ops.ADD, build.cast(zero, dtypes.int64), axis)
    none_yet = build.binary(ops.EQ, count, full_like(count, 0))
    first = build.binary(ops.AND, zero, build.binary(ops.EQ, count, full_like(count, 1)))
    before = div(_sum_to_end(mul(g, n), axis), build.where(zero, one, x))
    skipping = build.scan(ops.MUL, build.where(first, one, x), axis)
    there = _sum_to_end(build.where(none_yet, nothing, mul(g, skipping)), axis)
    fast = build.where(none_yet, before, build.where(first, there, nothing))
    return build.surrogate(build.detach(fast), _running_product_gradient_in_full(g, n))


def _running_product_gradient_in_full(g: Node, n: Node) -> Node:
    """The same in O(n * n), but with right gradients of its own: row k holds 1 in place k."""
    x = n.src[0]
    _, axis = n.arg
    length = x.shape[axis]
    square = (*x.shape[:axis], length, *x.shape[axis:])
    rows = build.expand(build.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])), square)
    wide = build.expand(build.reshape(g, (*x.shape[:axis], 1, *x.shape[axis:])), square)
    row, column = build.along(axis, square), build.along(axis + 1, square)
    own = build.where(build.binary(ops.EQ, row, column), full_like(rows, 1), rows)
    terms = mul(wide, build.scan(ops.MUL, own, axis + 1))
    reached = build.where(build.binary(ops.LE, row, column), terms, full_like(terms, 0))
    return build.sum_(reached, (axis + 1,))


def _gather(g: Node, n: Node) -> Cotangents:
    x, *indices = n.src
    return (build.scatter(full_like(x, 0), tuple(indices), g), *(None for _ in indices))


def _scatter(g: Node, n: Node) -> Cotangents:
    _, *indices, _ = n.src
    return (g, *(None for _ in indices), build.gather(g, tuple(indices)))


def _consumed(g: Node, n: Node) -> Cotangents:
    raise GradientError(
        f"backward() reached a value of shape {n.shape} whose graph an earlier backward() has "
        "already used and freed, or that comes out of a function with jit. Call the earlier "
        "backward(retain_graph=True), compute the value again, or detach() it if no gradient "
        "should pass; with jit, call backward() inside the function."
    )


def _nothing(g: Node, n: Node) -> Cotangents:
    return tuple(None for _ in n.src)


VJP: dict[Op, Rule] = {
    ops.NEG: lambda g, n: (neg(g),),
    ops.ABS: _abs,
    ops.EXP: lambda g, n: (mul(g, n),),
    ops.EXP2: lambda g, n: (mul(g, mul(n, full_like(n, math.log(2)))),),
    ops.LOG: lambda g, n: (div(g, n.src[0]),),
    ops.LOG2: lambda g, n: (div(g, mul(n.src[0], full_like(n, math.log(2)))),),
    ops.SIN: lambda g, n: (mul(g, unary(ops.COS, n.src[0])),),
    ops.COS: lambda g, n: (neg(mul(g, unary(ops.SIN, n.src[0]))),),
    ops.TANH: _tanh,
    ops.ERF: _erf,
    ops.SQRT: lambda g, n: (div(g, mul(full_like(n, 2), n)),),
    ops.FLOOR: _nothing,
    ops.CAST: _cast,
    ops.BITCAST: _nothing,
    ops.ADD: lambda g, n: (g, g),
    ops.SUB: lambda g, n: (g, neg(g)),
    ops.MUL: lambda g, n: (mul(g, n.src[1]), mul(g, n.src[0])),
    ops.DIV: _div,
    ops.FLOORDIV: _nothing,
    ops.MOD: _mod,
    ops.POW: _pow,
    ops.MAXIMUM: _extreme,
    ops.MINIMUM: _extreme,
    ops.EQ: _nothing,
    ops.LT: _nothing,
    ops.LE: _nothing,
    ops.AND: _nothing,
    ops.OR: _nothing,
    ops.XOR: _nothing,
    ops.SHL: _nothing,
    ops.SHR: _nothing,
    ops.WHERE: _where,
    ops.RESHAPE: lambda g, n: (build.reshape(g, n.src[0].shape),),
    ops.EXPAND: lambda g, n: (_unbroadcast(g, n.src[0]),),
    ops.PERMUTE: _permute,
    ops.SLICE: _slice,
    ops.PAD: _pad,
    ops.FLIP: lambda g, n: (build.flip(g, n.arg),),
    ops.WINDOW: _window,
    ops.FOLD: _fold,
    ops.REDUCE: _reduce,
    ops.SCAN: _scan,
    ops.GATHER: _gather,
    ops.SCATTER: _scatter,
    ops.HOST: library.vjp,
    ops.APPLY: lambda g, n: applied.vjp(g, n, pull_back),
    ops.DETACH: _nothing,
    ops.SURROGATE: lambda g, n: (None, g),
    ops.CUSTOM: lambda g, n: (None, *n.arg(g, n)),
    ops.CONSUMED: _consumed,
}
