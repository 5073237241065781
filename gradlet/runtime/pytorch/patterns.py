"""Parts of graphs for which PyTorch has one function: contractions, convolutions, thresholds.

A contraction is a sum of products over axes that both operands have. It becomes an `einsum`, which
forms matrix products; where an operand shows windows of an image, it is a convolution or a
gradient of one. All else is computed as it is written.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch

from gradlet.ir import ops
from gradlet.ir.node import Node, node
from gradlet.runtime.pytorch.integers import Function

Shape = tuple[int, ...]


class Plan(NamedTuple):
    """How a node is computed.

    Attributes:
        sources: the nodes whose values the function is given.
        broadcasts: whether these, and what it returns, need only broadcast to the full shapes.
        overwrites: whether it takes an array `out` to write its result into.
    """

    function: Function
    sources: tuple[Node, ...]
    broadcasts: bool = False
    overwrites: bool = False


def match(n: Node, readers: Mapping[Node, int]) -> Plan | None:
    """A plan better than the row of the table, if one is known.

    Args:
        readers: for each node how many read it; what one other reads, and nobody else, may be
            left out.
    """
    if n.op is ops.ADD:
        return _biased(n, readers) or _scaled(n, readers)
    if n.op is ops.REDUCE:
        found = _contraction(n)
        if found is None:
            return _negative(n, readers)
        return _convolution(n, found) or _einsum(n, found)
    if n.op in (ops.FOLD, ops.SLICE):
        return _image_gradient(n)
    if n.op is ops.XOR:
        return unequal(n)
    return _threshold(n, readers) if n.op is ops.WHERE else None


def unequal(n: Node) -> Plan | None:
    """`a != b`, which graphs say as `(a == b) ^ True`."""
    for equal, other in (n.src, n.src[::-1]):
        equal = _unexpanded(equal)
        if equal.op is ops.EQ and other.is_const and other.value is True:
            return Plan(torch.ne, equal.src, broadcasts=True)
    return None


def _scaled(n: Node, readers: Mapping[Node, int]) -> Plan | None:
    """`a + b * c` for floats."""
    for product, other in (n.src, n.src[::-1]):
        product = _unexpanded(product)
        if product.op is ops.MUL and readers[product] == 1 and n.dtype.is_float:
            return Plan(torch.addcmul, (other, *product.src), True, overwrites=True)
    return None


def _negative(n: Node, readers: Mapping[Node, int]) -> Plan | None:
    """The sum of `-x`, as minus the sum of `x`."""
    op, axes = n.arg
    (negated,) = n.src
    if not (op is ops.ADD and negated.op is ops.NEG and n.dtype.is_float and negated.size):
        return None
    return Plan(lambda x: x.sum(axes).neg_(), negated.src) if readers[negated] == 1 else None


def _threshold(n: Node, readers: Mapping[Node, int]) -> Plan | None:
    """`where(x <= limit, value, x)`, which is relu, and its gradient `where(x <= limit, 0, g)`.

    The gradient looks at what relu gave, if that is at hand, and not at what relu was given.
    """
    small, value, other = n.src
    if small.op is not ops.LE or not value.is_const or not n.dtype.is_float:
        return None
    x, limit = small.src
    if not limit.is_const or x.dtype is not n.dtype:
        return None
    if other is x:
        return Plan(partial(_raised, limit.value, value.value), (x,), overwrites=True)
    if value.value == 0 and not other.is_const:
        given = node(ops.WHERE, (small, value, x), None, n.dtype, n.shape)
        x = given if limit.value == 0 and given in readers else x
        return Plan(partial(_passed, limit.value), (other, x), overwrites=True)
    return None


def _raised(
    limit: float, value: float, x: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    if out is None:
        return torch.threshold(x, limit, value)
    return torch.ops.aten.threshold.out(x, limit, value, out=out)


def _passed(
    limit: float, g: torch.Tensor, x: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    if out is None:
        return torch.ops.aten.threshold_backward(g, x, limit)
    return torch.ops.aten.threshold_backward.grad_input(g, x, limit, grad_input=out)


# Contractions


class _Contraction(NamedTuple):
    """A sum over `axes` of products in `shape`; an operand has extents of 1 where it repeats."""

    operands: tuple[Node, Node]
    shape: Shape
    axes: Shape


def _contraction(n: Node) -> _Contraction | None:
    if n.op is not ops.REDUCE or n.arg[0] is not ops.ADD or n.src[0].op is not ops.MUL:
        return None
    product = n.src[0]
    a, b = (_unexpanded(source) for source in product.src)
    spread = a.size < product.size or b.size < product.size
    wide = n.dtype.is_float and n.dtype.bits >= 32  # half floats would add up as such
    if not (product.size and wide and spread and product.ndim <= len(string.ascii_letters)):
        return None
    for x in (a, b):
        extents = _aligned(x, product.ndim)
        if any(extents[axis] != product.shape[axis] for axis in n.arg[1]):
            return None
    return _Contraction((a, b), product.shape, n.arg[1])


def _unexpanded(x: Node) -> Node:
    while x.op is ops.EXPAND:
        x = x.src[0]
    return x


def _aligned(x: Node, rank: int) -> Shape:
    return (1,) * (rank - x.ndim) + x.shape


def _einsum(n: Node, found: _Contraction) -> Plan:
    rank = len(found.shape)
    shapes: list[Shape] = []
    terms: list[str] = []
    for x in found.operands:
        kept = [axis for axis, extent in enumerate(_aligned(x, rank)) if extent > 1]
        shapes.append(tuple(found.shape[axis] for axis in kept))
        terms.append("".join(string.ascii_letters[axis] for axis in kept))
    letters = [string.ascii_letters[axis] for axis in range(rank) if axis not in found.axes]
    result = "".join(letter for letter in letters if letter in terms[0] + terms[1])
    equation = f"{terms[0]},{terms[1]}->{result}"
    left, right = shapes

    def contract(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.einsum(equation, a.reshape(left), b.reshape(right)).reshape(n.shape)

    return Plan(contract, found.operands)


# Convolutions


class _Geometry(NamedTuple):
    """How windows lie in an image (N, C, ...), a number for each of its last axes."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    padding: Shape


