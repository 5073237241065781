"""Adam, and what differs from it in a line or two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradlet.base import dtypes
from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import STEPS, Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor

Betas = tuple[float, float]


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014).

    Args:
        weight_decay: adds to the gradient, or, if `decoupled_weight_decay`, shrinks parameters.
        amsgrad: divide by the largest mean of squares so far (Reddi et al. 2018).
        b1, b2: the betas under tinygrad's names.

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Adam([w], lr=0.5).step(); f"{w.item():.4f}"
    '0.5000'
    """

    counters = STEPS

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        b1: float | None = None,
        b2: float | None = None,
    ) -> None:
        betas = either(betas, b1, b2)
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        flags = {
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, {**numbers, **flags})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        means = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        return {**means, "max_exp_avg_sq": 0.0} if options["amsgrad"] else means

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        seen, seen_square = bias_corrections(now, counts)
        return (now["lr"] / seen, seen_square.sqrt())

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        stride, root = pace
        param, gradient = decayed(now, param, gradient)
        mean, square = moments(now, gradient, state)
        if now["amsgrad"]:
            highest = state.get("max_exp_avg_sq", square).maximum(square)
            square = remember(state, "max_exp_avg_sq", highest)
        return param - mean * stride / (square.sqrt() / root + now["eps"])


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2017)."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        b1: float | None = None,
        b2: float | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            either(betas, b1, b2),
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )


# What many optimisers do


def either(betas: Betas, b1: float | None, b2: float | None) -> Any:
    """Betas, where one that is given by itself goes before."""
    if b1 is None and b2 is None:
        return betas
    return (betas[0] if b1 is None else b1, betas[1] if b2 is None else b2)


def bias_corrections(now: Numbers, counts: State) -> list[Tensor]:
    """How much of a mean with each beta is of gradients, and not of the 0 it began with."""
    steps = counts["step"]
    if steps.dtype is dtypes.float64:
        return [1 - beta**steps for beta in now["betas"]]
    # In float32 nearly all digits of a power close to 1 would be gone.
    return [-(steps * _log(beta)).expm1() for beta in now["betas"]]


def _log(beta: float | Tensor) -> float | Tensor:
    if isinstance(beta, Tensor):
        return beta.log()
    return math.log(beta) if beta else -math.inf


def decayed(now: Numbers, param: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """(parameter, gradient) after weight decay of the one or the other."""
    decay = now["weight_decay"]
    if not in_use(decay):
        return param, gradient
    if now["decoupled_weight_decay"]:
        return param - param * (now["lr"] * decay), gradient
    return param, gradient + param * decay


def moments(now: Numbers, gradient: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """The running means of the gradient and of its square, one step further."""
    by_mean, by_square = now["betas"]
    mean = state["exp_avg"] * by_mean + gradient * (1 - by_mean)
    square = state["exp_avg_sq"] * by_square + gradient * gradient * (1 - by_square)
    return remember(state, "exp_avg", mean), remember(state, "exp_avg_sq", square)
