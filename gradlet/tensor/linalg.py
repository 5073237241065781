"""Linear algebra over LAPACK, through NumPy, with gradients (see `grad/library.py`).

Matrices stand in the last two axes; all axes before those are batches. They are float32 or
float64. A singular matrix, or one that is not what an operation needs, is a
`numpy.linalg.LinAlgError` when the result is computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from gradlet.base import dtypes
from gradlet.grad.library import unpack
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.host import eigh_shapes, qr_shapes, svd_shapes
from gradlet.ir.node import Node
from gradlet.tensor.core import broadcast_shape
from gradlet.tensor.counting import Counting


class SlogDet(NamedTuple):
    """The sign of a determinant and the logarithm of its magnitude."""

    sign: Any
    logabsdet: Any


class Eigh(NamedTuple):
    """Eigenvalues, rising, and eigenvectors in columns."""

    eigenvalues: Any
    eigenvectors: Any


class Svd(NamedTuple):
    """U, the singular values, falling, and the transpose of V."""

    U: Any
    S: Any
    Vh: Any


class Qr(NamedTuple):
    """An orthogonal and an upper triangular matrix."""

    Q: Any
    R: Any


class Linalg(Counting):
    """Linear algebra."""

    __slots__ = ()

    def trace(self) -> Self:
        """The sum of the diagonal of a matrix (M, N)."""
        if self.ndim != 2:
            raise ValueError(f"trace: needs a matrix, not shape {self.shape}")
        return self._on_diagonal().where(self, 0).sum()

    def inv(self) -> Self:
        """The inverse of square matrices (..., N, N).

        >>> from gradlet import Tensor
        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).inv().tolist()
        [[0.5, 0.0], [0.0, 0.25]]
        """
        return self._result(build.library("inv", (), self._square("inv")))

    inverse = inv

    def det(self) -> Self:
        """The determinant of square matrices (..., N, N); its gradient exists if it is 0."""
        return self._result(build.library("det", (), self._square("det")))

    def slogdet(self) -> SlogDet:
        """The sign of the determinant, and the logarithm of its magnitude, with no overflow."""
        both = build.library("slogdet", (), self._square("slogdet"))
        sign, logarithm = unpack(both, [(), ()])
        return SlogDet(self._result(build.detach(sign)), self._result(logarithm))

    def logdet(self) -> Self:
        """The logarithm of the determinant; nan if that is negative."""
        sign, logarithm = self.slogdet()
        return (sign < 0).where(float("nan"), logarithm)

    def solve(self, b: Self) -> Self:
        """X with `self @ X = b`, of square matrices (..., N, N).

        Args:
            b: (..., N, K), or (N,) for one vector, or (..., N) with exactly the batches of `self`.

        >>> from gradlet import Tensor
        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).solve(Tensor([2.0, 2.0])).tolist()
        [1.0, 0.5]
        """
        right = self._right(b, "solve")
        vector = right.ndim == 1 or (self.ndim == right.ndim + 1 and right.shape == self.shape[:-1])
        return self._solved(self._square("solve"), right, vector, "solve")

    def solve_triangular(
        self, b: Self, *, upper: bool, left: bool = True, unitriangular: bool = False
    ) -> Self:
        """X with `A @ X = b`, or `X @ A = b` if not `left`, where A is a triangle of `self`.

        Args:
            b: (..., N, K); (..., K, N) if not `left`.
            unitriangular: take the diagonal for ones.
        """
        self._square("solve_triangular")
        right = self._right(b, "solve_triangular")
        if right.ndim < 2:
            raise ValueError(f"solve_triangular: b needs two axes, not shape {right.shape}")
        matrix = self.triu() if upper else self.tril()
        if unitriangular:
            matrix = self._on_diagonal().where(1.0, matrix)
        if left:
            return self._solved(matrix.node, right, False, "solve_triangular")
        turned = self._result(right).transpose(-2, -1).node
        found = self._solved(matrix.transpose(-2, -1).node, turned, False, "solve_triangular")
        return found.transpose(-2, -1)

    def lstsq(self, b: Self) -> Self:
        """The X of least norm for which `self @ X - b` has the least norm.

        Args:
            self: (..., M, N).
            b: (..., M, K), or (M,) for one vector.
        """
        right = self._right(b, "lstsq")
        return self._solved(self._matrices("lstsq"), right, right.ndim == 1, "lstsq")

    def _right(self, b: Any, operation: str) -> Node:
        right = self._operand(b, operation)
        if right is None or right.dtype is not self.dtype or not right.ndim:
            raise ValueError(
                f"{operation}: b must be a {self.dtype.name} tensor with at least one axis, not "
                f"{b!r}"
            )
        return right

    def _solved(self, a: Node, b: Node, vector: bool, operation: str) -> Self:
        if vector:
            b = build.reshape(b, (*b.shape, 1))
        if a.shape[-2] != b.shape[-2]:
            raise ValueError(
                f"{operation}: matrices of shape {a.shape} have {a.shape[-2]} rows, and the right "
                f"side, of shape {b.shape}, has {b.shape[-2]}"
            )
        lead = broadcast_shape((a.shape[:-2], b.shape[:-2]), operation)
        a = build.expand(a, (*lead, *a.shape[-2:]))
        b = build.expand(b, (*lead, *b.shape[-2:]))
        name = "lstsq" if operation == "lstsq" else "solve"
        found = build.library(name, (), a, b)
        return self._result(build.reshape(found, found.shape[:-1]) if vector else found)

    def cholesky(self, upper: bool = False) -> Self:
        """The lower triangular L with L @ L^T = `self`, positive definite; or L^T."""
        factor = self._result(build.library("cholesky", (), self._square("cholesky")))
        return factor.transpose(-2, -1) if upper else factor

    def qr(self, mode: str = "reduced") -> Qr:
        """Q, orthogonal, and R, upper triangular, with Q @ R = `self` (..., M, N).

        Args:
            mode: "reduced" for Q of (M, min(M, N)), "complete" for (M, M).
        """
        if mode not in ("reduced", "complete"):
            raise ValueError(f"qr: mode is 'reduced' or 'complete', not {mode!r}")
        x = self._matrices("qr")
        parts = unpack(build.library("qr", (mode,), x), qr_shapes(x, mode))
        return Qr(*map(self._result, parts))

    def eigh(self) -> Eigh:
        """Eigenvalues (..., N), rising, and eigenvectors of symmetric matrices (..., N, N).

        It reads the lower triangle alone. The gradient of a result that depends on the signs of
        the eigenvectors, or on them where eigenvalues are equal, does not exist.
        """
        x = self._square("eigh")
        return Eigh(*map(self._result, unpack(build.library("eigh", (), x), eigh_shapes(x))))

    def eigvalsh(self) -> Self:
        """The eigenvalues of symmetric matrices, rising."""
        return self.eigh().eigenvalues

    def svd(self, full_matrices: bool = True) -> Svd:
        """U, S and V^T with U @ diag(S) @ V^T = `self` (..., M, N); S falls.

        Args:
            full_matrices: U is (M, M) and V^T (N, N); otherwise as large as is needed. Only then,
                or if M is N, there is a gradient.
        """
        x = self._matrices("svd")
        full = bool(full_matrices) and x.shape[-1] != x.shape[-2]
        parts = unpack(build.library("svd", (full,), x), svd_shapes(x, full))
        return Svd(*map(self._result, parts))

    def svdvals(self) -> Self:
        """The singular values, falling."""
        return self.svd(full_matrices=False).S

    def pinv(self) -> Self:
        """The pseudo-inverse (..., N, M) of matrices (..., M, N)."""
        return self._result(build.library("pinv", (), self._matrices("pinv")))

    def matrix_power(self, n: int) -> Self:
        """Square matrices to a whole power; a negative one is that of the inverse."""
        self._square("matrix_power")
        if n < 0:
            return self.inv().matrix_power(-n)
        if n == 0:
            return self._on_diagonal().cast(self.dtype)
        half = self.matrix_power(n // 2) if n > 1 else self
        if n == 1:
            return half
        return half @ half @ self if n % 2 else half @ half

    def matrix_rank(self) -> Self:
        """How many singular values are not negligible (int64)."""
        values = self.svdvals()
        largest = values[..., :1]
        eps = 2.0 ** (-52 if self.dtype is dtypes.float64 else -23)
        return (values > largest * (max(self.shape[-2:]) * eps)).sum(-1)

    def cond(self) -> Self:
        """The largest singular value over the smallest."""
        values = self.svdvals()
        return values[..., 0] / values[..., -1]

    def _on_diagonal(self) -> Self:
        """True on the diagonals of matrices of this shape."""
        row, column = along(self.ndim - 2, self.shape), along(self.ndim - 1, self.shape)
        return self._result(build.binary(ops.EQ, row, column))

    def _matrices(self, operation: str) -> Node:
        if self.dtype not in (dtypes.float32, dtypes.float64):
            raise TypeError(
                f"{operation}: needs float32 or float64, not {self.dtype.name}; call .float() first"
            )
        if self.ndim < 2:
            raise ValueError(f"{operation}: needs matrices, of two axes, not shape {self.shape}")
        return self.node

    def _square(self, operation: str) -> Node:
        x = self._matrices(operation)
        if self.shape[-1] != self.shape[-2]:
            raise ValueError(f"{operation}: needs square matrices, not shape {self.shape}")
        return x
