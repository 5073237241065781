"""Recurrent layers and cells against PyTorch's with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, grad, jit, nn, profile, vmap
from gradlet.nn import recurrence
from gradlet.nn.cells import gru_step
from gradlet.nn.recurrence import unroll
from tests.graphs import plan
from tests.helpers import floats


@pytest.fixture(autouse=True)
def evaluation() -> Iterator[None]:
    """Tests choose themselves whether they train."""
    with Tensor.train(False):
        yield


def pair(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """A layer and PyTorch's with the same weights."""
    torch.manual_seed(0)
    reference = getattr(torch.nn, name)(*args, **options).eval()
    layer = getattr(nn, name)(*args, **options)
    nn.state.load_state_dict(layer, reference.state_dict())
    return layer, reference


def flat(value: Any) -> list[Any]:
    return [part for x in value for part in flat(x)] if isinstance(value, tuple) else [value]


def compare(layer: Any, reference: Any, *arrays: Any) -> None:
    """Values and gradients; a tuple of arrays is an argument of several tensors."""

    def made(array: Any, make: Any) -> Any:
        return tuple(made(a, make) for a in array) if isinstance(array, tuple) else make(array)

    ours = [made(a, Tensor) for a in arrays]
    theirs = [made(a, lambda x: torch.tensor(x, requires_grad=True)) for a in arrays]
    got, expected = flat(layer(*ours)), flat(reference(*theirs))
    assert len(got) == len(expected)
    directions = [floats(*y.shape, seed=i) for i, y in enumerate(expected)]
    for part, known in zip(got, expected, strict=True):
        np.testing.assert_allclose(part.numpy(), known.detach().numpy(), rtol=1e-4, atol=1e-5)
    sum((y * Tensor(d)).sum() for y, d in zip(got, directions, strict=True)).backward()
    sum((y * torch.tensor(d)).sum() for y, d in zip(expected, directions, strict=True)).backward()
    for a, b in zip(flat(tuple(ours)), flat(tuple(theirs)), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=2e-5)
    state = nn.state.get_state_dict(layer)
    for key, known in reference.named_parameters():
        scale = max(1.0, float(known.grad.abs().max()))
        np.testing.assert_allclose(state[key].grad.numpy(), known.grad.numpy(), atol=2e-5 * scale)


