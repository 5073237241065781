"""Activation layers, and dropout of channels: functions of `nn.functional` with their options.

PyTorch's option `inplace` is taken and does nothing: results are new tensors.
"""

from __future__ import annotations

from gradlet.nn import functional
from gradlet.nn.stateless import Stateless
from gradlet.tensor.tensor import Tensor

__all__ = [
    "CELU", "Dropout1d", "Dropout2d", "Dropout3d", "ELU", "GELU", "GLU", "Hardshrink",
    "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish",
    "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin",
    "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


# Without options


class _Plain(Stateless):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class ReLU(_Plain):
    """max(x, 0).

    >>> ReLU()(Tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    function = functional.relu


class ReLU6(_Plain):
    """min(max(x, 0), 6)."""

    function = functional.relu6


class SELU(_Plain):
    """Scaled elu that keeps mean 0 and variance 1."""

    function = functional.selu


class SiLU(_Plain):
    """x * sigmoid(x)."""

    function = functional.silu


class Mish(_Plain):
    """x * tanh(softplus(x))."""

    function = functional.mish


class Hardsigmoid(_Plain):
    """relu6(x + 3) / 6."""

    function = functional.hardsigmoid


class Hardswish(_Plain):
    """x * relu6(x + 3) / 6."""

    function = functional.hardswish


class Sigmoid(_Plain):
    """1 / (1 + exp(-x))."""

    function = functional.sigmoid


class LogSigmoid(_Plain):
    """log(sigmoid(x))."""

    function = functional.logsigmoid


class Tanh(_Plain):
    """Hyperbolic tangent."""

    function = functional.tanh


class Tanhshrink(_Plain):
    """x - tanh(x)."""

    function = functional.tanhshrink


class Softsign(_Plain):
    """x / (1 + |x|)."""

    function = functional.softsign


# With options


class LeakyReLU(Stateless):
    """x above zero, else negative_slope * x."""

    function = functional.leaky_relu

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope)


class ELU(Stateless):
    """x above zero, else alpha * (exp(x) - 1)."""

    function = functional.elu

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha)


class CELU(Stateless):
    """x above zero, else alpha * (exp(x / alpha) - 1)."""

    function = functional.celu

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha)


class GELU(Stateless):
    """x times the normal distribution function of x; `approximate` is `none` or `tanh`."""

    function = functional.gelu

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class Softplus(Stateless):
    """log(1 + exp(beta * x)) / beta, taken to be x where beta * x is above the threshold."""

    function = functional.softplus

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class Hardtanh(Stateless):
    """x kept within [min_val, max_val]."""

    function = functional.hardtanh

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(min_val=min_val, max_val=max_val)


class Hardshrink(Stateless):
    """x, but 0 within [-lambd, lambd]."""

    function = functional.hardshrink

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Softshrink(Stateless):
    """x moved by lambd towards 0, and 0 within [-lambd, lambd]."""

    function = functional.softshrink

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Threshold(Stateless):
    """x above the threshold, else `value`."""

    function = functional.threshold

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(threshold=threshold, value=value)


class PReLU:
    """x above zero, else weight * x.

    Attributes:
        weight: (num_parameters,): one number, or one for each place along axis 1.

    >>> PReLU(init=0.5)(Tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.weight = Tensor([init] * num_parameters, dtype="float32", requires_grad=True)

    def __call__(self, x: Tensor) -> Tensor:
        return x.prelu(self.weight)

    def __repr__(self) -> str:
        return f"PReLU({self.weight.shape[0]})"


# Along an axis


class _Along(Stateless):
    def __init__(self, dim: int) -> None:
        super().__init__(dim=dim)


class Softmax(_Along):
    """exp(x) / sum of exp(x) along `dim`.

    >>> Softmax(1)(Tensor([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """

    function = functional.softmax


class LogSoftmax(_Along):
    """The logarithm of softmax along `dim`."""

    function = functional.log_softmax


class Softmin(_Along):
    """softmax(-x) along `dim`."""

    function = functional.softmin


class Softmax2d(Softmax):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def __init__(self) -> None:
        super().__init__(-3)


class GLU(Stateless):
    """The first half along `dim` times the sigmoid of the second."""

    function = functional.glu

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)


# Dropout


class _ChannelDropout(Stateless):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p is a probability, not {p}")
        super().__init__(p=p)


class Dropout1d(_ChannelDropout):
    """`Dropout` of whole channels of (N, C, L), or the same without N."""

    function = functional.dropout1d


class Dropout2d(_ChannelDropout):
    """`Dropout` of whole channels of (N, C, H, W) or (N, C, L)."""

    function = functional.dropout2d


class Dropout3d(_ChannelDropout):
    """`Dropout` of whole channels of (N, C, D, H, W), or the same without N."""

    function = functional.dropout3d
