"""LARS and LAMB: steps of each parameter relative to its own norm, for large batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradlet.nn.optim.adam import Betas, bias_corrections, either, moments
from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import STEPS, Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor


class LARS(Optimizer):
    """Layer-wise adaptive rates (You, Gitman & Ginsburg 2017), with tinygrad's options.

    Args:
        classic: the rate is part of what momentum gathers, as in the paper; otherwise it applies
            to the result.
        tcoef: how large a step is, relative to the parameter, at a rate of 1; 0 for plain SGD.

    >>> from gradlet import Tensor
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> _ = w.sum().backward(); LARS([w], lr=1.0, weight_decay=0.0, tcoef=0.1).step()
    >>> [f"{x:.4f}" for x in w.tolist()]
    ['2.6464', '3.6464']
    """

    optional = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        nesterov: bool = False,
        classic: bool = True,
        tcoef: float = 0.001,
    ) -> None:
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "tcoef": tcoef}
        super().__init__(params, {**numbers, "nesterov": nesterov, "classic": classic})

    def _check_options(self, options: Mapping[str, Any]) -> None:
        if options["nesterov"] and options["momentum"] <= 0:
            raise ValueError("LARS: nesterov needs a momentum above 0")

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if options["momentum"] != 0 else {}

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        decay, momentum, rate = now["weight_decay"], now["momentum"], now["lr"]
        if in_use(now["tcoef"]):
            own, other = param.norm(), gradient.norm()
            ratio = now["tcoef"] * own / (other + decay * own)
            rate = ((own > 0) & (other > 0)).where(ratio, 1.0) * rate
        if in_use(decay):
            gradient = gradient + param * decay
        if now["classic"]:
            gradient = gradient * rate
        if in_use(momentum):
            velocity = gradient
            if "momentum_buffer" in state:
                velocity = state["momentum_buffer"] * momentum + gradient
            remember(state, "momentum_buffer", velocity)
            gradient = gradient + velocity * momentum if now["nesterov"] else velocity
        return param - (gradient if now["classic"] else gradient * rate)


class LAMB(Optimizer):
    """Layer-wise adaptive moments (You et al. 2019): AdamW with steps relative to the parameter.

    Args:
        adam: leave that relation out, which is AdamW.
        b1, b2: the betas under tinygrad's names.

    >>> from gradlet import Tensor
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> _ = w.sum().backward(); LAMB([w], lr=0.1).step(); [f"{x:.4f}" for x in w.tolist()]
    ['2.6464', '3.6464']
    """

    counters = STEPS

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        adam: bool = False,
        *,
        b1: float | None = None,
        b2: float | None = None,
    ) -> None:
        betas = either(betas, b1, b2)
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**numbers, "adam": adam})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        seen, seen_square = bias_corrections(now, counts)
        return (seen, seen_square.sqrt())

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        seen, root = pace
        mean, square = moments(now, gradient, state)
        change = mean / seen / (square.sqrt() / root + now["eps"])
        if in_use(now["weight_decay"]):
            change = change + param * now["weight_decay"]
        rate = now["lr"]
        if not now["adam"]:
            own, other = param.norm(), change.norm()
            rate = ((own > 0) & (other > 0)).where(own / other, 1.0) * rate
        return param - change * rate