CELLS = {
    "rnn": ("RNNCell", {}),
    "rnn relu": ("RNNCell", {"nonlinearity": "relu"}),
    "rnn without bias": ("RNNCell", {"bias": False}),
    "gru": ("GRUCell", {}),
    "gru without bias": ("GRUCell", {"bias": False}),
    "lstm": ("LSTMCell", {}),
    "lstm without bias": ("LSTMCell", {"bias": False}),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("shape", [(2, 3), (3,)])
def test_cells(name: str, shape: tuple[int, ...]) -> None:
    kind, options = CELLS[name]
    layer, reference = pair(kind, 3, 5, **options)
    assert list(nn.state.get_state_dict(layer)) == list(reference.state_dict())
    state = floats(*shape[:-1], 5, seed=1)
    states = (state, state[..., ::-1].copy()) if kind == "LSTMCell" else state
    compare(layer, reference, floats(*shape))
    compare(*pair(kind, 3, 5, **options), floats(*shape), states)


LAYERS = {
    "rnn": ("RNN", {}),
    "rnn with all": ("RNN", {"num_layers": 2, "nonlinearity": "relu", "bidirectional": True}),
    "rnn without bias": ("RNN", {"bias": False, "batch_first": True}),
    "gru": ("GRU", {}),
    "gru with all": ("GRU", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "gru without bias": ("GRU", {"bias": False}),
    "lstm": ("LSTM", {}),
    "lstm with all": ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "lstm without bias": ("LSTM", {"bias": False}),
    "lstm projected": ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    kind, options = LAYERS[name]
    layer, reference = pair(kind, 3, 5, **options)
    assert list(nn.state.get_state_dict(layer)) == list(reference.state_dict())
    compare(layer, reference, floats(3, 2, 3))


def test_one_step_of_one() -> None:
    compare(*pair("GRU", 1, 1), floats(1, 1, 1))


@pytest.mark.parametrize("name", LAYERS)
def test_initial_states(name: str) -> None:
    kind, options = LAYERS[name]
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    width = options.get("proj_size", 5)
    for batch in ((2,), ()):
        layer, reference = pair(kind, 3, 5, **options)
        hidden = floats(count, *batch, width, seed=1)
        states = (hidden, floats(count, *batch, 5, seed=2)) if kind == "LSTM" else hidden
        x = floats(2, *batch, 3)
        compare(layer, reference, x, states)


def test_gradients_of_every_order() -> None:
    """The loop has a gradient of its own, and so does that gradient."""
    weight, bias = Tensor(floats(6, 2, seed=3).astype(np.float64)), Tensor(np.zeros(6))

    def run(x: Tensor) -> Tensor:
        x = x.double()
        start = Tensor(np.ones((2, 2)), requires_grad=False)
        return unroll(gru_step, x, (start,), (weight.to(dtype=x.dtype), bias, None))[0]

    def slope(x: Tensor) -> Tensor:
        return grad(lambda y: run(y).square().sum())(x)

    x = Tensor(floats(2, 2, 6).astype(np.float64))
    along, step = Tensor(floats(2, 2, 6, seed=4).astype(np.float64)), 1e-6
    second = grad(lambda y: (slope(y) * along).sum())(x)
    difference = (slope(x + along * step) - slope(x - along * step)) / (2 * step)
    np.testing.assert_allclose(second.numpy(), difference.numpy(), rtol=1e-5, atol=1e-7)


def test_vmap_of_a_loop() -> None:
    layer, x = nn.LSTM(3, 4), Tensor(floats(5, 3, 2, 3))
    each = vmap(lambda one: layer(one)[0])(x)
    np.testing.assert_allclose(each.numpy()[3], layer(x[3])[0].numpy(), rtol=1e-5, atol=1e-6)


def test_a_training_loop_compiles_once_and_follows_pytorch() -> None:
    layer, reference = pair("LSTM", 3, 4)
    opt, reference_opt = nn.optim.SGD([layer], lr=0.5), torch.optim.SGD(reference.parameters(), 0.5)

    def train(x: Tensor) -> Tensor:
        opt.zero_grad()
        loss = layer(x)[0].square().mean()
        loss.backward()
        opt.step()
        return loss

    jitted, compiled = jit(train), []
    for number in range(6):
        x = floats(3, 2, 3, seed=number)
        with profile() as seen:
            loss = (train if number < 3 else jitted)(Tensor(x, requires_grad=False)).item()
        compiled.append(seen.counters["programs compiled"])
        reference_opt.zero_grad()
        expected = reference(torch.tensor(x))[0].square().mean()
        expected.backward()
        reference_opt.step()
        assert abs(loss - expected.item()) < 1e-6
    assert compiled[1:3] == [0, 0] and compiled[4:] == [0, 0]


def test_a_recorded_step_may_be_the_first_of_all() -> None:
    layer, x = nn.RNN(3, 4), Tensor(floats(3, 2, 3), requires_grad=False)
    recurrence._places.clear()
    step = jit(lambda x: layer(x)[0])
    for _ in range(3):
        got = step(x)
    np.testing.assert_allclose(got.numpy(), layer(x)[0].numpy(), atol=1e-6)


def test_steps_share_kernels() -> None:
    """More steps need no more kernels than few."""
    layer, different = nn.GRU(2, 3), []
    for steps in (6, 12):
        y = layer(Tensor(floats(steps, 2, 2), requires_grad=False))[0].square().sum()
        gradients = y.gradient(*nn.state.get_parameters(layer))
        kernels = [step.kernel for step in plan(*gradients).steps]
        different.append(len(set(kernels)))
    assert different[1] <= different[0] < len(kernels) / 3


def test_dropout_between_layers() -> None:
    layer, x = nn.RNN(3, 4, num_layers=2, dropout=1.0), Tensor(floats(3, 2, 3))
    calm = layer(x)[0].numpy()
    with Tensor.train():
        dropped = layer(x)[0].numpy()
    alone = nn.RNN(4, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(alone, f"{name}_l0", getattr(layer, f"{name}_l1"))
    np.testing.assert_allclose(dropped, alone(Tensor.zeros(3, 2, 4))[0].numpy(), atol=1e-6)
    assert abs(calm - dropped).max() > 0.01


def test_initial_values_spread_as_pytorchs() -> None:
    for tensor in nn.state.get_parameters(nn.LSTM(20, 100)):
        largest = abs(tensor.numpy()).max()
        assert 0.09 < largest <= 0.1


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: nn.RNN(3, 4)(Tensor.ones(2, 5, 2)), r"RNN\(3, 4\): x has shape \(2, 5, 2\)"),
        (lambda: nn.RNN(3, 4)(Tensor.ones(0, 5, 3)), "T of at least 1"),
        (lambda: nn.RNN(3, 4)(Tensor.ones(3)), r"x has shape \(3,\)"),
        (lambda: nn.RNN(3, 4)(Tensor.ones(2, 5, 3), Tensor.ones(5, 4)), r"\(1, 5, 4\) is wanted"),
        (lambda: nn.RNN(3, 4, nonlinearity="sigmoid"), "'tanh' or 'relu', not 'sigmoid'"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size=4 must be below"),
        (lambda: nn.GRU(3, 4, dropout=2.0), "probability"),
        (lambda: nn.GRUCell(3, 4)(Tensor.ones(2, 2)), r"GRUCell\(3, 4\): x has shape \(2, 2\)"),
        (lambda: nn.GRUCell(3, 4)(Tensor.ones(2, 3), Tensor.ones(4)), r"\(2, 4\) is wanted"),
    ],
)
def test_what_does_not_fit_says_so(call: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        call()
