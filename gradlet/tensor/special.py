"""Special functions: of the normal distribution, the gamma function, and logarithms of sums."""

from __future__ import annotations

import math
from typing import Any, Self

from gradlet.ir import build
from gradlet.tensor.elementwise import polynomial, rounded_once
from gradlet.tensor.operators import Operand
from gradlet.tensor.trigonometry import Trigonometry

# Interpolated at Chebyshev nodes, each to a relative error below 1e-16, and those of erfinv,
# which a step of Halley's method follows, below 1e-6.
# e**(x**2) erfc(x) (1 + 2 x) in (x - 3) / (x + 3), for x >= 1/2.
_ERFC = (
    1.2530080582697296, -0.1356211061245817, -0.0475622943534571, 0.12964515870282672,
    -0.11927366341492666, 0.06830802734148166, -0.023770514927307543, 0.002529391860413148,
    0.0018886904549149965, -0.0007798327144878937, -0.00010516036691941478,
    0.00012510204965000544, 4.951246766427823e-06, -2.011099568569788e-05,
    -7.334500023711176e-07, 3.498025292870176e-06, 3.5242260231623217e-07,
    -6.551721540775777e-07, -1.2377771173489597e-07, 1.3376611832423843e-07,
    1.841441031768294e-08, -2.364722137103112e-08, 3.4857616598761575e-09,
)  # fmt: skip
# erfinv(x) / x in x**2 for x <= 1/2; beyond, erfinv(x) / w in 1 / w for w**2 = -log(1 - x).
_ERFINV_CENTER = (
    0.8862269151323421, 0.2320166298999102, 0.12742002846185171, 0.08880182384279348,
    0.04863938397886244, 0.10259328171453437,
)  # fmt: skip
_ERFINV_TAIL = (
    1.0016009422256178, -0.06208453411232719, -1.163434995538768, 2.110942745866357,
    -2.8188724977571042, 3.1326104873738045, -2.614517345082096, 1.4575850188601247,
    -0.47529716915154663, 0.06818333117417252,
)  # fmt: skip
# log(gamma(2 + s)) / s for s in [-1/2, 1/2].
_LOG_GAMMA = (
    0.42278433509846713, 0.3224670334241132, -0.06735230105319563, 0.02058080842778338,
    -0.007385551028935545, 0.002890510330865901, -0.0011927539009983087, 0.0005096695196526673,
    -0.00022315497746292723, 9.945761692157133e-05, -4.4923727564247656e-05,
    2.050601970174762e-05, -9.45628851510172e-06, 4.3828545383846665e-06,
    -1.9743106888421067e-06, 9.242852225162277e-07, -5.811277768921246e-07,
    2.7475390051909663e-07,
)  # fmt: skip
# The divergent but useful series of Stirling: B(2n) / (2n (2n - 1)), and B(2n) / 2n, n >= 1.
_STIRLING = (
    1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400,
)  # fmt: skip
_STIRLING_SLOPE = tuple((2 * n + 1) * c for n, c in enumerate(_STIRLING))
_STIRLING_FROM = 8
_TAYLOR_OF_SINC = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(10))


