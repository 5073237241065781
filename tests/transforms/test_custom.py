"""Custom gradients: alone, nested, mapped and recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlet import GradientError, Tensor, jit
from gradlet.transforms import custom_vjp, grad, hessian, jvp, vmap


@custom_vjp
def tripled(x: Tensor, n: int) -> Tensor:
    return x * x * n


tripled.defvjp(lambda x, n: (x * x * n, x), lambda x, g: (g * x * 30, None))


def test_the_gradient_is_the_custom_one() -> None:
    f = lambda x: (tripled(x, 2) * 5).sum()  # noqa: E731
    x = Tensor([1.0, 2.0])
    assert f(x).item() == 50.0
    assert grad(f)(x).tolist() == [150.0, 300.0]
    assert jit(grad(f))(x).tolist() == [150.0, 300.0]
    f(x).backward()
    assert x.grad is not None and x.grad.tolist() == [150.0, 300.0]
    assert np.diag(hessian(f)(x).numpy()).tolist() == [150.0, 150.0]
    rows = Tensor([[1.0], [2.0], [3.0]])
    assert vmap(grad(f))(rows).tolist() == [[150.0], [300.0], [450.0]]
    assert grad(lambda r: vmap(f)(r).sum())(rows).tolist() == [[150.0], [300.0], [450.0]]
    assert jvp(f, (x,), (Tensor([1.0, 0.0]),))[1].item() == 150.0
    with Tensor.no_grad():
        assert tripled(x, 2).tolist() == [2.0, 8.0]


def test_derivatives_of_what_was_pulled_back_outside() -> None:
    x = Tensor([2.0])
    y = tripled(x * 3, 1)
    (slope,) = y.gradient(x)
    assert slope.tolist() == [540.0] and slope.gradient(x)[0].tolist() == [270.0]


def test_several_results_and_nested_arguments() -> None:
    seen = []

    @custom_vjp
    def f(p: dict, i: Tensor) -> tuple:
        return p["a"] * 2, {"i": i, "b": p["b"].sum()}

    def backward(kept: Any, g: Any) -> tuple:
        seen.append(g)
        return {"a": g[0] * 100 + g[1]["b"], "b": kept * g[1]["b"]}, None

    f.defvjp(lambda p, i: (f.function(p, i), p["b"]), backward)
    p, i = {"a": Tensor([1.0, 1.0]), "b": Tensor([3.0, 4.0])}, Tensor([1])
    loss = lambda p: (lambda y: (y[0] * Tensor([1.0, 2.0])).sum() + y[1]["b"] * 7)(f(p, i))  # noqa: E731
    found = grad(loss)(p)
    assert found["a"].tolist() == [107.0, 207.0] and found["b"].tolist() == [21.0, 28.0]
    assert len(seen) == 1


def test_what_is_not_linear_has_no_forward_derivative() -> None:
    @custom_vjp
    def clipped(x: Tensor) -> Tensor:
        return x * 1

    clipped.defvjp(lambda x: (x * 1, None), lambda _, g: (g.maximum(1.0),))
    assert grad(lambda x: clipped(x).sum() * 0.5)(Tensor([2.0])).tolist() == [1.0]
    with pytest.raises(GradientError, match="not linear"):
        jvp(clipped, (Tensor([2.0]),), (Tensor([1.0]),))


@pytest.mark.parametrize(
    ("backward", "words"),
    [
        (lambda _, g: g, "tuple of 1 cotangents"),
        (lambda _, g: (g, g), "tuple of 1 cotangents"),
        (lambda _, g: (g.sum(),), r"shape \(\) for argument 0, which has shape \(2,\)"),
        (lambda _, g: ([g, g],), "holds 1 tensors"),
    ],
)
def test_cotangents_that_do_not_fit(backward: Callable[..., Any], words: str) -> None:
    f = custom_vjp(lambda x: x * 1)
    with pytest.raises(GradientError, match="has no gradient yet"):
        f(Tensor([1.0]))
    f.defvjp(lambda x: (x * 1, None), backward)
    x = Tensor([1.0, 2.0])
    with pytest.raises(GradientError, match=words):
        f(x).sum().backward()
