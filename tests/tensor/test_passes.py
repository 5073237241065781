"""Backward passes of a known form do what the first of that form did, on other buffers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, profile
from gradlet.engine.realize import clear_programs
from gradlet.grad.vjp import GradientError
from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.tensor import passes


def array(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The roots whose gradients were built, rather than called."""
    roots: list[Node] = []
    whole = passes.grad

    def grad(root: Node, *args: Any) -> Any:
        roots.append(root)
        return whole(root, *args)

    monkeypatch.setattr(passes, "grad", grad)
    clear_programs()
    return roots


def losses(x: Any, w: Any, b: Any) -> list[Any]:
    """The same formulas for gradlet and PyTorch."""
    h = (x @ w + b).tanh()
    return [(h * h).sum(), (h[:, 1:] / (1 + h[:, :-1] ** 2)).mean(), (x @ w).exp().sum()]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_known_forms_give_the_gradients_of_pytorch(which: int, built: list[Node]) -> None:
    for seed in range(4):
        arrays = [array(seed, 5, 3), array(seed + 50, 3, 7) / 3, array(seed + 90, 7)]
        ours = [Tensor(a, requires_grad=True) for a in arrays]
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        losses(*ours)[which].backward()
        losses(*theirs)[which].backward()
        for mine, other in zip(ours, theirs, strict=True):
            if other.grad is None:
                assert mine.grad is None
                continue
            assert mine.grad is not None
            np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=2e-5, atol=1e-6)
    assert len(built) == 1


def test_forms_differ_in_leaves_constants_and_shapes(built: list[Node]) -> None:
    def slope(loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], wants: Any) -> Any:
        a, b = Tensor(array(1, *shape)), Tensor(array(2, *shape), requires_grad=wants)
        loss(a, b).backward()
        assert (b.grad is None) == (wants is False)
        return None if b.grad is None else b.grad.numpy()

    np.testing.assert_allclose(slope(lambda a, b: (a * b).sum(), (3,), None), array(1, 3))
    assert slope(lambda a, b: (a * b).sum(), (3,), False) is None
    np.testing.assert_allclose(slope(lambda a, b: (a * b).sum(), (4,), None), array(1, 4))
    np.testing.assert_allclose(slope(lambda a, b: (a * b * 2).sum(), (4,), None), 2 * array(1, 4))
    np.testing.assert_allclose(slope(lambda a, b: (b * b).sum(), (3,), None), 2 * array(2, 3))
    assert len(built) == 5
    slope(lambda a, b: (b * b).sum(), (3,), None)
    assert len(built) == 5


def test_gradients_add_up_over_passes_of_one_form() -> None:
    w = Tensor(array(3, 4), requires_grad=True)
    for seed in range(3):
        (w * Tensor(array(seed, 4))).sum().backward()
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.numpy(), sum(array(seed, 4) for seed in range(3)), rtol=1e-6)


def test_a_graph_that_was_used_up_is_refused_in_every_pass() -> None:
    for _ in range(3):
        w = Tensor([1.0, 2.0], requires_grad=True)
        hidden = w * 3.0
        loss = (hidden * hidden).sum().backward()
        with pytest.raises(GradientError, match="used"):
            loss.backward()
        with pytest.raises(GradientError, match="used"):
            hidden.sum().backward()


def test_whether_leaves_are_trained_is_part_of_the_form() -> None:
    for trained in (True, None, True, None):
        w = Tensor([1.0, 2.0], requires_grad=trained)
        hidden = w * 3.0
        (hidden * hidden).sum().backward()
        if trained:
            with pytest.raises(GradientError, match="used"):
                hidden.sum().backward()
        else:
            hidden.sum().backward()


def test_retained_graphs_are_kept_in_every_pass() -> None:
    for _ in range(3):
        w = Tensor([1.0, 2.0], requires_grad=True)
        loss = (w * w).sum()
        loss.backward(retain_graph=True).backward()
        assert w.grad is not None and w.grad.tolist() == [4.0, 8.0]


def test_what_was_built_before_finds_the_value() -> None:
    """As in `total = total + loss`, which would otherwise compute all steps again."""
    w, total = Tensor(array(4, 8), requires_grad=True), Tensor(0.0, requires_grad=False)
    for _ in range(3):
        loss = (w * w).exp().sum()
        total = total + loss
        loss.backward()
        loss.item()
    with profile() as seen:
        found = total.item()
    assert seen.counters["bytes read"] <= 64
    assert found == pytest.approx(3 * np.exp(array(4, 8) ** 2).sum(), rel=1e-5)


def test_live_tensors_on_the_way_are_computed_with_the_loss() -> None:
    for _ in range(2):
        w = Tensor(array(5, 6, 3), requires_grad=True)
        scores = w * 2.0
        chosen = scores > 0.0
        loss = chosen.where(scores, 0.0).sum().backward()
        loss.item()
        with profile() as seen:
            np.testing.assert_array_equal(chosen.numpy(), array(5, 6, 3) > 0)
            np.testing.assert_array_equal(scores.numpy(), array(5, 6, 3) * 2)
        assert seen.counters["kernels run"] == 0
        assert w.grad is not None
        np.testing.assert_array_equal(w.grad.numpy(), (array(5, 6, 3) > 0) * np.float32(2))


def test_values_that_are_known_are_not_computed_again(built: list[Node]) -> None:
    w = Tensor(array(6, 64), requires_grad=True)
    hidden = (w * w).exp()
    hidden.numpy()
    hidden.sum().backward()
    assert not built  # what is remembered is no part of a form
    assert w.grad is not None
    np.testing.assert_allclose(
        w.grad.numpy(), 2 * array(6, 64) * np.exp(array(6, 64) ** 2), rtol=1e-5
    )


def test_hooks_are_called_in_every_pass() -> None:
    seen: list[list[float]] = []
    w = Tensor([1.0, 2.0], requires_grad=True)
    with w.register_hook(lambda g: seen.append(g.tolist())):
        for _ in range(2):
            (w * w).sum().backward()
    (w * w).sum().backward()
    assert seen == [[2.0, 4.0], [2.0, 4.0]]
    assert w.grad is not None and w.grad.tolist() == [6.0, 12.0]


def test_passes_keep_no_buffers() -> None:
    def step() -> None:
        w = Tensor(array(7, 3), requires_grad=True)
        (w * w).sum().backward()
        assert w.grad is not None
        w.grad.numpy()

    def buffers() -> int:
        gc.collect()
        return sum(type(o) is Node and o.op is ops.BUFFER for o in gc.get_objects())

    step()
    before = buffers()
    for _ in range(5):
        step()
    assert buffers() == before
