"""The operators by name, and arithmetic and logic of two tensors that have no operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.tensor.core import broadcast_shape
from gradlet.tensor.operators import Operand, Operators, check_divisor, nonzero


def _named(operation: str, operator: Callable[[Any, Any], Any], doc: str) -> Callable[..., Any]:
    """An operator as a method, which raises where the operator leaves it to the other operand."""

    def method(self: Any, other: Operand) -> Any:
        result = operator(self, other)
        if result is NotImplemented:
            raise _no_operand(operation, other)
        return result

    method.__name__, method.__doc__ = operation, doc
    return method


def _no_operand(operation: str, other: Operand) -> TypeError:
    return TypeError(
        f"{operation}: takes a tensor, a number or an array, not {type(other).__name__}"
    )


class Arithmetic(Operators):
    """Named forms of the operators. Operands broadcast and promote as there."""

    __slots__ = ()

    mul = _named("mul", Operators.__mul__, "a * b.")
    floordiv = _named("floordiv", Operators.__floordiv__, "a // b, rounded down.")
    floor_divide = floordiv
    mod = _named("mod", Operators.__mod__, "a % b, with the sign of b.")
    remainder = mod
    pow = _named("pow", Operators.__pow__, "a ** b.")
    eq = _named("eq", Operators.__eq__, "a == b.")
    ne = _named("ne", Operators.__ne__, "a != b.")
    lt = _named("lt", Operators.__lt__, "a < b.")
    le = _named("le", Operators.__le__, "a <= b.")
    gt = _named("gt", Operators.__gt__, "a > b.")
    ge = _named("ge", Operators.__ge__, "a >= b.")
    bitwise_and = _named("bitwise_and", Operators.__and__, "a & b.")
    bitwise_or = _named("bitwise_or", Operators.__or__, "a | b.")
    bitwise_xor = _named("bitwise_xor", Operators.__xor__, "a ^ b.")
    lshift = _named("lshift", Operators.__lshift__, "a << b; 0 where b is not in [0, bits).")
    bitwise_left_shift = lshift
    rshift = _named(
        "rshift", Operators.__rshift__, "a >> b; sign bits where b is not in [0, bits)."
    )
    bitwise_right_shift = rshift
    neg = Operators.__neg__
    abs = Operators.__abs__
    bitwise_not = Operators.__invert__

    def add(self, other: Operand, alpha: bool | int | float = 1) -> Self:
        """a + alpha * b."""
        return self._plus(other, alpha, Operators.__add__, "add")

    def sub(self, other: Operand, alpha: bool | int | float = 1) -> Self:
        """a - alpha * b."""
        return self._plus(other, alpha, Operators.__sub__, "sub")

    def _plus(self, other: Operand, alpha: Any, operator: Any, operation: str) -> Self:
        if alpha != 1:
            found = self._operand(other, operation)
            other = (other if found is None else self._result(found)) * alpha
        return _named(operation, operator, "")(self, other)

    def div(self, other: Operand, rounding_mode: str | None = None) -> Self:
        """a / b; `rounding_mode` "floor" or "trunc" makes it whole, towards -inf or zero.

        >>> from gradlet import Tensor
        >>> Tensor([-7]).div(2, rounding_mode="trunc").tolist()
        [-3]
        """
        if rounding_mode is None:
            return _named("div", Operators.__truediv__, "")(self, other)
        if rounding_mode == "floor":
            return self.floordiv(other)
        if rounding_mode != "trunc":
            raise ValueError(
                f"div: rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}"
            )
        a, b = self._named_pair(other, "div")
        check_divisor(b, "div")
        if a.dtype.is_int:
            whole_part = build.sub(a, _truncated_remainder(a, b))
            return self._result(build.binary(ops.FLOORDIV, whole_part, b))
        return self._result(truncated(build.div(a, b)))

    def fmod(self, other: Operand) -> Self:
        """What is left of a after whole b's, with the sign of a.

        >>> from gradlet import Tensor
        >>> Tensor([-7.0, 7.0]).fmod(3).tolist()
        [-1.0, 1.0]
        """
        a, b = self._named_pair(other, "fmod")
        check_divisor(b, "fmod")
        return self._result(_truncated_remainder(a, b))

    def maximum(self, other: Operand) -> Self:
        """The larger of two elements; nan if either is. Equals share the gradient."""
        return self._result(build.binary(ops.MAXIMUM, *self._named_pair(other, "maximum")))

    def minimum(self, other: Operand) -> Self:
        """The smaller of two elements; nan if either is. Equals share the gradient."""
        return self._result(build.binary(ops.MINIMUM, *self._named_pair(other, "minimum")))

    def _named_pair(self, other: Operand, operation: str) -> tuple[Node, Node]:
        pair = self._pair(other, operation)
        if pair is None:
            raise _no_operand(operation, other)
        return pair

    # Logic

    def logical_not(self) -> Self:
        """True where an element is zero."""
        return self._result(build.logical_not(nonzero(self.node)))

    def logical_and(self, other: Operand) -> Self:
        """True where neither element is zero; a nan is not."""
        return self._logical(ops.AND, other, "logical_and")

    def logical_or(self, other: Operand) -> Self:
        """True where not both elements are zero."""
        return self._logical(ops.OR, other, "logical_or")

    def logical_xor(self, other: Operand) -> Self:
        """True where just one of two elements is zero."""
        return self._logical(ops.XOR, other, "logical_xor")

    def _logical(self, op: Op, other: Operand, operation: str) -> Self:
        a = nonzero(self.node)
        if isinstance(other, (bool, int, float)):
            b = build.const(other != 0, dtypes.bool_)
        else:
            found = self._operand(other, operation)
            if found is None:
                raise _no_operand(operation, other)
            b = nonzero(found)
        shape = broadcast_shape((a.shape, b.shape), operation)
        return self._result(build.binary(op, build.expand(a, shape), build.expand(b, shape)))


# Helpers on nodes


def signbit_node(x: Node) -> Node:
    """True where the sign of `x` is minus, of -0.0 and nan too."""
    if x.dtype.is_float:
        x = build.bitcast(x, dtypes.from_name(f"int{x.dtype.bits}"))
    return build.binary(ops.LT, x, build.full_like(x, 0))


def truncated(x: Node) -> Node:
    """Floats without their fraction. No gradient."""
    below = build.unary(ops.FLOOR, x)
    above = build.neg(build.unary(ops.FLOOR, build.neg(x)))
    return build.where(build.binary(ops.LT, x, build.full_like(x, 0)), above, below)


def _truncated_remainder(a: Node, b: Node) -> Node:
    """a - trunc(a / b) * b, which is exact."""
    if a.dtype.is_float:
        negative = signbit_node(a)
        sizes = (build.where(signbit_node(x), build.neg(x), x) for x in (a, b))
        rest = build.binary(ops.MOD, *sizes)
        return build.where(negative, build.neg(rest), rest)
    rest = build.binary(ops.MOD, a, b)
    if a.dtype.is_unsigned:
        return rest
    crossed = build.binary(ops.XOR, signbit_node(a), signbit_node(rest))
    crossed = build.binary(ops.AND, crossed, nonzero(rest))
    return build.where(crossed, build.sub(rest, b), rest)
