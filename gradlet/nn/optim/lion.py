"""Lion: steps of one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradlet.nn.optim.adam import Betas
from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor


class Lion(Optimizer):
    """Steps by the sign of a mean of gradients (Chen et al. 2023).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Lion([w], lr=0.5).step(); w.tolist()
    [0.5, -1.5]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, {**numbers, "maximize": maximize})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0}

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        mean, (now_weight, later_weight) = state["exp_avg"], now["betas"]
        direction = (mean * now_weight + gradient * (1 - now_weight)).sign()
        remember(state, "exp_avg", mean * later_weight + gradient * (1 - later_weight))
        if in_use(now["weight_decay"]):
            param = param - param * (now["lr"] * now["weight_decay"])
        return param - direction * now["lr"]
