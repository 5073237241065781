"""Writing into tensors: assignment, operators such as `+=`, and methods such as `add_`.

What is written shows in every tensor that shares the elements: see `sharing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.grad.vjp import GradientError
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.runtime.buffer import Buffer, node_of, refill
from gradlet.runtime.device import get_device
from gradlet.tensor import sharing
from gradlet.tensor.autograd import Autograd
from gradlet.tensor.core import Core, Scalar, broadcast_shape
from gradlet.tensor.leaves import note_overwritten, reaches_a_leaf
from gradlet.tensor.random import FLOAT_BITS


def _in_place(name: str, operator: str = "") -> Callable[..., Any]:
    """The method that writes into `self` what the method `name` returns."""
    operation = operator or f"{name}_"

    def method(self: InPlace, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self, name)(*args, **kwargs)
        if result is NotImplemented:
            return NotImplemented
        return self._take(result.node, operation)

    method.__name__ = method.__qualname__ = operation
    method.__doc__ = f"`{name}` in place: `self` takes the result, in its own dtype."
    return method


class InPlace(Autograd):
    """Operations that change a tensor instead of returning another one."""

    __slots__ = ()

    def assign(self, value: Any) -> Self:
        """Gives `self` new contents: it becomes a leaf that holds `value`.

        Raises:
            ValueError: another shape, dtype or device than that of `self`.
        """
        made = self._operand(value, "assign")
        if made is None:
            raise TypeError(f"assign: needs a tensor or an array, not {value!r}")
        if made.shape != self.shape or made.dtype is not self.dtype:
            raise ValueError(
                f"assign: a tensor of {self.dtype.name}{list(self.shape)} cannot take "
                f"{made.dtype.name}{list(made.shape)}; reshape or cast the value first"
            )
        self._put(made)
        return self

    def _put(self, made: Node) -> None:
        """Becomes a leaf that `made`, of its own shape and dtype, will fill."""
        self._refuse_repeated("assign")
        note_overwritten(self)
        self.node = self._leaf_node(made)
        sharing.spread(self)

    def _fill(self, memory: Any) -> None:
        """Becomes a leaf with these elements, of its own shape and dtype; again is no other."""
        alone = self.share is None or not self.share.family.has_other(self)
        if alone and self.node.op is ops.BUFFER and not refill([self.node], [memory]):
            return
        note_overwritten(self)
        home = get_device(self.device)
        self.node = node_of(Buffer(home, self.node.dtype, self.node.shape, memory))
        sharing.spread(self)

    def copy_(self, source: Any) -> Self:
        """Takes the elements of `source`, broadcast, in its own dtype and on its own device."""
        make: Any = type(self)
        given = source if isinstance(source, InPlace) else make(source, device=self.device)
        made = given.to(self.device).node
        if broadcast_shape((made.shape, self.shape), "copy_") != self.shape:
            raise ValueError(f"copy_: shape {made.shape} does not fit into {self.shape}")
        self._write(build.cast(build.expand(made, self.shape), self.dtype), "copy_")
        return self

    # Filling

    def fill_(self, value: Any) -> Self:
        """The same number everywhere."""
        self._write(build.expand(self._value_node(value), self.shape), "fill_")
        return self

    def zero_(self) -> Self:
        """Zero everywhere."""
        return self.fill_(0)

    def fill_diagonal_(self, value: Scalar) -> Self:
        """A number on the diagonal of a matrix."""
        if self.ndim != 2:
            raise ValueError(f"fill_diagonal_: needs a matrix, not shape {self.shape}")
        self.diagonal().fill_(value)
        return self

    def normal_(self, mean: float = 0.0, std: float = 1.0) -> Self:
        """Normally distributed numbers."""
        return self.copy_(self.normal(self.shape, mean=mean, std=std, device=self.device))

    def uniform_(self, low: float = 0.0, high: float = 1.0) -> Self:
        """Evenly spread over [low, high)."""
        return self.copy_(self.uniform(self.shape, low=low, high=high, device=self.device))

    def bernoulli_(self, p: Any = 0.5) -> Self:
        """1 with probability `p`, a number or a tensor, and 0 otherwise."""
        if isinstance(p, Core):
            return self.copy_(self._result(p.node).expand(self.shape).bernoulli())
        if not 0 <= p <= 1:
            raise ValueError(f"bernoulli_: a probability is in [0, 1], and {p} is not")
        return self.copy_(self.uniform(self.shape, device=self.device) < p)

    def random_(self, low: int = 0, high: int | None = None) -> Self:
        """Whole numbers in [low, high); `random_(n)` below n.

        `random_()` draws all numbers from 0 on that an integer dtype has, and of floats those up
        to which it has every whole number.
        """
        if high is None:
            low, high = (0, low) if low else (0, _whole_limit(self.dtype))
        return self.copy_(self.randint(self.shape, low=low, high=high, device=self.device))

    def exponential_(self, lambd: float = 1.0) -> Self:
        """Numbers above 0 with the density lambd * e ** (-lambd * x)."""
        if not lambd > 0:
            raise ValueError(f"exponential_: the rate is above 0, and {lambd} is not")
        return self.copy_(self._uniform_inside().log() / -lambd)

    def geometric_(self, p: float) -> Self:
        """How many trials, each of probability `p`, there are up to the first success."""
        if not 0 < p < 1:
            raise ValueError(f"geometric_: a probability is in (0, 1), and {p} is not")
        return self.copy_((self._uniform_inside().log() / math.log1p(-p)).ceil())

    def cauchy_(self, median: float = 0.0, sigma: float = 1.0) -> Self:
        """Numbers of Cauchy's distribution."""
        return self.copy_(((self._uniform_inside() - 0.5) * math.pi).tan() * sigma + median)

    def log_normal_(self, mean: float = 1.0, std: float = 2.0) -> Self:
        """e to the power of normally distributed numbers."""
        drawn = self.normal(self.shape, mean=mean, std=std, device=self.device)
        return self.copy_(drawn.exp())

    def detach_(self) -> Self:
        """Cuts `self` off from what it was computed from."""
        if self.share is not None and self.share.moves:
            raise ValueError("detach_: a view cannot be cut off from its source; use detach()")
        if not self.is_leaf:
            self.node = build.detach(self.node)
        return self

    # How a write goes

    def _take(self, made: Node, operation: str) -> Self:
        """Takes a result in place of its own elements."""
        higher = dtypes.category(made.dtype) > dtypes.category(self.dtype)
        if made.shape != self.shape or higher:
            name = operation.removesuffix("_")
            instead = f"x = x {name[:-1]} y" if name.endswith("=") else f"x = x.{name}(...)"
            raise ValueError(
                f"{operation}: the result, {made.dtype.name}{list(made.shape)}, does not "
                f"fit into {self.dtype.name}{list(self.shape)}; write {instead}"
            )
        self._write(build.cast(made, self.dtype), operation)
        return self

    def _write(self, made: Node, operation: str) -> None:
        self._refuse_repeated(operation)
        self._become(made)
        sharing.spread(self)

    def _refuse_repeated(self, operation: str) -> None:
        if sharing.repeats(self):
            raise ValueError(
                f"{operation}: an element stands in several places of this tensor of shape "
                f"{self.shape}, which was expanded or unfolded; call .clone() before writing"
            )

    def _become(self, made: Node) -> None:
        """Shows `made`. A leaf stays a leaf where no gradient would be lost."""
        own = self.node
        if not Core.grad_enabled:
            note_overwritten(self)
            self.node = self._leaf_node(made)
            return
        grows = reaches_a_leaf(made, other_than=own)
        if self.is_leaf and self.requires_grad and grows:
            raise GradientError(
                f"a tensor of shape {self.shape} with requires_grad=True takes what depends on "
                "other tensors that want gradients, which could not reach them; write inside "
                "Tensor.no_grad(), or write into a .clone()"
            )
        note_overwritten(self)
        self.node = made if grows or not self.is_leaf else self._leaf_node(made)
        self._retain_like(own)

    def _leaf_node(self, made: Node) -> Node:
        """A leaf that `made` will fill."""
        home = get_device(self.device)
        return node_of(Buffer(home, made.dtype, made.shape, pending=build.detach(made)))

    # Operators

    __iadd__ = _in_place("__add__", "+=")
    __isub__ = _in_place("__sub__", "-=")
    __imul__ = _in_place("__mul__", "*=")
    __itruediv__ = _in_place("__truediv__", "/=")
    __ifloordiv__ = _in_place("__floordiv__", "//=")
    __imod__ = _in_place("__mod__", "%=")
    __ipow__ = _in_place("__pow__", "**=")
    __iand__ = _in_place("__and__", "&=")
    __ior__ = _in_place("__or__", "|=")
    __ixor__ = _in_place("__xor__", "^=")
    __ilshift__ = _in_place("__lshift__", "<<=")
    __irshift__ = _in_place("__rshift__", ">>=")
    __imatmul__ = _in_place("__matmul__", "@=")

    # Methods

    abs_ = _in_place("abs")
    acos_ = _in_place("acos")
    acosh_ = _in_place("acosh")
    arccos_ = _in_place("arccos")
    arccosh_ = _in_place("arccosh")
    arcsin_ = _in_place("arcsin")
    arcsinh_ = _in_place("arcsinh")
    arctan_ = _in_place("arctan")
    arctanh_ = _in_place("arctanh")
    asin_ = _in_place("asin")
    asinh_ = _in_place("asinh")
    atan_ = _in_place("atan")
    atanh_ = _in_place("atanh")
    ceil_ = _in_place("ceil")
    clamp_ = _in_place("clamp")
    clip_ = _in_place("clip")
    cos_ = _in_place("cos")
    cosh_ = _in_place("cosh")
    cumprod_ = _in_place("cumprod")
    cumsum_ = _in_place("cumsum")
    digamma_ = _in_place("digamma")
    erf_ = _in_place("erf")
    erfc_ = _in_place("erfc")
    erfinv_ = _in_place("erfinv")
    exp_ = _in_place("exp")
    exp2_ = _in_place("exp2")
    expm1_ = _in_place("expm1")
    fix_ = _in_place("fix")
    floor_ = _in_place("floor")
    frac_ = _in_place("frac")
    lgamma_ = _in_place("lgamma")
    log_ = _in_place("log")
    log10_ = _in_place("log10")
    log1p_ = _in_place("log1p")
    log2_ = _in_place("log2")
    nan_to_num_ = _in_place("nan_to_num")
    neg_ = _in_place("neg")
    reciprocal_ = _in_place("reciprocal")
    relu_ = _in_place("relu")
    round_ = _in_place("round")
    rsqrt_ = _in_place("rsqrt")
    sigmoid_ = _in_place("sigmoid")
    sign_ = _in_place("sign")
    sin_ = _in_place("sin")
    sinc_ = _in_place("sinc")
    sinh_ = _in_place("sinh")
    sqrt_ = _in_place("sqrt")
    square_ = _in_place("square")
    tan_ = _in_place("tan")
    tanh_ = _in_place("tanh")
    tril_ = _in_place("tril")
    triu_ = _in_place("triu")
    trunc_ = _in_place("trunc")
    add_ = _in_place("add")
    addcdiv_ = _in_place("addcdiv")
    addcmul_ = _in_place("addcmul")
    arctan2_ = _in_place("arctan2")
    atan2_ = _in_place("atan2")
    bitwise_and_ = _in_place("bitwise_and")
    bitwise_left_shift_ = _in_place("bitwise_left_shift")
    bitwise_not_ = _in_place("bitwise_not")
    bitwise_or_ = _in_place("bitwise_or")
    bitwise_right_shift_ = _in_place("bitwise_right_shift")
    bitwise_xor_ = _in_place("bitwise_xor")
    copysign_ = _in_place("copysign")
    div_ = _in_place("div")
    eq_ = _in_place("eq")
    floor_divide_ = _in_place("floor_divide")
    fmod_ = _in_place("fmod")
    ge_ = _in_place("ge")
    gt_ = _in_place("gt")
    hypot_ = _in_place("hypot")
    index_add_ = _in_place("index_add")
    index_copy_ = _in_place("index_copy")
    le_ = _in_place("le")
    lerp_ = _in_place("lerp")
    logical_and_ = _in_place("logical_and")
    logical_not_ = _in_place("logical_not")
    logical_or_ = _in_place("logical_or")
    logical_xor_ = _in_place("logical_xor")
    lt_ = _in_place("lt")
    masked_fill_ = _in_place("masked_fill")
    mul_ = _in_place("mul")
    ne_ = _in_place("ne")
    pow_ = _in_place("pow")
    remainder_ = _in_place("remainder")
    scatter_add_ = _in_place("scatter_add")
    sub_ = _in_place("sub")
    absolute_ = _in_place("absolute")
    addbmm_ = _in_place("addbmm")
    addmm_ = _in_place("addmm")
    addmv_ = _in_place("addmv")
    addr_ = _in_place("addr")
    baddbmm_ = _in_place("baddbmm")
    clamp_max_ = _in_place("clamp_max")
    clamp_min_ = _in_place("clamp_min")
    deg2rad_ = _in_place("deg2rad")
    divide_ = _in_place("divide")
    float_power_ = _in_place("float_power")
    gcd_ = _in_place("gcd")
    greater_ = _in_place("greater")
    greater_equal_ = _in_place("greater_equal")
    heaviside_ = _in_place("heaviside")
    index_fill_ = _in_place("index_fill")
    index_put_ = _in_place("index_put")
    index_reduce_ = _in_place("index_reduce")
    lcm_ = _in_place("lcm")
    ldexp_ = _in_place("ldexp")
    less_ = _in_place("less")
    less_equal_ = _in_place("less_equal")
    logit_ = _in_place("logit")
    masked_scatter_ = _in_place("masked_scatter")
    multiply_ = _in_place("multiply")
    mvlgamma_ = _in_place("mvlgamma")
    negative_ = _in_place("negative")
    not_equal_ = _in_place("not_equal")
    put_ = _in_place("put")
    rad2deg_ = _in_place("rad2deg")
    renorm_ = _in_place("renorm")
    scatter_ = _in_place("scatter")
    scatter_reduce_ = _in_place("scatter_reduce")
    sgn_ = _in_place("sgn")
    subtract_ = _in_place("subtract")
    true_divide_ = _in_place("true_divide")
    xlogy_ = _in_place("xlogy")


def _whole_limit(dtype: dtypes.DType) -> int:
    """Up to where a dtype has all whole numbers, as far as random draws reach."""
    if dtype.is_float:
        return 2 ** FLOAT_BITS[dtype]
    return 2 if dtype is dtypes.bool_ else min(dtype.max, 2**63 - 2) + 1
