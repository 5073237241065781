"""Every optimiser on the same curved valley, with arguments by place and by name."""

import numpy as np
from tinygrad import Context, Tensor
from tinygrad.nn.optim import LAMB, LARS, SGD, Adam, AdamW, Muon, OptimizerGroup

START = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
SCALE = Tensor(np.linspace(0.1, 2, 12).reshape(4, 3).astype(np.float32))


def train(make, steps=6):
    w = Tensor(START.copy())
    opt = make([w])
    with Context(TRAINING=1):
        for _ in range(steps):
            opt.zero_grad()
            ((w - 1).square() * SCALE).sum().backward()
            opt.step()
    return w


MAKERS = {
    "sgd": lambda p: SGD(p, 0.05),
    "momentum": lambda p: SGD(p, 0.05, 0.9, 0.01),
    "nesterov": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=True),
    "classic": lambda p: SGD(p, 0.05, 0.9, 0.0, False, True),
    "adam": lambda p: Adam(p, 0.1, 0.8, 0.95, 1e-7),
    "adamw": lambda p: AdamW(p, lr=0.1, b1=0.7, b2=0.9, eps=1e-8, weight_decay=0.2),
    "lamb": lambda p: LAMB(p, 0.1, 0.9, 0.99, 1e-6, 0.05),
    "lars": lambda p: LARS(p, 0.5, 0.9, 0.01, tcoef=0.1),
    "muon": lambda p: Muon(p, 0.1, 0.9, 0.1),
}
for name, make in MAKERS.items():
    print(name, train(make).flatten().tolist())

a, b = Tensor(START.copy()), Tensor(START.copy())
group = OptimizerGroup(SGD([a], lr=0.1), Adam([b], lr=0.1))
with Context(TRAINING=1):
    group.zero_grad()
    (a * b).sum().backward()
    group.step()
print("group", a.sum().item(), b.sum().item())
