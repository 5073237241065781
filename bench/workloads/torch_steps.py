"""The workloads in PyTorch, eager or under torch.compile."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bench.workloads.problem import PROMPT, Problem, kept_before


def load(compiled: bool) -> None:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    import torch
    from torch import nn

    from bench.workloads.torch_layers import Model, decoder, prefill

    model: Any = Model(problem)
    inputs, targets = torch.from_numpy(problem.inputs), torch.from_numpy(problem.targets)
    if not problem.optimizer:
        torch.set_grad_enabled(False)
        if problem.name == "gpt2_decode":
            return decoder(model, problem.inputs, PROMPT, kept_before)
        infer = torch.compile(prefill) if compiled else prefill
        return lambda: infer(model, inputs).max().item()
    rate = problem.learning_rate
    opt: torch.optim.Optimizer
    match problem.optimizer:
        case "adam":
            opt = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
        case "adamw":
            opt = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
        case "sgd":
            opt = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, fused=True)
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
