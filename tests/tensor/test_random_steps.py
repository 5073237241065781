"""Random training loops: gradients that are called give what gradients that are built give.

Each loop does, on the way, some of what people do: looks at values early or late, keeps tensors,
adds up losses, keeps graphs, leaves gradients in place, changes options, writes weights by hand.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gradlet import Tensor, nn
from gradlet.tensor import autograd

STEPS = 5
OPTIMISERS = (nn.optim.SGD, nn.optim.Adam, nn.optim.AdamW, nn.optim.Lion, nn.optim.RMSprop)
HIDDEN = (
    lambda h: h.tanh(),
    lambda h: h.relu(),
    lambda h: h.dropout(0.3),
    lambda h: h * h.detach(),
    lambda h: h.clone().sigmoid(),
    lambda h: h.gelu(),
)


def loop(seed: int) -> Iterator[Any]:
    """The numbers that a loop shows on its way and at its end."""
    chance, numbers = random.Random(seed), np.random.default_rng(seed)

    def array(*shape: int) -> Tensor:
        return Tensor(numbers.normal(size=shape).astype(np.float32))

    Tensor.manual_seed(seed)
    w, b, v, x = array(4, 6), array(6), array(6, 3), array(5, 4)
    y, total = Tensor(numbers.integers(0, 3, 5)), Tensor(0.0, requires_grad=False)
    norm = nn.BatchNorm(6) if chance.random() < 0.4 else None
    # What is added before a norm has a gradient of rounding errors alone.
    params = [w, b, v] if norm is None else [w, v, norm.weight, norm.bias]
    opt = chance.choice(OPTIMISERS)(params, lr=0.05) if chance.random() < 0.8 else None
    hidden, kept = chance.choice(HIDDEN), []
    for _ in range(STEPS):
        h = hidden(x @ w + b if norm is None else norm(x @ w))
        scores = h @ v
        if chance.random() < 0.2:
            yield scores.numpy()
        said, positive = scores.argmax(1), scores > 0
        loss = scores.cross_entropy(y)
        if chance.random() < 0.3:
            loss = loss + (v * v).sum() * 0.01
        if chance.random() < 0.3:
            yield loss.item()
        if chance.random() < 0.5:
            total = total + chance.choice((loss, loss.detach()))
        again = chance.random() < 0.2
        loss.backward(retain_graph=again)
        if again:
            loss.backward()
        if chance.random() < 0.3:
            kept += [scores, said, positive, w.grad, loss]
        if chance.random() < 0.2:
            yield chance.choice((h, w.grad)).numpy()
        if opt is None:
            with Tensor.no_grad():
                for param in params:
                    param -= param.grad * 0.1
        else:
            group = opt.param_groups[0]
            if chance.random() < 0.3:
                group[chance.choice(("lr", "weight_decay"))] = 0.03
            opt.step()
        if chance.random() < 0.7:
            for param in params:
                param.grad = None
        if chance.random() < 0.5:
            yield (said == y).float().mean().item()
        if chance.random() < 0.5:
            yield loss.item()
    yield total.item()
    for tensor in (*params, *kept, *([] if norm is None else [norm.running_mean])):
        yield tensor.numpy()


@pytest.mark.parametrize("seed", range(16))
def test_called_gradients_are_built_gradients(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tensor.train():
        first, again = list(loop(seed)), list(loop(seed))
        monkeypatch.setattr(autograd, "repeats", lambda *_: False)
        built = list(loop(seed))
    assert len(first) == len(again) == len(built)
    for one, other, wanted in zip(first, again, built, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, wanted, rtol=2e-5, atol=1e-6)
