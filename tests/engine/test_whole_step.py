"""What a recorded step does not do: anything twice, and anything for nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradlet
from gradlet import Tensor, jit, nn
from gradlet.engine import native
from gradlet.runtime.cpu.memory import pool
from tests.helpers import floats


def data(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(floats(*shape, seed=seed), requires_grad=False)


def seen(step: Callable[[], Any]) -> gradlet.engine.profile.Profile:
    """What a call of a step runs that was recorded before."""
    step(), step()
    with gradlet.profile() as p:
        step()
    return p


def products(step: Callable[[], Any]) -> int:
    """How many products of matrices a recorded step computes."""
    return sum(k.calls for k in seen(jit(step)).kernels if "contraction" in k.name)


def test_equal_expressions_are_computed_once() -> None:
    a, b = data(40, 50), data(50, 30, seed=1)
    assert products(lambda: (a @ b).exp() + (a @ b).sum(0)) == 1
    assert products(lambda: ((a @ b).exp(), (b.T @ a.T).exp())) == 2  # not equal as graphs


def test_gradients_share_what_the_way_forward_has_computed() -> None:
    w1, w2, x = Tensor(floats(50, 40)), Tensor(floats(40, 30, seed=1)), data(60, 50, seed=2)

    def step() -> Tensor:
        w1.grad = w2.grad = None
        loss = ((x @ w1).tanh() @ w2).square().sum()
        loss.backward()
        return loss

    assert products(step) == 5  # two forward; of w2, of the hidden layer, of w1


def test_what_nobody_wants_is_not_computed() -> None:
    a, b = data(40, 50), data(50, 30, seed=1)

    def step() -> Tensor:
        unused = a @ b
        unused.exp().sum()
        return a.sum()

    assert products(step) == 0


@pytest.mark.parametrize("make", [nn.optim.SGD, nn.optim.Adam, nn.optim.AdamW])
def test_a_parameter_is_updated_with_all_that_belongs_to_it_by_one_kernel(make: Any) -> None:
    sizes = [(30, 20), (20,), (20, 20), (20,), (10, 20), (10,)]
    parameters = [Tensor(floats(*size, seed=i)) for i, size in enumerate(sizes)]
    opt = make(parameters, lr=0.01)

    def step() -> None:
        for parameter in parameters:
            parameter.grad = parameter.detach() * 2
        opt.step()

    kernels = sum(k.calls for k in seen(jit(step)).kernels)
    assert kernels <= len(sizes) + 2  # and the powers of what Adam forgets by


def test_equal_blocks_share_their_code() -> None:
    def counts(blocks: int) -> tuple[int, int]:
        native._kernels.clear()
        layers = [nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0) for _ in range(blocks)]
        opt = nn.optim.SGD(layers, lr=0.01)
        x = data(2, 8, 32)

        @jit
        def step() -> Tensor:
            y = x
            for layer in layers:
                y = layer(y)
            loss = y.square().mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        with gradlet.profile() as p:
            step()
        compiled = p.counters["kernels compiled"] + p.counters["kernels from disk"]
        return p.counters["kernels run"], compiled

    (few, once), (many, again) = counts(3), counts(6)
    assert many > 1.8 * few  # runs
    assert again <= once + 2  # compilations


def test_arrays_between_kernels_take_turns_in_memory() -> None:
    size = 256
    x, w = data(size, size), data(size, size, seed=1)

    @jit
    def step() -> Tensor:
        y = x
        for _ in range(12):
            y = (y @ w).tanh()
        return y.sum()

    array = size * size * np.dtype(np.float32).itemsize
    before = pool.in_use_bytes  # the two that are given are among it
    # The two that a product reads and writes, and packed panels.
    assert seen(step).counters["peak bytes"] - before < 4 * array
