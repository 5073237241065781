"""Sums of products over named axes: einsum, and what is short for one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.contraction import Contraction, for_sums, result_dtype, sum_of_products
from gradlet.tensor.core import Core, normal_axis, product

Labels = tuple[Hashable, ...]


class Einsum(Contraction):
    """Sums of products."""

    __slots__ = ()

    @staticmethod
    def einsum(equation: str, *operands: Any) -> Any:
        """A sum of products in Einstein's notation, as `torch.einsum` reads it.

        Letters name axes; one that the result lacks is summed over, one that an operand has twice
        means its diagonal, and `...` stands for axes that broadcast. Without `->` the result has
        the letters that occur once, in order. Several operands are multiplied two at a time, the
        cheapest two first.

        >>> from gradlet import Tensor
        >>> Tensor.einsum("ij,kj->ik", Tensor([[1, 2]]), Tensor([[3, 4], [5, 6]])).tolist()
        [[11, 17]]
        """
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = tuple(operands[0])
        if not operands or not all(isinstance(x, Core) for x in operands):
            raise TypeError("einsum: needs an equation and then tensors, and nothing but tensors")
        first = operands[0]
        nodes = [first._operand(x, "einsum") for x in operands]
        terms, result = _parse(equation, nodes)
        dtype = nodes[0].dtype
        for x in nodes[1:]:
            dtype = dtypes.promote(dtype, x.dtype)
        parts = [
            _diagonals(for_sums(x, dtype), labels, equation)
            for x, labels in zip(nodes, terms, strict=True)
        ]
        _check_extents(parts, equation)
        made = _contract(parts, result)
        return first._result(build.cast(made, result_dtype(dtype)))

    def tensordot(self, other: Self, dims: int | Sequence[Any] = 2) -> Self:
        """The sum of products over the last `dims` axes of `self` and the first of `other`.

        Args:
            dims: how many axes, or (axes of `self`, axes of `other`).
        """
        if isinstance(dims, int):
            if not 0 <= dims <= min(self.ndim, other.ndim):
                raise ValueError(
                    f"tensordot: shapes {self.shape} and {other.shape} do not have {dims} axes each"
                )
            dims = (range(self.ndim - dims, self.ndim), range(dims))
        mine, theirs = ([axes] if isinstance(axes, int) else axes for axes in dims)
        left = [normal_axis(axis, self.ndim, "tensordot") for axis in mine]
        right = [normal_axis(axis, other.ndim, "tensordot") for axis in theirs]
        here, there = [self.shape[a] for a in left], [other.shape[a] for a in right]
        if here != there or len(set(left)) != len(left) or len(set(right)) != len(right):
            raise ValueError(
                f"tensordot: axes {left} of shape {self.shape} and {right} of {other.shape} must "
                "be as many, each once, and of equal extents"
            )
        names: list[Hashable] = [("left", a) for a in range(self.ndim)]
        others: list[Hashable] = [("right", a) for a in range(other.ndim)]
        for a, b in zip(left, right, strict=True):
            names[a] = others[b] = ("shared", a)
        shared = {names[a] for a in left}
        kept = tuple(name for name in (*names, *others) if name not in shared)
        return self._product(other, tuple(names), tuple(others), kept, "tensordot")

    def _product(self, other: Self, a: Labels, b: Labels, kept: Labels, operation: str) -> Self:
        node = self._operand(other, operation)
        assert node is not None
        dtype = dtypes.promote(self.dtype, node.dtype)
        made = _contract([(for_sums(self.node, dtype), a), (for_sums(node, dtype), b)], kept)
        return self._result(build.cast(made, result_dtype(dtype)))

    def _ranks(self, other: Any, mine: int, its: int, operation: str) -> None:
        if self.ndim != mine or other.ndim != its:
            raise ValueError(
                f"{operation}: needs tensors with {mine} and {its} axes, not of shapes "
                f"{self.shape} and {other.shape}; use matmul for others"
            )

    def mm(self, other: Self) -> Self:
        """The product of two matrices."""
        self._ranks(other, 2, 2, "mm")
        return self.matmul(other)

    def mv(self, other: Self) -> Self:
        """The product of a matrix (M, K) and a vector (K,)."""
        self._ranks(other, 2, 1, "mv")
        return self.matmul(other)

    def bmm(self, other: Self) -> Self:
        """The products of matrices (B, M, K) and (B, K, N), which do not broadcast."""
        self._ranks(other, 3, 3, "bmm")
        if self.shape[0] != other.shape[0]:
            raise ValueError(
                f"bmm: shapes {self.shape} and {other.shape} have unequal first axes; use matmul "
                "to broadcast"
            )
        return self.matmul(other)

    def vdot(self, other: Self) -> Self:
        """The sum of products of two vectors."""
        self._ranks(other, 1, 1, "vdot")
        return self.matmul(other)

    def inner(self, other: Self) -> Self:
        """The sum of products over the last axis of both; with a scalar, their product."""
        if not self.ndim or not other.ndim:
            return self * other
        return self.tensordot(other, ([-1], [-1]))

    def outer(self, other: Self) -> Self:
        """All products of the elements of two vectors: (M,) and (N,) to (M, N)."""
        self._ranks(other, 1, 1, "outer")
        return self.unsqueeze(1) * other

    ger = outer

    def kron(self, other: Self) -> Self:
        """The Kronecker product: each element of `self` replaced by its product with `other`.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2]).kron(Tensor([1, 10])).tolist()
        [1, 10, 2, 20]
        """
        rank = max(self.ndim, other.ndim)
        left = (1,) * (rank - self.ndim) + self.shape
        right = (1,) * (rank - other.ndim) + other.shape
        a = self.reshape(tuple(n for extent in left for n in (extent, 1)))
        b = other.reshape(tuple(n for extent in right for n in (1, extent)))
        return (a * b).reshape(tuple(m * n for m, n in zip(left, right, strict=True)))

    def cross(self, other: Self, dim: int | None = None) -> Self:
        """The cross product of vectors of 3 along `dim`, or along the first axis of extent 3."""
        if dim is None:
            places = [axis for axis, extent in enumerate(self.shape) if extent == 3]
            dim = places[0] if places else -1
        axis = self._axis(dim, "cross")
        fits = self.ndim == other.ndim and self.ndim > 0
        if not fits or self.shape[axis] != 3 or other.shape[axis] != 3:
            raise ValueError(
                f"cross: shapes {self.shape} and {other.shape} need 3 elements along axis {dim}"
            )
        x, y = self.movedim(axis, 0), other.movedim(axis, 0)
        parts = [x[i] * y[j] - x[j] * y[i] for i, j in ((1, 2), (2, 0), (0, 1))]
        joined: Self = parts[0].stack(*parts[1:], dim=0)
        return joined.movedim(0, axis)

    def bilinear(self, other: Self, weight: Self, bias: Self | None = None) -> Self:
        """x A y + b for each matrix A of `weight`.

        Args:
            self: (..., in1).
            other: (..., in2).
            weight: (out, in1, in2).
            bias: (out,).

        Returns:
            (..., out).
        """
        result: Self = self.einsum("...i,oij,...j->...o", self, weight, other)
        return result if bias is None else result + bias


# Reading an equation


def _parse(equation: str, nodes: Sequence[Node]) -> tuple[list[Labels], Labels]:
    """The labels of each operand's axes, and of the result's; axes of `...` are numbers."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    written = left.split(",")
    if len(written) != len(nodes):
        raise ValueError(
            f"einsum: {equation!r} is for {len(written)} operands, and {len(nodes)} are given"
        )
    terms = [_labels(term, x.ndim, equation) for term, x in zip(written, nodes, strict=True)]
    every = [label for labels in terms for label in labels]
    dots = tuple(sorted({label for label in every if isinstance(label, int)}))
    letters = [label for label in every if isinstance(label, str)]
    if not arrow:
        once = sorted({label for label in letters if letters.count(label) == 1})
        return terms, (*dots, *once)
    head, has_dots, tail = right.partition("...")
    result: Labels = (*head, *(dots if has_dots else ()), *tail)
    if len(set(result)) != len(result) or not {*head, *tail} <= set(letters):
        raise ValueError(
            f"einsum: the result of {equation!r} needs letters that operands have, each once"
        )
    return terms, result


