"""Hooks and retained gradients, held against PyTorch's."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import GradientError, JitError, Tensor, grad, jit, vmap

Both = tuple[Any, Any]


def both(values: list[float]) -> Both:
    """The same leaf here and in PyTorch."""
    return Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)


def agree(*pairs: Both) -> None:
    for ours, theirs in pairs:
        assert ours is not None and theirs is not None
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def twice(g: Any) -> Any:
    return g * 2


def squared(g: Any) -> Any:
    return g * g


# One program, run on tensors of both: it returns what is to be compared.


def before_use(x: Any) -> list[Any]:
    y = x * x
    y.register_hook(squared)
    (y * 3 + y.exp()).sum().backward()
    return [x.grad]


def after_use(x: Any) -> list[Any]:
    y = x * x
    loss = (y * 3).sum()
    y.retain_grad()
    y.register_hook(squared)
    loss.backward()
    return [x.grad, y.grad]


def before_and_after_use(x: Any) -> list[Any]:
    y = x * x
    first = (y * 3).sum()
    y.register_hook(squared)
    y.retain_grad()
    (first + y.exp().sum()).backward()
    return [x.grad, y.grad]


def several(x: Any) -> list[Any]:
    y = x * x
    y.register_hook(twice)
    y.register_hook(lambda g: None)
    y.register_hook(squared)
    y.sum().backward()
    return [x.grad]


def of_a_leaf(x: Any) -> list[Any]:
    x.register_hook(squared)
    (x * x + x * 5).sum().backward()
    (x * 2).sum().backward()
    return [x.grad]


def of_the_loss(x: Any) -> list[Any]:
    loss = (x * x).sum()
    loss.register_hook(lambda g: g * 7)
    loss.retain_grad()
    loss.backward()
    return [x.grad, loss.grad]


def in_a_chain(x: Any) -> list[Any]:
    a = x * 2
    a.register_hook(squared)
    a.retain_grad()
    b = a * a
    b.register_hook(twice)
    b.retain_grad()
    b.sum().backward()
    return [x.grad, a.grad, b.grad]


def in_a_function_twice(x: Any) -> list[Any]:
    def layer(x: Any) -> Any:
        hidden = x * 3
        hidden.register_hook(squared)
        return hidden.sum()

    layer(x).backward()
    layer(x).backward()
    return [x.grad]


def equal_values_kept(x: Any) -> list[Any]:
    kept = []
    for _ in range(2):
        y = x * 3
        y.register_hook(squared)
        kept.append(y)
        y.sum().backward()
    return [x.grad]


def equal_values_together(x: Any) -> list[Any]:
    a, b = x * 3, x * 3
    a.register_hook(squared)
    b.register_hook(twice)
    a.retain_grad()
    (a * 5 + b).sum().backward()
    return [x.grad, a.grad]


def removed(x: Any) -> list[Any]:
    y = x * x
    first = y.register_hook(twice)
    with y.register_hook(squared):
        pass
    y.register_hook(lambda g: g + 1)
    first.remove()
    first.remove()
    y.sum().backward()
    return [x.grad]


def after_accumulation(x: Any) -> list[Any]:
    seen = []
    x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad * 1))
    (x * x).sum().backward()
    (x * 2).sum().backward()
    return seen


def given_inputs(x: Any) -> list[Any]:
    a = x * 2
    (a * a).sum().backward(inputs=[a])
    assert x.grad is None
    return [a.grad]


def given_one_input(x: Any) -> list[Any]:
    other = x.detach().requires_grad_()
    (other * x).sum().backward(inputs=x)
    assert other.grad is None
    return [x.grad]


PROGRAMS = [
    before_use, after_use, before_and_after_use, several, of_a_leaf, of_the_loss, in_a_chain,
    in_a_function_twice, equal_values_kept, equal_values_together, removed, after_accumulation,
    given_inputs, given_one_input,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_as_in_pytorch(program: Callable[[Any], list[Any]]) -> None:
    ours, theirs = both([1.5, -2.0, 0.5])
    agree(*zip(program(ours), program(theirs), strict=True))


def test_retaining() -> None:
    x = Tensor([1.0, 2.0])
    x.retain_grad()
    y = x * 2
    assert not y.retains_grad and not x.retains_grad
    y.retain_grad()
    assert y.retains_grad
    for times in (1, 2):
        y.sum().backward()
        assert y.grad is not None and y.grad.tolist() == [times, times]


def retained_through_writes(x: Any) -> list[Any]:
    y = x * 2
    y.register_hook(twice)
    y.retain_grad()
    y *= x
    y[0] = 5.0
    (y * y).sum().backward()
    return [x.grad, y.grad]


def test_a_result_retains_its_gradient_when_it_is_written() -> None:
    ours, theirs = both([1.5, -2.0, 0.5])
    agree(*zip(retained_through_writes(ours), retained_through_writes(theirs), strict=True))
    y = Tensor([1.0]) * 2
    y.retain_grad()
    y.fill_(3.0)
    assert not y.retains_grad


def test_gradient_calls_hooks() -> None:
    x = Tensor([1.0, 2.0])
    x.register_hook(twice)
    y = x * x
    y.register_hook(squared)
    loss = (y * 3).sum()
    to_x, to_y = loss.gradient(x, y)
    assert to_y.tolist() == [9, 9]
    assert to_x.tolist() == [36, 72]
    (bend,) = to_x.sum().gradient(x)
    assert bend.tolist() == [72, 72]


def test_transformations_call_hooks_of_results() -> None:
    def f(x: Tensor) -> Tensor:
        y = x * x
        y.register_hook(squared)
        return (y * 3).sum()

    rows = Tensor([[1.0, 2.0], [3.0, 4.0]])
    expected = (rows * 18).tolist()
    assert vmap(grad(f))(rows).tolist() == expected
    assert grad(lambda r: vmap(f)(r).sum())(rows).tolist() == expected
    assert jit(grad(f))(rows).tolist() == expected


def test_hooks_of_what_a_step_uses() -> None:
    weight = Tensor([1.0, 2.0], requires_grad=True)

    @jit
    def step(x: Tensor) -> Tensor:
        weight.grad = None
        y = weight * x
        y.register_hook(squared)
        return (y * 3).sum().backward()

    def gradient() -> Any:
        step(Tensor([1.0, 10.0]))
        assert weight.grad is not None
        return weight.grad.tolist()

    for _ in range(3):
        assert gradient() == [9, 90]
    handle = weight.register_hook(twice)
    for _ in range(3):
        assert gradient() == [18, 180]
    handle.remove()
    assert gradient() == [9, 90]
    factor = 2
    weight.register_hook(lambda g: g * factor)
    assert gradient() == gradient() == [18, 180]
    factor = 3
    assert gradient() == gradient() == [27, 270]


def test_jit_refuses_hooks_of_arguments() -> None:
    step = jit(lambda x: (x * x).sum().backward())
    plain, hooked = Tensor([1.0]), Tensor([1.0])
    step(plain)
    step(plain)
    hooked.register_hook(twice)
    with pytest.raises(JitError, match="argument 0 has hooks"):
        step(hooked)
    assert hooked.grad is None
    inside = jit(lambda x: (x.register_hook(twice), (x * x).sum().backward())[1])
    for times in (1, 2, 3):
        inside(plain)
        assert plain.grad is not None and plain.grad.tolist() == [4 * times + 4]


def test_a_leaf_keeps_its_hooks_when_it_is_written() -> None:
    x = Tensor([1.0], requires_grad=True)
    assert x.hooks is None
    x.register_hook(twice)
    x.assign(Tensor([3.0]))
    (x * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [12]


def test_nothing_is_kept_alive() -> None:
    x = Tensor([1.0])
    y = x * 2
    y.register_hook(twice)
    y.retain_grad()
    gone = weakref.ref(y.node)
    y.sum().backward().item()
    del y
    x.grad = None
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor([1, 2]), "int64 tensor"),
        (Tensor([1.0], requires_grad=False), "requires_grad=False"),
        (Tensor([1.0]).detach() * 2, "is detached"),
    ],
    ids=["integers", "frozen", "detached"],
)
def test_what_has_no_gradient_is_refused(tensor: Tensor, message: str) -> None:
    with pytest.raises(GradientError, match=message):
        tensor.register_hook(twice)
    with pytest.raises(GradientError, match=message):
        tensor.retain_grad()


def test_what_a_hook_may_return() -> None:
    for wrong in (lambda g: g.sum(), lambda g: g.double(), lambda g: 1.0):
        x = Tensor([1.0, 2.0])
        x.register_hook(wrong)
        with pytest.raises(GradientError, match=r"in place of the gradient, float32\[2\]"):
            (x * x).sum().backward()
    with pytest.raises(TypeError, match="a hook is a function"):
        x.register_hook(3)  # type: ignore[arg-type]
    with pytest.raises(GradientError, match="only leaves"):
        (x * 2).register_post_accumulate_grad_hook(lambda leaf: None)
    with pytest.raises(GradientError, match="inputs are float tensors"):
        (x * 2).sum().backward(inputs=[Tensor([1])])
