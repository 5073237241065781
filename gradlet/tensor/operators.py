"""Python's operators on tensors: arithmetic, comparison and bits, with promotion."""

from __future__ import annotations

from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.tensor.core import Core

Operand = Any  # a tensor, a Python scalar, or an array


class Operators(Core):
    """Operators. Operands broadcast; a Python scalar takes the dtype of the tensor it meets."""

    __slots__ = ()

    def _binary(self, op: Op, other: Operand, operation: str) -> Self:
        pair = self._pair(other, operation)
        if pair is None:
            return NotImplemented
        return self._result(build.binary(op, *pair))

    def _swapped(self, op: Op, other: Operand, operation: str) -> Self:
        pair = self._pair(other, operation)
        if pair is None:
            return NotImplemented
        return self._result(build.binary(op, pair[1], pair[0]))

    # Arithmetic

    def __add__(self, other: Operand) -> Self:
        pair = self._pair(other, "add")
        if pair is None:
            return NotImplemented
        if pair[0].dtype is dtypes.bool_:
            return self._result(build.binary(ops.OR, *pair))
        return self._result(build.add(*pair))

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Self:
        pair = self._pair(other, "sub")
        if pair is None:
            return NotImplemented
        return self._result(_difference(*pair))

    def __rsub__(self, other: Operand) -> Self:
        pair = self._pair(other, "sub")
        if pair is None:
            return NotImplemented
        return self._result(_difference(pair[1], pair[0]))

    def __mul__(self, other: Operand) -> Self:
        pair = self._pair(other, "mul")
        if pair is None:
            return NotImplemented
        if pair[0].dtype is dtypes.bool_:
            return self._result(build.binary(ops.AND, *pair))
        return self._result(build.mul(*pair))

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Self:
        pair = self._pair(other, "div")
        if pair is None:
            return NotImplemented
        return self._result(build.div(floating(pair[0]), floating(pair[1])))

    def __rtruediv__(self, other: Operand) -> Self:
        pair = self._pair(other, "div")
        if pair is None:
            return NotImplemented
        return self._result(build.div(floating(pair[1]), floating(pair[0])))

    def __floordiv__(self, other: Operand) -> Self:
        return self._floor_divide(other, reflected=False)

    def __rfloordiv__(self, other: Operand) -> Self:
        return self._floor_divide(other, reflected=True)

    def _floor_divide(self, other: Operand, reflected: Any) -> Self:
        pair = self._pair(other, "floordiv")
        if pair is None:
            return NotImplemented
        a, b = reversed(pair) if reflected else pair
        check_divisor(b, "floordiv")
        return self._result(_floor_quotient(a, b))

    def __mod__(self, other: Operand) -> Self:
        return self._modulo(other, reflected=False)

    def __rmod__(self, other: Operand) -> Self:
        return self._modulo(other, reflected=True)

    def _modulo(self, other: Operand, reflected: Any) -> Self:
        pair = self._pair(other, "mod")
        if pair is None:
            return NotImplemented
        a, b = reversed(pair) if reflected else pair
        check_divisor(b, "mod")
        return self._result(build.binary(ops.MOD, a, b))

    def __pow__(self, other: Operand) -> Self:
        if isinstance(other, (int, float)):
            made = _power_by_scalar(self.node, other)
            if made is not None:
                return self._result(made)
        pair = self._pair(other, "pow")
        if pair is None:
            return NotImplemented
        return self._result(_power(*pair))

    def __rpow__(self, other: Operand) -> Self:
        pair = self._pair(other, "pow")
        if pair is None:
            return NotImplemented
        return self._result(_power(pair[1], pair[0]))

    def __neg__(self) -> Self:
        if self.dtype is dtypes.bool_:
            raise TypeError("neg: not defined for bool; use ~ for logical not")
        return self._result(build.neg(self.node))

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        if self.dtype is dtypes.bool_ or self.dtype.is_unsigned:
            return self._result(self.node)
        return self._result(build.unary(ops.ABS, self.node))

    # Bits and logic

    def __and__(self, other: Operand) -> Self:
        return self._bitwise(ops.AND, other)

    def __or__(self, other: Operand) -> Self:
        return self._bitwise(ops.OR, other)

    def __xor__(self, other: Operand) -> Self:
        return self._bitwise(ops.XOR, other)

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __lshift__(self, other: Operand) -> Self:
        return self._bitwise(ops.SHL, other)

    def __rshift__(self, other: Operand) -> Self:
        return self._bitwise(ops.SHR, other)

    def __rlshift__(self, other: Operand) -> Self:
        return self._bitwise(ops.SHL, other, reflected=True)

    def __rrshift__(self, other: Operand) -> Self:
        return self._bitwise(ops.SHR, other, reflected=True)

    def __invert__(self) -> Self:
        if self.dtype.is_float:
            raise TypeError(f"~: works on integers and bools, not on {self.dtype.name}")
        ones = True if self.dtype is dtypes.bool_ else -1
        mask = self.dtype.max if self.dtype.is_unsigned else ones
        return self._result(build.binary(ops.XOR, self.node, build.full_like(self.node, mask)))

    def _bitwise(self, op: Op, other: Operand, reflected: Any = False) -> Self:
        pair = self._pair(other, op.name.lower())
        if pair is None:
            return NotImplemented
        a, b = reversed(pair) if reflected else pair
        shifts = op in (ops.SHL, ops.SHR)
        if a.dtype.is_float or (shifts and a.dtype is dtypes.bool_):
            legal = "integers" if shifts else "integers and bools"
            raise TypeError(f"{op.name.lower()}: works on {legal}, not on {a.dtype.name}")
        return self._result(build.binary(op, a, b))

    # Comparison

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._binary(ops.EQ, other, "eq")

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        pair = self._pair(other, "ne")
        if pair is None:
            return NotImplemented
        return self._result(build.logical_not(build.binary(ops.EQ, *pair)))

    def __lt__(self, other: Operand) -> Self:
        return self._binary(ops.LT, other, "lt")

    def __le__(self, other: Operand) -> Self:
        return self._binary(ops.LE, other, "le")

    def __gt__(self, other: Operand) -> Self:
        return self._swapped(ops.LT, other, "gt")

    def __ge__(self, other: Operand) -> Self:
        return self._swapped(ops.LE, other, "ge")

    __hash__ = object.__hash__


