"""What layers are made of: normalisation, dropout, gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.tensor.by_form import by_form
from gradlet.tensor.random import Random, uniform_node


class Functional(Random):
    """Normalisation, dropout and gates."""

    __slots__ = ()

    def sequential(self, layers: Sequence[Callable[[Any], Any]]) -> Any:
        """`self` passed through each of `layers` in turn."""
        x: Any = self
        for layer in layers:
            x = layer(x)
        return x

    # Normalisation

    @by_form
    def batchnorm(
        self,
        weight: Self | None,
        bias: Self | None,
        mean: Self,
        invstd: Self,
        axis: int = 1,
    ) -> Self:
        """(x - mean) * invstd * weight + bias, all 1-D along `axis` (Ioffe & Szegedy 2015)."""
        place = self._axis(axis, "batchnorm")
        shape = tuple(n if a == place else 1 for a, n in enumerate(self.shape))
        x = self - mean.reshape(shape)
        scale = invstd if weight is None else invstd * weight
        x = x * scale.reshape(shape)
        return x if bias is None else x + bias.reshape(shape)

    @by_form
    def layernorm(self, axis: int | Sequence[int] = -1, eps: float = 1e-5) -> Self:
        """(x - mean) / sqrt(variance + eps) over `axis` (Ba et al. 2016)."""
        centered = self - self.mean(axis, keepdim=True)
        variance = centered.square().mean(axis, keepdim=True)
        return centered * (variance + eps).rsqrt()

    def dropout(self, p: float = 0.5) -> Self:
        """While `Tensor.training`: zeros with probability p, the rest over (1 - p)."""
        if not 0 <= p <= 1:
            raise ValueError(f"dropout: p is a probability, not {p}")
        if not self.training or p == 0:
            return self
        draw = uniform_node(self.shape, dtypes.float32, self.device)
        dropped = self._result(build.binary(ops.LT, draw, build.full_like(draw, p)))
        return dropped.where(0.0, self * (1 / (1 - p) if p < 1 else 0.0))

    # Activations that need more than one element

    def prelu(self, weight: Self) -> Self:
        """x above zero, else weight * x (He et al. 2015).

        Args:
            weight: one number, or (C,), one for each place along axis 1.
        """
        if weight.numel() != 1:
            if self.ndim < 2 or weight.shape != (self.shape[1],):
                raise ValueError(
                    f"prelu: a weight of shape {weight.shape} fits no axis 1 of shape "
                    f"{self.shape}; give one number, or one for each place along axis 1"
                )
            weight = weight.reshape(-1, *(1 for _ in self.shape[2:]))
        elif weight.ndim:
            weight = weight.reshape(())
        return (self > 0).where(self, weight * self)

    def glu(self, dim: int = -1) -> Self:
        """The first half along `dim` times the sigmoid of the second (Dauphin et al. 2017)."""
        axis = self._axis(dim, "glu")
        if not self.ndim or self.shape[axis] % 2:
            raise ValueError(f"glu: axis {dim} of shape {self.shape} has no two equal halves")
        half = self.shape[axis] // 2
        first, second = self._part(axis, 0, half), self._part(axis, half, 2 * half)
        return first * second.sigmoid()
