"""Muon: steps that are nearly orthogonal matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradlet.nn.optim.groups import State, in_use
from gradlet.nn.optim.optimizer import Numbers, Optimizer, remember
from gradlet.tensor.tensor import Tensor

_ADJUSTMENTS = (None, "original", "match_rms_adamw")


class Muon(Optimizer):
    """Momentum, made nearly orthogonal by Newton-Schulz iterations (Jordan et al. 2024).

    It is for the matrices of hidden layers; train biases, norms, embeddings and the last layer with
    another optimiser: see `OptimizerGroup`.

    Args:
        ns_coefficients, ns_steps: of the iterations' polynomial, and their number.
        adjust_lr_fn: "original" (also None) scales the rate by max(1, rows / columns) ** 0.5, and
            "match_rms_adamw" by 0.2 * max(rows, columns) ** 0.5 (Liu et al. 2025).

    Raises:
        ValueError: a parameter is no matrix.

    >>> from gradlet import Tensor
    >>> w = Tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Muon([w], lr=0.1, weight_decay=0.0).step()
    >>> [[f"{x:.2f}" for x in row] for row in w.tolist()]
    [['0.89', '0.00'], ['0.00', '0.89']]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        numbers = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eps": eps}
        iterations = {"ns_coefficients": ns_coefficients, "ns_steps": ns_steps}
        flags = {"nesterov": nesterov, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, {**numbers, **iterations, **flags})

    def _check_parameter(self, param: Tensor) -> None:
        if param.ndim != 2:
            raise ValueError(
                f"Muon: a parameter has shape {param.shape}, and only matrices can be made "
                "orthogonal; train the others with AdamW, and see OptimizerGroup"
            )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        steps = options["ns_steps"]
        if not isinstance(steps, int) or not 0 < steps < 100:
            raise ValueError(f"Muon: ns_steps must be an int from 1 to 99, not {steps!r}")
        if options["adjust_lr_fn"] not in _ADJUSTMENTS:
            raise ValueError(
                f"Muon: adjust_lr_fn must be one of {_ADJUSTMENTS}, not {options['adjust_lr_fn']!r}"
            )

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0}

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        momentum = now["momentum"]
        mean = state["momentum_buffer"] * momentum + gradient * (1 - momentum)
        remember(state, "momentum_buffer", mean)
        if now["nesterov"]:
            mean = gradient * (1 - momentum) + mean * momentum
        direction = newton_schulz(mean, now["ns_coefficients"], now["ns_steps"], now["eps"])
        rows, columns = param.shape
        if now["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * math.sqrt(max(rows, columns))
        else:
            scale = math.sqrt(max(1.0, rows / columns))
        if in_use(now["weight_decay"]):
            param = param - param * (now["lr"] * now["weight_decay"])
        return param - direction * (now["lr"] * scale)


def newton_schulz(
    matrix: Tensor, coefficients: Sequence[float | Tensor], steps: int, eps: float | Tensor
) -> Tensor:
    """The orthogonal matrix near one, up to singular values of about 0.7 to 1.2.

    x -> a x + b (x xᵀ) x + c (x xᵀ)² x, from x of norm 1, brings singular values towards 1.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().maximum(eps)
    for _ in range(steps):
        gram = x @ x.T
        x = x * a + (gram * b + gram @ gram * c) @ x
    return x.T if tall else x
