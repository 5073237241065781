"""Gradients of functions against `torch.func`, and what they do at the edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import gradlet
from gradlet import GradientError, Tensor, jit
from gradlet.transforms import grad, hessian, jacfwd, jacobian, jvp, value_and_grad, vjp, vmap
from tests.helpers import assert_same, floats

X, Y, SQUARE = floats(5), floats(5, seed=1), floats(3, 3, seed=2)


def same(got: Any, expected: Any) -> None:
    """Tensors, or tuples of them, agree."""
    if isinstance(expected, tuple):
        assert isinstance(got, tuple)
        for part, wanted in zip(got, expected, strict=True):
            same(part, wanted)
    else:
        assert_same(got, expected, 1e-5, 1e-4)


def against(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray) -> None:
    same(ours(*map(Tensor, arrays)), theirs(*map(torch.from_numpy, arrays)))


def waves(x: Any) -> Any:
    return (x.sin() * x).sum()


def mixed(x: Any, y: Any) -> Any:
    return (x * x * y).sum() + (x.exp() @ y)


def spread(x: Any) -> Any:
    return x.reshape(5, 1) * x.tanh()


@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 1), (1,)])
def test_grad_and_value(argnums: Any) -> None:
    against(grad(mixed, argnums), torch.func.grad(mixed, argnums), X, Y)
    both = torch.func.grad_and_value(mixed, argnums)
    against(value_and_grad(mixed, argnums), lambda *a: both(*a)[::-1], X, Y)


@pytest.mark.parametrize(
    "f",
    [
        waves,
        lambda x: (x.softmax(0) * x.cumsum(0)).sum(),
        lambda x: (x[1:] * x[:-1]).sum() + x.max(),
        lambda x: x.cumprod(0).sum() + x.prod(),
        lambda x: (spread(x) @ x).sigmoid().sum(),
    ],
)
def test_second_derivatives(f: Callable[..., Any]) -> None:
    against(hessian(f), torch.func.hessian(f), X)
    against(jacobian(grad(f)), torch.func.jacrev(torch.func.grad(f)), X)
    against(grad(lambda x: grad(f)(x).sum()), lambda x: torch.func.hessian(f)(x).sum(0), X)


@pytest.mark.parametrize("f", [spread, torch.Tensor.square, lambda x: x.sum(), lambda x: x * 2])
def test_jacobians(f: Callable[..., Any]) -> None:
    ours = Tensor.square if f is torch.Tensor.square else f
    against(jacobian(ours), torch.func.jacrev(f), X)
    against(jacfwd(ours), torch.func.jacfwd(f), X)


@pytest.mark.parametrize("name", ["eigvalsh", "svdvals"])
def test_second_derivatives_backward_alone(name: str) -> None:
    """Gradients that are not linear in the one they are given."""
    x = np.random.default_rng(0).normal(size=(3, 3))
    ours = lambda a: getattr(a + a.T, name)()[1]  # noqa: E731
    theirs = lambda a: getattr(torch.linalg, name)(a + a.T)[1]  # noqa: E731
    known = torch.autograd.functional.hessian(theirs, torch.from_numpy(x))
    np.testing.assert_allclose(hessian(ours)(Tensor(x)).numpy(), known, rtol=1e-6, atol=1e-9)
    with pytest.raises(GradientError, match="eigh, svd or a custom one, is not linear"):
        jvp(ours, (Tensor(x),), (Tensor(x),))


def test_jacobians_of_several_arguments() -> None:
    f = lambda a, b: a @ b * b  # noqa: E731
    against(jacobian(f, (0, 1)), torch.func.jacrev(f, (0, 1)), SQUARE, floats(3))
    against(jacfwd(f, (0, 1)), torch.func.jacfwd(f, (0, 1)), SQUARE, floats(3))
    against(hessian(mixed, (0, 1)), torch.func.hessian(mixed, (0, 1)), X, Y)


def test_products_with_the_jacobian() -> None:
    against(
        lambda x, t: jvp(spread, (x,), (t,)), lambda x, t: torch.func.jvp(spread, (x,), (t,)), X, Y
    )
    w = floats(5, 5)
    against(
        lambda x, g: vjp(spread, x)[1](g), lambda x, g: torch.func.vjp(spread, x)[1](g)[0], X, w
    )
    along = lambda j: lambda x, y, s, t: j(mixed, (x, y), (s, t))  # noqa: E731
    against(along(jvp), along(torch.func.jvp), X, Y, Y, X)


def test_forward_mode_against_differences() -> None:
    x, t = X.astype(np.float64), Y.astype(np.float64)
    _, slope = jvp(waves, (Tensor(x),), (Tensor(t),))
    step = 1e-6
    difference = waves(Tensor(x + step * t)).item() - waves(Tensor(x - step * t)).item()
    assert slope.item() == pytest.approx(difference / (2 * step), rel=1e-6)


def test_they_compose_with_vmap_and_jit() -> None:
    rows = floats(4, 5)
    against(vmap(grad(waves)), torch.func.vmap(torch.func.grad(waves)), rows)
    against(jit(vmap(grad(waves))), torch.func.vmap(torch.func.grad(waves)), rows)
    against(vmap(hessian(waves)), torch.func.vmap(torch.func.hessian(waves)), rows)
    total = lambda v: lambda x: v(waves)(x).sum()  # noqa: E731
    against(grad(total(vmap)), torch.func.grad(total(torch.func.vmap)), rows)
    forward = lambda v, j: v(lambda x: j(spread, (x,), (x,))[1])  # noqa: E731
    against(forward(vmap, jvp), forward(torch.func.vmap, torch.func.jvp), rows)
    step = jit(grad(waves))
    against(step, torch.func.grad(waves), X)
    against(step, torch.func.grad(waves), Y)


# What counts as the argument


def test_the_same_tensor_twice_is_two_arguments() -> None:
    x = Tensor([3.0])
    assert grad(lambda a, b: (a * a * b).sum())(x, x).tolist() == [18.0]


def test_levels_are_not_confused() -> None:
    x = Tensor(3.0)
    assert grad(lambda a: a * grad(lambda b: a + b)(a))(x).item() == 1.0
    copy = x.clone()
    assert grad(lambda a: a * copy * x)(x).item() == 9.0


def test_the_callers_graph_goes_on() -> None:
    x = Tensor([2.0])
    grad(lambda a: (a * a * a).sum())(x * 2).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [48.0]


def test_changes_in_place_keep_gradients() -> None:
    def f(x: Tensor) -> Tensor:
        y = x.detach().clone()
        y += x
        y *= x
        return y.sum()

    x = Tensor([1.0, 2.0], requires_grad=False)
    assert grad(f)(x).tolist() == [3.0, 6.0]
    assert vmap(grad(f))(Tensor([[1.0], [2.0]], requires_grad=False)).tolist() == [[3.0], [6.0]]


def test_an_unused_argument_has_a_zero_gradient() -> None:
    assert grad(lambda a, b: a.sum(), 1)(Tensor([1.0]), Tensor([2.0, 3.0])).tolist() == [0.0, 0.0]
    assert jacobian(lambda a: Tensor([1.0, 2.0]))(Tensor([1.0])).tolist() == [[0.0], [0.0]]
    assert jvp(lambda a: Tensor([1.0]), (Tensor(1.0),), (Tensor(1.0),))[1].tolist() == [0.0]


@dataclass
class Layer:
    weight: Tensor
    bias: Tensor


def test_nested_arguments_and_results() -> None:
    layer = Layer(Tensor([2.0]), Tensor([1.0]))
    f = lambda p, x: (p["layers"][0].weight * x + p["layers"][0].bias).sum()  # noqa: E731
    found = grad(f)({"layers": [layer]}, Tensor([5.0]))
    assert found["layers"][0].weight.tolist() == [5.0]
    assert found["layers"][0].bias.tolist() == [1.0]
    value, pull = vjp(lambda x: {"a": x * 2, "b": [x * 3]}, Tensor([1.0]))
    assert value["b"][0].tolist() == [3.0]
    assert pull({"a": Tensor([1.0]), "b": [Tensor([10.0])]}).tolist() == [32.0]


def test_more_beside_the_result() -> None:
    f = lambda x: ((x * x).sum(), {"x": x, "n": 3})  # noqa: E731
    slope, more = grad(f, has_aux=True)(Tensor([2.0]))
    assert slope.tolist() == [4.0] and more["n"] == 3 and more["x"].tolist() == [2.0]
    (value, more), slope = value_and_grad(f, has_aux=True)(Tensor([2.0]))
    assert value.item() == 4.0 and slope.tolist() == [4.0]
    assert vjp(f, Tensor([2.0]), has_aux=True)[2]["n"] == 3


def test_values_may_be_looked_at() -> None:
    f = lambda x: x * x if x.item() > 0 else -x  # noqa: E731
    assert grad(f)(Tensor(3.0)).item() == 6.0
    assert grad(f)(Tensor(-3.0)).item() == -1.0


def test_gradients_inside_no_grad() -> None:
    x = Tensor(3.0)
    with Tensor.no_grad():
        slope = grad(lambda a: a * a)(x)
        assert slope.item() == 6.0
        with Tensor.enable_grad():
            kept = x * x
        with Tensor.inference_mode(False):
            also = x * x
    with Tensor.inference_mode():
        cut = x * x
    with pytest.raises(GradientError, match="does not depend"):
        slope.gradient(x)
    with pytest.raises(GradientError, match="does not depend"):
        cut.gradient(x)
    assert kept.gradient(x)[0].item() == also.gradient(x)[0].item() == 6.0
    assert grad(Tensor.no_grad()(lambda a: a * a))(x).item() == 0.0


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: grad(lambda a: a * 2)(x), GradientError, r"float32\[2\]; call .sum"),
        (lambda x: grad(lambda a: a.sum())(x.int()), GradientError, "argument 0 has a tensor of"),
        (lambda x: grad(lambda a: a.argmax())(x), GradientError, "int64"),
        (lambda x: grad(lambda a, b: a.sum())(3, x), TypeError, "argument 0 is a int"),
        (lambda x: grad(lambda a: a.sum())(np.ones(2)), TypeError, "grad: an argument.*NumPy"),
        (lambda x: grad(lambda a: a.sum(), 1)(x), ValueError, "no argument 1"),
        (lambda x: grad(lambda a: a.sum(), (0, -1))(x), ValueError, "twice"),
        (lambda x: grad(lambda a: a.sum(), has_aux=True)(x), TypeError, "has_aux"),
        (lambda x: vjp(lambda a: a, x)[1](x[:1]), ValueError, "cotangents must have the form"),
        (lambda x: jvp(lambda a: a, (x,), (x[:1],)), ValueError, "tangents must have the form"),
        (lambda x: jvp(lambda a: a, (x,), ()), ValueError, "1 primals and 0 tangents"),
        (lambda x: jvp(lambda a: a, x, x), TypeError, "tuples"),
        (lambda x: jacobian(lambda a: a.int())(x), GradientError, "floats have derivatives"),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor([1.0, 2.0]))


def test_the_graph_of_a_used_loss_is_gone() -> None:
    x = Tensor([1.0], requires_grad=True)
    y = x * x
    y.sum().backward()
    with pytest.raises(GradientError, match="earlier backward"):
        grad(lambda a: (a * y).sum())(x).sum().backward()


def test_they_are_exported() -> None:
    assert gradlet.grad is grad and gradlet.vmap is vmap
