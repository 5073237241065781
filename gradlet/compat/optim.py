"""Optimisers with the arguments that tinygrad gives them; the formulas agree but for rounding.

`device` and `fused` are accepted: parameters stay where they are, and a step is one program anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradlet.nn import optim
from gradlet.nn.optim import Optimizer
from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.muon import newton_schulz
from gradlet.nn.optim.optimizer import Numbers, remember
from gradlet.tensor.tensor import Tensor

__all__ = ["LAMB", "LARS", "SGD", "Adam", "AdamW", "Muon", "OptimizerGroup"]


class _Scheduled:
    """What tinygrad's optimisers have besides."""

    def schedule_step(self) -> list[Tensor]:
        """Takes a step, and returns what it has changed."""
        self.step()  # type: ignore[attr-defined]
        return self.params  # type: ignore[attr-defined]


class LARS(_Scheduled, optim.LARS):
    """Layer-wise adaptive rates; the step is Newton-Schulz's with `ns_coefficients`, as in Muon."""

    def __init__(
        self, params: Any, lr: float = 0.001, momentum: float = 0.9, weight_decay: float = 1e-4,
        ns_steps: int = 0, ns_coefficients: Any = None, nesterov: bool = False,
        classic: bool = True, pre_wd: bool = True, tcoef: float = 0.001, device: Any = None,
        fused: Any = False,
    ) -> None:  # fmt: skip
        if ns_coefficients is not None or not pre_wd:
            raise TypeError("LARS: ns_coefficients and pre_wd are Muon's; use Muon")
        nesterov = nesterov and momentum > 0
        super().__init__(params, lr, momentum, weight_decay, nesterov, classic, tcoef)


class SGD(LARS):
    """Stochastic gradient descent."""

    def __init__(
        self, params: Any, lr: float = 0.001, momentum: float = 0.0, weight_decay: float = 0.0,
        nesterov: bool = False, classic: bool = False, device: Any = None, fused: Any = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, momentum, weight_decay, nesterov=nesterov, classic=classic, tcoef=0.0
        )


class Muon(_Scheduled, Optimizer):
    """Momentum made nearly orthogonal, of the gradient as a matrix; the rate is not scaled."""

    def __init__(
        self, params: Any, lr: float = 0.001, momentum: float = 0.95, weight_decay: float = 0.1,
        ns_steps: int = 5, ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        nesterov: bool = True, device: Any = None, fused: Any = False,
    ) -> None:  # fmt: skip
        numbers = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        iterations = {"ns_coefficients": ns_coefficients, "ns_steps": ns_steps}
        super().__init__(params, {**numbers, **iterations, "nesterov": nesterov})

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0}

    def _move(
        self, now: Numbers, pace: tuple[Tensor, ...], param: Tensor, gradient: Tensor, state: State
    ) -> Tensor:
        velocity = state["momentum_buffer"] * now["momentum"] + gradient
        remember(state, "momentum_buffer", velocity)
        if now["nesterov"]:
            velocity = gradient + velocity * now["momentum"]
        matrix = velocity.reshape(velocity.shape[0], math.prod(velocity.shape[1:]))
        direction = newton_schulz(matrix, now["ns_coefficients"], now["ns_steps"], 1e-7)
        change = direction.reshape(param.shape) * now["lr"]
        if in_use(now["weight_decay"]):
            change = change + param * (now["lr"] * now["weight_decay"])
        return param - change


class AdamW(_Scheduled, optim.AdamW):
    """Adam with weight decay apart from the gradient."""

    def __init__(
        self, params: Any, lr: float = 0.001, b1: float = 0.9, b2: float = 0.999,
        eps: float = 1e-8, weight_decay: float = 0.01, device: Any = None, fused: Any = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, (b1, b2), eps, weight_decay)


class Adam(_Scheduled, optim.Adam):
    """Adam."""

    def __init__(
        self, params: Any, lr: float = 0.001, b1: float = 0.9, b2: float = 0.999,
        eps: float = 1e-8, device: Any = None, fused: Any = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, (b1, b2), eps)


class LAMB(_Scheduled, optim.LAMB):
    """Layer-wise adaptive moments."""

    def __init__(
        self, params: Any, lr: float = 0.001, b1: float = 0.9, b2: float = 0.999,
        eps: float = 1e-6, weight_decay: float = 0.0, adam: bool = False, device: Any = None,
        fused: Any = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, (b1, b2), eps, weight_decay, adam)


class OptimizerGroup(_Scheduled, optim.OptimizerGroup):
    """Several optimisers that step together."""
