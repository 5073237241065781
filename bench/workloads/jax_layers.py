"""The layers of the workloads in JAX: functions of parameters and running statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bench.workloads.problem import Layer, Problem

MOMENTUM = 0.1  # of the running statistics of a norm layer


def initial_state(problem: Problem) -> tuple[Any, Any]:
    """(parameters, running statistics) by the number of the layer."""
    params: dict[str, Any] = {}
    running: dict[str, Any] = {}
    for i, (layer, arrays) in enumerate(zip(problem.layers, problem.weights, strict=True)):
        norms, layernorms = norms_of(layer)
        turned = layer[0] in ("linear", "block")  # as is usual in JAX: (inputs, outputs)
        params[str(i)] = [jnp.array(array.T if turned else array) for array in arrays]
        params[str(i)] += [(jnp.ones(c), jnp.zeros(c)) for c in (*norms, *layernorms)]
        running[str(i)] = [(jnp.zeros(c), jnp.ones(c)) for c in norms]
    return params, running


def norms_of(layer: Layer) -> tuple[list[int], list[int]]:
    """How wide the batch norms and the layer norms in a layer are."""
    match layer:
        case "norm", channels:
            return [channels], []
        case "stem", _, outputs:
            return [outputs], []
        case "residual", _, outputs, stride:
            return [outputs] * (3 if stride > 1 else 2), []
        case "block", width, _:
            return [], [width, width]
        case "layernorm", width:
            return [], [width]
    return [], []


def forward(layers: tuple[Layer, ...], params: Any, running: Any, x: Any) -> tuple[Any, Any]:
    """(output, new running statistics) of the model."""
    running = dict(running)
    for i, (kind, *sizes) in enumerate(layers):
        own = params[str(i)]
        match kind:
            case "linear":
                x = linear(x, *own)
            case "conv":
                x = conv(x, own[0], 1, "VALID") + own[1][:, None, None]
            case "norm":
                x, running[str(i)] = batchnorms([x], own, running[str(i)])
                x = x[0]
            case "pool":
                window = (1, 1, 2, 2)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            case "flatten":
                x = x.reshape(len(x), -1)
            case "relu":
                x = jax.nn.relu(x)
            case "sigmoid":
                x = jax.nn.sigmoid(x)
            case "stem":
                y = conv(x, own[0], 1, "SAME")
                y, running[str(i)] = batchnorms([y], own[1:], running[str(i)])
                x = jax.nn.relu(y[0])
            case "residual":
                x, running[str(i)] = residual(x, own, running[str(i)], sizes[2])
            case "mean":
                x = x.mean((2, 3))
            case "embed":
                x = own[0][x] + own[1][: x.shape[1]]
            case "block":
                x = block(x, own, sizes[1])
            case "layernorm":
                x = layernorm(x, *own[0])
            case "unembed":
                x = unembed(x, params)
            case "tokens":
                x = x.reshape(-1, x.shape[-1])
    return x, running


def linear(x: Any, weight: Any, bias: Any) -> Any:
    return x @ weight + bias


def unembed(x: Any, params: Any) -> Any:
    return jnp.einsum("btd,vd->btv", x, params["0"][0])


def conv(x: Any, weight: Any, stride: int, padding: Any) -> Any:
    return lax.conv_general_dilated(x, weight, (stride, stride), padding)


def batchnorms(xs: list[Any], params: Any, running: Any) -> tuple[list[Any], Any]:
    """Batch normalisation of some (N, C, H, W): (results, new running means and variances)."""
    results, after = [], []
    for x, (weight, bias), before in zip(xs, params, running, strict=True):
        mean, var = jnp.mean(x, (0, 2, 3)), jnp.var(x, (0, 2, 3))
        count = x.size // x.shape[1]
        new = (mean, var * count / (count - 1))
        pairs = zip(before, new, strict=True)
        after.append(tuple(old + MOMENTUM * (now - old) for old, now in pairs))
        scale = weight / jnp.sqrt(var + 1e-5)
        results.append((x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None])
    return results, after


def residual(x: Any, own: Any, running: Any, stride: int) -> tuple[Any, Any]:
    count = 3 if stride > 1 else 2
    convs, norms = own[:count], own[count:]
    around = [(1, 1), (1, 1)]
    (y,), first = batchnorms([conv(x, convs[0], stride, around)], norms[:1], running[:1])
    y = conv(jax.nn.relu(y), convs[1], 1, around)
    beside = [conv(x, convs[2], stride, "VALID")] if stride > 1 else []
    (y, *short), others = batchnorms([y, *beside], norms[1:], running[1:])
    return jax.nn.relu(y + (short[0] if short else x)), [*first, *others]


def layernorm(x: Any, weight: Any, bias: Any) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * weight + bias


def split(x: Any, own: Any, heads: int) -> Any:
    """(B, T, width) to queries, keys and values (B, heads, T, width / heads)."""
    b, t, width = x.shape
    qkv = linear(layernorm(x, *own[8]), own[0], own[1])
    return qkv.reshape(b, t, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)


def attend(q: Any, k: Any, v: Any, seen: Any) -> Any:
    scores = jnp.einsum("bhtd,bhsd->bhts", q, k) * q.shape[-1] ** -0.5
    return jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ v


def after(x: Any, own: Any, attended: Any) -> Any:
    """What follows attention in a block."""
    x = x + linear(attended.transpose(0, 2, 1, 3).reshape(x.shape), own[2], own[3])
    y = jax.nn.gelu(linear(layernorm(x, *own[9]), own[4], own[5]))
    return x + linear(y, own[6], own[7])


def block(x: Any, own: Any, heads: int) -> Any:
    q, k, v = split(x, own, heads)
    return after(x, own, attend(q, k, v, jnp.tril(jnp.ones((x.shape[1],) * 2, bool))))


@functools.partial(jax.jit, static_argnums=0)
def prefill(layers: tuple[Layer, ...], params: Any, ids: Any) -> Any:
    """The largest of the next token's logits, after (1, T) ids."""
    x, _ = forward(layers[:-1], params, {}, ids)
    return unembed(x[:, -1:], params).max()


def decoder(problem: Problem, params: Any, begin: int, kept_before: Callable) -> Callable:
    """A function that adds one token after another, from position `begin` on."""
    blocks = problem.layers[1:-2]
    longest, width = problem.weights[0][1].shape
    heads = int(blocks[0][-1])
    kept = kept_before(len(blocks), heads, longest, width // heads, begin)
    state = tuple([jnp.asarray(array) for array in arrays] for arrays in kept)

    @functools.partial(jax.jit, donate_argnums=(1,))
    def step(params: Any, state: Any, token: Any, at: Any) -> Any:
        ids, positions = params["0"]
        x = ids[token] + positions[at]
        seen = jnp.arange(longest) <= at
        keys, values = [], []
        for i, (k, v) in enumerate(zip(*state, strict=True)):
            own = params[str(i + 1)]
            q, new_k, new_v = split(x, own, heads)
            keys.append(lax.dynamic_update_slice(k, new_k, (0, 0, at, 0)))
            values.append(lax.dynamic_update_slice(v, new_v, (0, 0, at, 0)))
            x = after(x, own, attend(q, keys[-1], values[-1], seen))
        x = layernorm(x, *params[str(len(blocks) + 1)][0])
        return (keys, values), unembed(x, params).max()

    prompt = jnp.asarray(problem.inputs)
    position = begin

    def next_token() -> float:
        nonlocal state, position
        place = position % begin
        state, result = step(params, state, prompt[:, place : place + 1], position)
        position += 1
        return float(result)

    return next_token
