"""RMSprop, Adagrad and Adadelta: steps relative to the size of gradients so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import STEPS, Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor


class RMSprop(Optimizer):
    """Divides by the root of a running mean of squares (Hinton 2012).

    Args:
        centered: divide by the standard deviation instead (Graves 2013).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); RMSprop([w], lr=0.05).step(); f"{w.item():.4f}"
    '0.5000'
    """

    counters = STEPS
    optional = ("momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Any,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        flags = {"centered": centered, "maximize": maximize}
        super().__init__(params, {**numbers, "momentum": momentum, **flags})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        used = {"square_avg": True, "momentum_buffer": options["momentum"] != 0}
        used["grad_avg"] = options["centered"]
        return {name: 0.0 for name, wanted in used.items() if wanted}

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
        alpha = now["alpha"]
        square = state["square_avg"] * alpha + gradient * gradient * (1 - alpha)
        variance = remember(state, "square_avg", square)
        if now["centered"]:
            mean = gradient * (1 - alpha)
            if "grad_avg" in state:
                mean = state["grad_avg"] * alpha + mean
            remember(state, "grad_avg", mean)
            variance = (square - mean * mean).maximum(0.0)  # below 0 by rounding alone
        change = gradient / (variance.sqrt() + now["eps"])
        if in_use(now["momentum"]):
            if "momentum_buffer" in state:
                change = state["momentum_buffer"] * now["momentum"] + change
            remember(state, "momentum_buffer", change)
        return param - change * now["lr"]


class Adagrad(Optimizer):
    """Divides by the root of the sum of all squares so far (Duchi et al. 2011).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Adagrad([w], lr=0.5).step(); w.tolist()
    [0.5]
    """

    counters = STEPS

    def __init__(
        self,
        params: Any,
        lr: float = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        more = {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, {**numbers, **more})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": options["initial_accumulator_value"]}

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        if not in_use(now["lr_decay"]):
            return ()
        return (now["lr"] / (1 + (counts["step"] - 1) * now["lr_decay"]),)

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
        total = remember(state, "sum", state["sum"] + gradient * gradient)
        rate = pace[0] if pace else now["lr"]
        return param - gradient * rate / (total.sqrt() + now["eps"])


class Adadelta(Optimizer):
    """Steps in the units of the parameter, from running means of squares (Zeiler 2012).

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Adadelta([w]).step(); f"{w.item():.4f}"
    '0.9968'
    """

    counters = STEPS

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**numbers, "maximize": maximize})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

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
        rho, eps = now["rho"], now["eps"]
        square = state["square_avg"] * rho + gradient * gradient * (1 - rho)
        change = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * gradient
        remember(state, "square_avg", square)
        remember(state, "acc_delta", state["acc_delta"] * rho + change * change * (1 - rho))
        return param - change * now["lr"]
