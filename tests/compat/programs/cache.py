"""Attention that keeps keys and values of earlier positions, up to one that is a Variable."""

import numpy as np
from tinygrad import Tensor, TinyJit, Variable, nn

HEADS, SIZE, LONGEST = 2, 8, 8
random = np.random.default_rng(4)


class Attention:
    def __init__(self):
        self.qkv = nn.Linear(SIZE, 3 * SIZE, bias=False)
        self.out = nn.Linear(SIZE, SIZE, bias=False)
        for layer in (self.qkv, self.out):
            layer.weight.assign(
                Tensor(random.normal(0, 0.4, layer.weight.shape).astype(np.float32))
            )
        self.cache = Tensor.zeros(2, 1, LONGEST, HEADS, SIZE // HEADS).contiguous().realize()
        self.step = TinyJit(self.__call__)

    def __call__(self, x, start):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = [part.reshape(1, 1, HEADS, SIZE // HEADS) for part in (q, k, v)]
        self.cache[:, :, start : start + 1, :, :].assign(Tensor.stack(k, v)).realize()
        keys = self.cache[0, :, 0 : start + 1].transpose(1, 2)
        values = self.cache[1, :, 0 : start + 1].transpose(1, 2)
        mixed = q.transpose(1, 2).scaled_dot_product_attention(keys, values)
        return self.out(mixed.transpose(1, 2).reshape(1, 1, SIZE)).realize()


attention = Attention()
tokens = random.normal(size=(LONGEST, SIZE)).astype(np.float32)
position = Variable("position", 0, LONGEST - 1)
outputs = []
for i in range(LONGEST - 1):
    token = Tensor(tokens[i]).reshape(1, 1, SIZE).contiguous().realize()
    outputs.append(attention.step(token, position.bind(i)).numpy().copy())
print("decoded", [float(o.sum()) for o in outputs])
print("last", outputs[-1].flatten().tolist())
print("kept", attention.cache.square().sum().item())
bound = position.bind(3)
print("variable", bound.unbind()[1], Tensor(tokens)[: bound.unbind()[1]].sum().item())
