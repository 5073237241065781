"""What backward() promises, and when a lazy tensor is computed, kept and let go."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from gradlet import GradientError, Tensor
from gradlet.engine import realize
from gradlet.ir import ops


def grad_of(tensor: Tensor) -> Any:
    assert tensor.grad is not None
    return tensor.grad.tolist()


# Where gradients go


def test_gradients_add_up() -> None:
    x = Tensor([1.0, 2.0])
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    assert grad_of(x) == [5, 5]
    x.grad = None
    x.sum().backward()
    assert grad_of(x) == [1, 1]


def test_a_leaf_used_twice() -> None:
    x = Tensor([1.0, 2.0])
    (x * x + x).sum().backward()
    assert grad_of(x) == [3, 5]


def test_a_leaf_that_is_the_loss() -> None:
    x = Tensor(3.0)
    x.backward()
    assert grad_of(x) == 1
    x.backward()
    assert grad_of(x) == 2


def test_equal_leaves_are_two() -> None:
    a, b = Tensor.zeros(3), Tensor.zeros(3)
    (a * 2 + b).sum().backward()
    assert (grad_of(a), grad_of(b)) == ([2, 2, 2], [1, 1, 1])


def test_leaves_that_want_none_get_none() -> None:
    x, y = Tensor([1.0], requires_grad=False), Tensor([2.0])
    n, unused = Tensor([3]), Tensor([1.0], requires_grad=True)
    (x * y * n).sum().backward()
    assert x.grad is None and n.grad is None and unused.grad is None
    assert grad_of(y) == [3]


def test_a_gradient_for_a_root_of_any_shape() -> None:
    x = Tensor([1.0, 2.0])
    (x * x).backward(gradient=Tensor([1.0, 10.0]))
    assert grad_of(x) == [2, 40]


def test_detach_and_no_grad_stop_gradients() -> None:
    x = Tensor([2.0])
    (x.detach() * x).sum().backward()
    assert grad_of(x) == [2]
    with Tensor.no_grad():
        y = x * 3
    (y * x).sum().backward()
    assert grad_of(x) == [8]


def test_clone_lets_gradients_pass() -> None:
    x = Tensor([2.0])
    y = x.clone()
    (y * y).sum().backward()
    assert grad_of(x) == [4] and y.grad is None


def test_second_derivatives() -> None:
    x = Tensor([0.5, 0.0, -2.0])
    y = x.sigmoid().sum()
    (slope,) = y.gradient(x)
    (bend,) = slope.sum().gradient(x)
    s = 1 / (1 + np.exp(-x.numpy()))
    np.testing.assert_allclose(bend.numpy(), s * (1 - s) * (1 - 2 * s), atol=1e-6)


def test_backward_through_a_gradient() -> None:
    x = Tensor([2.0])
    (slope,) = (x**3).sum().gradient(x)
    (slope * slope).sum().backward()  # (3 x^2)^2 = 9 x^4
    assert grad_of(x) == [288]


def test_gradient_of_what_is_no_part() -> None:
    x, other = Tensor([1.0]), Tensor([1.0, 2.0])
    with pytest.raises(GradientError, match="does not depend on target 0"):
        x.sum().gradient(other)
    (zeros,) = x.sum().gradient(other, materialize_grads=True)
    assert zeros.tolist() == [0, 0]


def test_gradients_of_gradients_have_no_history() -> None:
    x = Tensor([2.0])
    (x * x).sum().backward()
    assert x.grad is not None
    (x.grad * 3).sum().backward()
    assert grad_of(x) == [4] and x.grad.grad is None


# When a graph is used up


def test_backward_twice() -> None:
    x = Tensor([1.0])
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GradientError, match="earlier backward"):
        loss.backward()
    with pytest.raises(GradientError, match="retain_graph"):
        (loss * 2).backward()
    assert grad_of(x) == [2]
    assert loss.item() == 1


def test_backward_twice_after_reading() -> None:
    x = Tensor([1.0])
    loss = (x * x).sum().backward()
    assert loss.item() == 1
    with pytest.raises(GradientError, match="earlier backward"):
        loss.backward()


def test_retain_graph() -> None:
    x = Tensor([1.0])
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert grad_of(x) == [4]


def test_named_values_of_trained_leaves_are_used_up() -> None:
    w = Tensor([2.0], requires_grad=True)
    hidden = w * 3
    hidden.sum().backward()
    with pytest.raises(GradientError, match="compute the value again"):
        (hidden * 2).sum().backward()
    assert hidden.tolist() == [6]


def test_prepared_data_can_be_used_in_every_step() -> None:
    raw, w = Tensor([1.0, 2.0]), Tensor([2.0], requires_grad=True)
    prepared = raw / 2
    for _ in range(3):
        (prepared * w).sum().backward()
    assert grad_of(w) == [4.5]


def test_the_same_computation_again_is_a_new_graph() -> None:
    x = Tensor([1.0])
    first = (x * x).sum().backward()
    second = (x * x).sum().backward()
    assert grad_of(x) == [4] and first.item() == second.item()


def test_stored_losses_free_their_graph() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    losses, batches = [], []
    for _ in range(3):
        batch = Tensor([3.0, 4.0])
        batches.append(weakref.ref(batch.node.arg))
        loss = (w * batch).square().sum()
        loss.backward()
        losses.append(loss)
        assert w.grad is not None
        w.assign(w.detach() - 0.01 * w.grad).realize()
        w.grad = None
    del batch, loss
    gc.collect()
    assert [ref() for ref in batches] == [None] * 3
    assert all(loss.item() > 0 for loss in losses)


def test_gradients_let_go_of_the_forward_graph() -> None:
    w, batch = Tensor([1.0]), Tensor([3.0], requires_grad=False)
    gone = weakref.ref(batch.node.arg)
    (w * batch).square().sum().backward()
    assert grad_of(w) == [18]
    del batch
    gc.collect()
    assert gone() is None


# Laziness


def test_nothing_runs_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Tensor([1.0, 2.0])
    monkeypatch.setattr(realize, "capture", lambda *_: pytest.fail("computed too early"))
    y = (x + 1).sum()
    y.backward()
    assert y.shape == () and y.dtype.name == "float32"


def test_loss_and_gradients_run_as_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Tensor([1.0, 2.0])
    loss = (x * x).exp().sum().backward()
    loss.item()
    monkeypatch.setattr(realize, "capture", lambda *_: pytest.fail("computed twice"))
    np.testing.assert_allclose(grad_of(x), [2 * np.e, 4 * np.e**4], rtol=1e-5)


def test_a_failed_run_does_not_spoil_the_next() -> None:
    x = Tensor([[1.0, 2.0]])
    loss = x.cross_entropy(Tensor([5])).backward()
    with pytest.raises(IndexError):
        loss.item()
    assert (x + 1).tolist() == [[2, 3]]


def test_assignment_does_not_reach_back() -> None:
    x = Tensor([1.0])
    y = x + 1
    x.assign(Tensor([10.0]))
    assert (y.tolist(), (x + 1).tolist()) == ([2], [11])


def test_the_value_assigned_may_depend_on_the_old_one() -> None:
    x = Tensor([1.0])
    for _ in range(5):
        x.assign(x * 2)
    assert x.tolist() == [32] and x.is_leaf
    (x * x).sum().backward()
    assert grad_of(x) == [64]


# In-place operators


def test_leaves_change_in_place_and_stay_leaves() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    other_name = w
    w += 1
    w *= 2
    assert other_name is w and w.is_leaf and w.tolist() == [4, 6]
    (w * w).sum().backward()
    assert w.grad is not None
    w -= 0.5 * w.grad
    assert w.is_leaf and w.tolist() == [0, 0]


def test_in_place_sums_keep_gradients() -> None:
    w, total = Tensor([1.0]), Tensor.zeros(1)
    for _ in range(3):
        total += w * 2
    total.sum().backward()
    assert grad_of(w) == [6]


def test_in_place_operators_keep_shape_and_dtype() -> None:
    x = Tensor([1, 2])
    with pytest.raises(ValueError, match=r"/=: the result, float32\[2\], does not fit"):
        x /= 2
    with pytest.raises(ValueError, match=r"\+=.*x = x \+ y"):
        x += Tensor([[1, 2], [3, 4]])


# Switches


def test_training_switch() -> None:
    assert Tensor.training is False
    with Tensor.train():
        assert Tensor.training is True
        with Tensor.train(False):
            assert Tensor([1.0]).training is False
    assert Tensor.training is False
    Tensor.training = True
    try:
        assert Tensor([1.0]).training is True
    finally:
        Tensor.training = False


def test_switches_come_back_after_errors() -> None:
    for switch in (Tensor.train(), Tensor.no_grad()):
        with pytest.raises(KeyError), switch:
            raise KeyError
    assert not Tensor.training and (Tensor([1.0]) * 2).node.op is ops.MUL


def test_equality_is_elementwise_and_identity_hashes() -> None:
    x = Tensor([1.0])
    assert (x == Tensor([1.0])).tolist() == [True]
    assert len({x, Tensor([1.0])}) == 2
    assert (x == None) is False  # noqa: E711


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda: Tensor([1.0, 2.0]).backward(), GradientError, r"shape \(2,\).*\.sum\(\)"),
        (lambda: Tensor(1).backward(), GradientError, r"int64.*\.float\(\)"),
        (lambda: Tensor([1.0]).backward(Tensor([1.0, 2.0])), ValueError, "gradient must be"),
        (lambda: Tensor([1], requires_grad=True), TypeError, "only floats have gradients"),
        (lambda: Tensor([1.0]).assign(Tensor([1])), ValueError, "cannot take int64"),
        (lambda: Tensor([1.0]).assign(Tensor([1.0, 2.0])), ValueError, "cannot take"),
        (lambda: Tensor([1.0]).assign("x"), TypeError, "assign"),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action()


def test_gradients_are_switched_off_and_on() -> None:
    x = Tensor([2.0])
    with Tensor.no_grad():
        assert not Tensor.grad_enabled
        with Tensor.enable_grad():
            (x * x).sum().backward()
        with Tensor.inference_mode(False):
            assert Tensor.grad_enabled
    assert Tensor.grad_enabled and x.grad is not None and x.grad.tolist() == [4]
    with Tensor.inference_mode():
        assert not Tensor.grad_enabled
