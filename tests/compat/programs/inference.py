"""Recorded functions: of tensors, of an object, with a keyword, forgotten and recorded again."""

import numpy as np
from tinygrad import Tensor, TinyJit
from tinygrad.engine.jit import TinyJit as SameJit

random = np.random.default_rng(2)
assert SameJit is TinyJit


class Model:
    def __init__(self, scale):
        self.w = Tensor(random.normal(size=(4, 4)).astype(np.float32)) * scale
        self.w.realize()
        self.jitted = TinyJit(self.forward)

    def forward(self, x):
        return (x @ self.w).tanh().realize()

    @TinyJit
    def norm(self, x):
        return (x @ self.w).square().sum().sqrt().realize()


def rows(n):
    return Tensor(random.normal(size=(n, 4)).astype(np.float32)).realize()


first = Model(1.0)
kept = [first.jitted(rows(2)).numpy().copy() for _ in range(5)]
print("jitted", [float(k.sum()) for k in kept], len({k.tobytes() for k in kept}))
first.jitted.reset()
print("reset", [first.jitted(rows(3)).sum().item() for _ in range(3)])
print("method", [first.norm(rows(2)).item() for _ in range(4)])


@TinyJit
def weighted(a, b, weight=None):
    return (a * weight + b).sum(axis=1).realize()


print("keyword", [weighted(rows(2), rows(2), weight=rows(2)).tolist() for _ in range(4)])


@TinyJit
def several(a):
    return (a + 1).realize(), (a * 2).realize()


print("several", [[part.sum().item() for part in several(rows(1))] for _ in range(4)])
