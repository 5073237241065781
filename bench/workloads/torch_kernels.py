"""The kernels in PyTorch, eager or under torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads.kernel import Kernel
from bench.workloads.torch_steps import load as load


def put(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array).clone()  # into memory that PyTorch has aligned


def get(result: list[Any]) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in result]


def build(kernel: Kernel, compiled: bool) -> Callable[..., list[Any]]:
    import torch
    from torch.nn import functional as F

    wrap: Callable[..., Any] = torch.compile if compiled else lambda function: function
    name, shape = kernel.function or kernel.name, kernel.outputs[0]
    if name == "attention_grad":
        return attention_grad(wrap(F.scaled_dot_product_attention))
    functions: dict[str, Callable[..., Any]] = {
        "gelu": lambda x: F.gelu(x, approximate="tanh"),
        "softmax": lambda x: x.softmax(-1),
        "layernorm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        "sum": lambda x: x.sum(),
        "cumsum": lambda x: x.cumsum(-1),
        "matmul": lambda a, b: a @ b,
        "linear": lambda x, w, b: torch.addmm(b, x, w).relu_(),
        "conv3x3": lambda x, w: F.conv2d(x, w, padding=1),
        "conv3x3_dx": lambda dy, w: torch.nn.grad.conv2d_input(shape, w, dy, padding=1),
        "conv3x3_dw": lambda dy, x: torch.nn.grad.conv2d_weight(x, shape, dy, padding=1),
        "attention": F.scaled_dot_product_attention,
        "embedding": F.embedding,
        "embedding_grad": lambda ids, dy: torch.ops.aten.embedding_dense_backward(
            dy, ids, shape[0], -1, False
        ),
    }
    function = wrap(functions[name])

    def run(*inputs: Any) -> list[Any]:
        with torch.no_grad():
            return [function(*inputs)]

    return run


def attention_grad(attention: Callable[..., Any]) -> Callable[..., list[Any]]:
    import torch

    def run(q: Any, k: Any, v: Any, dy: Any) -> list[Any]:
        sources = [x.detach().requires_grad_() for x in (q, k, v)]
        y = attention(*sources)
        return [y, *torch.autograd.grad(y, sources, dy)]

    return run
