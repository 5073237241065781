"""What well-kept libraries compute for us, through NumPy: sorting, LAPACK and pocketfft.

A HOST node's arg is (name, parameters), and names a row of `HOST`: the rule that says dtype and
shape of the result, and the function over NumPy arrays that computes it.

A function of several results lays them side by side along the last axis of a single one, and
slices take them apart again. So it runs once whoever wants its results, and its gradient rule
gets the gradients of all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ctc
from gradlet.ir.node import Node

Shape = tuple[int, ...]
Result = tuple[DType, Shape]


@dataclass(frozen=True)
class Host:
    """One function.

    Attributes:
        rule: (*sources, *parameters) -> (dtype, shape); ValueError where that is not defined.
        function: (*arrays, *parameters) -> an array of that shape.
        remedy: what to do where there is no answer, as for a singular matrix.
    """

    rule: Callable[..., Result]
    function: Callable[..., Any]
    remedy: str = ""


def result_of(arg: tuple[str, tuple[Any, ...]], src: Sequence[Node]) -> Result:
    """The dtype and shape of a HOST node.

    Raises:
        ValueError: the sources do not suit.
    """
    name, parameters = arg
    return HOST[name].rule(*src, *parameters)


def call(arg: tuple[str, tuple[Any, ...]], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """What the function of a HOST node gives for some arrays, which it does not change.

    Raises:
        numpy.linalg.LinAlgError: there is no answer, as for a singular matrix.
    """
    name, parameters = arg
    row = HOST[name]
    try:
        with np.errstate(all="ignore"):
            return np.asarray(row.function(*arrays, *parameters))
    except np.linalg.LinAlgError as error:
        shapes = " and ".join(f"{a.dtype.name}{list(a.shape)}" for a in arrays)
        raise np.linalg.LinAlgError(f"{name} of {shapes}: {error}. {row.remedy}".strip()) from None


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


# Order


def _argsort(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    # The last of equals in a reversed row comes first in it, and so keeps its place.
    reverse = np.argsort(np.flip(x, axis), axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(reverse, axis)


def _top(x: np.ndarray, count: int, axis: int, largest: bool) -> np.ndarray:
    """Where the first `count` elements of the sorted axis stand."""
    size = x.shape[axis]
    if not 0 < count < size:
        return np.take(_argsort(x, axis, largest), range(count), axis)
    pivot = size - count if largest else count - 1
    parted = np.argpartition(x, pivot, axis)
    chosen = np.take(parted, range(pivot, size) if largest else range(count), axis)
    chosen.sort(axis)
    order = _argsort(np.take_along_axis(x, chosen, axis), axis, largest)
    return np.take_along_axis(chosen, order, axis)


def _positions(x: Node, axis: int, *_: Any) -> Result:
    _need(0 <= axis < x.ndim, f"{axis} is not an axis of {x.shape}")
    return dtypes.int64, x.shape


def _top_positions(x: Node, count: int, axis: int, _: bool) -> Result:
    _need(0 <= axis < x.ndim and 0 <= count <= x.shape[axis], f"no {count} of {x.shape}")
    return dtypes.int64, (*x.shape[:axis], count, *x.shape[axis + 1 :])


def _searchsorted(edges: np.ndarray, x: np.ndarray, side: Any) -> np.ndarray:
    if edges.ndim == 1:
        return np.searchsorted(edges, x, side)
    rows = zip(edges.reshape(-1, edges.shape[-1]), x.reshape(-1, x.shape[-1]), strict=True)
    return np.stack([np.searchsorted(row, values, side) for row, values in rows]).reshape(x.shape)


def _places(edges: Node, x: Node, _: str) -> Result:
    fits = edges.ndim == 1 or (edges.ndim > 1 and edges.shape[:-1] == x.shape[:-1])
    _need(fits and edges.dtype is x.dtype, f"rows of {edges} do not belong to those of {x}")
    return dtypes.int64, x.shape


def _histogram(x: np.ndarray, weight: np.ndarray, low: float, high: float, bins: int) -> Any:
    """Counts, and behind them the edges."""
    if low == high == 0 and x.size:
        low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"histogram: the range from {low} to {high} is not finite; pass one")
    if low == high:
        low, high = low - 1, high + 1
    inside = (x >= low) & (x <= high)
    counts, edges = np.histogram(x[inside], bins, (low, high), weights=weight[inside])
    return np.concatenate([counts, edges])


# Linear algebra


def _matrices(*arrays: Node) -> tuple[DType, Shape, int, int]:
    """(dtype, leading extents, rows, columns) of the first of some arrays of matrices."""
    first = arrays[0]
    _need(first.dtype.is_float and first.dtype.bits >= 32, f"{first} is neither float32 nor 64")
    for x in arrays:
        _need(x.ndim >= 2 and x.shape[:-2] == first.shape[:-2], f"{x} and {first} do not match")
        _need(x.dtype is first.dtype, f"the dtypes of {x} and {first} differ")
    rows, columns = first.shape[-2:]
    return first.dtype, first.shape[:-2], rows, columns


def _square(x: Node) -> tuple[DType, Shape, int]:
    dtype, lead, rows, columns = _matrices(x)
    _need(rows == columns, f"{x} holds no square matrices")
    return dtype, lead, rows


def _same_square(x: Node) -> Result:
    _square(x)
    return x.dtype, x.shape


def _solution(a: Node, b: Node) -> Result:
    dtype, lead, rows, columns = _matrices(a, b)
    _need(b.shape[-2] == rows, f"{a} and {b} differ in rows")
    return dtype, (*lead, columns, b.shape[-1])


def _square_solution(a: Node, b: Node) -> Result:
    _square(a)
    return _solution(a, b)


def _transposed_shape(x: Node, *_: Any) -> Result:
    dtype, lead, rows, columns = _matrices(x)
    return dtype, (*lead, columns, rows)


def _numbers(count: int) -> Callable[[Node], Result]:
    """`count` numbers a matrix, or one by itself."""

    def rule(x: Node) -> Result:
        dtype, lead, _ = _square(x)
        return dtype, lead if count == 1 else (*lead, count)

    return rule


def packed(parts: Sequence[np.ndarray], lead: Shape) -> np.ndarray:
    """Arrays with the same leading extents, side by side along one last axis."""
    return np.concatenate(
        [part.reshape(*lead, prod(part.shape[len(lead) :])) for part in parts], -1
    )


def eigh_shapes(x: Node) -> list[Shape]:
    """Of eigenvalues and eigenvectors, without leading extents."""
    return [x.shape[-1:], x.shape[-2:]]


def svd_shapes(x: Node, full: bool) -> list[Shape]:
    """Of U, S and the transpose of V."""
    rows, columns = x.shape[-2:]
    least = min(rows, columns)
    return [(rows, rows if full else least), (least,), (columns if full else least, columns)]


def qr_shapes(x: Node, mode: str) -> list[Shape]:
    """Of Q and R."""
    rows, columns = x.shape[-2:]
    inner = rows if mode == "complete" else min(rows, columns)
    return [(rows, inner), (inner, columns)]


def _packed(shapes: Callable[..., list[Shape]]) -> Callable[..., Result]:
    """The rule of a function that lays results of these shapes side by side."""

    def rule(x: Node, *parameters: Any) -> Result:
        dtype, lead, _, _ = _matrices(x)
        return dtype, (*lead, sum(prod(shape) for shape in shapes(x, *parameters)))

    return rule


def _several(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda x, *parameters: packed(function(x, *parameters), x.shape[:-2])


def _cofactors(x: np.ndarray) -> np.ndarray:
    """The derivative of the determinant, which singular matrices have as well.

    det(U) det(V) U D V^T, where the diagonal D holds the products of the other singular values.
    """
    u, s, vt = np.linalg.svd(x)
    ones = np.ones_like(s[..., :1])
    before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
    behind = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., ::-1]
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return sign[..., None, None] * (u * (before * behind)[..., None, :]) @ vt


def _lstsq(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lead = a.shape[:-2]
    pairs = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    solved = [np.linalg.lstsq(x, y, rcond=None)[0] for x, y in pairs]
    return np.stack(solved).reshape(*lead, *solved[0].shape)


# Fourier transforms of pairs (real part, imaginary part) along the last axis


def _complex(x: np.ndarray) -> np.ndarray:
    return x[..., 0] + 1j * x[..., 1]


def _pair(x: np.ndarray) -> np.ndarray:
    return np.stack([x.real, x.imag], -1)


def _fft(x: np.ndarray, axes: Shape, inverse: bool, norm: Any) -> np.ndarray:
    transform = np.fft.ifftn if inverse else np.fft.fftn
    return _pair(transform(_complex(x), axes=axes, norm=norm))


def _rfft(x: np.ndarray, axis: int, norm: Any) -> np.ndarray:
    return _pair(np.fft.rfft(x, axis=axis, norm=norm))


def _irfft(x: np.ndarray, length: int, axis: int, norm: Any) -> np.ndarray:
    return np.fft.irfft(_complex(x), length, axis, norm)


def _check_pairs(x: Node, axes: Shape) -> None:
    legal = x.ndim >= 2 and x.shape[-1] == 2 and all(0 <= axis < x.ndim - 1 for axis in axes)
    _need(legal and x.dtype.is_float, f"{x} holds no pairs with the axes {axes}")


def _same_pairs(x: Node, axes: Shape, *_: Any) -> Result:
    _check_pairs(x, axes)
    return x.dtype, x.shape


def _half_spectrum(x: Node, axis: int, _: str) -> Result:
    _need(0 <= axis < x.ndim and x.dtype.is_float, f"{x} has no floats along axis {axis}")
    return x.dtype, (*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :], 2)


def _real_signal(x: Node, length: int, axis: int, _: str) -> Result:
    _check_pairs(x, (axis,))
    _need(x.shape[axis] == length // 2 + 1, f"{x} is no half spectrum of {length} numbers")
    return x.dtype, (*x.shape[:axis], length, *x.shape[axis + 1 : -1])


_SINGULAR = "Use pinv or lstsq, or add a small multiple of the identity"

HOST: dict[str, Host] = {
    "argsort": Host(_positions, _argsort),
    "topk": Host(_top_positions, _top),
    "searchsorted": Host(_places, _searchsorted),
    "histogram": Host(lambda x, weight, low, high, bins: (x.dtype, (2 * bins + 1,)), _histogram),
    "logcumsumexp": Host(lambda x, axis: (x.dtype, x.shape), np.logaddexp.accumulate),
    "ctc_loss": Host(lambda x, *rest: (x.dtype, ctc.shapes(x, *rest[:3])), ctc.losses),
    "ctc_loss_gradient": Host(lambda x, *rest: (x.dtype, x.shape), ctc.gradients),
    "again": Host(lambda x, *after: (x.dtype, x.shape), lambda x, *after: x),
    "inv": Host(_same_square, np.linalg.inv, _SINGULAR),
    "det": Host(_numbers(1), np.linalg.det),
    "cofactors": Host(_same_square, _cofactors),
    "slogdet": Host(_numbers(2), lambda x: np.stack(np.linalg.slogdet(x), -1)),
    "solve": Host(_square_solution, np.linalg.solve, _SINGULAR),
    "lstsq": Host(_solution, _lstsq),
    "pinv": Host(_transposed_shape, np.linalg.pinv),
    "cholesky": Host(_same_square, np.linalg.cholesky, "Add a small multiple of the identity"),
    "qr": Host(_packed(qr_shapes), _several(np.linalg.qr)),
    "eigh": Host(_packed(eigh_shapes), _several(np.linalg.eigh)),
    "svd": Host(_packed(svd_shapes), _several(np.linalg.svd)),
    "fft": Host(_same_pairs, _fft),
    "rfft": Host(_half_spectrum, _rfft),
    "irfft": Host(_real_signal, _irfft),
}
