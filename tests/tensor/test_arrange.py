"""Diagonals, turns, windows and lists of tensors against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gradlet import Tensor
from tests.helpers import check, floats

X = floats(3, 4, 5)


@pytest.mark.parametrize(
    "both",
    [
        lambda x: x[:, :, :1].expand_as(x),
        lambda x: x.flatten(1).view_as(x),
        lambda x: x.ravel(),
        lambda x: x.swapaxes(0, -1),
        lambda x: x.mT,
        lambda x: x.narrow(1, 1, 2),
        lambda x: x.narrow(-1, -2, 2),
        lambda x: x.select(1, -1),
        lambda x: x.unbind(1)[2],
        lambda x: x.tensor_split(3, 2)[2],
        lambda x: x.tensor_split((1, 3), 1)[1],
        lambda x: x.unfold(2, 3, 1),
        lambda x: x.unfold(1, 2, 2),
        lambda x: x.unfold(0, 3, 5),
        lambda x: x.diagonal(),
        lambda x: x.diagonal(1, 1, 2),
        lambda x: x.diagonal(-2, -1, 0),
        lambda x: x.diagonal(9, 0, 2),
        lambda x: x[0].diag(1),
        lambda x: x[0, 0].diag(-2),
        lambda x: x[0].fliplr(),
        lambda x: x.flipud(),
        lambda x: x.rot90(1, (0, 1)),
        lambda x: x.rot90(3, (1, 2)),
        lambda x: x.rot90(-2, (2, 0)),
        lambda x: x.roll(7),
        lambda x: x.roll((1, -7), (0, 2)),
        lambda x: x[:0].roll(3, 0),
        lambda x: x.flip(2).mT[::2].ravel(),
    ],
)  # fmt: skip
def test_arrange(both: Any) -> None:
    check(both, None, X)


@pytest.mark.parametrize("offset", [-3, 0, 2])
@pytest.mark.parametrize("axes", [(-2, -1), (0, 2), (2, 0), (-1, 1)])
def test_diag_embed(offset: int, axes: tuple[int, int]) -> None:
    check(lambda x: x.diag_embed(offset, *axes), lambda x: torch.diag_embed(x, offset, *axes), X[0])


def test_diagonals_of_nothing() -> None:
    assert Tensor.zeros(0).diag(2).tolist() == [[0, 0], [0, 0]]
    assert Tensor.zeros(0, 3).diagonal().shape == (0,)
    assert Tensor.zeros(2, 3).diagonal(-2).shape == (0,)


@pytest.mark.parametrize("name", ["hstack", "vstack", "dstack"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 2)])
def test_stacks(name: str, shape: tuple[int, ...]) -> None:
    parts = [floats(*shape, seed=i) for i in range(3)]
    check(
        lambda *x: getattr(Tensor, name)(list(x)) * 2,
        lambda *x: getattr(torch, name)(x) * 2,
        *parts,
    )


@pytest.mark.parametrize("indexing", ["ij", "xy"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_grids(indexing: str, place: int) -> None:
    parts = [floats(n, seed=n) for n in (2, 3, 5)]
    check(
        lambda *x: Tensor.meshgrid(*x, indexing=indexing)[place] * 2,
        lambda *x: torch.meshgrid(*x, indexing=indexing)[place] * 2,
        *parts,
    )


def test_broadcast_tensors() -> None:
    check(
        lambda a, b: Tensor.broadcast_tensors(a, b)[1] * 2,
        lambda a, b: torch.broadcast_tensors(a, b)[1] * 2,
        floats(3, 1),
        floats(4),
    )


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_at_least(ndim: int) -> None:
    shape = (2, 3, 4)[:ndim]
    for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
        expected = getattr(torch, name)(torch.zeros(shape)).shape
        assert getattr(Tensor.zeros(shape), name)().shape == tuple(expected)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: x.narrow(0, 2, 2), ValueError, "narrow"),
        (lambda x: x.select(0, 3), IndexError, "select: index 3"),
        (lambda x: x.unfold(0, 4, 1), ValueError, "unfold"),
        (lambda x: x.unfold(0, 1, 0), ValueError, "unfold"),
        (lambda x: x.diag(), ValueError, "diag"),
        (lambda x: x.diagonal(0, 1, 1), ValueError, "twice"),
        (lambda x: x.roll((1, 2)), ValueError, "roll"),
        (lambda x: x.roll((1, 2), 0), ValueError, "roll"),
        (lambda x: Tensor.meshgrid(x), ValueError, "meshgrid"),
        (lambda x: Tensor.meshgrid(x[0, 0], indexing="no"), ValueError, "indexing"),
        (lambda x: Tensor.hstack([]), TypeError, "at least one tensor"),
    ],
)  # fmt: skip
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor(X))
