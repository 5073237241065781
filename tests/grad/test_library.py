"""The gradient rules of what libraries compute, against central differences on the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlet.grad.library import LIBRARY_VJP
from gradlet.ir import build
from gradlet.ir.host import HOST
from gradlet.ir.node import Node
from tests.grad.test_vjp import assert_slope, gradients, leaves, total, weighted

FLAT = {"argsort", "topk", "searchsorted", "histogram", "cofactors"}
ELSEWHERE = {"ctc_loss", "ctc_loss_gradient"}  # see tests/tensor/test_sequences.py
RANDOM = np.random.default_rng(3)


def square(n: int = 3) -> np.ndarray:
    return RANDOM.normal(size=(2, n, n)) + 3 * np.diag(np.arange(1.0, n + 1))


def positive() -> np.ndarray:
    a = square()
    return a @ a.swapaxes(-1, -2) + np.eye(3)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


# name and parameters -> points
CASES: dict[str, tuple[str, tuple[Any, ...], list[np.ndarray]]] = {
    "logcumsumexp": ("logcumsumexp", (1,), [numbers(2, 4)]),
    "again": ("again", (), [numbers(2, 3)]),
    "inv": ("inv", (), [square()]),
    "det": ("det", (), [square()]),
    "slogdet": ("slogdet", (), [square()]),
    "solve": ("solve", (), [square(), numbers(2, 3, 2)]),
    "lstsq": ("lstsq", (), [numbers(2, 4, 3), numbers(2, 4, 2)]),
    "pinv": ("pinv", (), [numbers(2, 4, 3)]),
    "pinv of wide": ("pinv", (), [numbers(2, 2, 3)]),
    "cholesky": ("cholesky", (), [positive()]),
    "qr": ("qr", ("reduced",), [numbers(2, 4, 3)]),
    "qr of wide": ("qr", ("reduced",), [numbers(2, 2, 4)]),
    "qr, complete": ("qr", ("complete",), [square()]),
    "eigh": ("eigh", (), [positive()]),
    "svd": ("svd", (False,), [numbers(4, 3)]),
    "svd of wide": ("svd", (False,), [numbers(2, 4)]),
    "svd, complete": ("svd", (True,), [square()]),
    "fft": ("fft", ((0, 1), False, "ortho"), [numbers(2, 3, 2)]),
    "fft, inverse": ("fft", ((1,), True, "backward"), [numbers(2, 3, 2)]),
    "rfft": ("rfft", (1, "backward"), [numbers(2, 5)]),
    "rfft, even": ("rfft", (0, "forward"), [numbers(4, 2)]),
    "irfft": ("irfft", (5, 1, "backward"), [numbers(2, 3, 2)]),
    "irfft, even": ("irfft", (4, 0, "ortho"), [numbers(3, 2, 2)]),
}


def made(name: str) -> tuple[Node, list[Node], list[np.ndarray]]:
    function, parameters, arrays = CASES[name]
    params = leaves(arrays)
    given = list(params)
    if function in ("cholesky", "eigh"):  # functions of symmetric matrices
        turned = build.permute(given[0], (0, 2, 1))
        both = build.add(given[0], turned)
        given = [build.mul(both, build.full_like(both, 0.5))]
    return weighted(build.library(function, parameters, *given)), params, arrays


def test_every_function_has_a_rule_and_a_case() -> None:
    assert set(LIBRARY_VJP) == set(HOST)
    assert {name for name, _, _ in CASES.values()} | FLAT | ELSEWHERE == set(HOST)


@pytest.mark.parametrize("name", CASES)
def test_first_derivative(name: str) -> None:
    assert_slope(*made(name))


@pytest.mark.parametrize("name", CASES)
def test_second_derivative(name: str) -> None:
    scalar, params, arrays = made(name)
    slope: Node | None = None
    for part in gradients(scalar, params):
        squares = total(build.mul(part, part))
        slope = squares if slope is None else build.add(slope, squares)
    assert slope is not None
    assert_slope(slope, params, arrays)