# Helpers on nodes


def floating(x: Node) -> Node:
    """`x` as floats: integers and bools become the default one."""
    return x if x.dtype.is_float else build.cast(x, dtypes.current_float())


def nonzero(x: Node) -> Node:
    """A bool node: True where `x` is not zero."""
    if x.dtype is dtypes.bool_:
        return x
    return build.logical_not(build.binary(ops.EQ, x, build.full_like(x, 0)))


def _difference(a: Node, b: Node) -> Node:
    if a.dtype is dtypes.bool_:
        raise TypeError("sub: not defined for two bools; use ^, or cast one of them")
    return build.sub(a, b)


def check_divisor(b: Node, operation: str) -> None:
    """Refuses bools, and a zero that is plain to see."""
    if b.dtype is dtypes.bool_:
        raise TypeError(f"{operation}: not defined for two bools; cast one of them")
    if b.is_const and b.dtype.is_int and b.value == 0:
        raise ZeroDivisionError(f"{operation}: an integer tensor divided by zero")


def _floor_quotient(a: Node, b: Node) -> Node:
    """a // b: whole, rounded down, exact where a is a multiple of b. No gradient."""
    if a.dtype.is_int:
        return build.binary(ops.FLOORDIV, a, b)
    # (a - a % b) / b is whole but for rounding, where a / b might cross the next whole number.
    # A remainder of b is that of a finite number and an infinite b on the other side of zero.
    rest = build.binary(ops.MOD, a, b)
    near = build.div(build.sub(a, rest), b)
    near = build.where(build.binary(ops.EQ, rest, b), build.full_like(a, -1), near)
    below = build.unary(ops.FLOOR, near)
    crossed = build.binary(ops.LT, build.full_like(a, 0.5), build.sub(near, below))
    whole = build.where(crossed, build.add(below, build.full_like(a, 1)), below)
    by_zero = build.binary(ops.EQ, b, build.full_like(b, 0))
    return build.detach(build.where(by_zero, build.div(a, b), whole))


def _power_by_scalar(x: Node, exponent: int | float) -> Node | None:
    """x to an exponent that products, sqrt or a division express, else None."""
    if not x.dtype.is_float:
        if isinstance(exponent, int) and not isinstance(exponent, bool):
            return _whole_power(x, exponent)
        return None
    if exponent == 0.5:
        return build.unary(ops.SQRT, x)
    if exponent == -0.5:
        return build.div(build.full_like(x, 1), build.unary(ops.SQRT, x))
    if exponent in (1, 2, 3, 4):
        return _repeated_product(x, int(exponent))
    if exponent in (-1, -2):
        return build.div(build.full_like(x, 1), _repeated_product(x, -int(exponent)))
    return None


def _whole_power(x: Node, exponent: int) -> Node:
    if exponent < 0:
        raise ValueError(
            f"pow: an integer tensor to the negative power {exponent} is no integer; "
            "call .float() on it first"
        )
    if x.dtype is dtypes.bool_:
        x = build.cast(x, dtypes.int64)
    return _repeated_product(x, exponent) if exponent else build.full_like(x, 1)


def _repeated_product(x: Node, exponent: int) -> Node:
    """x to the exponent >= 1 by squaring."""
    result: Node | None = None
    power = x
    while True:
        if exponent & 1:
            result = power if result is None else build.mul(result, power)
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        power = build.mul(power, power)


def _power(base: Node, exponent: Node) -> Node:
    if base.dtype is dtypes.bool_:
        raise TypeError("pow: not defined for two bools; cast one of them")
    if base.dtype.is_int:
        return _integer_power(base, exponent)
    return build.binary(ops.POW, base, exponent)


def _integer_power(base: Node, exponent: Node) -> Node:
    """base to the exponent by squaring, modulo the range of the dtype.

    A power below 0 is rounded towards 0, which leaves something only of 1 and -1.
    """
    zero, one = build.full_like(base, 0), build.full_like(base, 1)
    result, power = one, base
    for place in range(base.dtype.bits - (not base.dtype.is_unsigned)):
        bit = build.binary(ops.AND, exponent, build.full_like(exponent, 1 << place))
        result = build.where(nonzero(bit), build.mul(result, power), result)
        power = build.mul(power, power)
    if base.dtype.is_unsigned:
        return result
    is_unit = build.binary(ops.EQ, build.unary(ops.ABS, base), one)
    odd = nonzero(build.binary(ops.AND, exponent, one))
    inverse = build.where(is_unit, build.where(odd, base, one), zero)
    return build.where(build.binary(ops.LT, exponent, zero), inverse, result)
