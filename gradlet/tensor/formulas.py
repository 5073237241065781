"""Short formulas of one or two numbers that PyTorch and NumPy have a name for."""

from __future__ import annotations

import math
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.tensor.core import Core
from gradlet.tensor.elementwise import rounded_once
from gradlet.tensor.operators import Operand, floating
from gradlet.tensor.special import Special


class Formulas(Special):
    """Formulas. Operands broadcast and promote as those of the operators do."""

    __slots__ = ()

    # Choosing between two

    def clamp_min(self, min: Operand) -> Self:  # noqa: A002
        """`clamp(min=min)`."""
        return self.clamp(min=min)

    def clamp_max(self, max: Operand) -> Self:  # noqa: A002
        """`clamp(max=max)`."""
        return self.clamp(max=max)

    def fmax(self, other: Operand) -> Self:
        """The larger of two elements, and the other one of a nan. Of equals `self` is taken.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, float("nan")]).fmax(0.5).tolist()
        [1.0, 0.5]
        """
        a, b = (self._result(x) for x in self._named_pair(other, "fmax"))
        return ((a >= b) | b.isnan()).where(a, b)

    def fmin(self, other: Operand) -> Self:
        """The smaller of two elements, and the other one of a nan. Of equals `self` is taken."""
        a, b = (self._result(x) for x in self._named_pair(other, "fmin"))
        return ((a <= b) | b.isnan()).where(a, b)

    def heaviside(self, values: Any) -> Self:
        """0 below zero, 1 above, `values` at zero; 0 for nan. No gradient.

        >>> from gradlet import Tensor
        >>> Tensor([-1.0, 0.0, 2.0]).heaviside(Tensor(0.5)).tolist()
        [0.0, 0.5, 1.0]
        """
        pair = self._named_pair(values, "heaviside")
        a, b = (self._result(build.detach(x)) for x in pair)
        return a.eq(0).where(b, (a > 0).cast(a.dtype))

    # Powers and logarithms

    def float_power(self, exponent: Operand) -> Self:
        """self ** exponent, worked out and returned in float64."""
        if isinstance(exponent, Core):
            exponent = exponent.node
            exponent = self._result(build.cast(exponent, dtypes.float64))
        return self.double().pow(exponent)

    def ldexp(self, other: Operand) -> Self:
        """self * 2 ** other; no overflow on the way to a number that there is.

        >>> from gradlet import Tensor
        >>> Tensor([0.75]).ldexp(Tensor([4])).tolist()
        [12.0]
        """
        x, exponent, dtype = self._float_pair(other, "ldexp")
        limit = 126 if x.dtype.bits == 32 else 1022  # what 2 ** limit and its inverse can be
        for _ in range(3):
            part = exponent.clamp(-limit, limit)
            x, exponent = x * part.exp2(), exponent - part
        return x.cast(dtype)

    def logaddexp2(self, other: Operand) -> Self:
        """log2(2**self + 2**other), with no overflow."""
        a, b, dtype = self._float_pair(other, "logaddexp2")
        swapped = a < b
        smaller, larger = swapped.where(a, b), swapped.where(b, a)
        equal_and_infinite = (smaller == larger) & larger.isinf()
        gap = equal_and_infinite.where(0.0, smaller - larger)
        return (larger + gap.exp2().log1p() * (1 / math.log(2))).cast(dtype)

    def xlogy(self, other: Operand) -> Self:
        """self * log(other), and 0 where `self` is 0 unless `other` is nan.

        >>> from gradlet import Tensor
        >>> Tensor([0.0, 2.0]).xlogy(Tensor([0.0, 1.0])).tolist()
        [0.0, 0.0]
        """
        x, y, dtype = self._float_pair(other, "xlogy")
        nothing = x.eq(0) & y.isnan().logical_not()
        product = x * (nothing & (y <= 0)).where(1.0, y).log()  # its derivative at x = 0 is log(y)
        value = nothing.where(0.0, product)
        return self._result(build.surrogate(value.node, product.node)).cast(dtype)

    @rounded_once
    def logit(self, eps: float | None = None) -> Self:
        """log(x / (1 - x)), the inverse of sigmoid; nan outside [0, 1].

        Args:
            eps: keeps x within [eps, 1 - eps].
        """
        x = self if eps is None else self.clamp(eps, 1 - eps)
        rest = 1.0 - x
        middle = (x > 0.25) & (x < 0.75)  # where the quotient is close to 1
        gap = (middle.where(x, 0.5) * 2.0 - 1.0) / middle.where(rest, 0.5)
        value = middle.where(gap.log1p(), (x / rest).log())
        return self._result(build.surrogate(value.node, (x.log() - rest.log()).node))

    def mvlgamma(self, p: int) -> Self:
        """The logarithm of the gamma function of `p` dimensions, for x > (p - 1) / 2."""
        if p < 1:
            raise ValueError(f"mvlgamma: at least 1 dimension, not {p}")
        x = self._result(floating(self.node))
        total = x.lgamma()
        for i in range(1, p):
            total = total + (x - i / 2).lgamma()
        return total + p * (p - 1) / 4 * math.log(math.pi)

    # Angles and signs

    @rounded_once
    def deg2rad(self) -> Self:
        """Degrees as radians."""
        return self * (math.pi / 180)

    @rounded_once
    def rad2deg(self) -> Self:
        """Radians as degrees."""
        return self * (180 / math.pi)

    def positive(self) -> Self:
        """The tensor itself."""
        if self.dtype is dtypes.bool_:
            raise TypeError("positive: not defined for bool")
        return self

    def isposinf(self) -> Self:
        """True where an element is inf."""
        return self.eq(math.inf)

    def isneginf(self) -> Self:
        """True where an element is -inf."""
        return self.eq(-math.inf)

    def isreal(self) -> Self:
        """True everywhere: no dtype here is complex."""
        return self._result(build.const(True, dtypes.bool_, self.shape))

    # Whole numbers

    def gcd(self, other: Operand) -> Self:
        """The greatest common divisor of integers, by Euclid's algorithm; not below 0.

        >>> from gradlet import Tensor
        >>> Tensor([12, -9, 0]).gcd(6).tolist()
        [6, 3, 6]
        """
        a, b = self._whole_pair(other, "gcd")
        for _ in range(_euclid_steps(a.dtype.bits)):
            done = b.eq(0)
            a, b = done.where(a, b), a % b  # a % 0 is 0
        return a.abs()

    def lcm(self, other: Operand) -> Self:
        """The least common multiple of integers; not below 0."""
        a, b = self._whole_pair(other, "lcm")
        return (a // a.gcd(b) * b).abs()  # 0 // 0 is 0

    def _whole_pair(self, other: Operand, operation: str) -> tuple[Self, Self]:
        pair = self._named_pair(other, operation)
        if not pair[0].dtype.is_int:
            raise TypeError(f"{operation}: works on integers, not on {pair[0].dtype.name}")
        return self._result(pair[0]), self._result(pair[1])

    # Other names

    absolute = Special.abs
    negative = Special.neg
    subtract = Special.sub
    multiply = Special.mul
    divide = Special.div
    greater = Special.gt
    greater_equal = Special.ge
    less = Special.lt
    less_equal = Special.le
    not_equal = Special.ne
    sgn = Special.sign

    def true_divide(self, other: Operand) -> Self:
        """a / b."""
        return self.div(other)


def _euclid_steps(bits: int) -> int:
    """How many divisions Euclid's algorithm takes at most: neighbours in Fibonacci's sequence."""
    steps, small, large = 1, 1, 2
    while large < 1 << bits:
        steps, small, large = steps + 1, large, small + large
    return steps
