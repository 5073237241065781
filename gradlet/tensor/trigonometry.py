"""Hyperbolic functions, the inverses of those and of sine, cosine and tangent, and hypot.

Most are worked out for |x| and given the sign of x back; their gradients come from the formulas.
"""

from __future__ import annotations

import math
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.tensor.elementwise import Elementwise, polynomial, rounded_once
from gradlet.tensor.operators import Operand, floating

# asin(s) = s + s z P(z) with z = s**2 for s in [0, 1/2]; atan likewise for s in [0, tan(pi/8)].
# Interpolated at Chebyshev nodes, to more digits than values need, for the sake of gradients.
_ASIN = (
    0.16666666666666796, 0.07499999999966424, 0.04464285717703957, 0.03038194263371201,
    0.022372216355470206, 0.017351596009125034, 0.013980940043678121, 0.011398369371737155,
    0.010781451325053612, 0.003707270109996685, 0.021695034539936226, -0.020969855642588346,
    0.03260449455100989,
)  # fmt: skip
_ATAN = (
    -0.3333333333333312, 0.1999999999994035, -0.14285714279197312, 0.11111110742286896,
    -0.0909089673297879, 0.0769204396500265, -0.06662936116136517, 0.058467627400560856,
    -0.05034575594522044, 0.03795171422296338, -0.017790395523288063,
)  # fmt: skip
# What the dtype's nearest number to pi/2 lacks.
_REST_OF_HALF_PI = {dtypes.float32: -4.371139000186241e-08, dtypes.float64: 6.123233995736766e-17}
_LARGE = 1e10  # x * x + 1 is x * x, and no overflow


