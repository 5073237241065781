"""Linear algebra against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlet import GradientError, Tensor, jit
from tests.helpers import check, floats

SHAPES = [(1, 1), (3, 3), (2, 1, 4, 4)]


def regular(*shape: int) -> np.ndarray:
    """Square matrices far from singular."""
    return floats(*shape, low=-1, high=1) + 3 * np.eye(shape[-1], dtype=np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_square_matrices(shape: tuple[int, ...]) -> None:
    a = regular(*shape)
    check(lambda a: a.inv(), torch.linalg.inv, a)
    check(lambda a: a.det(), None, a, rtol=1e-4)
    check(lambda a: a.slogdet().logabsdet, None, a)
    check(lambda a: a.slogdet().sign, None, a, grad=False)
    check(lambda a: a.logdet(), None, a)
    check(lambda a: a.matrix_power(3), None, a, rtol=1e-4)
    check(lambda a: a.matrix_power(-2), None, a)
    check(lambda a: a.matrix_power(0), None, a, grad=False)


def test_the_determinant_of_a_singular_matrix_has_a_gradient() -> None:
    a = np.array([[1, 2, 3], [2, 4, 6], [1, 0, 1]], np.float32)
    x = Tensor(a)
    x.det().backward()
    cofactors = [[4, 4, -4], [-2, -2, 2], [0, 0, 0]]
    np.testing.assert_allclose(x.grad.numpy(), cofactors, atol=1e-5)


@pytest.mark.parametrize("columns", [(), (1,), (4,)])
def test_solve(columns: tuple[int, ...]) -> None:
    a, b = regular(3, 3), floats(3, *columns)
    check(lambda a, b: a.solve(b), torch.linalg.solve, a, b)
    check(lambda a, b: a.lstsq(b), lambda a, b: torch.linalg.solve(a, b), a, b, rtol=1e-4)


def test_batches_broadcast() -> None:
    a, b = regular(2, 1, 3, 3), floats(4, 3, 2)
    check(lambda a, b: a.solve(b), torch.linalg.solve, a, b)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_solve_triangular(upper: bool, unit: bool) -> None:
    a, b = regular(3, 3), floats(3, 3)
    for left in (True, False):
        options = {"upper": upper, "unitriangular": unit, "left": left}
        check(
            lambda a, b, o=options: a.solve_triangular(b, **o),
            lambda a, b, o=options: torch.linalg.solve_triangular(a, b, **o),
            a, b, rtol=1e-4,
        )  # fmt: skip


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 4)])
def test_decompositions(shape: tuple[int, ...]) -> None:
    a = floats(*shape)
    check(lambda a: a.pinv(), torch.linalg.pinv, a, atol=1e-4)
    check(lambda a: a.svdvals(), torch.linalg.svdvals, a, atol=1e-4)
    check(lambda a: abs(a.svd(False).U), lambda a: torch.linalg.svd(a, False).U.abs(), a, atol=1e-4)
    check(
        lambda a: abs(a.svd(False).Vh), lambda a: torch.linalg.svd(a, False).Vh.abs(), a, atol=1e-4
    )
    check(lambda a: a.qr().Q, lambda a: torch.linalg.qr(a).Q, a, atol=1e-4)
    check(lambda a: a.qr().R, lambda a: torch.linalg.qr(a).R, a, atol=1e-4)
    check(lambda a: a.matrix_rank(), torch.linalg.matrix_rank, a)
    check(lambda a: a.matrix_rank(), torch.linalg.matrix_rank, a[:0])
    check(lambda a: a.cond(), torch.linalg.cond, a, rtol=1e-3)


def test_least_squares_of_tall_matrices() -> None:
    a, b = floats(5, 3), floats(5, 2, seed=1)
    check(lambda a, b: a.lstsq(b), lambda a, b: torch.linalg.pinv(a) @ b, a, b, atol=1e-4)


def test_full_matrices() -> None:
    a = floats(3, 5)
    x, y = Tensor(a), Tensor(a.T.copy())
    u, s, vt = x.svd()
    assert (u.shape, s.shape, vt.shape) == ((3, 3), (3,), (5, 5))
    np.testing.assert_allclose((u * s @ vt[:3]).numpy(), a, atol=1e-5)
    with pytest.raises(GradientError, match="full_matrices=False"):
        x.svd().S.sum().backward()
    with pytest.raises(GradientError, match="mode='reduced'"):
        y.qr("complete").Q.sum().backward()


def test_symmetric_matrices() -> None:
    def made(x):  # type: ignore[no-untyped-def]
        return x @ x.transpose(-2, -1) + 0.1

    a = floats(2, 3, 3)
    check(lambda a: made(a).eigvalsh(), lambda a: torch.linalg.eigvalsh(made(a)), a, atol=1e-4)
    check(
        lambda a: abs(made(a).eigh().eigenvectors),
        lambda a: torch.linalg.eigh(made(a)).eigenvectors.abs(),
        a, atol=1e-4,
    )  # fmt: skip
    for upper in (False, True):
        check(
            lambda a, u=upper: made(a).cholesky(upper=u),
            lambda a, u=upper: torch.linalg.cholesky(made(a), upper=u),
            a, atol=1e-3, rtol=1e-3,
        )  # fmt: skip


def test_equal_eigenvalues_have_gradients() -> None:
    x = Tensor(np.eye(3, dtype=np.float32))
    x.eigvalsh().sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-6)
    y = Tensor(np.eye(3, dtype=np.float32))
    y.svdvals().sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), np.eye(3), atol=1e-6)


def test_trace() -> None:
    check(lambda a: a.trace(), None, floats(3, 5))


def test_what_has_no_answer_says_so() -> None:
    singular = Tensor([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(np.linalg.LinAlgError, match=r"inv of float32\[2, 2\].*pinv"):
        singular.inv().numpy()
    with pytest.raises(np.linalg.LinAlgError, match="multiple of the identity"):
        Tensor([[-1.0]]).cholesky().numpy()
    with pytest.raises(ValueError, match=r"inv: needs square matrices, not shape \(2, 3\)"):
        Tensor(floats(2, 3)).inv()
    with pytest.raises(TypeError, match="svd: needs float32 or float64, not int64"):
        Tensor([[1]]).svd()
    with pytest.raises(ValueError, match="solve: matrices of shape"):
        singular.solve(Tensor(floats(3, 1)))


def test_inside_jit() -> None:
    kept = Tensor([0.0])

    @jit
    def step(a: Tensor) -> Tensor:
        kept.assign(kept + 1)
        return (a * 2).inv() + 1

    a = regular(3, 3)
    for scale in (1, 2):
        got = step(Tensor(a * scale)).numpy()
        np.testing.assert_allclose(got, np.linalg.inv(a * scale * 2) + 1, rtol=1e-5)
    with pytest.raises(np.linalg.LinAlgError, match="inv of"):
        step(Tensor(np.zeros((3, 3), np.float32)))
    assert kept.item() == 2
    np.testing.assert_allclose(step(Tensor(a)).numpy(), np.linalg.inv(a * 2) + 1, rtol=1e-5)
