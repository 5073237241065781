"""Activation functions, stable for large inputs and with right gradients where they bend."""

from __future__ import annotations

import math
from typing import Self

from gradlet.ir import build, ops
from gradlet.tensor.elementwise import rounded_once
from gradlet.tensor.formulas import Formulas


class Activations(Formulas):
    """Activation functions."""

    __slots__ = ()

    def relu(self) -> Self:
        """max(x, 0); its gradient at 0 is 0, and nan stays nan."""
        x = self.node
        zero = build.full_like(x, 0)
        return self._result(build.where(build.binary(ops.LE, x, zero), zero, x))

    def relu6(self) -> Self:
        """min(max(x, 0), 6); the gradient at 0 and 6 is 0."""
        return self.hardtanh(0.0, 6.0)

    def hardtanh(self, min_val: float = -1.0, max_val: float = 1.0) -> Self:
        """x kept within [min_val, max_val]; the gradient at the bounds is 0."""
        if self.dtype.is_int:
            min_val, max_val = int(min_val), int(max_val)
        capped = (self >= max_val).where(max_val, self)
        return (self <= min_val).where(min_val, capped)

    def leaky_relu(self, neg_slope: float = 0.01) -> Self:
        """x above zero, else neg_slope * x (Maas et al. 2013)."""
        return (self > 0).where(self, self * neg_slope)

    @rounded_once
    def elu(self, alpha: float = 1.0) -> Self:
        """x above zero, else alpha * (exp(x) - 1) (Clevert et al. 2016)."""
        below = (self > 0).where(0.0, self)
        return (self > 0).where(self, below.expm1() * alpha)

    @rounded_once
    def celu(self, alpha: float = 1.0) -> Self:
        """x above zero, else alpha * (exp(x / alpha) - 1) (Barron 2017)."""
        below = (self > 0).where(0.0, self)
        return (self > 0).where(self, (below / alpha).expm1() * alpha)

    @rounded_once
    def selu(self) -> Self:
        """Scaled elu that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
        return self.elu(1.6732632423543772) * 1.0507009873554805

    def _decay(self) -> Self:
        """exp(-|x|), written so that its derivative at 0 is that of exp(-x)."""
        return (self < 0).where(self, -self).exp()

    @rounded_once
    def sigmoid(self) -> Self:
        """1 / (1 + exp(-x)), with no overflow on either side.

        >>> from gradlet import Tensor
        >>> Tensor([0.0, 1000.0, -1000.0]).sigmoid().tolist()
        [0.5, 1.0, 0.0]
        """
        decay = self._decay()
        return (self < 0).where(decay, 1.0) / (decay + 1.0)

    @rounded_once
    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Self:
        """log(1 + exp(beta * x)) / beta, taken to be x where beta * x is above the threshold."""
        if beta == 1.0:
            return (self > threshold).where(self, self._softplus())
        scaled = self * beta
        return (scaled > threshold).where(self, scaled._softplus() / beta)

    def _softplus(self) -> Self:
        """log(1 + exp(x)), to the last digit for large x too."""
        return (self < 0).where(0.0, self) + self._decay().log1p()

    @rounded_once
    def logsigmoid(self) -> Self:
        """log(sigmoid(x))."""
        return -(-self)._softplus()

    @rounded_once
    def silu(self) -> Self:
        """x * sigmoid(x) (Elfwing et al. 2017)."""
        return self * self.sigmoid()

    swish = silu

    @rounded_once
    def mish(self) -> Self:
        """x * tanh(softplus(x)) (Misra 2019)."""
        return self * self._softplus().tanh()

    @rounded_once
    def gelu(self, approximate: str = "tanh") -> Self:
        """x times the normal distribution function of x (Hendrycks & Gimpel 2016).

        Args:
            approximate: `tanh`, the default, for the paper's approximation; `none` for the exact
                form, which is the default of `nn.functional.gelu`, as it is PyTorch's.

        >>> from gradlet import Tensor
        >>> Tensor([1.0]).gelu("none").tolist(), Tensor([1.0]).gelu().tolist()
        ([0.84134...], [0.84119...])
        """
        if approximate == "none":
            return self * 0.5 * ((self * math.sqrt(0.5)).erf() + 1.0)
        if approximate != "tanh":
            raise ValueError(f"gelu: approximate is 'tanh' or 'none', not {approximate!r}")
        # (1 + tanh(u)) / 2 is 1 / (1 + 2**-y) for y = u * 2 / ln 2, in which nothing cancels.
        x = self
        slope = math.sqrt(8 / math.pi) / math.log(2)
        y = x * (x * x * (0.044715 * slope) + slope)
        decay = (y < 0).where(y, -y).exp2()
        above, below = x * (y < 0).where(decay, 1.0), decay + 1.0
        # From 1 to 2 is `below`: its reciprocal is a good one, which the gradient takes as well.
        return self._result(build.div(above.node, below.node, "reciprocal"))

    @rounded_once
    def hardsigmoid(self) -> Self:
        """relu6(x + 3) / 6."""
        return (self + 3.0).relu6() / 6.0

    @rounded_once
    def hardswish(self) -> Self:
        """x * relu6(x + 3) / 6 (Howard et al. 2019)."""
        return self * self.hardsigmoid()

    @rounded_once
    def softsign(self) -> Self:
        """x / (1 + |x|)."""
        return self / (abs(self) + 1.0)

    @rounded_once
    def quick_gelu(self) -> Self:
        """x * sigmoid(1.702 * x), a cheaper gelu (Hendrycks & Gimpel 2016)."""
        return self * (self * 1.702).sigmoid()

    # Shrinking

    def hardshrink(self, lambd: float = 0.5) -> Self:
        """x, but 0 within [-lambd, lambd]."""
        return (self.abs() <= lambd).where(0.0, self)

    def softshrink(self, lambd: float = 0.5) -> Self:
        """x moved by lambd towards 0, and 0 within [-lambd, lambd].

        >>> from gradlet import Tensor
        >>> Tensor([-2.0, 0.1, 2.0]).softshrink().tolist()
        [-1.5, 0.0, 1.5]
        """
        if lambd < 0:
            raise ValueError(f"softshrink: lambd must not be below 0, and is {lambd}")
        return (self.abs() <= lambd).where(0.0, (self > 0).where(self - lambd, self + lambd))

    @rounded_once
    def tanhshrink(self) -> Self:
        """x - tanh(x)."""
        return self - self.tanh()

    def threshold(self, threshold: float, value: float) -> Self:
        """x above the threshold, else `value`."""
        return (self <= threshold).where(value, self)
