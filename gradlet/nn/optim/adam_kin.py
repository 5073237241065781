"""NAdam, RAdam and Adamax: Adam with another momentum, another start, another norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gradlet.nn.optim.adam import Betas, bias_corrections, decayed, moments
from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import STEPS, Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which grows towards the first beta (Dozat 2016).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); NAdam([w], lr=0.5).step(); f"{w.item():.4f}"
    '0.4718'
    """

    counters: ClassVar = {**STEPS, "mu_product": 1.0}

    def __init__(
        self,
        params: Any,
        lr: float = 0.002,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        flags = {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, {**numbers, "momentum_decay": momentum_decay, **flags})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _next(self, now: Numbers, counts: State) -> State:
        step = counts["step"] + 1
        return {"step": step, "mu_product": counts["mu_product"] * _nesterov(now, step)}

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        step, product = counts["step"], counts["mu_product"]
        momentum, later = _nesterov(now, step), _nesterov(now, step + 1)
        by_gradient = now["lr"] * (1 - momentum) / (1 - product)
        by_mean = now["lr"] * later / (1 - product * later)
        return (by_gradient, by_mean, bias_corrections(now, counts)[1])

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        by_gradient, by_mean, seen = pace
        param, gradient = decayed(now, param, gradient)
        mean, square = moments(now, gradient, state)
        size = (square / seen).sqrt() + now["eps"]
        return param - gradient * by_gradient / size - mean * by_mean / size


def _nesterov(now: Numbers, step: Tensor) -> Tensor:
    """The momentum of a step."""
    return now["betas"][0] * (1 - 0.5 * 0.96 ** (step * now["momentum_decay"]))


class RAdam(Optimizer):
    """Adam that divides by nothing until the variance of its divisor is bounded (Liu et al. 2019).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); RAdam([w], lr=0.25).step(); w.tolist()
    [0.5]
    """

    counters = STEPS

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        flags = {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, {**numbers, **flags})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        step, by_square = counts["step"], now["betas"][1]
        seen, seen_square = bias_corrections(now, counts)
        longest = 2 / (1 - by_square) - 1
        length = longest - 2 * step * by_square**step / seen_square
        rectified = (length - 4) * (length - 2) * longest
        rectified = rectified / ((longest - 4) * (longest - 2) * length)
        return (now["lr"] / seen, length, (rectified * seen_square).sqrt())

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        stride, length, rectified = pace
        param, gradient = decayed(now, param, gradient)
        mean, square = moments(now, gradient, state)
        adaptive = rectified / (square.sqrt() + now["eps"])
        return param - mean * stride * (length > 5).where(adaptive, 1.0)


class Adamax(Optimizer):
    """Adam that divides by the largest gradient of late (Kingma & Ba 2014).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Adamax([w], lr=0.5).step(); w.tolist()
    [0.5]
    """

    counters = STEPS

    def __init__(
        self,
        params: Any,
        lr: float = 0.002,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**numbers, "maximize": maximize})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_inf": 0.0}

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        return (now["lr"] / bias_corrections(now, counts)[0],)

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        (stride,) = pace
        if in_use(now["weight_decay"]):
            gradient = gradient + param * now["weight_decay"]
        by_mean, by_norm = now["betas"]
        mean = state["exp_avg"] * by_mean + gradient * (1 - by_mean)
        norm = (state["exp_inf"] * by_norm).maximum(gradient.abs() + now["eps"])
        remember(state, "exp_avg", mean)
        remember(state, "exp_inf", norm)
        return param - mean * stride / norm
