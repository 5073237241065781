"""The workloads in gradlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.workloads.problem import PROMPT, Problem


def load(compiled: bool) -> None:
    import gradlet  # noqa: F401


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    from bench.workloads.gradlet_layers import Model, decoder
    from gradlet import Tensor, jit, nn

    model = Model(problem)
    inputs = Tensor(problem.inputs, requires_grad=False)  # as in every peer
    targets = Tensor(problem.targets, requires_grad=False)
    if problem.name == "gpt2_prefill":
        run = jit(model.prefill) if compiled else model.prefill
        return lambda: run(inputs).max().item()
    if problem.name == "gpt2_decode":
        return decoder(model, problem.inputs, PROMPT, jit if compiled else lambda f: f)
    parameters = nn.state.get_parameters(model.layers)
    opt: nn.optim.Optimizer
    match problem.optimizer:
        case "adam":
            opt = nn.optim.Adam(parameters, lr=problem.learning_rate)
        case "adamw":
            opt = nn.optim.AdamW(parameters, lr=problem.learning_rate, weight_decay=0.01)
        case "sgd":
            opt = nn.optim.SGD(parameters, lr=problem.learning_rate, momentum=0.9)
    Tensor.training = True
    classifies = problem.classifies

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        x = model(inputs)
        loss = x.cross_entropy(targets) if classifies else ((x - targets) ** 2).mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    train: Any = jit(step) if compiled else step
    return lambda: train(inputs, targets).item()
