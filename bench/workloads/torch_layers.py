"""The layers of the workloads in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.workloads.problem import Problem


class Model(nn.Sequential):
    """All layers of a workload, with its weights."""

    def __init__(self, problem: Problem) -> None:
        make: dict[str, Callable[..., nn.Module]] = {
            "linear": nn.Linear,
            "conv": nn.Conv2d,
            "norm": nn.BatchNorm2d,
            "pool": lambda: nn.MaxPool2d(2),
            "flatten": nn.Flatten,
            "relu": nn.ReLU,
            "sigmoid": nn.Sigmoid,
            "stem": Stem,
            "residual": Residual,
            "mean": Mean,
            "embed": Embed,
            "block": Block,
            "layernorm": nn.LayerNorm,
            "unembed": lambda: Unembed(self[0]),
            "tokens": lambda: nn.Flatten(0, 1),
        }
        super().__init__()
        for kind, *sizes in problem.layers:
            self.append(make[kind](*sizes))
        with torch.no_grad():
            for layer, arrays in zip(self, problem.weights, strict=True):
                for tensor, array in zip(weights_of(layer) if arrays else (), arrays, strict=True):
                    tensor.copy_(torch.from_numpy(array))


def weights_of(layer: Any) -> Sequence[Tensor]:
    """The tensors of a layer that the workload gives, in its order."""
    return layer.weights() if hasattr(layer, "weights") else (layer.weight, layer.bias)


class Stem(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def weights(self) -> list[Tensor]:
        return [self.conv.weight]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
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

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return F.relu(y + (x if self.short is None else self.norm3(self.short(x))), inplace=True)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Embed(nn.Module):
    def __init__(self, ids: int, width: int, longest: int) -> None:
        super().__init__()
        self.ids, self.positions = nn.Embedding(ids, width), nn.Embedding(longest, width)

    def weights(self) -> list[Tensor]:
        return [self.ids.weight, self.positions.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.ids(x) + self.positions.weight[: x.shape[1]]


class Unembed(nn.Module):
    def __init__(self, embed: Any) -> None:
        super().__init__()
        self.embed = [embed]  # not a part of this module

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.embed[0].ids.weight)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def weights(self) -> list[Tensor]:
        layers = (self.qkv, self.out, self.up, self.down)
        return [x for layer in layers for x in (layer.weight, layer.bias)]

    def split(self, x: Tensor) -> Sequence[Tensor]:
        b, t, width = x.shape
        shape = (b, t, 3, self.heads, width // self.heads)
        return self.qkv(self.norm1(x)).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.after(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, x: Tensor, keys: Tensor, values: Tensor, at: int) -> Tensor:
        q, keys[:, :, at : at + 1], values[:, :, at : at + 1] = self.split(x)
        seen = keys[:, :, : at + 1], values[:, :, : at + 1]
        return self.after(x, F.scaled_dot_product_attention(q, *seen))


def prefill(model: Model, ids: Tensor) -> Tensor:
    """(1, T) ids to the (1, 1, ids) logits of the next one."""
    x = ids
    for layer in list(model)[:-1]:
        x = layer(x)
    return model[-1](x[:, -1:])


def decoder(model: Model, prompt: Any, begin: int, kept_before: Callable) -> Callable[[], float]:
    """A function that adds one token after another, from position `begin` on."""
    embed, *blocks = list(model)[:-2]
    longest, width = embed.positions.weight.shape
    kept = kept_before(len(blocks), blocks[0].heads, longest, width // blocks[0].heads, begin)
    keys, values = ([torch.from_numpy(array) for array in arrays] for arrays in kept)
    ids = torch.from_numpy(prompt)
    position = begin

    def next_token() -> float:
        nonlocal position
        token = ids[:, position % begin : position % begin + 1]
        x = embed.ids(token) + embed.positions.weight[position]
        for block, k, v in zip(blocks, keys, values, strict=True):
            x = block.step(x, k, v, position)
        position += 1
        return model[-1](model[-2](x)).max().item()

    return next_token
