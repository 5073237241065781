"""Sums with products of matrices, statistics of pairs of rows, and other combined algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from gradlet.tensor.core import Scalar, broadcast_shape
from gradlet.tensor.fft import Fft
from gradlet.tensor.operators import floating


class Products(Fft):
    """Algebra of several tensors. `beta` scales `self`, which counts for nothing where it is 0."""

    __slots__ = ()

    def addmm(self, mat1: Self, mat2: Self, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """beta * self + alpha * (mat1 @ mat2), of matrices (N, K) and (K, M).

        >>> from gradlet import Tensor
        >>> Tensor([[1.0]]).addmm(Tensor([[2.0]]), Tensor([[3.0]]), beta=10).tolist()
        [[16.0]]
        """
        _need_axes("addmm", (mat1, 2), (mat2, 2))
        return self._plus_product(mat1.matmul(mat2), beta, alpha, "addmm")

    def addmv(self, mat: Self, vec: Self, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """beta * self + alpha * (mat @ vec), of shapes (N, K) and (K,)."""
        _need_axes("addmv", (mat, 2), (vec, 1))
        return self._plus_product(mat.matmul(vec), beta, alpha, "addmv")

    def addr(self, vec1: Self, vec2: Self, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """beta * self + alpha * outer(vec1, vec2), of shapes (N,) and (M,)."""
        _need_axes("addr", (vec1, 1), (vec2, 1))
        return self._plus_product(vec1.outer(vec2), beta, alpha, "addr")

    def baddbmm(self, batch1: Self, batch2: Self, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """beta * self + alpha * (batch1 @ batch2), of shapes (B, N, K) and (B, K, M)."""
        _need_axes("baddbmm", (batch1, 3), (batch2, 3))
        return self._plus_product(batch1.bmm(batch2), beta, alpha, "baddbmm")

    def addbmm(self, batch1: Self, batch2: Self, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """beta * self + alpha * the sum of all batch1[i] @ batch2[i]."""
        _need_axes("addbmm", (batch1, 3), (batch2, 3))
        product = batch1.bmm(batch2).sum(0)
        return self._plus_product(product, beta, alpha, "addbmm")

    def _plus_product(self, product: Self, beta: Scalar, alpha: Scalar, operation: str) -> Self:
        if broadcast_shape((self.shape, product.shape), operation) != product.shape:
            raise ValueError(
                f"{operation}: shape {self.shape} does not broadcast to that of the product, "
                f"{product.shape}"
            )
        product = product if alpha == 1 else product * alpha
        if beta == 0:
            return product
        return (self if beta == 1 else self * beta) + product

    # Rows as variables

    def cov(
        self,
        *,
        correction: int = 1,
        fweights: Self | None = None,
        aweights: Self | None = None,
    ) -> Self:
        """Covariances of the rows of a matrix (variables, observations), or of one row.

        Args:
            correction: the sum of weights less this divides; 1 for the unbiased estimate.
            fweights: how often each observation counts (integers).
            aweights: how much each observation counts.

        >>> from gradlet import Tensor
        >>> Tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]).cov().tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
        """
        if self.ndim > 2:
            raise ValueError(f"cov: takes a matrix or one row, not shape {self.shape}")
        x = self._result(floating(self.node)).reshape(-1, self.shape[-1] if self.ndim else 1)
        count = x.shape[1]
        for name, weight in (("fweights", fweights), ("aweights", aweights)):
            if weight is not None and weight.shape != (count,):
                raise ValueError(f"cov: {name} has shape {weight.shape}, not ({count},)")
        weights = _product_of([fweights, aweights])
        if weights is None:
            centred = x - x.mean(1, keepdim=True)
            weighted, total = centred, max(count - correction, 0)
        else:
            whole = weights.sum()
            centred = x - (x * weights).sum(1, keepdim=True) / whole
            weighted, total = centred * weights, whole - correction
            if aweights is not None:
                total = whole - (weights * aweights).sum() / whole * correction
            total = total.clamp(min=0)
        result: Any = centred.matmul(weighted.transpose(0, 1)) / total
        return result.reshape(()) if self.ndim < 2 or x.shape[0] == 1 else result

    def corrcoef(self) -> Self:
        """Correlations of the rows of a matrix (variables, observations), within [-1, 1].

        >>> from gradlet import Tensor
        >>> Tensor([[0.0, 1.0], [2.0, 0.0]]).corrcoef().round(3).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
        """
        covariance = self.cov()
        if not covariance.ndim:
            return covariance / covariance
        spread = covariance.diagonal().sqrt()
        return (covariance / spread.unsqueeze(1) / spread).clamp(-1, 1)

    def dist(self, other: Any, p: float = 2) -> Self:
        """The p-norm of `self - other`, which broadcast."""
        return (self - other).norm(p)

    def cdist(self, other: Self, p: float = 2.0) -> Self:
        """The p-norms of the differences of all rows: (..., N, D) and (..., M, D) to (..., N, M).

        >>> from gradlet import Tensor
        >>> Tensor([[0.0, 0.0], [3.0, 0.0]]).cdist(Tensor([[0.0, 4.0]])).tolist()
        [[4.0], [5.0]]
        """
        if min(self.ndim, other.ndim) < 2 or self.shape[-1] != other.shape[-1]:
            raise ValueError(f"cdist: rows of {self.shape} and {other.shape} differ in length")
        return (self.unsqueeze(-2) - other.unsqueeze(-3)).norm(p, axis=-1)

    def renorm(self, p: float, dim: int, maxnorm: float) -> Self:
        """Slices along `dim`, those with a p-norm above `maxnorm` scaled down to it."""
        if self.ndim < 2:
            raise ValueError(f"renorm: needs two axes, not shape {self.shape}")
        kept = self._axis(dim, "renorm")
        others = tuple(axis for axis in range(self.ndim) if axis != kept)
        size = self.norm(p, axis=others, keepdim=True)
        large = size > maxnorm
        return self * large.where(maxnorm / (large.where(size, 1.0) + 1e-7), 1.0)

    # Solutions from what is known of a matrix

    def cholesky_solve(self, factor: Self, upper: bool = False) -> Self:
        """X with `A @ X = self`, where `factor` is what `A.cholesky(upper)` gives.

        >>> from gradlet import Tensor
        >>> Tensor([[8.0]]).cholesky_solve(Tensor([[4.0]]).cholesky()).tolist()
        [[2.0]]
        """
        lower = factor.transpose(-2, -1) if upper else factor
        half = lower.solve_triangular(self, upper=False)
        return lower.transpose(-2, -1).solve_triangular(half, upper=True)

    def cholesky_inverse(self, upper: bool = False) -> Self:
        """The inverse of the matrix that `self` is the Cholesky factor of."""
        if self.ndim < 2:
            raise ValueError(f"cholesky_inverse: needs a matrix, not shape {self.shape}")
        one = self.eye(self.shape[-1], dtype=self.dtype, device=self.device, requires_grad=False)
        return one.expand(self.shape).cholesky_solve(self, upper)

    def newton_schulz(self, steps: int, params: Sequence[float], eps: float = 1e-7) -> Self:
        """The iteration G = sum of params[i] * (G @ G.T)**i @ G, from `self` over its norm.

        With suitable coefficients it comes close to the nearest orthogonal matrix: see `Muon`.
        """
        if self.ndim < 2:
            raise ValueError(f"newton_schulz: needs matrices, not shape {self.shape}")
        if self.shape[-2] > self.shape[-1]:
            turned = self.transpose(-2, -1).newton_schulz(steps, params, eps)
            return turned.transpose(-2, -1)
        result = self / (self.norm(axis=(-2, -1), keepdim=True) + eps)
        for _ in range(steps):
            square = result.matmul(result.transpose(-2, -1))
            power, total = result, result * params[0]
            for coefficient in params[1:]:
                power = square.matmul(power)
                total = total + power * coefficient
            result = total
        return result

    pinverse = Fft.pinv


def _need_axes(operation: str, *operands: tuple[Any, int]) -> None:
    shapes = [operand.shape for operand, _ in operands]
    if any(operand.ndim != ndim for operand, ndim in operands):
        wanted = " and ".join(str(ndim) for _, ndim in operands)
        raise ValueError(f"{operation}: needs operands with {wanted} axes, not shapes {shapes}")


def _product_of(weights: Sequence[Any]) -> Any:
    """The product of those that are given; None of none."""
    given = [weight for weight in weights if weight is not None]
    if not given:
        return None
    total = given[0]
    for weight in given[1:]:
        total = total * weight
    return total
