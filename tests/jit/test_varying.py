"""`jit(varying=...)`: one program for every size, and the same numbers as without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradlet
from gradlet import Tensor, jit, nn
from tests.helpers import floats, integers

MOST = 13
SIZES = [12, 5, 13, 2, 7, 5]
COMPILED = Tensor([0]).device == "cpu"  # rather than interpreted


def data(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(floats(*shape, seed=seed), requires_grad=False)


def compiled_in(run: Callable[[], Any]) -> int:
    """How many kernels the programs have that a call had to compile; 0 where none are."""
    with gradlet.profile() as p:
        run()
    return sum(p.counters[f"kernels {how}"] for how in ("compiled", "from disk", "from memory"))


# Functions of x (n, 4), with what may go wrong beyond n
FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "elementwise": lambda x: (x * 2 + 1).exp(),
    "sum": lambda x: x.sum(),
    "sums": lambda x: (x.sum(0), x.sum(1)),
    "mean": lambda x: x.mean(),
    "max of negative": lambda x: (x - 100).max(0),
    "min": lambda x: (x + 100).min(),
    "product": lambda x: (x * 0.1 + 1).prod(0),
    "variance": lambda x: x.var(0),
    "log of sum": lambda x: x.log().exp().logsumexp(0),
    "softmax": lambda x: x.softmax(0),
    "standardised": lambda x: (x - x.mean(0)) / x.std(0),
    "any": lambda x: ((x > 90).any(), (x < 9).all()),
    "argmax": lambda x: (x.argmax(0), (-x).argmin()),
    "flat": lambda x: x.reshape(-1)[:3],
    "joined": lambda x: x.reshape(-1).cumsum(0),
    "split": lambda x: x.reshape(-1, 2, 2).sum(2),
    "transposed": lambda x: x.T @ x,
    "outer": lambda x: x @ x.T,
    "attention": lambda x: x.scaled_dot_product_attention(x, x),
    "causal": lambda x: x.scaled_dot_product_attention(x, x, is_causal=True),
    "last": lambda x: x[-1] * 2,
    "last two": lambda x: x[-2:],
    "all but one": lambda x: (x[1:] - x[:-1]).sum(0),
    "every second": lambda x: x[:, ::2],
    "appended": lambda x: x.cat(x[:1] * 3).sum(0),
    "prepended": lambda x: (x[:1] * 3).cat(x),
    "doubled": lambda x: x.cat(x + 1),
    "padded": lambda x: x.pad(((2, 1), (0, 0)), value=9.0),
    "flipped": lambda x: x.flip(0),
    "scan": lambda x: x.cumsum(0),
    "scan backwards": lambda x: x.flip(0).cumsum(0).flip(0),
    "counted": lambda x: x * x.shape[0] + x.shape[0] ** 0,
    "numbered": lambda x: Tensor.arange(0, x.shape[0]) * x.sum(1),
    "gathered": lambda x: x[x.argmax(0)],
    "scattered": lambda x: Tensor.zeros(4).scatter_add(0, x.argmax(1), x.sum(1)),
    "convolved": lambda x: x.reshape(-1, 1, 2, 2).conv2d(Tensor.ones(3, 1, 2, 2)),
    "gradient": gradlet.grad(lambda x: (x.softmax(0) * x.cumsum(0)).sum()),
    "triangle": lambda x: (x @ x.T).tril().sum(1),
    "eye": lambda x: Tensor.eye(x.shape[0]).sum(1),
    "normalised": lambda x: x.layernorm(-1),
}  # fmt: skip


def arrays(result: Any) -> list[np.ndarray]:
    return [t.numpy() for t in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_size_is_as_without_jit(name: str) -> None:
    function = FUNCTIONS[name]
    step = jit(function, varying={"x": {0: MOST}})
    for place, size in enumerate(SIZES):
        x = data(size, 4, seed=size)
        expected = arrays(function(x))
        found: list[Any] = []
        count = compiled_in(lambda x=x, found=found: found.append(step(x)))
        for a, b in zip(arrays(found[0]), expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5, err_msg=f"{name} at {size}")
        assert (count > 0) is (place == 0 and COMPILED), f"compiled at size {size}"


def test_a_training_step_with_a_smaller_last_batch() -> None:
    def losses(varying: Any) -> tuple[list[float], list[int]]:
        Tensor.manual_seed(1)
        layers = [nn.Linear(6, 16), nn.Linear(16, 4)]
        opt = nn.optim.Adam(layers, lr=0.05)

        def step(x: Tensor, y: Tensor) -> Tensor:
            loss = layers[1](layers[0](x).relu().dropout(0.25)).cross_entropy(y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run = jit(step, varying=varying) if varying else step
        found, counts = [], []
        with Tensor.train():
            for size in (32, 32, 32, 11, 32, 11, 27):
                x = data(size, 6, seed=size)
                y = Tensor(integers(size, low=0, high=4, seed=size))
                counts.append(compiled_in(lambda x=x, y=y: found.append(run(x, y).item())))
        return found, counts

    expected, _ = losses(None)
    found, counts = losses({"x": {0: 32}, "y": {0: 32}})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (counts[0] > 0) is COMPILED and counts[1:] == [0] * 6


class Columns:
    """Keeps what it was given last, whatever its width."""

    def __init__(self) -> None:
        self.last = Tensor([[0.0], [0.0]], requires_grad=False)

    def keep(self, x: Tensor) -> Tensor:
        self.last = (x * 2).detach()
        return x + 1


def test_what_a_step_keeps_has_the_size_at_hand() -> None:
    columns = Columns()
    keep = jit(columns.keep, varying={"x": {1: 16}})
    for size in (15, 15, 15, 7, 7, 15, 15):  # the function is looked at with 15, too
        x = data(2, size, seed=size)
        np.testing.assert_array_equal(keep(x).numpy(), x.numpy() + 1)
        np.testing.assert_array_equal(columns.last.numpy(), x.numpy() * 2)


def test_a_cache_that_grows_compiles_once() -> None:
    Tensor.manual_seed(0)
    query, key, value = (nn.Linear(8, 8) for _ in range(3))

    def decode(x: Tensor, cache: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        keys = cache["keys"].cat(key(x))
        values = cache["values"].cat(value(x))
        out = query(x).scaled_dot_product_attention(keys, values)
        return out, {"keys": keys, "values": values}

    step = jit(decode, varying={"cache": {0: 40}})
    cache = {name: Tensor(floats(2, 8, seed=i)) for i, name in enumerate(("keys", "values"))}
    plain = dict(cache)
    counts = []
    for number in range(20):
        x = data(1, 8, seed=10 + number)
        found: list[Any] = []
        counts.append(compiled_in(lambda x=x, found=found, c=cache: found.append(step(x, c))))
        out, cache = found[0]
        expected, plain = decode(x, plain)
        np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
        assert cache["keys"].shape == plain["keys"].shape == (3 + number, 8)
    assert (counts[0] > 0) is COMPILED and counts[1:] == [0] * 19


def test_indices_beyond_the_size_at_hand_are_out_of_range() -> None:
    step = jit(lambda x, i: x[i], varying={"x": {0: MOST}})
    x = data(6, 2)
    assert np.array_equal(step(x, Tensor([5, 0])).numpy(), x.numpy()[[5, 0]])
    with pytest.raises(IndexError, match="out of range"):
        step(x, Tensor([6, 0])).numpy()


def test_a_function_that_differs_by_size_is_noticed() -> None:
    def function(x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] > 4 else x * 3

    step = jit(function, varying={"x": {0: MOST}})
    for size in (9, 3, 12, 4, 3):
        x = data(size, 2)
        assert np.array_equal(step(x).numpy(), function(x).numpy())


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.T.reshape(-1), "reshape"),
        (lambda x: x * x.shape[0] ** 2, "number"),
        (lambda x: x.sort()[0], "operations|host|number"),
    ],
)  # fmt: skip
def test_what_cannot_be_general_is_said_and_compiled_by_size(
    function: Callable[[Tensor], Tensor], reason: str
) -> None:
    step = jit(function, varying={"x": {0: MOST}})
    with pytest.warns(UserWarning, match=f"no one program does for every size.*({reason})"):
        step(data(5, 3))
    for size in SIZES:
        x = data(size, 3)
        np.testing.assert_allclose(step(x).numpy(), function(x).numpy(), rtol=1e-6)


def test_methods_and_other_arguments() -> None:
    class Model:
        def __init__(self, scale: float) -> None:
            self.weight = data(3, 3) * scale

        @jit(varying={"x": {1: MOST}})
        def __call__(self, x: Tensor, times: int = 1) -> Tensor:
            return (self.weight @ x * times).sum(1)

    models = [Model(1.0), Model(2.0)]
    for size in SIZES:
        x = data(3, size, seed=size)
        for model in models:
            for times in (1, 3):
                expected = (model.weight.numpy() @ x.numpy() * times).sum(1)
                np.testing.assert_allclose(model(x, times=times).numpy(), expected, rtol=1e-4)
    models[0].weight = data(3, 3) * 5
    expected = (models[0].weight.numpy() @ x.numpy()).sum(1)
    np.testing.assert_allclose(models[0](x).numpy(), expected, rtol=1e-4)


def test_another_default_dtype_is_another_step() -> None:
    step = jit(lambda x: x.sum(0) + Tensor.ones(2), varying={"x": {0: MOST}})
    counts = Tensor(integers(5, 2))
    assert step(counts).dtype.name == "float32"
    with Tensor.with_default_dtype("float64"):
        assert step(counts).dtype.name == "float64"


def test_nothing_is_left_behind_by_examples() -> None:
    total = Tensor.zeros(2, requires_grad=False)

    @jit(varying={"x": {0: MOST}})
    def step(x: Tensor) -> Tensor:
        total.assign(total + x.sum(0))
        return x * 1

    for size in (5, 3):
        step(Tensor(np.ones((size, 2), np.float32)))
    assert total.tolist() == [8, 8]


def test_what_is_wrong_with_varying_is_said() -> None:
    def function(x: Tensor) -> Tensor:
        return x * 1

    cases: list[tuple[Any, str]] = [
        ({"z": {0: 5}}, r"names 'z'; the parameters are \['x'\]"),
        ({"x": {0: 5, 1: 3}}, "give one axis"),
        ({"x": {0: "many"}}, "give one axis"),
    ]
    for varying, message in cases:
        with pytest.raises(ValueError, match=message):
            jit(function, varying=varying)
    with pytest.raises(ValueError, match=r"shape \(9, 2\), and varying says .* at most 8"):
        jit(function, varying={"x": {0: 8}})(data(9, 2))
    with pytest.raises(ValueError, match=r"shape \(9, 2\), so no axis 2"):
        jit(function, varying={"x": {2: 8}})(data(9, 2))
