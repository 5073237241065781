"""Transformations look into functions with `jit`, which by itself lets no gradient out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlet import (
    Tensor,
    checkpoint,
    grad,
    hessian,
    jacobian,
    jit,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)

Function = Callable[[Tensor], Tensor]


def cubes(x: Tensor) -> Tensor:
    return (x * x * x).sum()


def scaled(x: Tensor) -> Tensor:
    return x.tanh() * 2


def through_checkpoint(f: Function, x: Tensor) -> Tensor:
    leaf = Tensor(x.numpy(), requires_grad=True)
    checkpoint(f, leaf).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


TRANSFORMATIONS: dict[str, tuple[Function, Callable[[Function, Tensor], Any]]] = {
    "grad": (cubes, lambda f, x: grad(f)(x)),
    "value_and_grad": (cubes, lambda f, x: value_and_grad(f)(x)),
    "vjp": (scaled, lambda f, x: vjp(f, x)[1](x)),
    "jvp": (scaled, lambda f, x: jvp(f, (x,), (x + 1,))),
    "jacobian": (scaled, lambda f, x: jacobian(f)(x)),
    "hessian": (cubes, lambda f, x: hessian(f)(x)),
    "vmap": (cubes, lambda f, x: vmap(f)(x.reshape(3, 2))),
    "vmap of grad": (cubes, lambda f, x: vmap(grad(f))(x.reshape(3, 2))),
    "grad of grad": (cubes, lambda f, x: grad(lambda x: grad(f)(x).sum())(x)),
    "checkpoint": (scaled, through_checkpoint),
}


def arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple | list):
        return [array for part in value for array in arrays(part)]
    return [value.numpy()]


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_what_jit_does_not_change(name: str) -> None:
    function, transform = TRANSFORMATIONS[name]
    x = Tensor(np.linspace(-1, 1, 6, dtype=np.float32), requires_grad=False)
    expected = arrays(transform(function, x))
    fast = jit(function)
    for _ in range(3):
        fast(x)  # known by itself already
        found = arrays(transform(fast, x))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    whole = jit(lambda x: transform(fast, x)) if name != "checkpoint" else None
    if whole is not None:
        for _ in range(3):
            for a, b in zip(arrays(whole(x)), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert np.isfinite(fast(x).numpy()).all()
