"""The workloads in JAX: the whole step is one jitted function that owns its state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bench.workloads.problem import PROMPT, Problem, kept_before


def load(compiled: bool) -> None:
    import jax
    import jax.numpy  # noqa: F401


def build(problem: Problem, compiled: bool) -> Callable[[], float]:
    import jax.numpy as jnp

    from bench.workloads.jax_layers import decoder, initial_state, prefill

    # JAX makes int64 arrays 32 bits wide unless it is told otherwise.
    inputs, targets = jnp.asarray(problem.inputs), jnp.asarray(problem.targets)
    params, running = initial_state(problem)
    if problem.name == "gpt2_prefill":
        return lambda: float(prefill(problem.layers, params, inputs))
    if problem.name == "gpt2_decode":
        return decoder(problem, params, PROMPT, kept_before)
    return trainer(problem, params, running, inputs, targets)


def trainer(
    problem: Problem, params: Any, running: Any, inputs: Any, targets: Any
) -> Callable[[], float]:
    """A function that takes a training step."""
    import jax
    import jax.numpy as jnp

    from bench.workloads.jax_layers import forward

    moments = jax.tree.map(jnp.zeros_like, (params, params))

    def loss_of(params: Any, running: Any, x: Any, y: Any) -> Any:
        out, running = forward(problem.layers, params, running, x)
        if not problem.classifies:
            return ((out - y) ** 2).mean(), running
        picked = jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], axis=1)
        return -picked.mean(), running

    @functools.partial(jax.jit, donate_argnums=(0,))
    def train(state: Any, x: Any, y: Any) -> Any:
        params, running, moments, count = state
        (loss, running), grads = jax.value_and_grad(loss_of, has_aux=True)(params, running, x, y)
        update = sgd if problem.optimizer == "sgd" else adam
        decay = 0.01 if problem.optimizer == "adamw" else 0.0
        params, moments = update(params, grads, moments, count + 1, problem.learning_rate, decay)
        return (params, running, moments, count + 1), loss

    state = (params, running, moments, jnp.zeros((), jnp.int32))

    def step() -> float:
        nonlocal state
        state, loss = train(state, inputs, targets)
        jax.block_until_ready(state)
        return float(loss)

    return step


def adam(params: Any, grads: Any, moments: Any, count: Any, rate: float, decay: float) -> Any:
    """(parameters, moments) after one update of Adam, or with a decay of AdamW."""
    import jax
    import jax.numpy as jnp

    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)

    def update(p: Any, m: Any, v: Any) -> Any:
        unbiased = m / (1 - 0.9**count)
        decayed = p * (1 - rate * decay) if decay else p
        return decayed - rate * unbiased / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)

    return jax.tree.map(update, params, first, second), (first, second)


def sgd(params: Any, grads: Any, moments: Any, count: Any, rate: float, decay: float) -> Any:
    """(parameters, velocities) after one update with momentum."""
    import jax

    first = jax.tree.map(lambda v, g: 0.9 * v + g, moments[0], grads)
    return jax.tree.map(lambda p, v: p - rate * v, params, first), (first, moments[1])