class Special(Trigonometry):
    """Special functions."""

    __slots__ = ()

    # Of the normal distribution

    @rounded_once
    def erfc(self) -> Self:
        """1 - erf(x), relatively exact for large x too.

        >>> from gradlet import Tensor
        >>> Tensor([0.0, 5.0]).erfc().tolist()
        [1.0, 1.53745...e-12]
        """
        far = self > 0.5
        x = far.where(self, 0.5).minimum(30.0)  # where it is 0 in every dtype
        scaled = polynomial((x - 3.0) / (x + 3.0), _ERFC) / (x * 2.0 + 1.0)
        # x**2 in two parts, of which the first is exact, since e**y makes much of errors in y.
        head = (x * 16.0).floor() * 0.0625
        power = (-head * head).exp() * ((head - x) * (head + x)).exp()
        simple = 1.0 - self.erf()
        value = far.where(scaled * power, simple)
        return self._result(build.surrogate(value.node, simple.node))

    @rounded_once
    def erfinv(self) -> Self:
        """The inverse of erf; nan outside [-1, 1]."""
        size = self._magnitude()
        outside = size >= 1
        inside = outside.where(0.0, size)
        tail = inside > 0.5
        rest = 1.0 - inside
        w = (-tail.where(rest, 0.5).log()).sqrt()
        center = tail.where(0.0, inside)
        y = tail.where(w * polynomial(w.reciprocal(), _ERFINV_TAIL),
                       center * polynomial(center.square(), _ERFINV_CENTER))  # fmt: skip
        gap = tail.where(rest - y.erfc(), y.erf() - inside)
        step = gap * y.square().exp() * (math.sqrt(math.pi) / 2)
        y = y - step / (y * step + 1.0)
        return outside.where(-(1.0 - size).log(), y)._signed_as(self)

    # Of the gamma function

    @rounded_once
    def lgamma(self) -> Self:
        """log(|gamma(x)|); inf at 0 and at whole numbers below.

        >>> from gradlet import Tensor
        >>> round(Tensor([5.0]).lgamma().exp().item(), 3)
        24.0
        """
        negative = self < 0
        size = negative.where(-self, self)
        positive = _lgamma_of_positive(size)
        x = negative.where(self, -0.5)
        # gamma(x) gamma(-x) = -pi / (x sin(pi x)), where the product may be too small to write
        mirrored = math.log(math.pi) - x.abs().log() - x._sin_of_turns().abs().log() - positive
        poles = negative & (self == self.floor())
        return poles.where(math.inf, negative.where(mirrored, positive))

    @rounded_once
    def digamma(self) -> Self:
        """The derivative of lgamma; nan at whole numbers below 0."""
        negative = self < 0
        x = negative.where(1.0 - self, self)
        total = self._result(build.full_like(self.node, 0))
        for _ in range(_STIRLING_FROM):
            below = x < _STIRLING_FROM
            total = below.where(total - x.reciprocal(), total)
            x = below.where(x + 1.0, x)
        u = x.reciprocal()
        series = u * 0.5 + u.square() * polynomial(u.square(), _STIRLING_SLOPE)
        positive = total + (x.log() - series)
        # digamma(1 - x) - digamma(x) = pi / tan(pi x)
        turned = negative.where(self - self.round(), 0.25)
        mirrored = positive - math.pi / (turned * math.pi).tan()
        return negative.where(turned.eq(0).where(math.nan, mirrored), positive)

    def _sin_of_turns(self) -> Self:
        """sin(pi x), as exact for large x."""
        whole = self.round()
        odd = whole - (whole * 0.5).floor() * 2.0
        return ((self - whole) * math.pi).sin() * (1.0 - odd * 2.0)

    # Others

    @rounded_once
    def sinc(self) -> Self:
        """sin(pi x) / (pi x), and 1 at 0."""
        square = self.square() * math.pi**2
        near = square < 1
        far = near.where(1.0, self)
        quotient = far._sin_of_turns() / (far * math.pi)
        return near.where(polynomial(near.where(square, 0.0), _TAYLOR_OF_SINC), quotient)

    def logaddexp(self, other: Operand) -> Self:
        """log(e**self + e**other), with no overflow.

        >>> from gradlet import Tensor
        >>> Tensor([1000.0]).logaddexp(Tensor([-1000.0])).tolist()
        [1000.0]
        """
        a, b, dtype = self._float_pair(other, "logaddexp")
        swapped = a < b
        smaller, larger = swapped.where(a, b), swapped.where(b, a)
        equal_and_infinite = (smaller == larger) & larger.isinf()
        gap = equal_and_infinite.where(0.0, smaller - larger)
        return (larger + gap.exp().log1p()).cast(dtype)


# Helpers


def _lgamma_of_positive(x: Any) -> Any:
    """log(gamma(x)) for x >= 0."""
    large = x >= _STIRLING_FROM
    z = large.where(x, float(_STIRLING_FROM))
    series = polynomial(z.reciprocal().square(), _STIRLING) / z
    far = (z - 0.5) * (z.log() - 1.0) + (series + (math.log(2 * math.pi) - 1) / 2)
    # Elsewhere gamma(x + 1) = x gamma(x) leads to a number s away from 2.
    y = large.where(2.0, x)
    tiny, low = y < 0.5, y < 1.5
    factor = low.where(y, 1.0)
    s = tiny.where(y, low.where(y - 1.0, y - 2.0))
    for _ in range(_STIRLING_FROM - 2):
        high = s >= 0.5
        factor = high.where(factor * (s + 1.0), factor)
        s = high.where(s - 1.0, s)
    product = factor.log()
    product = low.where(-product, product) - tiny.where(y + 1.0, 1.0).log()
    return large.where(far, s * polynomial(s, _LOG_GAMMA) + product)
