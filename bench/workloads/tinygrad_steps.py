"""The workloads in tinygrad, under TinyJit but for `xor`, whose loop is compared as written."""

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
    layers = [make[kind](*sizes) for kind, *sizes in problem.layers]
    arrays = iter(problem.weights)
    for layer, (kind, *_) in zip(layers, problem.layers, strict=True):
        if kind in ("linear", "conv"):
            layer.weight.assign(Tensor(next(arrays))).realize()
            layer.bias.assign(Tensor(next(arrays))).realize()
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
