"""Random draws that a tensor of probabilities or weights decides on."""

from __future__ import annotations

import math
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.runtime.device import finest_float
from gradlet.tensor.names import Names

_UNIFORM_IS_BELOW_ONE = 1 - 2.0**-50  # and times a total it is below that, however it is rounded


class Draws(Names):
    """Draws, from the random numbers that `manual_seed` starts. None has a gradient."""

    __slots__ = ()

    def bernoulli(self, p: Any = None) -> Self:
        """1 with the probability that `self`, or else `p`, says, and 0 otherwise.

        nan where that is no probability, which is in [0, 1].

        >>> from gradlet import Tensor
        >>> Tensor([0.0, 1.0]).bernoulli().tolist()
        [0.0, 1.0]
        """
        chance = self if p is None else self._result(self._values(p, "bernoulli"))
        if not chance.dtype.is_float or not self.dtype.is_float:
            raise TypeError(
                f"bernoulli: a probability is a float, not {chance.dtype.name}, and so is what "
                f"is drawn, not {self.dtype.name}"
            )
        chance = chance._value().expand(self.shape)
        wide = dtypes.promote(chance.dtype, dtypes.float32)
        drawn = self.uniform(self.shape, dtype=wide, device=self.device) < chance
        valid = (chance >= 0) & (chance <= 1)
        return valid.where(drawn.cast(self.dtype), math.nan)

    def multinomial(self, num_samples: int, replacement: bool = False) -> Self:
        """Positions drawn from rows of weights: (N,) gives (num_samples,), (R, N) as many rows.

        Args:
            replacement: draw a position as often as it comes, rather than once.

        Raises:
            IndexError: when the result is computed: a weight is negative, inf or nan, all of a
                row are 0, or fewer are above 0 than are to be drawn once.

        >>> from gradlet import Tensor
        >>> Tensor([0.0, 5.0]).multinomial(3, replacement=True).tolist()
        [1, 1, 1]
        """
        if self.ndim not in (1, 2) or not self.dtype.is_float or not self.numel():
            raise ValueError(
                "multinomial: takes float weights in a row or in several, not "
                f"{self.dtype.name}{list(self.shape)}"
            )
        if num_samples < 1 or (not replacement and num_samples > self.shape[-1]):
            raise ValueError(
                f"multinomial: cannot draw {num_samples} of {self.shape[-1]}; draw at least 1, "
                "and no more than there are unless replacement=True"
            )
        wide = finest_float(self.device)
        weights = self._value().cast(wide)
        if replacement:
            ends = weights.cumsum(-1)
            shape = (*self.shape[:-1], num_samples)
            share = self.uniform(shape, dtype=wide, device=self.device)
            drawn = share * _UNIFORM_IS_BELOW_ONE * ends[..., -1:]
            place = ends.searchsorted(drawn, right=True)
        else:
            # The first arrivals of processes with these rates (Efraimidis & Spirakis 2006).
            share = self.uniform(self.shape, dtype=wide, device=self.device)
            place = (weights / -(-share).log1p()).topk(num_samples)[1]
        needed = 1 if replacement else num_samples
        valid = ((weights >= 0) & (weights < math.inf)).all(-1, keepdim=True)
        valid = valid & ((weights > 0).sum(-1, keepdim=True) >= needed)
        return self._checked(place, valid)

    def _checked(self, place: Self, valid: Self) -> Self:
        """Places, which are looked up where no place is unless they are valid."""
        count = self.shape[-1]
        line = build.iota(count)
        found = valid.where(place, count).node
        return self._result(build.gather(line, (found,)))

    def _uniform_inside(self) -> Self:
        """Evenly spread over (0, 1), with neither end, in float32 or float64."""
        wide = dtypes.promote(self.dtype, dtypes.float32)
        return self.uniform(self.shape, dtype=wide, device=self.device).maximum(2.0**-25)
