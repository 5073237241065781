"""The workloads in JAX: the whole step is one jitted function that owns its state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bench.workloads.problem import Problem

MOMENTUM = 0.1  # of the running statistics of a norm layer


def load(compiled: bool) -> None:
    import jax
    import jax.numpy  # noqa: F401


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp

    # JAX makes int64 arrays 32 bits wide unless it is told otherwise.
    inputs, targets = jnp.asarray(problem.inputs), jnp.asarray(problem.targets)
    params, running = initial_state(problem)
    moments = jax.tree.map(jnp.zeros_like, (params, params))

    def loss_of(params: Any, running: Any, x: Any, y: Any) -> Any:
        out, running = forward(problem, params, running, x)
        if not problem.classifies:
            return ((out - y) ** 2).mean(), running
        picked = jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], axis=1)
        return -picked.mean(), running

    @functools.partial(jax.jit, donate_argnums=(0,))
    def train(state: Any, x: Any, y: Any) -> Any:
        params, running, moments, count = state
        (loss, running), grads = jax.value_and_grad(loss_of, has_aux=True)(params, running, x, y)
        params, moments = adam(params, grads, moments, count + 1, problem.learning_rate)
        return (params, running, moments, count + 1), loss

    state = (params, running, moments, jnp.zeros((), jnp.int32))

    def step() -> float:
        nonlocal state
        state, loss = train(state, inputs, targets)
        jax.block_until_ready(state)
        return float(loss)

    return step


def initial_state(problem: Problem) -> tuple[Any, Any]:
    """(parameters, running statistics), a pair of arrays for each layer that has them."""
    import jax.numpy as jnp

    arrays = iter(problem.weights)
    params: dict[str, Any] = {}
    running: dict[str, Any] = {}
    for i, (kind, *sizes) in enumerate(problem.layers):
        if kind in ("linear", "conv"):
            params[str(i)] = (jnp.array(next(arrays)), jnp.array(next(arrays)))
        if kind == "norm":
            params[str(i)] = (jnp.ones(sizes[0]), jnp.zeros(sizes[0]))
            running[str(i)] = (jnp.zeros(sizes[0]), jnp.ones(sizes[0]))
    return params, running


def forward(problem: Problem, params: Any, running: Any, x: Any) -> tuple[Any, Any]:
    """(output, new running statistics) of the model."""
    import jax
    import jax.numpy as jnp

    running = dict(running)
    for i, (kind, *_) in enumerate(problem.layers):
        match kind:
            case "linear":
                weight, bias = params[str(i)]
                x = x @ weight.T + bias
            case "conv":
                weight, bias = params[str(i)]
                x = jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID")
                x = x + bias[:, None, None]
            case "norm":
                x, running[str(i)] = norm(x, params[str(i)], running[str(i)])
            case "pool":
                window = (1, 1, 2, 2)
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
            case "flatten":
                x = x.reshape(len(x), -1)
            case "relu":
                x = jax.nn.relu(x)
            case "sigmoid":
                x = jax.nn.sigmoid(x)
    return x, running


def norm(x: Any, params: Any, running: Any) -> tuple[Any, Any]:
    """Batch normalisation of (N, C, H, W): (result, new running mean and variance)."""
    import jax.numpy as jnp

    weight, bias = params
    mean, var = jnp.mean(x, (0, 2, 3)), jnp.var(x, (0, 2, 3))
    count = x.size // x.shape[1]
    new = (mean, var * count / (count - 1))
    running = tuple(old + MOMENTUM * (now - old) for old, now in zip(running, new, strict=True))
    scale = weight / jnp.sqrt(var + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None], running


def adam(params: Any, grads: Any, moments: Any, count: Any, learning_rate: float) -> Any:
    """(parameters, moments) after one update of Adam."""
    import jax
    import jax.numpy as jnp

    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)

    def update(p: Any, m: Any, v: Any) -> Any:
        unbiased = m / (1 - 0.9**count)
        return p - learning_rate * unbiased / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)

    return jax.tree.map(update, params, first, second), (first, second)
