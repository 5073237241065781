"""checkpoint: the same values and gradients from less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlet import GradientError, Tensor, checkpoint, grad, hessian, jit, nn, vmap
from gradlet.engine import realize
from tests.helpers import check, floats


def deep(x: Tensor) -> Tensor:
    return (x.exp() * x.sin()).tanh() * x


def test_values_and_gradients() -> None:
    for shape in ((), (0,), (1,), (7,), (3, 5)):
        check(lambda x: checkpoint(deep, x), deep, floats(*shape))


def test_second_derivatives_and_transformations() -> None:
    x, rows = Tensor(floats(4)), Tensor(floats(3, 4))
    plain, kept = (lambda x: deep(x).sum()), (lambda x: checkpoint(deep, x).sum())
    close = np.testing.assert_allclose
    close(hessian(kept)(x).numpy(), hessian(plain)(x).numpy(), rtol=1e-5, atol=1e-5)
    close(vmap(grad(kept))(rows).numpy(), vmap(grad(plain))(rows).numpy(), rtol=1e-6)
    mapped = grad(lambda r: vmap(kept)(r).sum())(rows)
    close(mapped.numpy(), vmap(grad(plain))(rows).numpy(), rtol=1e-6)
    close(jit(grad(kept))(x).numpy(), grad(plain)(x).numpy(), rtol=1e-6)
    nested = grad(lambda x: checkpoint(lambda y: checkpoint(deep, y * 2) + y, x).sum())(x)
    close(nested.numpy(), grad(lambda x: (deep(x * 2) + x).sum())(x).numpy(), rtol=1e-6)


def test_what_the_function_reaches_by_itself_gets_gradients() -> None:
    def gradients(run: Any) -> list[Any]:
        w, x = Tensor(floats(4, 4, seed=1)), Tensor(floats(3, 4))
        before = x.tanh() * 2
        loss = run(lambda h: (h @ w + h @ w.T + before).sigmoid() + w.sum(), x * x).sum()
        (loss + w.square().sum()).backward()
        return [w.grad, x.grad]

    for got, expected in zip(gradients(checkpoint), gradients(lambda f, *a: f(*a)), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5)


def test_forms_of_arguments_and_results() -> None:
    def f(parts: dict[str, Tensor], scale: float, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        picked = parts["a"][rows] * scale
        return picked.exp(), {"rows": rows + 1, "sum": (picked + parts["b"]).sum()}

    rows = Tensor([2, 0])
    found = []
    for run in (checkpoint, lambda f, *args, **kwargs: f(*args, **kwargs)):
        a, b = Tensor(floats(3)), Tensor(floats(2, seed=1))
        first, more = run(f, {"a": a, "b": b}, 2.0, rows=rows)
        assert more["rows"].tolist() == [3, 1]
        (first.sum() * more["sum"]).backward()
        found.append([first.numpy(), a.grad.numpy(), b.grad.numpy()])  # type: ignore[union-attr]
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_first_of_two_results_may_go_unused() -> None:
    x = Tensor([0.5, 1.0])
    checkpoint(lambda x: (x.exp(), x.sin()), x)[1].sum().backward()
    assert x.grad is not None and x.grad.allclose(x.cos())


def test_random_numbers_are_the_same_again() -> None:
    x = Tensor.ones(1000)
    with Tensor.train():
        y = checkpoint(lambda x: (x * 2).dropout(0.5) + Tensor.rand(1000) * x, x)
    y.sum().backward()
    assert x.grad is not None and x.grad.allclose(y)  # linear in x


def test_random_numbers_differ_from_step_to_step_of_jit() -> None:
    @jit
    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        y = checkpoint(lambda x: (x * 2).dropout(0.5), x)
        y.sum().backward()
        found, x.grad = x.grad, None
        assert found is not None
        return y, found

    with Tensor.train():
        drawn = [step(Tensor.ones(100)) for _ in range(3)]
    assert all(y.allclose(g) for y, g in drawn)
    assert len({tuple(y.tolist()) for y, _ in drawn}) == 3


def test_a_layer_is_run_once() -> None:
    norm = nn.BatchNorm2d(2)
    images = Tensor(floats(4, 2, 3, 3))
    with Tensor.train():
        checkpoint(norm, images).square().sum().backward()
    plain = nn.BatchNorm2d(2)
    with Tensor.train():
        plain(images)
    assert norm.running_mean.allclose(plain.running_mean)
    assert norm.num_batches_tracked.item() == 1


def test_hooks_inside_are_called_in_the_backward_pass() -> None:
    def f(x: Tensor) -> Tensor:
        x.register_hook(lambda g: g + 1)
        y = x * 3
        y.register_hook(lambda g: g * 10)
        return y.square()

    x = Tensor([1.0, 2.0])
    checkpoint(f, x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [181, 361]


def test_writing_into_an_argument_is_refused() -> None:
    def write(x: Tensor) -> Tensor:
        x += 1
        return x

    x = Tensor([1.0])
    with pytest.raises(GradientError, match="writes into an argument"):
        checkpoint(write, x)
    assert x.tolist() == [1]


def test_without_gradients_it_is_a_call() -> None:
    with Tensor.no_grad():
        assert checkpoint(deep, Tensor([0.0])).tolist() == [0]
    assert checkpoint(lambda n: n + 1, 2, use_reentrant=False) == 3
    loss = checkpoint(deep, Tensor([1.0], requires_grad=True)).sum().backward()
    with pytest.raises(GradientError, match="already used"):
        loss.backward()


@pytest.mark.parametrize("as_argument", [True, False])
def test_less_memory(as_argument: bool) -> None:
    """Eight layers keep three arrays each, and with checkpoints one."""

    def arena(saving: bool) -> tuple[int, list[np.ndarray]]:
        rows = [floats(2, 32, 32, low=-0.2, high=0.2, seed=n) for n in range(8)]
        weights = [Tensor(array, device="cpu") for array in rows]

        def layer(h: Tensor, w: Tensor) -> Tensor:
            return h + ((h @ w[0]).gelu().dropout(0.1) @ w[1]).tanh()

        x = h = Tensor(floats(1024, 32), device="cpu")
        Tensor.manual_seed(0)
        with Tensor.train():
            for w in weights:
                if saving and as_argument:
                    h = checkpoint(layer, h, w)
                elif saving:
                    h = checkpoint(lambda h, w=w: layer(h, w), h)
                else:
                    h = layer(h, w)
        loss = h.square().mean().backward()
        realize.clear_programs()
        tensors = [loss, x.grad, *(w.grad for w in weights)]
        Tensor.realize(*tensors)  # type: ignore[arg-type]
        (program,) = realize._programs.values()
        return program.arena_bytes, [t.numpy() for t in tensors]  # type: ignore

    little, found = arena(True)
    much, expected = arena(False)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-7)
    assert little < 0.45 * much