class _Roles(NamedTuple):
    """The product under a convolution: its axes (N, groups, filters, depth, places..., kernel...).

    Without groups their axis is left out.
    """

    shape: Shape
    groups: int
    filters: int
    places: Shape
    kernel: Shape

    @property
    def depth(self) -> int:
        return self.filters + 1

    def lacks(self, x: Node, *axes: int) -> bool:
        """Whether an operand has all axes but these."""
        return x.shape == tuple(1 if i in axes else n for i, n in enumerate(self.shape))

    def windows_shape(self) -> Shape:
        """(N, groups * depth, places..., kernel...)"""
        rest = (self.shape[axis] for axis in (*self.places, *self.kernel))
        return (self.shape[0], self.groups * self.shape[self.depth], *rest)

    def filters_shape(self) -> Shape:
        """(groups * filters, depth, kernel...)"""
        kernel = (self.shape[axis] for axis in self.kernel)
        return (self.groups * self.shape[self.filters], self.shape[self.depth], *kernel)

    def result_shape(self) -> Shape:
        """(N, groups * filters, places...)"""
        places = (self.shape[axis] for axis in self.places)
        return (self.shape[0], self.groups * self.shape[self.filters], *places)


def _roles(shape: Shape) -> _Roles:
    axes, grouped = (len(shape) - 3) // 2, len(shape) % 2 == 0
    first = 4 if grouped else 3
    places = tuple(range(first, first + axes))
    kernel = tuple(range(first + axes, first + 2 * axes))
    return _Roles(shape, shape[1] if grouped else 1, first - 2, places, kernel)


def _convolution(n: Node, found: _Contraction) -> Plan | None:
    """A convolution, or the gradient of its filters."""
    roles = _roles(found.shape)
    for shown, other in (found.operands, found.operands[::-1]):
        if not roles.kernel or not roles.lacks(shown, roles.filters):
            continue
        base = shown.src[0] if shown.op is ops.RESHAPE else shown
        windows = _windows(base)
        if windows is None or base.shape != roles.windows_shape():
            continue
        image, how = windows
        if found.axes == (roles.depth, *roles.kernel) and roles.lacks(other, 0, *roles.places):
            return Plan(_forward(n, how, roles), (image, other))
        if found.axes == (0, *roles.places) and roles.lacks(other, roles.depth, *roles.kernel):
            return Plan(_filter_gradient(n, how, roles), (image, other))
    return None


def _windows(x: Node) -> tuple[Node, _Geometry] | None:
    """The image whose windows (N, C, places..., kernel...) `x` is, if it is that."""
    steps: list[tuple[int, int, int]] = []
    axes = (x.ndim - 2) // 2
    while x.op is ops.WINDOW and x.arg[0] == 1 + axes - len(steps):
        steps.insert(0, x.arg[1:])
        x = x.src[0]
    if not steps or len(steps) != axes or x.ndim != 2 + axes:
        return None
    padding = (0,) * axes
    if x.op is ops.PAD:
        even = all(before == after and not between for before, after, between in x.arg)
        if even and x.arg[0] == x.arg[1] == (0, 0, 0):
            padding, x = tuple(before for before, _, _ in x.arg[2:]), x.src[0]
    kernel, stride, dilation = zip(*steps, strict=True)
    return x, _Geometry(kernel, stride, dilation, padding)