def _labels(term: str, rank: int, equation: str) -> Labels:
    """`...` becomes numbers that count up to -1, so that axes align from the right."""
    head, has_dots, tail = term.partition("...")
    letters = head + tail
    if not all(letter.isascii() and letter.isalpha() for letter in letters):
        raise ValueError(f"einsum: {term!r} in {equation!r} may hold letters and one '...' alone")
    rest = rank - len(letters)
    if rest < 0 or (rest and not has_dots):
        raise ValueError(
            f"einsum: {term!r} in {equation!r} names {len(letters)} axes, and the operand has "
            f"{rank}"
        )
    return (*head, *range(-rest, 0), *tail)


def _diagonals(x: Node, labels: Labels, equation: str) -> tuple[Node, Labels]:
    """An operand with each label once: of axes of one label the diagonal is left."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            extent = x.shape[first]
            if x.shape[second] != extent:
                raise ValueError(
                    f"einsum: {label!r} in {equation!r} names axes of {extent} and "
                    f"{x.shape[second]} elements"
                )
            others = [a for a in range(x.ndim) if a not in (first, second)]
            moved = build.permute(x, (first, second, *others))
            rest = moved.shape[2:]
            flat = build.reshape(moved, (extent * extent, *rest))
            spans = ((0, extent * extent, extent + 1), *((0, n, 1) for n in rest))
            x = build.slice_(flat, spans)
            labels = (label, *(labels[a] for a in others))
    return x, labels


def _check_extents(parts: Sequence[tuple[Node, Labels]], equation: str) -> None:
    extents: dict[Hashable, int] = {}
    for x, labels in parts:
        for label, extent in zip(labels, x.shape, strict=True):
            known = extents.setdefault(label, extent)
            if known == 1:
                extents[label] = extent
            elif extent not in (1, known):
                name = label if isinstance(label, str) else "..."
                raise ValueError(
                    f"einsum: {name!r} in {equation!r} names axes of {known} and {extent} elements"
                )


# Contracting


def _contract(parts: list[tuple[Node, Labels]], result: Labels) -> Node:
    """The sum of products of operands whose labels are each unique, as `result` orders axes."""
    parts = list(parts)
    while len(parts) > 1:
        i, j = min(combinations(range(len(parts)), 2), key=lambda pair: _price(parts, pair))
        others = [part for place, part in enumerate(parts) if place not in (i, j)]
        needed = {*result, *(label for _, labels in others for label in labels)}
        parts = [*others, _multiply(parts[i], parts[j], needed)]
    x, labels = parts[0]
    dropped = tuple(axis for axis, label in enumerate(labels) if label not in result)
    x = build.sum_(x, dropped)
    left = [label for label in labels if label in result]
    return build.permute(x, tuple(left.index(label) for label in result))


def _price(parts: Sequence[tuple[Node, Labels]], pair: tuple[int, int]) -> int:
    """How many products two operands have."""
    extents: dict[Hashable, int] = {}
    for place in pair:
        x, labels = parts[place]
        for label, extent in zip(labels, x.shape, strict=True):
            extents[label] = max(extents.get(label, 1), extent)
    return product(list(extents.values()))


def _multiply(
    a: tuple[Node, Labels], b: tuple[Node, Labels], needed: set[Hashable]
) -> tuple[Node, Labels]:
    """The product of two operands, summed over labels that nothing else needs."""
    a, b = _without_private(a, b[1], needed), _without_private(b, a[1], needed)
    both = [label for label in a[1] if label in b[1]]
    batch = [label for label in both if label in needed]
    summed = [label for label in both if label not in needed]
    mine = [label for label in a[1] if label not in both]
    its = [label for label in b[1] if label not in both]
    order = (*batch, *mine, *its, *summed)
    left, right = _aligned(a, order), _aligned(b, order)
    shape = tuple(max(m, n) if m and n else 0 for m, n in zip(left.shape, right.shape, strict=True))
    axes = tuple(range(len(order) - len(summed), len(order)))
    return sum_of_products(left, right, shape, axes), order[: len(order) - len(summed)]


def _without_private(
    part: tuple[Node, Labels], others: Labels, needed: set[Hashable]
) -> tuple[Node, Labels]:
    """Summed over the labels that this operand alone has."""
    x, labels = part
    kept = [label in others or label in needed for label in labels]
    x = build.sum_(x, tuple(axis for axis, keep in enumerate(kept) if not keep))
    return x, tuple(label for label, keep in zip(labels, kept, strict=True) if keep)


def _aligned(part: tuple[Node, Labels], order: Labels) -> Node:
    """An operand with its axes in `order`, and axes of 1 where it has none."""
    x, labels = part
    x = build.permute(x, tuple(labels.index(label) for label in order if label in labels))
    extents = iter(x.shape)
    return build.reshape(x, tuple(next(extents) if label in labels else 1 for label in order))
