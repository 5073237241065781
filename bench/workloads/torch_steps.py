"""The workloads in PyTorch, eager or under torch.compile."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bench.workloads.problem import Problem


def load(compiled: bool) -> None:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    import torch
    from torch import nn

    make: dict[str, Callable[..., Any]] = {
        "linear": nn.Linear,
        "conv": nn.Conv2d,
        "norm": nn.BatchNorm2d,
        "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten,
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
    }
    model = nn.Sequential(*(make[kind](*sizes) for kind, *sizes in problem.layers))
    arrays = iter(problem.weights)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.copy_(torch.from_numpy(next(arrays)))
                layer.bias.copy_(torch.from_numpy(next(arrays)))
    opt = torch.optim.Adam(model.parameters(), lr=problem.learning_rate, fused=True)
    inputs, targets = torch.from_numpy(problem.inputs), torch.from_numpy(problem.targets)
    loss_of = nn.CrossEntropyLoss() if problem.classifies else nn.MSELoss()
    if problem.name == "xor":  # PyTorch's layers take no integers
        inputs, targets = inputs.float(), targets.float()

    def forward(x: Any, y: Any) -> Any:
        return loss_of(model(x), y)

    run = torch.compile(forward) if compiled else forward

    def step() -> float:
        loss = run(inputs, targets)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss.item()

    return step
