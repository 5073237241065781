"""Initial values, written into tensors in place, with PyTorch's names.

Each function gives its tensor new contents and returns it; no gradient flows into them. The first
axis of a weight is that of its outputs, the second that of its inputs, and others are a window's.
"""

from __future__ import annotations

import math

import numpy as np

from gradlet.tensor.tensor import Tensor

_GAINS = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
_PLAIN = ("linear", "sigmoid") + tuple(
    f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3)
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights grow to make up for what follows them.

    Args:
        nonlinearity: `linear`, `sigmoid`, `tanh`, `relu`, `leaky_relu`, `selu` or a convolution.
        param: the slope of `leaky_relu` below zero, 0.01 if not given.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity in _PLAIN:
        return 1.0
    if nonlinearity not in _GAINS:
        known = ", ".join(("leaky_relu", *_GAINS, *_PLAIN))
        raise ValueError(f"calculate_gain: nonlinearity is one of {known}, not {nonlinearity!r}")
    return _GAINS[nonlinearity]


# The same for every element


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere."""
    return tensor.assign(tensor.full_like(val))


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere.

    >>> ones_(Tensor([2.0, 3.0])).tolist()
    [1.0, 1.0]
    """
    return constant_(tensor, 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Even over [a, b)."""
    return tensor.assign(tensor.uniform(tensor.shape, low=a, high=b, **_like(tensor)))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normally distributed."""
    return tensor.assign(tensor.normal(tensor.shape, mean=mean, std=std, **_like(tensor)))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Normally distributed, but drawn anew while it is outside of [a, b]."""
    if not a < b or std <= 0:
        raise ValueError(f"trunc_normal_: needs a < b and std > 0, not {a=}, {b=}, {std=}")
    low, high = (math.erf((bound - mean) / (std * math.sqrt(2))) for bound in (a, b))
    if not low < high:
        raise ValueError(f"trunc_normal_: [{a}, {b}] is too far from {mean=} for {std=}")
    draw = tensor.uniform(tensor.shape, low=low, high=high, **_like(tensor))
    # Rounding may bring a draw to where the inverse is infinite.
    return tensor.assign((draw.erfinv() * (std * math.sqrt(2)) + mean).clamp(a, b))


# By how many elements meet


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Even, keeping the variance of values and of gradients (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor, "xavier_uniform_")))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal, keeping the variance of values and of gradients (Glorot & Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor, "xavier_normal_"))))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Even, keeping the variance through a nonlinearity (He et al. 2015).

    Args:
        a: the slope of `leaky_relu` below zero.
        mode: keeps that of values (`fan_in`) or of gradients (`fan_out`).
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal, keeping the variance through a nonlinearity (He et al. 2015)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_"))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str, operation: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{operation}: mode is 'fan_in' or 'fan_out', not {mode!r}")
    fan = _fans(tensor, operation)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


# Matrices and filters


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """A matrix with orthogonal rows or columns, all axes but the first being one (Saxe 2014)."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: needs two axes or more, not shape {tensor.shape}")
    if not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    tall = (max(rows, columns), min(rows, columns))
    q, r = tensor.normal(tall, device=tensor.device).qr()
    diagonal = (r * tensor.eye(tall[1], device=tensor.device)).sum(0)
    q = q * (diagonal < 0).where(-1.0, 1.0)  # without which not all directions are as likely
    q = q.transpose(0, 1) if rows < columns else q
    return tensor.assign((q * gain).reshape(tensor.shape).cast(tensor.dtype))


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix, cut off or filled up with zeros.

    >>> eye_(Tensor.zeros(2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: needs a matrix, not shape {tensor.shape}")
    rows, columns = tensor.shape
    return _write(tensor, np.eye(rows, columns))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Filters that pass channels on as they are, as many as there are in each group."""
    if tensor.ndim not in (3, 4, 5) or groups < 1 or tensor.shape[0] % groups:
        raise ValueError(
            f"dirac_: needs filters (out, in, ...) over 1 to 3 axes, with {groups=} dividing their "
            f"number, not shape {tensor.shape}"
        )
    made = np.zeros(tensor.shape)
    each = tensor.shape[0] // groups
    center = tuple(extent // 2 for extent in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(each, tensor.shape[1])):
            made[(group * each + channel, channel, *center)] = 1
    return _write(tensor, made)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """A normal matrix with a share of zeros in each column (Martens 2010)."""
    if tensor.ndim != 2 or not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparse_: needs a matrix and a share from 0 to 1, not {tensor.shape} and {sparsity}"
        )
    zeros = math.ceil(sparsity * tensor.shape[0])
    rank = tensor.rand(tensor.shape, device=tensor.device).argsort(0).argsort(0)
    values = tensor.normal(tensor.shape, std=std, **_like(tensor))
    return tensor.assign((rank < zeros).where(0.0, values))


# Helpers


def _fans(tensor: Tensor, operation: str) -> tuple[int, int]:
    """How many elements go into an output, and how many an input goes into."""
    if tensor.ndim < 2:
        raise ValueError(
            f"{operation}: needs a weight (out, in, ...), not shape {tensor.shape}; use uniform_ "
            "or normal_"
        )
    window = math.prod(tensor.shape[2:])
    fans = tensor.shape[1] * window, tensor.shape[0] * window
    if not all(fans):
        raise ValueError(f"{operation}: a weight of shape {tensor.shape} has no elements")
    return fans


def _like(tensor: Tensor) -> dict:
    return {"dtype": tensor.dtype, "device": tensor.device}


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    return tensor.assign(Tensor(values, **_like(tensor)))
