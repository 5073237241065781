"""Gradients of what libraries compute (`ir/host.py`): linear algebra and Fourier transforms.

The formulas are those of Giles (2008), "An extended collection of matrix derivative results", and
of Townsend (2016), "Differentiating the singular value decomposition". Of several results that lie
side by side, `g` holds the gradients side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from gradlet.grad.errors import GradientError
from gradlet.ir import build, ops
from gradlet.ir.build import add, div, full_like, library, mul, neg, sub
from gradlet.ir.host import eigh_shapes, qr_shapes, svd_shapes
from gradlet.ir.node import Node

Cotangents = tuple[Node | None, ...]
Rule = Callable[..., Cotangents]
Shape = tuple[int, ...]


def vjp(g: Node, n: Node) -> Cotangents:
    """The cotangents of the sources of a HOST node."""
    name, parameters = n.arg
    return LIBRARY_VJP[name](g, n, *parameters)


# Matrices


def transposed(x: Node) -> Node:
    """The last two axes exchanged."""
    return build.permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def matmul(a: Node, b: Node) -> Node:
    """The matrix product over the last two axes; the others are equal."""
    lead, (rows, inner), columns = a.shape[:-2], a.shape[-2:], b.shape[-1]
    shape = (*lead, rows, columns, inner)
    left = build.expand(build.reshape(a, (*lead, rows, 1, inner)), shape)
    right = build.expand(build.reshape(transposed(b), (*lead, 1, columns, inner)), shape)
    return build.sum_(build.mul(left, right), (len(shape) - 1,))


def product(*factors: Node) -> Node:
    """The matrix product of several, from the left."""
    result = factors[0]
    for factor in factors[1:]:
        result = matmul(result, factor)
    return result


def columns(x: Node, n: Node) -> Node:
    """The vector `x` (..., k) as a factor of each column of `n` (..., m, k)."""
    return build.expand(build.reshape(x, (*x.shape[:-1], 1, x.shape[-1])), n.shape)


def rows(x: Node, n: Node) -> Node:
    """The vector `x` (..., k) as a factor of each row of `n` (..., k, m)."""
    return build.expand(build.reshape(x, (*x.shape, 1)), n.shape)


def diagonal(x: Node) -> Node:
    """The vector `x` (..., k) on the diagonal of a matrix of zeros."""
    square = (*x.shape, x.shape[-1])
    return _where_place(ops.EQ, build.expand(build.reshape(x, (*x.shape, 1)), square))


def lower(x: Node, strictly: bool = False) -> Node:
    """The lower triangle of `x`, with its diagonal or without."""
    return _where_place(ops.LT if strictly else ops.LE, x)


def _where_place(relation: ops.Op, x: Node) -> Node:
    """`x` where (column relation row) holds, and else 0."""
    row, column = build.along(x.ndim - 2, x.shape), build.along(x.ndim - 1, x.shape)
    return build.where(build.binary(relation, column, row), x, full_like(x, 0))


def unpack(x: Node, shapes: Sequence[Shape]) -> list[Node]:
    """The results that lie side by side along the last axis of `x`."""
    lead = x.shape[:-1]
    parts = []
    start = 0
    for shape in shapes:
        stop = start + prod(shape)
        spans = (*((0, extent, 1) for extent in lead), (start, stop, 1))
        parts.append(build.reshape(build.slice_(x, spans), (*lead, *shape)))
        start = stop
    return parts


def _ratio(above: Node, below: Node) -> Node:
    """above / below, and 0 for 0 / 0: what does not depend on a gap has no gradient through it."""
    zero = full_like(above, 0)
    neither = build.binary(
        ops.AND, build.binary(ops.EQ, above, zero), build.binary(ops.EQ, below, zero)
    )
    return div(above, build.where(neither, full_like(below, 1), below))


# Order


def _logcumsumexp(g: Node, n: Node, axis: int) -> Cotangents:
    """exp(x) times the sum of g / exp(n) from here to the end, in logarithms."""
    (x,) = n.src
    zero, nothing = full_like(g, 0), full_like(g, -math.inf)

    def share(part: Node) -> Node:
        present = build.binary(ops.LT, zero, part)
        logarithm = build.unary(ops.LOG, build.where(present, part, full_like(g, 1)))
        weight = build.flip(build.where(present, sub(logarithm, n), nothing), (axis,))
        total = build.flip(library("logcumsumexp", (axis,), weight), (axis,))
        return build.unary(ops.EXP, add(total, x))

    return (sub(share(g), share(neg(g))),)


# Linear algebra


def _inv(g: Node, n: Node) -> Cotangents:
    back = transposed(n)
    return (neg(product(back, g, back)),)


def _det(g: Node, n: Node) -> Cotangents:
    (a,) = n.src
    fast = library("cofactors", (), a)
    # Cofactors can be differentiated where the matrix has an inverse.
    smooth = mul(_each(n, a), transposed(library("inv", (), a)))
    return (mul(_each(g, a), build.surrogate(build.detach(fast), smooth)),)


def _each(x: Node, like: Node) -> Node:
    """One number a matrix as a factor of its elements."""
    return build.expand(build.reshape(x, (*x.shape, 1, 1)), like.shape)


def _slogdet(g: Node, n: Node) -> Cotangents:
    (a,) = n.src
    _, logarithm = unpack(g, [(), ()])
    return (mul(_each(logarithm, a), transposed(library("inv", (), a))),)


def _solve(g: Node, n: Node) -> Cotangents:
    a, _ = n.src
    to_b = library("solve", (), transposed(a), g)
    return neg(matmul(to_b, transposed(n))), to_b


def _lstsq(g: Node, n: Node) -> Cotangents:
    """As of pinv(a) @ b."""
    a, b = n.src
    inverse = library("pinv", (), a)
    (to_a,) = _pinv(matmul(g, transposed(b)), inverse)
    return to_a, matmul(transposed(inverse), g)


def _pinv(g: Node, n: Node) -> Cotangents:
    (a,) = n.src
    back, turned = transposed(n), transposed(g)
    outside = product(turned, n, back)  # less what of it lies in the range of a
    inside = product(back, n, turned)
    result = neg(product(back, g, back))
    result = add(result, sub(outside, product(a, n, outside)))
    return (add(result, sub(inside, product(inside, n, a))),)


def _cholesky(g: Node, n: Node) -> Cotangents:
    inner = matmul(transposed(n), lower(g))
    half = sub(lower(inner), mul(full_like(inner, 0.5), _on_diagonal(inner)))
    first = library("solve", (), transposed(n), half)
    whole = transposed(library("solve", (), transposed(n), transposed(first)))
    return (mul(full_like(whole, 0.5), add(whole, transposed(whole))),)


def _on_diagonal(x: Node) -> Node:
    return _where_place(ops.EQ, x)


def _eigh(g: Node, n: Node) -> Cotangents:
    (a,) = n.src
    shapes = eigh_shapes(a)
    values, vectors = unpack(n, shapes)
    to_values, to_vectors = unpack(g, shapes)
    back = transposed(vectors)
    turned = matmul(back, to_vectors)
    gaps = sub(columns(values, turned), rows(values, turned))
    inner = add(diagonal(to_values), _ratio(_off_diagonal(turned), gaps))
    return (product(vectors, inner, back),)


def _off_diagonal(x: Node) -> Node:
    return sub(x, _on_diagonal(x))


def _svd(g: Node, n: Node, full: bool) -> Cotangents:
    (a,) = n.src
    if full and a.shape[-1] != a.shape[-2]:
        raise GradientError(
            f"svd of {a.dtype.name}{list(a.shape)} with full_matrices=True has no gradient: the "
            "vectors beyond the smaller extent are arbitrary. Use full_matrices=False."
        )
    shapes = svd_shapes(a, full)
    u, s, vt = unpack(n, shapes)
    to_u, to_s, to_vt = unpack(g, shapes)
    v, to_v = transposed(vt), transposed(to_vt)
    from_u, from_v = matmul(transposed(u), to_u), matmul(vt, to_v)
    squares = mul(s, s)
    gaps = sub(columns(squares, from_u), rows(squares, from_u))
    turn_u = _ratio(sub(from_u, transposed(from_u)), gaps)
    turn_v = _ratio(sub(from_v, transposed(from_v)), gaps)
    inner = add(mul(turn_u, columns(s, turn_u)), mul(rows(s, turn_v), turn_v))
    result = product(u, add(inner, diagonal(to_s)), vt)
    if u.shape[-2] > u.shape[-1]:
        scaled = _ratio(to_u, columns(s, to_u))
        outside = sub(scaled, product(u, transposed(u), scaled))
        result = add(result, matmul(outside, vt))
    if v.shape[-2] > v.shape[-1]:
        scaled = _ratio(to_vt, rows(s, to_vt))
        outside = sub(scaled, product(scaled, v, vt))
        result = add(result, matmul(u, outside))
    return (result,)


def _qr(g: Node, n: Node, mode: str) -> Cotangents:
    (a,) = n.src
    shapes = qr_shapes(a, mode)
    q, r = unpack(n, shapes)
    to_q, to_r = unpack(g, shapes)
    height, width = a.shape[-2:]
    if mode == "complete" and height > width:
        raise GradientError(
            f"qr of {a.dtype.name}{list(a.shape)} with mode='complete' has no gradient: the "
            "columns beyond the smaller extent are arbitrary. Use mode='reduced'."
        )
    if height >= width:
        return (_tall_qr(to_q, to_r, q, r),)
    # The square part on the left decides q, and the rest of r is q^T times the rest of a.
    square, rest = _split(a, height)[1], _split(to_r, height)
    to_q = add(to_q, matmul(square, transposed(rest[1])))
    left = _tall_qr(to_q, rest[0], q, _split(r, height)[0])
    return (_beside(left, matmul(q, rest[1])),)


def _tall_qr(to_q: Node, to_r: Node, q: Node, r: Node) -> Node:
    inner = sub(matmul(r, transposed(to_r)), matmul(transposed(to_q), q))
    mirrored = add(lower(inner), transposed(lower(inner, strictly=True)))
    right = add(to_q, matmul(q, mirrored))
    return transposed(library("solve", (), r, transposed(right)))


def _split(x: Node, column: int) -> tuple[Node, Node]:
    """The columns before and from `column` on."""
    lead = tuple((0, extent, 1) for extent in x.shape[:-1])
    spans = (0, column, 1), (column, x.shape[-1], 1)
    left, right = (build.slice_(x, (*lead, span)) for span in spans)
    return left, right


def _beside(left: Node, right: Node) -> Node:
    lead = ((0, 0, 0),) * (left.ndim - 1)
    padded = build.pad(left, (*lead, (0, right.shape[-1], 0)))
    return add(padded, build.pad(right, (*lead, (left.shape[-1], 0, 0))))


# Fourier transforms: linear, so that the gradient is the transposed map applied to `g`

_ADJOINT_NORM = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _fft(g: Node, n: Node, axes: Shape, inverse: bool, norm: str) -> Cotangents:
    return (library("fft", (axes, not inverse, _ADJOINT_NORM[norm]), g),)


def _rfft(g: Node, n: Node, axis: int, norm: str) -> Cotangents:
    """irfft counts each frequency twice that has a mirror image, which rfft has left out."""
    length = n.src[0].shape[axis]
    halved = div(g, _mirror_count(g, length, axis))
    return (library("irfft", (length, axis, _ADJOINT_NORM[norm]), halved),)


def _irfft(g: Node, n: Node, length: int, axis: int, norm: str) -> Cotangents:
    back = library("rfft", (axis, _ADJOINT_NORM[norm]), g)
    return (mul(back, _mirror_count(back, length, axis)),)


def _mirror_count(x: Node, length: int, axis: int) -> Node:
    """How often each element of a half spectrum of `length` numbers is in the whole one."""
    place = build.along(axis, x.shape)
    alone = build.binary(ops.EQ, place, full_like(place, 0))
    if length % 2 == 0:
        middle = build.binary(ops.EQ, place, full_like(place, length // 2))
        alone = build.binary(ops.OR, alone, middle)
    return build.where(alone, full_like(x, 1), full_like(x, 2))


def _ctc_loss(g: Node, n: Node, *options: Any) -> Cotangents:
    x = n.src[0]
    slope = library("ctc_loss_gradient", options, *n.src)
    return mul(build.expand(build.reshape(g, (1, x.shape[1], 1)), x.shape), slope), None, None, None


def _ctc_loss_gradient(g: Node, n: Node, *options: Any) -> Cotangents:
    raise GradientError("ctc_loss has a first derivative only, and no second one")


def _again(g: Node, n: Node) -> Cotangents:
    return (g, *(None for _ in n.src[1:]))


def _nothing(g: Node, n: Node, *_: Any) -> Cotangents:
    return tuple(None for _ in n.src)


LIBRARY_VJP: dict[str, Rule] = {
    "argsort": _nothing,
    "topk": _nothing,
    "searchsorted": _nothing,
    "histogram": _nothing,
    "logcumsumexp": _logcumsumexp,
    "ctc_loss": _ctc_loss,
    "ctc_loss_gradient": _ctc_loss_gradient,
    "again": _again,
    "inv": _inv,
    "det": _det,
    "cofactors": _nothing,  # see _det
    "slogdet": _slogdet,
    "solve": _solve,
    "lstsq": _lstsq,
    "pinv": _pinv,
    "cholesky": _cholesky,
    "qr": _qr,
    "eigh": _eigh,
    "svd": _svd,
    "fft": _fft,
    "rfft": _rfft,
    "irfft": _irfft,
}