class Trigonometry(Elementwise):
    """Hyperbolic and inverse functions."""

    __slots__ = ()

    def _magnitude(self) -> Self:
        """|x|, with the gradient 1 at 0.0 and -1 at -0.0."""
        return self.signbit().where(-self, self)

    def _signed_as(self, other: Self) -> Self:
        """What `other._magnitude()` became, with the sign of `other` again."""
        return other.signbit().where(-self, self)

    def _float_pair(self, other: Operand, operation: str) -> tuple[Self, Self, Any]:
        """Both operands as float32 or float64, and the dtype to give the result."""
        pair = self._named_pair(other, operation)
        dtype = floating(pair[0]).dtype
        wide = dtypes.promote(dtype, dtypes.float32)
        a, b = (self._result(build.cast(x, wide)) for x in pair)
        return a, b, dtype

    # Hyperbolic functions

    @rounded_once
    def sinh(self) -> Self:
        """(e**x - e**-x) / 2, exact near 0 too."""
        size = self._magnitude()
        large = size > 20
        w = large.where(1.0, size).expm1()
        return large.where(_half_exp(size), (w + w / (w + 1.0)) * 0.5)._signed_as(self)

    @rounded_once
    def cosh(self) -> Self:
        """(e**x + e**-x) / 2."""
        size = self._magnitude()
        large = size > 20
        near = 1.0 + (large.where(0.0, self) * 0.5).sinh().square() * 2.0
        return large.where(_half_exp(size), near)

    @rounded_once
    def asinh(self) -> Self:
        """The inverse of sinh, exact near 0 too.

        >>> from gradlet import Tensor
        >>> Tensor([0.0, 1e-20]).asinh().tolist()
        [0.0, 9.999999682655225e-21]
        """
        size = self._magnitude()
        large = size > _LARGE
        near = large.where(0.0, size)
        square = near.square()
        inside = (near + square / ((square + 1.0).sqrt() + 1.0)).log1p()
        return large.where(_log_of_double(large, size), inside)._signed_as(self)

    @rounded_once
    def acosh(self) -> Self:
        """The inverse of cosh, not below 0; nan below 1."""
        large = self > _LARGE
        t = large.where(1.0, self) - 1.0
        inside = (t + t.sqrt() * (t + 2.0).sqrt()).log1p()
        return large.where(_log_of_double(large, self), inside)

    @rounded_once
    def atanh(self) -> Self:
        """The inverse of tanh, exact near 0 too; nan outside [-1, 1]."""
        size = self._magnitude()
        value = ((size * 2.0) / (1.0 - size)).log1p()._signed_as(self) * 0.5
        simple = ((self + 1.0).log() - (1.0 - self).log()) * 0.5
        return self._result(build.surrogate(value.node, simple.node))

    # Inverse circular functions

    @rounded_once
    def asin(self) -> Self:
        """The angle in [-pi/2, pi/2] whose sine is x; nan outside [-1, 1]."""
        size = self._magnitude()
        large, angle = _half_asin(size)
        return large.where(_half_pi_less(angle * 2.0), angle)._signed_as(self)

    @rounded_once
    def acos(self) -> Self:
        """The angle in [0, pi] whose cosine is x; nan outside [-1, 1]."""
        large, angle = _half_asin(self._magnitude())
        ends = self.signbit().where(math.pi - angle * 2.0, angle * 2.0)
        return large.where(ends, _half_pi_less(angle._signed_as(self)))

    @rounded_once
    def atan(self) -> Self:
        """The angle in [-pi/2, pi/2] whose tangent is x."""
        size = self._magnitude()
        steep, middling = size > 1 + math.sqrt(2), size > math.sqrt(2) - 1
        above = steep.where(-1.0, middling.where(size - 1.0, size))
        below = steep.where(size, middling.where(size + 1.0, 1.0))
        t = above / below
        z = t.square()
        rest = _REST_OF_HALF_PI[self.dtype]
        turned = steep.where(rest, middling.where(rest / 2, 0.0 * z))
        near = t + (t * z * polynomial(z, _ATAN) + turned)
        start = steep.where(math.pi / 2, middling.where(math.pi / 4, 0.0 * z))
        return (start + near)._signed_as(self)

    def atan2(self, other: Operand) -> Self:
        """The angle in [-pi, pi] of the point (other, self), signs of zeros counted.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, -1.0]).atan2(Tensor([0.0, -1.0])).tolist()
        [1.5707963705062866, -2.356194496154785]
        """
        y, x, dtype = self._float_pair(other, "atan2")
        height, width = y._magnitude(), x._magnitude()
        steep = height > width
        small, large = steep.where(width, height), steep.where(height, width)
        both_infinite = small.eq(math.inf) & large.eq(math.inf)
        origin = large.eq(0) & small.eq(0)  # not so beside a nan
        rise = both_infinite.where(1.0, origin.where(0.0, small))
        t = rise / (both_infinite | large.eq(0)).where(1.0, large)
        angle = t.atan()
        angle = steep.where(_half_pi_less(angle), angle)
        return x.signbit().where(math.pi - angle, angle)._signed_as(y).cast(dtype)

    arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
    arcsinh, arccosh, arctanh = asinh, acosh, atanh

    def hypot(self, other: Operand) -> Self:
        """sqrt(self**2 + other**2), with no overflow on the way. The gradient at (0, 0) is 0."""
        a, b, dtype = self._float_pair(other, "hypot")
        a, b = a.abs(), b.abs()
        infinite = a.eq(math.inf) | b.eq(math.inf)
        a, b = infinite.where(1.0, a), infinite.where(1.0, b)
        swapped = a < b
        small, large = swapped.where(a, b), swapped.where(b, a)
        t = small / large.eq(0).where(1.0, large)
        result = large * (t.square() + 1.0).sqrt()
        return infinite.where(math.inf, result).cast(dtype)


# Helpers


def _half_exp(x: Any) -> Any:
    """e**x / 2 for x > 2: x - 1 is exact, and overflows no earlier than the result."""
    return (x - 1.0).exp() * (math.e / 2)


def _log_of_double(large: Any, x: Any) -> Any:
    """log(2 x) where x is large, with no overflow."""
    return large.where(x, 1.0).log() + math.log(2)


def _half_asin(size: Any) -> tuple[Any, Any]:
    """Where a size is above 1/2, and asin(size), or there (pi/2 - asin(size)) / 2."""
    large = size > 0.5
    z = large.where((1.0 - size) * 0.5, size.square())
    s = large.where(large.where(z, 1.0).sqrt(), size)
    return large, s + s * (z * polynomial(z, _ASIN))


def _half_pi_less(angle: Any) -> Any:
    """pi/2 - angle, rounded once."""
    return math.pi / 2 - (angle - _REST_OF_HALF_PI[angle.dtype])
