"""Functions of each element by itself: casts, choices, roots, powers, rounding."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.tensor.arithmetic import Arithmetic, signbit_node, truncated
from gradlet.tensor.by_form import by_form
from gradlet.tensor.core import Core, Scalar, broadcast_shape, scalar_node
from gradlet.tensor.operators import Operand, floating, nonzero

Function = TypeVar("Function", bound=Callable[..., Any])
Flag = bool  # in the class, the names of Python's types are methods


def rounded_once(function: Function) -> Function:
    """Has a function of floats see integers as floats, and round half floats at its end only."""

    @functools.wraps(function)
    def computed(self: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = self.dtype if self.dtype.is_float else dtypes.current_float()
        wide = dtypes.promote(dtype, dtypes.float32)
        return function(self.cast(wide), *args, **kwargs).cast(dtype)

    return by_form(computed)  # type: ignore[return-value]


class Elementwise(Arithmetic):
    """Elementwise functions."""

    __slots__ = ()

    def cast(self, dtype: Any) -> Self:
        """The elements converted to `dtype`: a DType, a name or a NumPy dtype."""
        wanted = dtype if isinstance(dtype, DType) else dtypes.as_dtype(dtype)
        return self._changed(build.cast(self.node, wanted))

    def bitcast(self, dtype: Any) -> Self:
        """The same bits read as another dtype of the same width."""
        wanted = dtypes.as_dtype(dtype)
        if wanted.itemsize != self.dtype.itemsize:
            raise ValueError(
                f"bitcast: {self.dtype.name} and {wanted.name} differ in width; "
                "choose a dtype of the same number of bits"
            )
        return self._view((build.bitcast, wanted))

    def float(self) -> Self:
        """As float32."""
        return self.cast(dtypes.float32)

    def double(self) -> Self:
        """As float64."""
        return self.cast(dtypes.float64)

    def half(self) -> Self:
        """As float16."""
        return self.cast(dtypes.float16)

    def bfloat16(self) -> Self:
        """As bfloat16."""
        return self.cast(dtypes.bfloat16)

    def int(self) -> Self:
        """As int32."""
        return self.cast(dtypes.int32)

    def long(self) -> Self:
        """As int64."""
        return self.cast(dtypes.int64)

    def short(self) -> Self:
        """As int16."""
        return self.cast(dtypes.int16)

    def bool(self) -> Self:
        """True where an element is not zero."""
        if self.dtype is dtypes.bool_:
            return self
        return self._result(nonzero(self.node))

    def _unary(self, op: Op) -> Self:
        """A function of floats; integers and bools become float32 first."""
        return self._result(build.unary(op, floating(self.node)))

    # Choosing

    def where(self, a: Operand, b: Operand) -> Self:
        """`a` where this bool tensor is True, elsewhere `b`; all three broadcast.

        >>> from gradlet import Tensor
        >>> Tensor([True, False]).where(1, Tensor([5, 6])).tolist()
        [1, 6]
        """
        if self.dtype is not dtypes.bool_ and isinstance(a, Core) and a.dtype is dtypes.bool_:
            raise TypeError(
                f"where: called on {self.dtype.name} with a bool tensor first; the condition "
                "stands in front here: condition.where(a, b)"
            )
        if not isinstance(a, Core) and not isinstance(b, Core):
            scalars = isinstance(a, (int, float)) and isinstance(b, (int, float))
            if not scalars:
                raise TypeError("where: the alternatives must be tensors or numbers")
            dtype = dtypes.weak_promote(dtypes.scalar_dtype(a), b)
            first = scalar_node(a, dtype, self.shape, "where")
            return self._choose(first, scalar_node(b, dtype, self.shape, "where"))
        anchor, other = (a, b) if isinstance(a, Core) else (b, a)
        self._operand(anchor, "where")
        pair = anchor._pair(other, "where")
        if pair is None:
            raise TypeError(f"where: cannot choose between a tensor and {other!r}")
        return self._choose(*(pair if anchor is a else reversed(pair)))

    def _choose(self, a: Node, b: Node) -> Self:
        condition = nonzero(self.node)
        if condition.shape == a.shape:
            return self._result(build.where(condition, a, b))
        shape = broadcast_shape((condition.shape, a.shape), "where")
        parts = (build.expand(part, shape) for part in (condition, a, b))
        return self._result(build.where(*parts))

    def masked_fill(self, mask: Any, value: Operand) -> Self:
        """`value` where the bool tensor `mask` is True, elsewhere the elements themselves."""
        return mask.where(value, self)

    def clamp(self, min: Operand = None, max: Operand = None) -> Self:  # noqa: A002
        """The elements kept within [min, max]; the gradient passes at the bounds themselves."""
        if min is None and max is None:
            raise ValueError("clamp: give min=, max= or both")
        result = self
        if min is not None:
            result = (result < min).where(min, result)
        if max is not None:
            result = (result > max).where(max, result)
        return result

    clip = clamp

    def lerp(self, end: Self, weight: Operand) -> Self:
        """`self + weight * (end - self)`, which is `end` itself where the weight is 1."""
        change = end - self
        if not isinstance(weight, (int, float)):
            return (weight < 0.5).where(self + change * weight, end - change * (1 - weight))
        return self + change * weight if weight < 0.5 else end - change * (1 - weight)

    def addcmul(self, tensor1: Self, tensor2: Self, *, value: Scalar = 1) -> Self:
        """`self + value * tensor1 * tensor2`."""
        return self + (tensor1 if value == 1 else tensor1 * value) * tensor2

    def addcdiv(self, tensor1: Self, tensor2: Self, *, value: Scalar = 1) -> Self:
        """`self + value * tensor1 / tensor2`."""
        return self + (tensor1 if value == 1 else tensor1 * value) / tensor2

    def copysign(self, other: Operand) -> Self:
        """|self| with the sign of `other`, be it that of -0.0 or nan. The gradient at 0 is 0.

        >>> from gradlet import Tensor
        >>> Tensor([3.0, -3.0]).copysign(-1).tolist()
        [-3.0, -3.0]
        """
        a, b = (floating(x) for x in self._named_pair(other, "copysign"))
        size = build.unary(ops.ABS, a)
        return self._result(build.where(signbit_node(b), build.neg(size), size))

    def isclose(
        self, other: Self, rtol: Scalar = 1e-5, atol: Scalar = 1e-8, equal_nan: Flag = False
    ) -> Self:
        """True where |self - other| <= atol + rtol * |other|, and for equal infinities."""
        if rtol < 0 or atol < 0:
            raise ValueError(f"isclose: rtol {rtol} and atol {atol} must not be below 0")
        whole = not (self.dtype.is_float or other.dtype.is_float)
        a, b = (self.double(), other.double()) if whole else (self, other)  # uint8's 3 - 5 is 254
        gap, bound = (a - b).abs(), atol + rtol * b.abs()
        close = (self == other) | ((gap <= bound) & gap.isfinite())
        return close | (self.isnan() & other.isnan()) if equal_nan else close

    # Functions of one number

    def reciprocal(self) -> Self:
        """1 / x."""
        return 1.0 / self

    def square(self) -> Self:
        """x * x; of bools as int64."""
        return self**2

    def sqrt(self) -> Self:
        """Square root; nan below zero."""
        return self._unary(ops.SQRT)

    @rounded_once
    def rsqrt(self) -> Self:
        """1 / sqrt(x)."""
        return 1.0 / self.sqrt()

    def exp(self) -> Self:
        """e to the x."""
        return self._unary(ops.EXP)

    def exp2(self) -> Self:
        """2 to the x."""
        return self._unary(ops.EXP2)

    def log(self) -> Self:
        """Natural logarithm."""
        return self._unary(ops.LOG)

    def log2(self) -> Self:
        """Logarithm to base 2."""
        return self._unary(ops.LOG2)

    @rounded_once
    def log10(self) -> Self:
        """Logarithm to base 10."""
        return self.log() / math.log(10)

    @rounded_once
    def log1p(self) -> Self:
        """log(1 + x), exact for small x too."""
        one_more = self + 1.0
        lost = ((one_more - 1.0) - self) / one_more  # what rounding took from 1 + x
        exact = one_more.log() - (abs(self) < 1.0).where(lost, 0.0)
        exact = one_more.eq(1.0).where(self, exact)  # -0.0 too
        return self._result(build.surrogate(exact.node, one_more.log().node))

    @rounded_once
    def expm1(self) -> Self:
        """exp(x) - 1, exact for small x too."""
        simple = self.exp() - 1.0
        half = (self * 0.5).tanh()
        exact = (abs(self) < 1.0).where(2.0 * half / (1.0 - half), simple)
        return self._result(build.surrogate(exact.node, simple.node))

    def sin(self) -> Self:
        """Sine of radians."""
        return self._unary(ops.SIN)

    def cos(self) -> Self:
        """Cosine of radians."""
        return self._unary(ops.COS)

    @rounded_once
    def tan(self) -> Self:
        """Tangent of radians."""
        return self.sin() / self.cos()

    def tanh(self) -> Self:
        """Hyperbolic tangent."""
        return self._unary(ops.TANH)

    def erf(self) -> Self:
        """Error function."""
        return self._unary(ops.ERF)

    def sign(self) -> Self:
        """-1, 0 or 1; nan for nan. Its gradient is zero."""
        x = self._result(build.detach(self.node))
        if x.dtype is dtypes.bool_:
            return x
        if not x.dtype.is_float:
            return (x > 0).cast(x.dtype) - (x < 0).cast(x.dtype)
        return (x < 0).where(-1.0, (x > 0).where(1.0, abs(x) * 0.0))

    def signbit(self) -> Self:
        """True where the sign is minus, of -0.0 and nan too."""
        if self.dtype is dtypes.bool_:
            return self ^ self
        return self._result(signbit_node(self.node))

    # Rounding

    def floor(self) -> Self:
        """The largest whole number not above x."""
        return self._result(build.unary(ops.FLOOR, self.node)) if self.dtype.is_float else self

    def ceil(self) -> Self:
        """The smallest whole number not below x."""
        return -((-self).floor()) if self.dtype.is_float else self

    def trunc(self) -> Self:
        """x without its fraction."""
        return self._result(truncated(self.node)) if self.dtype.is_float else self

    fix = trunc

    def frac(self) -> Self:
        """x less `trunc(x)`."""
        return self - self.trunc()

    def round(self, decimals: Any = 0) -> Self:
        """The nearest number with so many decimals; of two equally near, the even one.

        >>> from gradlet import Tensor
        >>> Tensor([2.5, 3.5]).round().tolist()
        [2.0, 4.0]
        """
        if not self.dtype.is_float:
            if decimals:
                raise TypeError(f"round: decimals={decimals} is for floats, not {self.dtype.name}")
            return self
        if decimals:
            return self._rounded_to(decimals)
        below = self.floor()
        fraction = self - below
        even = ((below * 0.5).floor() * 2.0 == below).where(below, below + 1.0)
        nearest = (fraction < 0.5).where(below, (fraction > 0.5).where(below + 1.0, even))
        signed = self.signbit().where(-abs(nearest), nearest)
        return signed._result(build.detach(signed.node))

    @rounded_once
    def _rounded_to(self, decimals: Any) -> Self:
        scale = 10.0 ** abs(decimals)
        return (self * scale).round() / scale if decimals > 0 else (self / scale).round() * scale

    # Inf and nan

    def isnan(self) -> Self:
        """True where an element is nan."""
        return self != self

    def isinf(self) -> Self:
        """True where an element is inf or -inf."""
        return self.abs().eq(math.inf)

    def isfinite(self) -> Self:
        """True where an element is neither inf nor nan."""
        return self.abs() < math.inf

    def nan_to_num(
        self, nan: Scalar = 0.0, posinf: Scalar | None = None, neginf: Scalar | None = None
    ) -> Self:
        """Numbers in place of nan, inf and -inf: the outermost ones of the dtype if not given.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, float("nan"), float("inf")]).nan_to_num(posinf=9.0).tolist()
        [1.0, 0.0, 9.0]
        """
        if not self.dtype.is_float:
            return self
        largest = self.dtype.largest
        result = self.isnan().where(nan, self)
        result = self.eq(math.inf).where(largest if posinf is None else posinf, result)
        return self.eq(-math.inf).where(-largest if neginf is None else neginf, result)


# Helpers


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """c0 + c1 x + c2 x**2 + ... by Horner's rule."""
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = x * total + coefficient
    return total
