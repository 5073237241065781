"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) if asked for.

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); SGD([w], lr=0.25).step(); w.tolist()
    [0.5]
    """

    optional = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        flags = {"nesterov": nesterov, "maximize": maximize}
        super().__init__(params, {**options, "weight_decay": weight_decay, **flags})

    def _check_options(self, options: Mapping[str, Any]) -> None:
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        # The first gradient is not dampened, so that momentum begins with none and not with 0.
        known = options["momentum"] != 0 and options["dampening"] == 0
        return {"momentum_buffer": 0.0} if known else {}

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        if in_use(now["weight_decay"]):
            gradient = gradient + param * now["weight_decay"]
        if in_use(now["momentum"]):
            momentum, velocity = now["momentum"], gradient
            if "momentum_buffer" in state:
                dampening = now["dampening"]
                added = gradient * (1 - dampening) if in_use(dampening) else gradient
                velocity = state["momentum_buffer"] * momentum + added
            remember(state, "momentum_buffer", velocity)
            gradient = gradient + velocity * momentum if now["nesterov"] else velocity
        return param - gradient * now["lr"]
