"""The kernels in tinygrad, under TinyJit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads.kernel import Kernel
from bench.workloads.tinygrad_steps import load as load


def put(array: np.ndarray) -> Any:
    from tinygrad import Tensor

    return Tensor(array).realize()


def get(result: list[Any]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in result]


def build(kernel: Kernel, compiled: bool) -> Callable[..., list[Any]]:
    from tinygrad import Device, Tensor, TinyJit

    name = kernel.function or kernel.name
    leaf = Tensor.zeros(kernel.outputs[0]).contiguous().realize() if name in GRADIENTS else None

    def compute(*inputs: Any) -> list[Any]:
        if name in GRADIENTS:
            made = GRADIENTS[name](leaf, *inputs)
        elif name == "attention_grad":
            made = attention_grad(*inputs)
        else:
            made = [FORWARD[name](*inputs)]
        made[0].realize(*made[1:])
        return made

    jitted = TinyJit(compute)

    def run(*inputs: Any) -> list[Any]:
        made = jitted(*inputs)
        Device[Device.DEFAULT].synchronize()
        return made

    return run


def attention_grad(q: Any, k: Any, v: Any, dy: Any) -> list[Any]:
    y = q.scaled_dot_product_attention(k, v)
    return [y, *y.gradient(q, k, v, gradient=dy)]


FORWARD: dict[str, Callable[..., Any]] = {
    "gelu": lambda x: x.gelu(),
    "softmax": lambda x: x.softmax(-1),
    "layernorm": lambda x, w, b: x.layernorm(-1) * w + b,
    "sum": lambda x: x.sum(),
    "cumsum": lambda x: x.cumsum(-1),
    "matmul": lambda a, b: a @ b,
    "linear": lambda x, w, b: x.linear(w, b).relu(),
    "conv3x3": lambda x, w: x.conv2d(w, padding=1),
    "attention": lambda q, k, v: q.scaled_dot_product_attention(k, v),
    "embedding": lambda ids, w: w[ids],
}

# Of functions of a leaf whose elements nobody looks at.
GRADIENTS: dict[str, Callable[..., list[Any]]] = {
    "conv3x3_dx": lambda x, dy, w: x.conv2d(w, padding=1).gradient(x, gradient=dy),
    "conv3x3_dw": lambda w, dy, x: x.conv2d(w, padding=1).gradient(w, gradient=dy),
    "embedding_grad": lambda w, ids, dy: w[ids].gradient(w, gradient=dy),
}
