"""Layers: plain objects that hold tensors and are called with tensors.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.values import compute_with_next

__all__ = ["Bilinear", "Dropout", "Embedding", "Linear"]


class Linear:
    """x @ weight.T + bias.

    Attributes:
        weight: (out_features, in_features), even over ±1/sqrt(in_features).
        bias: (out_features,), likewise, or None.

    >>> Linear(3, 2)(Tensor.ones(4, 3)).shape
    (4, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.weight = fan_in_uniform((out_features, in_features), in_features)
        self.bias = fan_in_uniform((out_features,), in_features) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features); ValueError for any other last axis."""
        if not x.ndim or x.shape[-1] != self.weight.shape[1]:
            raise misfit(self, x, f"(..., {self.weight.shape[1]})")
        return x._linear_of_rows(self.weight, self.bias)

    def __repr__(self) -> str:
        out_features, in_features = self.weight.shape
        return f"Linear({in_features}, {out_features}{unless(self.bias, ', bias=False')})"


class Bilinear:
    """x1 A x2 + b for each matrix A of the weight.

    Attributes:
        weight: (out_features, in1_features, in2_features), even over ±1/sqrt(in1_features).
        bias: (out_features,), likewise, or None.

    >>> Bilinear(3, 4, 2)(Tensor.ones(5, 3), Tensor.ones(5, 4)).shape
    (5, 2)
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True
    ) -> None:
        if in1_features < 1:
            raise ValueError(f"Bilinear: {in1_features=} must be at least 1")
        self.weight = fan_in_uniform((out_features, in1_features, in2_features), in1_features)
        self.bias = fan_in_uniform((out_features,), in1_features) if bias else None

    def __call__(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(..., in1_features) and (..., in2_features) to (..., out_features)."""
        _, first, second = self.weight.shape
        fits = input1.shape[-1:] == (first,) and input2.shape[-1:] == (second,)
        if not fits or input1.shape[:-1] != input2.shape[:-1]:
            raise ValueError(
                f"{self!r}: the inputs have shapes {input1.shape} and {input2.shape}, and "
                f"(..., {first}) and (..., {second}) are wanted"
            )
        return input1.bilinear(input2, self.weight, self.bias)

    def __repr__(self) -> str:
        out_features, first, second = self.weight.shape
        return f"Bilinear({first}, {second}, {out_features}{unless(self.bias, ', bias=False')})"


class Embedding:
    """A learned vector for each of a number of ids.

    Args:
        padding_idx: an id whose vector starts as zeros and gets no gradient.
        max_norm: vectors that are looked up and longer, by the norm of order `norm_type`, are made
            that long first, in the weight itself. What was looked up before is then out of date:
            look all ids up at once, or call `backward` before the next time.
        scale_grad_by_freq: divide the gradient of a vector by how often it was looked up.

    Attributes:
        weight: (num_embeddings, embedding_dim), normally distributed.

    >>> Embedding(10, 4)(Tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
    ) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: {padding_idx=} is none of {num_embeddings} ids")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        weight = Tensor.randn(num_embeddings, embedding_dim, requires_grad=True)
        if padding_idx is not None:
            ids = Tensor.arange(num_embeddings).reshape(-1, 1)
            weight.assign((ids == self.padding_idx).where(0.0, weight))
        self.weight = weight

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
    ) -> Self:
        """A layer with a copy of these vectors, (number of ids, width); not trained if frozen.

        >>> Embedding.from_pretrained(Tensor([[1.0, 2.0], [3.0, 4.0]]))(Tensor([1])).tolist()
        [[3.0, 4.0]]
        """
        if embeddings.ndim != 2:
            raise ValueError(
                f"Embedding.from_pretrained: embeddings have shape {embeddings.shape}, and "
                "(number of ids, width) is wanted"
            )
        count, width = embeddings.shape
        layer = cls(count, width, padding_idx, max_norm, norm_type, scale_grad_by_freq)
        layer.weight = embeddings.zeros_like(requires_grad=not freeze).assign(embeddings)
        return layer

    def __call__(self, ids: Tensor) -> Tensor:
        """Integers of any shape to (..., embedding_dim).

        Raises:
            TypeError: ids are no integers.
            IndexError: an id outside [0, num_embeddings), when the result is computed.
        """
        if not ids.dtype.is_int:
            raise TypeError(
                f"{self!r}: ids must be integers, not {ids.dtype.name}; call .long() first"
            )
        if ids.device != self.weight.device:
            raise ValueError(
                f"{self!r}: ids are on device {ids.device!r}, the weight on "
                f"{self.weight.device!r}; move one with .to()"
            )
        if self.max_norm is not None:
            self._shorten(ids, self.max_norm)
        # Not self.weight[ids], where ids below zero would count from the end.
        found = build.gather(self.weight.node, (build.cast(ids.node, dtypes.int64),))
        rows = self.weight._result(found)
        if self.scale_grad_by_freq:
            shares = rows / self._counts(ids)[ids].unsqueeze(-1)
            rows = rows._result(build.surrogate(rows.node, shares.node))
        if self.padding_idx is None:
            return rows
        return (ids == self.padding_idx).unsqueeze(-1).where(rows.detach(), rows)

    def _counts(self, ids: Tensor) -> Tensor:
        """How often each vector is looked up, (num_embeddings,); ids out of range do not count.

        Else the weight, which is made short by this, would be lost to the error that they raise.
        """
        count = self.weight.shape[0]
        none = Tensor.zeros(count, dtype=dtypes.int64, device=ids.device)
        known = ((ids >= 0) & (ids < count)).long().flatten()
        return none.scatter_add(0, ids.long().clamp(0, count - 1).flatten(), known)

    def _shorten(self, ids: Tensor, limit: float) -> None:
        """Gives the vectors that are looked up a norm of at most `limit`."""
        weight = self.weight.detach()
        norm = weight.norm(self.norm_type, 1, keepdim=True)
        longer = (norm > limit) & (self._counts(ids) > 0).unsqueeze(1)
        self.weight.assign(longer.where(weight * (limit / (norm + 1e-7)), weight))
        compute_with_next(self.weight)

    def __repr__(self) -> str:
        count, width = self.weight.shape
        return f"Embedding({count}, {width})"


class Dropout:
    """While `Tensor.training`, zeros with probability `p` and the rest scaled by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability, not {p}")
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape to the same shape (Srivastava et al. 2014)."""
        return x.dropout(self.p)

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


# Helpers


def check_groups(layer: object, in_channels: int, out_channels: int, groups: int) -> None:
    """Raises if a convolution cannot be cut into so many."""
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{type(layer).__name__}: groups={groups} must divide in_channels={in_channels} and "
            f"out_channels={out_channels}"
        )


def fan_in_uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Tensor.uniform(shape, low=-bound, high=bound, requires_grad=True)


def filled(value: float, *shape: int, trained: bool = False) -> Tensor:
    return Tensor(np.full(shape, value, Tensor.default_dtype.numpy), requires_grad=trained)


def unless(value: object, text: str) -> str:
    return text if value is None else ""


def misfit(layer: object, x: Tensor, wanted: str) -> ValueError:
    return ValueError(f"{layer!r}: x has shape {x.shape}, and {wanted} is wanted")
