"""The layers of the workloads in gradlet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.workloads.problem import Problem, kept_before
from gradlet import Tensor, nn


class Model:
    """All layers of a workload, with its weights."""

    def __init__(self, problem: Problem) -> None:
        make: dict[str, Callable[..., Any]] = {
            "linear": nn.Linear,
            "conv": nn.Conv2d,
            "norm": nn.BatchNorm2d,
            "pool": lambda: lambda x: x.max_pool2d(2),
            "flatten": lambda: lambda x: x.flatten(1),
            "relu": lambda: Tensor.relu,
            "sigmoid": lambda: Tensor.sigmoid,
            "stem": Stem,
            "residual": Residual,
            "mean": lambda: lambda x: x.mean((2, 3)),
            "embed": Embed,
            "block": Block,
            "layernorm": nn.LayerNorm,
            "unembed": lambda: lambda x: x @ self.layers[0].ids.weight.T,
            "tokens": lambda: lambda x: x.flatten(0, 1),
        }
        self.layers = [make[kind](*sizes) for kind, *sizes in problem.layers]
        for layer, arrays in zip(self.layers, problem.weights, strict=True):
            for tensor, array in zip(weights_of(layer) if arrays else (), arrays, strict=True):
                tensor.assign(Tensor(array))

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def prefill(self, ids: Tensor) -> Tensor:
        """(1, T) ids to the (1, 1, ids) logits of the next one."""
        with Tensor.no_grad():
            for layer in self.layers[:-1]:
                ids = layer(ids)
            return self.layers[-1](ids[:, -1:])


def weights_of(layer: Any) -> Sequence[Tensor]:
    """The tensors of a layer that the workload gives, in its order."""
    return layer.weights() if hasattr(layer, "weights") else (layer.weight, layer.bias)


class Stem:
    """A 3x3 convolution, normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def weights(self) -> list[Tensor]:
        return [self.conv.weight]

    def __call__(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


class Residual:
    """Two 3x3 convolutions beside a shorter way (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short = None
        if stride > 1:
            self.short = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.norm3 = nn.BatchNorm2d(outputs)

    def weights(self) -> list[Tensor]:
        convs = (self.conv1, self.conv2, self.short)
        return [conv.weight for conv in convs if conv is not None]

    def __call__(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (y + (x if self.short is None else self.norm3(self.short(x)))).relu()


class Embed:
    """Ids to vectors, with their positions added."""

    def __init__(self, ids: int, width: int, longest: int) -> None:
        self.ids, self.positions = nn.Embedding(ids, width), nn.Embedding(longest, width)

    def weights(self) -> list[Tensor]:
        return [self.ids.weight, self.positions.weight]

    def __call__(self, x: Tensor) -> Tensor:
        return self.ids(x) + self.positions.weight[: x.shape[1]]


class Block:
    """A pre-norm transformer block (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def weights(self) -> list[Tensor]:
        layers = (self.qkv, self.out, self.up, self.down)
        return [x for layer in layers for x in (layer.weight, layer.bias) if x is not None]

    def split(self, x: Tensor) -> Sequence[Tensor]:
        """(B, T, width) to queries, keys and values (B, heads, T, width / heads)."""
        b, t, width = x.shape
        shape = (b, t, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm1(x)).reshape(*shape).permute(2, 0, 3, 1, 4).chunk(3)
        return q.squeeze(0), k.squeeze(0), v.squeeze(0)

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows attention."""
        x = x + self.out(attended.transpose(1, 2).reshape(*x.shape))
        return x + self.down(self.up(self.norm2(x)).gelu())

    def __call__(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        t = x.shape[1]
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        seen = Tensor.ones(t, t).tril() > 0
        return self.after(x, seen.where(scores, -np.inf).softmax(-1) @ v)

    def step(self, x: Tensor, keys: Tensor, values: Tensor, at: Tensor) -> Tensor:
        """One token (1, 1, width), whose key and value go to position `at` of those kept."""
        q, k, v = self.split(x)
        places = Tensor.arange(keys.shape[2]).reshape(1, 1, -1, 1)
        keys.assign((places == at).where(k, keys))
        values.assign((places == at).where(v, values))
        scores = q @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        seen = places.reshape(1, 1, 1, -1) <= at
        return self.after(x, seen.where(scores, -np.inf).softmax(-1) @ values)


def decoder(
    model: Model, prompt: np.ndarray, begin: int, jit: Callable[[Any], Any]
) -> Callable[[], float]:
    """A function that adds one token after another, from position `begin` on."""
    embed, *blocks = model.layers[:-2]
    longest, width = embed.positions.weight.shape
    heads = blocks[0].heads
    kept = kept_before(len(blocks), heads, longest, width // heads, begin)
    keys, values = ([Tensor(array) for array in arrays] for arrays in kept)

    def step(token: Tensor, at: Tensor) -> Tensor:
        with Tensor.no_grad():
            x = embed.ids(token) + embed.positions(at).reshape(1, 1, -1)
            for block, k, v in zip(blocks, keys, values, strict=True):
                x = block.step(x, k, v, at)
            for layer in model.layers[-2:]:
                x = layer(x)
            return x.max()

    run = jit(step)
    position = begin

    def next_token() -> float:
        nonlocal position
        token = Tensor(prompt[:, position % begin : position % begin + 1], requires_grad=False)
        result = run(token, Tensor([position], requires_grad=False)).item()
        position += 1
        return result

    return next_token
