"""The kernels in gradlet: each is a function that `jit` records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads.gradlet_steps import load as load
from bench.workloads.kernel import Kernel


def put(array: np.ndarray) -> Any:
    from gradlet import Tensor

    return Tensor(array, requires_grad=False).realize()


def get(result: list[Any]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in result]


def build(kernel: Kernel, compiled: bool) -> Callable[..., list[Any]]:
    from gradlet import jit

    return jit(graph(kernel))


def graph(kernel: Kernel) -> Callable[..., list[Any]]:
    """A function from inputs to lazy results."""
    name = kernel.function or kernel.name
    if name in GRADIENTS:
        leaf = put(np.zeros(kernel.outputs[0], np.float32))
        return lambda *inputs: GRADIENTS[name](leaf, *inputs)
    if name == "attention_grad":
        return attention_grad
    return lambda *inputs: [FORWARD[name](*inputs)]


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.softmax(-1) @ v


def attention_grad(q: Any, k: Any, v: Any, dy: Any) -> list[Any]:
    y = attention(q, k, v)
    return [y, *y.gradient(q, k, v, gradient=dy)]


FORWARD: dict[str, Callable[..., Any]] = {
    "gelu": lambda x: x.gelu("tanh"),
    "softmax": lambda x: x.softmax(-1),
    "layernorm": lambda x, w, b: x.layernorm(-1) * w + b,
    "sum": lambda x: x.sum(),
    "cumsum": lambda x: x.cumsum(-1),
    "matmul": lambda a, b: a @ b,
    "linear": lambda x, w, b: x.linear(w, b).relu(),
    "conv3x3": lambda x, w: x.conv2d(w, padding=1),
    "attention": attention,
    "embedding": lambda ids, w: w[ids],
}

# Of functions of a leaf whose elements nobody looks at.
GRADIENTS: dict[str, Callable[..., list[Any]]] = {
    "conv3x3_dx": lambda x, dy, w: x.conv2d(w, padding=1).gradient(x, gradient=dy),
    "conv3x3_dw": lambda w, dy, x: x.conv2d(w, padding=1).gradient(w, gradient=dy),
    "embedding_grad": lambda w, ids, dy: w[ids].gradient(w, gradient=dy),
}