def _biased(n: Node, readers: Mapping[Node, int]) -> Plan | None:
    """A convolution (N, C, places...) to which a bias (1, C, ...) is added."""
    convolved, added = n.src
    bias = _unexpanded(added)
    if n.ndim < 3 or readers[convolved] > 1 or bias.shape != _channels(n):
        return None
    found = _contraction(convolved)
    if found is None or found.axes != (_roles(found.shape).depth, *_roles(found.shape).kernel):
        return None
    plan = _convolution(convolved, found)
    if plan is None:
        return None
    convolve = plan.function
    return Plan(lambda x, w, b: convolve(x, w, b.flatten()), (*plan.sources, bias))


def _channels(n: Node) -> Shape:
    """The shape of what has a number for each channel of (N, C, places...)."""
    return (1, n.shape[1], *(1 for _ in n.shape[2:]))


def _forward(n: Node, how: _Geometry, roles: _Roles) -> Function:
    like, none = roles.filters_shape(), (0,) * len(how.kernel)

    def convolve(
        x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        made = torch.convolution(
            x, w.reshape(like), bias, how.stride, how.padding, how.dilation, False, none,
            roles.groups,
        )  # fmt: skip
        return made.reshape(n.shape)

    return convolve


def _filter_gradient(n: Node, how: _Geometry, roles: _Roles) -> Function:
    like = roles.filters_shape()
    backward = _backward(how, roles, (False, True, False))

    def gradient(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return backward(g, x, x.new_empty(like))[1].reshape(n.shape)

    return gradient


def _backward(how: _Geometry, roles: _Roles, wanted: tuple[bool, bool, bool]) -> Function:
    """A function of g, x and w that gives those of their gradients that are wanted.

    Of what has no part in these it wants the shape.
    """
    places, like, none = roles.result_shape(), roles.filters_shape(), (0,) * len(how.kernel)
    return lambda g, x, w: torch.ops.aten.convolution_backward(
        g.reshape(places), x, w.reshape(like), None, how.stride, how.padding, how.dilation,
        False, none, roles.groups, wanted,
    )  # fmt: skip


def _image_gradient(n: Node) -> Plan | None:
    """The gradient of a convolution's image: windows added up, without their padding."""
    padding, x = _padding(n) if n.op is ops.SLICE else ((0,) * n.ndim, n)
    steps: list[tuple[int, int]] = []
    while x.op is ops.FOLD and x.arg[0] == 2 + len(steps):
        steps.append(x.arg[2:])
        x = x.src[0]
    found = _contraction(x.src[0] if x.op is ops.RESHAPE else x)
    axes = len(steps)
    if not steps or found is None or n.ndim != 2 + axes or any(padding[:2]):
        return None
    roles = _roles(found.shape)
    if found.axes != (roles.filters,) or len(roles.kernel) != axes:
        return None
    if x.shape != roles.windows_shape():
        return None
    stride, dilation = zip(*steps, strict=True)
    how = _Geometry(roles.filters_shape()[2:], stride, dilation, padding[2:])
    if not _fits(n, how, roles):
        return None
    for filters, g in (found.operands, found.operands[::-1]):
        if roles.lacks(filters, 0, *roles.places) and roles.lacks(g, roles.depth, *roles.kernel):
            return Plan(_image_gradient_of(n, how, roles), (filters, g))
    return None


def _padding(n: Node) -> tuple[Shape, Node]:
    """What a slice takes away from both sides, and from what; -1 if that differs."""
    sides = zip(n.arg, n.src[0].shape, strict=True)
    cut = (
        start if start == extent - stop and step == 1 else -1
        for (start, stop, step), extent in sides
    )
    return tuple(cut), n.src[0]


def _fits(n: Node, how: _Geometry, roles: _Roles) -> bool:
    """Whether a convolution of an image like `n` has the places that there are."""
    found = [
        (extent + 2 * side - gap * (size - 1) - 1) // step + 1
        for extent, size, step, gap, side in zip(n.shape[2:], *how, strict=True)
    ]
    return min(how.padding) >= 0 and (*found,) == roles.result_shape()[2:]


def _image_gradient_of(n: Node, how: _Geometry, roles: _Roles) -> Function:
    backward = _backward(how, roles, (True, False, False))
    return lambda w, g: backward(g, g.new_empty(n.shape), w)[0]
