"""Sums of products against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gradlet import Tensor
from tests.helpers import check, floats, integers


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("bA,a", [(2, 3), (4,)]),
        ("ij->ji", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ii", [(3, 3)]),
        ("ii->i", [(3, 3)]),
        ("iij,jji->ij", [(3, 3, 2), (2, 2, 3)]),
        ("...ij, ...jk -> ...ik", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i...,j...->...ij", [(2, 4), (3, 4)]),
        ("...,...", [(2, 3), ()]),
        ("...i->i", [(2, 4, 3)]),
        ("bhqd,bhkd->bhqk", [(2, 2, 3, 5), (2, 2, 4, 5)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
        ("ij,jk,kl,lm->im", [(2, 7), (7, 3), (3, 11), (11, 2)]),
        ("ij,kj->k", [(2, 3), (4, 3)]),
        ("ij,ij->ij", [(2, 3), (1, 3)]),
        ("ij,jk->ik", [(0, 3), (3, 4)]),
        ("ij,jk->ik", [(2, 0), (0, 4)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    check(
        lambda *x: Tensor.einsum(equation, *x),
        lambda *x: torch.einsum(equation, *x),
        *(floats(*shape, seed=i) for i, shape in enumerate(shapes)),
        atol=1e-4,
    )


def test_integers_and_halves() -> None:
    equation, a, b = "ij,jk->ik", integers(2, 3), integers(3, 2, seed=1)
    check(lambda *x: Tensor.einsum(equation, *x), lambda *x: torch.einsum(equation, *x), a, b)
    half = Tensor.einsum("i,i->", Tensor.ones(4096).half(), Tensor.full((4096,), 0.25).half())
    assert half.dtype.name == "float16" and half.item() == 1024


@pytest.mark.parametrize("dims", [0, 1, 2, ([0], [2]), ([2, 0], [0, 2]), ([-1], [0])])
def test_tensordot(dims: Any) -> None:
    a, b = floats(3, 2, 3), floats(3, 2, 3, seed=1)
    if dims == 2:
        b = floats(2, 3, 4, seed=1)
    check(
        lambda x, y: x.tensordot(y, dims),
        lambda x, y: torch.tensordot(x, y, dims),
        a,
        b,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("mm", (2, 3), (3, 4)),
        ("mv", (2, 3), (3,)),
        ("bmm", (2, 3, 4), (2, 4, 5)),
        ("vdot", (5,), (5,)),
        ("inner", (2, 3), (4, 3)),
        ("inner", (2, 3), ()),
        ("outer", (3,), (5,)),
        ("kron", (2, 3), (4, 1, 2)),
        ("kron", (2,), ()),
        ("cross", (4, 3), (4, 3)),
        ("cross", (3, 5), (3, 1)),
    ],
)
def test_products(name: str, a: Any, b: Any) -> None:
    check(
        lambda x, y: getattr(x, name)(y),
        lambda x, y: getattr(torch, name)(x, y, **({"dim": a.index(3)} if name == "cross" else {})),
        floats(*a),
        floats(*b, seed=1),
    )


def test_bilinear() -> None:
    check(
        lambda x, y, w, b: x.bilinear(y, w, b),
        torch.nn.functional.bilinear,
        floats(2, 5, 3),
        floats(2, 5, 4, seed=1),
        floats(6, 3, 4, seed=2),
        floats(6, seed=3),
        atol=1e-4,
    )


ONES = Tensor.ones(2, 3)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: Tensor.einsum("ij,jk", ONES), "2 operands"),
        (lambda: Tensor.einsum("ijk", ONES), "names 3 axes"),
        (lambda: Tensor.einsum("i", ONES), "names 1 axes"),
        (lambda: Tensor.einsum("ii", ONES), "2 and 3"),
        (lambda: Tensor.einsum("ij,ji", ONES, ONES), "2 and 3|3 and 2"),
        (lambda: Tensor.einsum("ij->k", ONES), "letters that operands have"),
        (lambda: Tensor.einsum("ij->ii", ONES), "each once"),
        (lambda: Tensor.einsum("i1", ONES), "letters and one"),
        (lambda: ONES.tensordot(ONES, 1), "equal extents"),
        (lambda: ONES.tensordot(ONES, 3), "3 axes each"),
        (lambda: ONES.mv(ONES), "mv: needs tensors with 2 and 1"),
        (lambda: Tensor.ones(2, 1, 1).bmm(Tensor.ones(3, 1, 1)), "unequal first"),
        (lambda: Tensor.ones(2).cross(Tensor.ones(2)), "3 elements"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action()
