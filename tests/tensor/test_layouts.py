"""Splitting, joining and padding by shape, against PyTorch and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor
from tests.helpers import assert_same, check, floats

CASES: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "t": ((2, 3), lambda x: x.t()),
    "t of a vector": ((3,), lambda x: x.t()),
    "t of a scalar": ((), lambda x: x.t()),
    "H": ((2, 3), lambda x: x.H),
    "mH": ((2, 3, 4), lambda x: x.mH),
    "adjoint": ((2, 3, 4), lambda x: x.adjoint()),
    "swapdims": ((2, 3, 4), lambda x: x.swapdims(0, -1)),
    "moveaxis": ((2, 3, 4), lambda x: x.moveaxis(0, -1)),
    "moveaxis of several": ((2, 3, 4, 5), lambda x: x.moveaxis((0, -1, 2), (1, 0, 3))),
    "movedim of none": ((2, 3), lambda x: x.movedim((), ())),
    "split_with_sizes": ((5, 2), lambda x: x.split_with_sizes([1, 4])[1]),
    "hsplit": ((2, 6), lambda x: x.hsplit(3)[1]),
    "hsplit of a vector": ((6,), lambda x: x.hsplit([1, 4])[1]),
    "vsplit": ((4, 2), lambda x: x.vsplit(2)[0]),
    "vsplit at": ((4, 2), lambda x: x.vsplit((1, 3))[1]),
    "dsplit": ((1, 2, 4), lambda x: x.dsplit(2)[1]),
    "diagflat": ((2, 2), lambda x: x.diagflat()),
    "diagflat beside": ((3,), lambda x: x.diagflat(-1)),
    "diagflat of a scalar": ((), lambda x: x.diagflat(1)),
    "sum_to_size": ((2, 3, 4), lambda x: x.sum_to_size(3, 1)),
    "sum_to_size of all": ((2, 3), lambda x: x.sum_to_size(())),
    "sum_to_size of none": ((2, 1), lambda x: x.sum_to_size(2, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name: str) -> None:
    shape, function = CASES[name]
    check(function, None, floats(*shape))


JOINED: dict[str, list[tuple[int, ...]]] = {
    "column_stack": [(3,), (3, 2), (3,)],
    "row_stack": [(3,), (2, 3), (1, 3)],
    "block_diag": [(2, 3), (), (4,), (1, 1)],
    "cartesian_prod": [(2,), (3,), (1,)],
    "concat": [(2, 3), (1, 3)],
    "concatenate": [(2, 3), (4, 3)],
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_as_pytorch(name: str) -> None:
    def theirs(*parts: torch.Tensor) -> torch.Tensor:
        return getattr(torch, name)(*(parts if name in TAKES_SEVERAL else [parts]))

    arrays = [floats(*shape, seed=i) for i, shape in enumerate(JOINED[name])]
    check(lambda x, *others: getattr(x, name)(*others), theirs, *arrays)
    made = getattr(Tensor, name)(*map(Tensor, arrays))
    assert_same(made, theirs(*map(torch.from_numpy, arrays)), 0, 0)


TAKES_SEVERAL = ("block_diag", "cartesian_prod")


def test_what_is_empty_takes_its_place() -> None:
    assert Tensor([[1]]).block_diag(Tensor.zeros(0, 2)).tolist() == [[1, 0, 0]]


def test_one_vector_is_its_own_product() -> None:
    assert Tensor([1, 2]).cartesian_prod().tolist() == [1, 2]


@pytest.mark.parametrize("shape", [(2, 5), (None, 4), (3, None), (3, 5)])
def test_pad_to_and_shrink_to(shape: tuple[int | None, ...]) -> None:
    x = floats(2, 4)
    whole = [n or x.shape[a] for a, n in enumerate(shape)]
    widths = [(0, n - x.shape[a]) for a, n in enumerate(whole)]
    padded = np.pad(x, widths, constant_values=7.0)
    assert np.array_equal(Tensor(x).pad_to(*shape, value=7).numpy(), padded)
    cut = tuple(None if n is None else n - 2 for n in shape)
    expected = x[tuple(slice(n) for n in cut)]
    assert np.array_equal(Tensor(x).shrink_to(cut).numpy(), expected)


def test_views_share_their_elements() -> None:
    x = Tensor([[1, 2], [3, 4]])
    for view in (x.t(), x.swapdims(0, 1), x.moveaxis(0, 1), x.H):
        view[0, 1] = 7
        assert x[1, 0].item() == 7
        x[1, 0] = 3


def test_refused() -> None:
    x = Tensor.ones(2, 3)
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: Tensor.ones(1, 1, 1).t(), "t: takes a matrix, not shape"),
        (lambda: x.hsplit(2), "hsplit: 2 equal pieces cannot be made of 3 elements"),
        (lambda: x.vsplit(0), "vsplit: 0 equal pieces"),
        (lambda: x[0].vsplit(1), "vsplit: needs at least 2 axes"),
        (lambda: x.dsplit(1), "dsplit: needs at least 3 axes"),
        (lambda: x.sum().hsplit(1), "hsplit: needs at least 1 axes"),
        (lambda: x.sum_to_size(4, 3), r"sum_to_size: shapes? \(.*3\)"),
        (lambda: x.sum_to_size(2, 2, 3), r"sum_to_size: shape \(2, 3\) is no broadcast"),
        (lambda: x.pad_to(1, 3), r"pad_to: shape \(2, 3\) does not fit into \(1, 3\)"),
        (lambda: x.pad_to(4), "pad_to: .* does not have as many axes"),
        (lambda: x.shrink_to(1, 1, 1), "shrink_to: .* does not have as many axes"),
        (lambda: x.shrink_to(1, 4), "shrink"),
        (lambda: x.block_diag(Tensor.ones(1, 1, 1)), "block_diag: takes matrices"),
        (lambda: x.cartesian_prod(), "cartesian_prod: takes vectors"),
        (lambda: x.movedim((0, 1), 0), "movedim: cannot move axes"),
        (lambda: x.moveaxis((0, 0), (0, 1)), "names an axis twice"),
    ]
    for function, message in cases:
        with pytest.raises(ValueError, match=message):
            function()
