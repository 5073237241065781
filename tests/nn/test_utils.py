"""Clipping and vectors of parameters against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, jit, nn, profile
from gradlet.engine.trace import JitError
from gradlet.nn import utils

SHAPES = [(3, 4), (), (0, 2), (7,)]
theirs = torch.nn.utils


def grads(dtype: Any = np.float32) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [np.asarray(generator.normal(size=shape)).astype(dtype) for shape in SHAPES]


def pairs(values: list[np.ndarray]) -> tuple[list[Tensor], list[torch.Tensor]]:
    mine = [Tensor(np.ones_like(v)) for v in values]
    known = [torch.ones(v.shape, dtype=torch.from_numpy(v).dtype) for v in values]
    for a, b, value in zip(mine, known, values, strict=True):
        a.grad, b.grad = Tensor(value), torch.from_numpy(value.copy())
    return mine, known


def assert_grads(mine: list[Tensor], known: list[torch.Tensor], rtol: float = 1e-5) -> None:
    for a, b in zip(mine, known, strict=True):
        assert a.grad is not None and b.grad is not None
        assert a.grad.dtype.name == str(b.grad.dtype).removeprefix("torch.")
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("order", [2, 1, 3.5, math.inf])
@pytest.mark.parametrize("most", [0.5, 100.0])
def test_norms_agree_with_pytorch(order: float, most: float) -> None:
    mine, known = pairs([g for g in grads() if g.size or order != math.inf])
    total = utils.clip_grad_norm_(mine, most, order)
    expected = theirs.clip_grad_norm_(known, most, order)
    assert total.dtype.name == "float32" and total.shape == ()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_grads(mine, known)


def test_values_agree_with_pytorch() -> None:
    mine, known = pairs(grads())
    utils.clip_grad_value_(mine, 0.25), theirs.clip_grad_value_(known, 0.25)
    assert_grads(mine, known)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_dtypes_stay(dtype: Any) -> None:
    mine, known = pairs(grads(dtype))
    total = utils.clip_grad_norm_(mine, 0.5)
    expected = theirs.clip_grad_norm_(known, 0.5)
    assert total.dtype.name == np.dtype(dtype).name
    rtol = 1e-12 if dtype is np.float64 else 5e-3
    assert total.item() == pytest.approx(expected.item(), rel=rtol)
    assert_grads(mine, known, rtol)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite(value: float) -> None:
    mine, known = pairs([np.float32([1.0, value, 0.0])])
    total, expected = utils.clip_grad_norm_(mine, 1.0), theirs.clip_grad_norm_(known, 1.0)
    np.testing.assert_equal(total.item(), expected.item())
    assert_grads(mine, known)
    mine, _ = pairs([np.float32([1.0, value, 0.0])])
    before = mine[0].grad.tolist()
    with pytest.raises(RuntimeError, match="nothing has changed"):
        utils.clip_grad_norm_(mine, 1.0, error_if_nonfinite=True)
    np.testing.assert_equal(mine[0].grad.tolist(), before)


def test_squares_do_not_overflow() -> None:
    mine, _ = pairs([np.float32([3e30, 4e30])])
    assert utils.clip_grad_norm_(mine, 1.0).item() == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(mine[0].grad.numpy(), [0.6, 0.8], rtol=1e-6)


def test_no_gradients_and_models() -> None:
    model = nn.Linear(2, 3)
    assert utils.clip_grad_norm_(model, 1.0).item() == 0.0
    utils.clip_grad_value_([model], 1.0)
    model.bias.sum().backward()
    assert utils.clip_grad_norm_([model, model.bias], 1.0).item() == pytest.approx(3**0.5)
    assert model.weight.grad is None and model.bias.grad.norm().item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="norm_type must be above 0, not 0"):
        utils.clip_grad_norm_(model, 1.0, 0)
    with pytest.raises(ValueError, match="max_norm must be at least 0, not -1"):
        utils.clip_grad_norm_(model, -1.0)
    with pytest.raises(ValueError, match="clip_value must be at least 0, not nan"):
        utils.clip_grad_value_(model, math.nan)


def test_a_limit_in_a_tensor_changes_without_compiling() -> None:
    w = Tensor([1.0])
    for n in range(4):
        w.grad = Tensor([10.0])
        limit = Tensor(np.float32(n + 1), requires_grad=False)
        with profile() as seen:
            utils.clip_grad_norm_(w, limit)
            assert w.grad.item() == pytest.approx(n + 1, rel=1e-6)
        assert n < 1 or seen.counters["programs compiled"] == 0


def train(wrap: Any, steps: int = 6) -> tuple[list[float], int]:
    """The weights after some steps, and how many programs the last three compiled."""
    Tensor.manual_seed(0)
    model = nn.Linear(4, 3)
    opt = nn.optim.Adam([model], lr=0.1)

    def step(x: Tensor) -> Tensor:
        opt.zero_grad()
        (model(x) ** 2).sum().backward()
        norm = utils.clip_grad_norm_([model], 0.1)
        utils.clip_grad_value_([model], 0.05)
        opt.step()
        return norm

    wrapped = wrap(step)
    for n in range(steps):
        with profile() as seen:
            wrapped(Tensor(np.full((2, 4), n + 1, np.float32), requires_grad=False))
        compiled = model.weight.device == "cpu"  # rather than interpreted
        assert n < 3 or seen.counters["programs run"] == compiled
        assert n < 3 or seen.counters["programs compiled"] == 0
    return model.weight.flatten().tolist()


def test_clipping_is_part_of_the_program_of_a_step() -> None:
    np.testing.assert_allclose(train(jit), train(lambda step: step), rtol=1e-5)


def test_looking_for_what_is_not_finite_is_refused_in_a_recorded_step() -> None:
    mine, _ = pairs(grads())
    with pytest.raises(JitError, match="needs the norm at once"):
        jit(lambda: utils.clip_grad_norm_(mine, 1.0, error_if_nonfinite=True))()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_vectors_and_back(shapes: list[tuple[int, int]]) -> None:
    params = [Tensor(np.random.default_rng(i).normal(size=s)) for i, s in enumerate(shapes)]
    vector = utils.parameters_to_vector(params)
    wanted = theirs.parameters_to_vector([torch.tensor(p.numpy()) for p in params])
    assert vector.tolist() == wanted.tolist()
    utils.vector_to_parameters(vector * 2, params)
    assert utils.parameters_to_vector(params).tolist() == (wanted * 2).tolist()
    with pytest.raises(ValueError, match=r"the parameters have .* the vector has shape"):
        utils.vector_to_parameters(Tensor.zeros(vector.numel() + 1), params)


def test_gradients_flow_through_the_vector() -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([[3.0]])
    (utils.parameters_to_vector([a, b]) * Tensor([1.0, 2.0, 3.0])).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([1.0, 2.0], [[3.0]])
    with pytest.raises(ValueError, match="there are no parameters"):
        utils.parameters_to_vector([])


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_total_norm(order: float) -> None:
    arrays = [np.array([3.0, -1.0], np.float32), np.array([[4.0]], np.float32)]
    known = torch.nn.utils.get_total_norm([torch.tensor(a) for a in arrays], order)
    got = utils.get_total_norm([Tensor(a) for a in arrays], order)
    assert got.item() == pytest.approx(known.item(), rel=1e-6)
    with pytest.raises(RuntimeError, match="norm of the gradients is nan"):
        utils.get_total_norm([Tensor([math.nan])], order, error_if_nonfinite=True)
