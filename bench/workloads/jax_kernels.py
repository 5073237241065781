"""The kernels in JAX, each one jitted function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads.jax_steps import load as load
from bench.workloads.kernel import Kernel


def put(array: np.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.array(array)


def get(result: list[Any]) -> list[np.ndarray]:
    return [np.asarray(array) for array in result]


def build(kernel: Kernel, compiled: bool) -> Callable[..., list[Any]]:
    import jax
    import jax.numpy as jnp

    gradient_of = jax.ShapeDtypeStruct(kernel.outputs[0], jnp.float32)

    def transposed(function: Callable[..., Any], dy: Any) -> Any:
        """The gradient of a linear function, alone."""
        return jax.linear_transpose(function, gradient_of)(dy)[0]

    functions: dict[str, Callable[..., Any]] = {
        "gelu": lambda x: jax.nn.gelu(x, approximate=True),
        "softmax": lambda x: jax.nn.softmax(x, -1),
        "layernorm": layernorm,
        "sum": jnp.sum,
        "cumsum": lambda x: jnp.cumsum(x, -1),
        "matmul": jnp.matmul,
        "linear": lambda x, w, b: jax.nn.relu(x @ w + b),
        "conv3x3": conv,
        "conv3x3_dx": lambda dy, w: transposed(lambda x: conv(x, w), dy),
        "conv3x3_dw": lambda dy, x: transposed(lambda w: conv(x, w), dy),
        "attention": attention,
        "attention_grad": attention_grad,
        "embedding": lambda ids, w: w[ids],
        "embedding_grad": lambda ids, dy: jnp.zeros(kernel.outputs[0]).at[ids].add(dy),
    }
    function = jax.jit(functions[kernel.function or kernel.name])
    return lambda *inputs: jax.tree.leaves(jax.block_until_ready(function(*inputs)))


def layernorm(x: Any, w: Any, b: Any) -> Any:
    import jax
    import jax.numpy as jnp

    mean = jnp.mean(x, -1, keepdims=True)
    variance = jnp.var(x, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * w + b


def conv(x: Any, w: Any) -> Any:
    import jax

    return jax.lax.conv(x, w, (1, 1), "SAME")


def attention(q: Any, k: Any, v: Any) -> Any:
    import jax

    scores = q @ k.swapaxes(-2, -1) * q.shape[-1] ** -0.5
    return jax.nn.softmax(scores, -1) @ v


def attention_grad(q: Any, k: Any, v: Any, dy: Any) -> Any:
    import jax

    y, pull_back = jax.vjp(attention, q, k, v)
    return y, pull_back(dy)
