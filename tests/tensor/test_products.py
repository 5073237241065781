"""Sums with products, covariances, distances and solutions against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, jit
from tests.helpers import assert_same, check, floats, integers

PRODUCTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "addmm": ((3, 5), (3, 4), (4, 5)),
    "addmv": ((3,), (3, 4), (4,)),
    "addr": ((3, 5), (3,), (5,)),
    "baddbmm": ((2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "addbmm": ((3, 5), (2, 3, 4), (2, 4, 5)),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("scales", [{}, {"beta": 0.5, "alpha": -2}, {"alpha": 0}])
def test_sums_with_products(name: str, scales: dict[str, Any]) -> None:
    arrays = [floats(*shape, seed=i) for i, shape in enumerate(PRODUCTS[name])]
    check(lambda x, a, b: getattr(x, name)(a, b, **scales), None, *arrays)


@pytest.mark.parametrize("name", PRODUCTS)
def test_sums_with_products_of_other_shapes(name: str) -> None:
    own, first, second = PRODUCTS[name]
    factors = [floats(*shape, seed=i) for i, shape in enumerate((first, second))]
    check(lambda x, a, b: getattr(x, name)(a, b), None, floats(own[-1]), *factors)
    check(lambda x, a, b: getattr(x, name)(a, b, beta=3), None, floats(1), *factors)
    check(lambda x, a, b: getattr(x, name)(a, b, beta=0), None, floats(1), *factors, grad=False)
    check(lambda x, a, b: getattr(x, name)(a, b, alpha=2), None,
          *(integers(*shape, seed=i) for i, shape in enumerate(PRODUCTS[name])))  # fmt: skip


def test_beta_zero_takes_no_notice_of_nan() -> None:
    nans = Tensor([[float("nan")]])
    assert nans.addmm(Tensor([[2.0]]), Tensor([[3.0]]), beta=0).tolist() == [[6.0]]


def test_products_of_wrong_shapes() -> None:
    x, one, two, three = (Tensor.ones(shape) for shape in ((2, 2), (2,), (2, 2), (2, 2, 2)))
    with pytest.raises(ValueError, match="addmm: needs operands with 2 and 2 axes"):
        x.addmm(two, three)
    with pytest.raises(ValueError, match="addmv: needs operands with 2 and 1 axes"):
        x.addmv(two, two)
    with pytest.raises(ValueError, match="addr: needs operands with 1 and 1 axes"):
        x.addr(one, two)
    with pytest.raises(ValueError, match=r"addmm: shape .* does not broadcast to that of the"):
        three.addmm(two, two)
    with pytest.raises(ValueError, match="addbmm"):
        Tensor.ones(3, 1).addbmm(three, three)


@pytest.mark.parametrize("shape", [(3, 7), (1, 7), (7,), (2, 1), (3, 2)])
@pytest.mark.parametrize("correction", [0, 1, 2])
def test_cov(shape: tuple[int, ...], correction: int) -> None:
    if shape[-1] > correction:  # else PyTorch warns, and gives nan or inf
        check(lambda x: x.cov(correction=correction), None, floats(*shape))


@pytest.mark.parametrize("weights", ["fweights", "aweights", "both"])
@pytest.mark.parametrize("correction", [0, 1])
def test_weighted_cov(weights: str, correction: int) -> None:
    whole, share = integers(7, low=1, high=4), floats(7, low=0.5, high=2, seed=1)
    given = {
        **({} if weights == "aweights" else {"fweights": whole}),
        **({} if weights == "fweights" else {"aweights": share}),
    }
    check(lambda x: x.cov(correction=correction, **{n: Tensor(w) for n, w in given.items()}),
          lambda x: x.cov(correction=correction,
                          **{n: torch.from_numpy(w) for n, w in given.items()}),
          floats(3, 7))  # fmt: skip


def test_cov_of_integers_and_wrong_shapes() -> None:
    check(lambda x: x.cov(), None, integers(3, 6))
    with pytest.raises(ValueError, match="cov: takes a matrix or one row"):
        Tensor.ones(2, 2, 2).cov()
    with pytest.raises(ValueError, match=r"cov: aweights has shape \(3,\), not \(2,\)"):
        Tensor.ones(2, 2).cov(aweights=Tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("shape", [(3, 7), (7,), (2, 3)])
def test_corrcoef(shape: tuple[int, ...]) -> None:
    check(lambda x: x.corrcoef(), None, floats(*shape), atol=2e-6)


@pytest.mark.parametrize("p", [0.5, 1, 2, 3, float("inf")])
def test_distances(p: float) -> None:
    check(lambda x, y: x.dist(y, p), None, floats(4, 3), floats(3, seed=1))
    check(lambda x, y: x.cdist(y, p), lambda x, y: torch.cdist(x, y, p),
          floats(2, 4, 3), floats(2, 5, 3, seed=1))  # fmt: skip


def test_distances_of_what_is_equal() -> None:
    x = Tensor(floats(3, 2))
    (x.dist(x.detach()) + x.cdist(x.detach()).sum()).backward()
    assert x.grad is not None and np.isfinite(x.grad.numpy()).all()
    with pytest.raises(ValueError, match="cdist: rows of"):
        x.cdist(Tensor.ones(3, 3))


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("p", [1, 2])
def test_renorm(dim: int, p: float) -> None:
    x = floats(4, 3, 2)
    check(lambda x: x.renorm(p, dim, 3.0), None, x)
    with pytest.raises(ValueError, match="renorm: needs two axes"):
        Tensor([1.0]).renorm(p, 0, 1.0)


@pytest.mark.parametrize("upper", [False, True])
def test_solutions_from_cholesky_factors(upper: bool) -> None:
    half = floats(2, 4, 4)
    matrix = half @ half.swapaxes(-1, -2) + 4 * np.eye(4, dtype=np.float32)
    factor = np.linalg.cholesky(matrix)
    factor = factor.swapaxes(-1, -2).copy() if upper else factor
    # PyTorch's gradient is one also of the other triangle, which the result does not depend on.
    part = torch.triu if upper else torch.tril
    check(
        lambda b, f: b.cholesky_solve(f, upper),
        lambda b, f: b.cholesky_solve(part(f), upper),
        floats(2, 4, 3),
        factor,
        atol=1e-4,
    )
    check(
        lambda f: f.cholesky_inverse(upper),
        lambda f: part(f).cholesky_inverse(upper),
        factor,
        atol=1e-4,
    )
    assert_same(Tensor(half).pinverse(), torch.from_numpy(half).pinverse(), 1e-4, 1e-4)
    with pytest.raises(ValueError, match="cholesky_inverse: needs a matrix"):
        Tensor([1.0]).cholesky_inverse()


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 3, 4)])
def test_newton_schulz_comes_close_to_orthogonal(shape: tuple[int, ...]) -> None:
    x = floats(*shape)
    made = Tensor(x).newton_schulz(30, (2, -1.5, 0.5))
    u, _, v = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(made.numpy(), u @ v, atol=1e-4)
    with pytest.raises(ValueError, match="newton_schulz: needs matrices"):
        Tensor([1.0]).newton_schulz(1, (1,))


def test_recorded() -> None:
    @jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        return x.addmm(x, y, alpha=2).cov() + x.cdist(y)

    for seed in range(3):
        x, y = floats(3, 3, seed=seed), floats(3, 3, seed=seed + 9)
        a, b = torch.from_numpy(x), torch.from_numpy(y)
        known = a.addmm(a, b, alpha=2).cov() + torch.cdist(a, b)
        assert_same(step(Tensor(x), Tensor(y)), known, 1e-4, 1e-4)
