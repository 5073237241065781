"""exp, exp2, log, log2, tanh and erf of float32 and float64 in elementwise ops.

Each reduces its argument to a short interval and evaluates a polynomial there (Muller, Elementary
Functions, 3rd ed., chapters 3 and 11). The coefficients are minimax fits of the result's relative
error by Remez's exchange, made for gradlet; the first few of each are rounded one after another,
the rest fitted anew each time.
Results are within 4 ulp everywhere; tests/lower/test_transcendental.py sweeps all exponents.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.build import add, binary, div, full_like, mul, neg, sub
from gradlet.ir.node import Node
from gradlet.lower.floats import (
    bounded_above,
    choose,
    clamp,
    equal,
    less,
    magnitude,
    nearest_whole,
    plus,
    polynomial,
    scale,
    split,
    times,
    two_to,
    with_sign_of,
)

Scale = Callable[[Node, Node], Node]

# Coefficients begin with that of the lowest power.
_EXP = {  # (e**r - 1 - r) / r**2 for |r| <= ln 2 / 2
    dtypes.float32: (
        0.4999999701976776, 0.16666539013385773, 0.04166775569319725, 0.008367126807570457,
        0.001383559894748032,
    ),
    dtypes.float64: (
        0.5, 0.16666666666666677, 0.04166666666666671, 0.008333333333320345,
        0.0013888888888842618, 0.0001984126988975046, 2.4801587439877827e-05,
        2.7557240250503874e-06, 2.755715014275507e-07, 2.5110507918670395e-08,
        2.096016374555447e-09,
    ),
}  # fmt: skip
_LOG_FLOAT32 = (  # (ln(1 + f) - f) / f**2
    -0.49999988079071045, 0.33333608508110046, -0.25001904368400574, 0.19983941316604614,
    -0.1658506840467453, 0.14512448012828827, -0.13780170679092407, 0.11048233509063721,
    -0.0406620167195797,
)  # fmt: skip
_LOG_FLOAT64 = (  # (ln((1 + s) / (1 - s)) / s - 2) / s**2, a function of s**2
    0.6666666666666735, 0.3999999999940855, 0.2857142874392005, 0.22222198399123647,
    0.18183574212933012, 0.153137770416737, 0.14798882355237217,
)  # fmt: skip
_ERF = {  # erf(x) / x for |x| <= 1, a function of x**2
    dtypes.float32: (
        1.1283791065216064, -0.3761223554611206, 0.1127939224243164, -0.02668728306889534,
        0.004887967370450497, -0.0005505045410245657,
    ),
    dtypes.float64: (
        1.1283791670955126, -0.37612638903183343, 0.11283791670936809, -0.02686617064192379,
        0.005223977596333177, -0.0008548325459991597, 0.0001205527957142565,
        -1.4924444371897187e-05, 1.6443844333841316e-06, -1.6181307746379467e-07,
        1.360362928625567e-08, -7.580701447102459e-10,
    ),
}  # fmt: skip
_LOG_ERFC = {  # ln(1 - erf x) for x >= 1, up to where erf x is 1
    dtypes.float32: (
        -0.0003410804201848805, -1.1270910501480103, -0.6381415724754333, -0.10310974717140198,
        0.021839560940861702, -0.002948048524558544, 0.00018642049690242857,
    ),
    dtypes.float64: (
        -1.7972495370584732e-07, -1.1283773281901275, -0.6366284940487695, -0.10274723694699162,
        0.019078123808929943, 0.00028053692308927083, -0.0017690563482749596,
        0.0006412226905025612, -4.4857912682372814e-05, -7.034660791314087e-05,
        4.5028342208649814e-05, -1.6510699000652054e-05, 4.326126987597797e-06,
        -8.503736427189657e-07, 1.2567154798990677e-07, -1.3622620073972337e-08,
        1.0253552286910447e-09, -4.7942286204248955e-11, 1.049180413702867e-12,
    ),
}  # fmt: skip
# Where tanh and erf have reached 1.
_TANH_LIMIT = {dtypes.float32: 9.1, dtypes.float64: 19.1}
_ERF_LIMIT = {dtypes.float32: 3.93, dtypes.float64: 5.93}
# ln 2 as a sum whose first part times any exponent is exact.
_LN2 = {
    dtypes.float32: (0.693145751953125, 1.4286068203094173e-06),
    dtypes.float64: (0.6931471805598903, 5.497923018708371e-14),
}
# Powers of two beyond which 2**x is 0 and inf.
_EXPONENTS = {dtypes.float32: (-151.0, 129.0), dtypes.float64: (-1076.0, 1025.0)}


def exp(x: Node, scale: Scale = scale) -> Node:
    """e**x: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, times 2**n."""
    low, high = _EXPONENTS[x.dtype]
    r, whole = _reduce(clamp(x, low * math.log(2), high * math.log(2)))
    return scale(_exp_reduced(r), whole)


def exp2(x: Node, scale: Scale = scale) -> Node:
    """2**x: x = n + r with |r| <= 1/2, e**(r ln 2) times 2**n."""
    bounded = clamp(x, *_EXPONENTS[x.dtype])
    n, whole = nearest_whole(bounded)
    return power_of_two(sub(bounded, n), whole, scale)


def power_of_two(r: Node, whole: Node, scale: Scale = scale) -> Node:
    """2**(r + n) for |r| <= 1/2 and `whole` as `nearest_whole` gives it for n."""
    return scale(_exp_reduced(times(r, math.log(2))), whole)


def _reduce(x: Node) -> tuple[Node, Node]:
    """(r, n) with x = n ln 2 + r and |r| <= ln 2 / 2."""
    n, whole = nearest_whole(x, 1 / math.log(2))
    high_part, low_part = _LN2[x.dtype]
    return sub(sub(x, times(n, high_part)), times(n, low_part)), whole


def _exp_reduced(r: Node) -> Node:
    """e**r for |r| <= ln 2 / 2."""
    return polynomial(r, (1.0, 1.0, *_EXP[r.dtype]))


def _expm1(x: Node) -> Node:
    """e**x - 1 for x whose exponential is a normal number: (2**n - 1) + 2**n (e**r - 1)."""
    r, whole = _reduce(x)
    beyond = add(mul(mul(r, r), polynomial(r, _EXP[x.dtype])), r)
    power = two_to(whole, x.dtype)
    return add(mul(beyond, power), plus(power, -1.0))


def log(x: Node) -> Node:
    """ln x: x = m * 2**e with m near 1; ln m = f + rest(f) for f = m - 1, and e ln 2."""
    m, e = split(x)
    f = plus(m, -1.0)
    high_part, low_part = _LN2[x.dtype]
    near = add(f, add(_rest_of_log(f), times(e, low_part)))
    return _log_outside(x, add(near, times(e, high_part)))


def log2(x: Node) -> Node:
    """log2 x as e + log2 m; a power of two gives exactly e."""
    m, e = split(x)
    f = plus(m, -1.0)
    return _log_outside(x, add(times(add(f, _rest_of_log(f)), 1 / math.log(2)), e))


def _rest_of_log(f: Node) -> Node:
    """ln(1 + f) - f, relatively as exact as a float, for 1 + f in [sqrt(1/2), sqrt(2)]."""
    square = mul(f, f)
    if f.dtype is dtypes.float32:
        return mul(square, polynomial(f, _LOG_FLOAT32))
    # With s = f / (2 + f) the logarithm is 2 s + s z R(z), z = s**2, and 2 s is f - s f.
    s = div(f, plus(f, 2.0))
    z = mul(s, s)
    half = times(square, 0.5)
    return sub(mul(s, add(half, mul(z, polynomial(z, _LOG_FLOAT64)))), half)


def _log_outside(x: Node, inside: Node) -> Node:
    """A logarithm with its values at 0 and inf, and nan below 0."""
    result = choose(less(x, math.inf), inside, x)
    limit = choose(equal(x, 0.0), -math.inf, full_like(x, math.nan))
    return choose(binary(ops.LE, x, full_like(x, 0.0)), limit, result)


def tanh(x: Node) -> Node:
    """tanh x as w / (w + 2) for w = e**(2 |x|) - 1, with the sign of x."""
    size = bounded_above(magnitude(x), _TANH_LIMIT[x.dtype])
    w = _expm1(add(size, size))
    return with_sign_of(x, div(w, plus(w, 2.0)))


def erf(x: Node) -> Node:
    """erf x as x times a polynomial in x**2 up to 1, and as 1 - e**polynomial(|x|) beyond."""
    size = bounded_above(magnitude(x), _ERF_LIMIT[x.dtype])
    near = mul(size, polynomial(mul(size, size), _ERF[x.dtype]))
    far = neg(_expm1(polynomial(size, _LOG_ERFC[x.dtype])))
    return with_sign_of(x, choose(less(size, 1.0), near, far))
