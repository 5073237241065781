"""The small workloads in tinygrad, under TinyJit but for `xor`, whose loop is compared as written.

The others take it over a minute to compile here, as single convolutions and products show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.workloads.problem import Problem


def load(compiled: bool) -> None:
    import tinygrad
    import tinygrad.nn  # noqa: F401


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    from tinygrad import Context, Tensor, TinyJit, nn

    make: dict[str, Callable[..., Any]] = {
        "linear": nn.Linear,
        "conv": nn.Conv2d,
        "norm": nn.BatchNorm2d,
        "pool": lambda: lambda x: x.max_pool2d(2),
        "flatten": lambda: lambda x: x.flatten(1),
        "relu": lambda: Tensor.relu,
        "sigmoid": lambda: Tensor.sigmoid,
    }
    if any(kind not in make for kind, *_ in problem.layers):
        raise ValueError(f"{problem.name} is not written for tinygrad")
    layers = [make[kind](*sizes) for kind, *sizes in problem.layers]
    for layer, arrays in zip(layers, problem.weights, strict=True):
        if arrays:
            layer.weight.assign(Tensor(arrays[0])).realize()
            layer.bias.assign(Tensor(arrays[1])).realize()
    opt = nn.optim.Adam(nn.state.get_parameters(layers), lr=problem.learning_rate)
    inputs, targets = Tensor(problem.inputs), Tensor(problem.targets)

    def train(x: Any, y: Any) -> Any:
        opt.zero_grad()
        out = x.sequential(layers)
        loss = out.cross_entropy(y) if problem.classifies else ((out - y) ** 2).mean()
        loss.backward()
        return loss.realize(*opt.schedule_step())

    run = train if problem.name == "xor" else TinyJit(train)

    def step() -> float:
        with Context(TRAINING=1):
            return run(inputs, targets).item()

    return step
