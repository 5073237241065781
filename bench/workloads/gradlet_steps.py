"""The workloads in gradlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.workloads.problem import Layer, Problem


def load(compiled: bool) -> None:
    import gradlet  # noqa: F401


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    from gradlet import Tensor, jit, nn

    make: dict[str, Callable[..., Any]] = {
        "linear": nn.Linear,
        "conv": nn.Conv2d,
        "norm": nn.BatchNorm2d,
        "pool": lambda: lambda x: x.max_pool2d(2),
        "flatten": lambda: lambda x: x.flatten(1),
        "relu": lambda: Tensor.relu,
        "sigmoid": lambda: Tensor.sigmoid,
    }
    layers = [make[kind](*sizes) for kind, *sizes in problem.layers]
    set_weights(layers, problem.layers, problem.weights)
    opt = nn.optim.Adam(nn.state.get_parameters(layers), lr=problem.learning_rate)
    inputs = Tensor(problem.inputs, requires_grad=False)  # as in every peer
    targets = Tensor(problem.targets, requires_grad=False)
    Tensor.training = True

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        x = inputs
        for layer in layers:
            x = layer(x)
        loss = x.cross_entropy(targets) if problem.classifies else ((x - targets) ** 2).mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    run = jit(step) if compiled else step
    return lambda: run(inputs, targets).item()


def set_weights(layers: list[Any], kinds: tuple[Layer, ...], weights: tuple[Any, ...]) -> None:
    """Puts the given arrays into the linear and conv layers."""
    from gradlet import Tensor

    arrays = iter(weights)
    for layer, (kind, *_) in zip(layers, kinds, strict=True):
        if kind in ("linear", "conv"):
            layer.weight.assign(Tensor(next(arrays)))
            layer.bias.assign(Tensor(next(arrays)))
