"""Operations in place against PyTorch, through a view of what they write."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import GradientError, Tensor, jit
from gradlet.tensor.inplace import InPlace
from tests.helpers import assert_same, check, floats, integers

UNARY = [
    "abs", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh",
    "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "digamma", "erf", "erfc", "erfinv",
    "exp", "exp2", "expm1", "fix", "floor", "frac", "lgamma", "log", "log10", "log1p", "log2",
    "nan_to_num", "neg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign", "sin",
    "absolute", "deg2rad", "logit", "negative", "rad2deg", "sgn",
    "sinc", "sinh", "sqrt", "square", "tan", "tanh", "tril", "triu", "trunc", "zero",
    "logical_not",
]  # fmt: skip
BINARY = [
    "add", "arctan2", "atan2", "copysign", "div", "eq", "floor_divide", "fmod", "ge", "gt",
    "hypot", "le", "logical_and", "logical_or", "logical_xor", "lt", "mul", "ne", "pow",
    "remainder", "sub", "copy", "divide", "greater", "greater_equal", "heaviside",
    "ldexp", "less", "less_equal", "multiply", "not_equal", "subtract", "true_divide", "xlogy",
]  # fmt: skip
BITWISE = [
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
    "gcd", "lcm",
]  # fmt: skip
INDEX = [0, 2, 1]
CASES: dict[str, Callable[[Any], Any]] = {
    **{name: lambda x, name=name: getattr(x, f"{name}_")() for name in UNARY},
    **{name: lambda x, name=name: getattr(x, f"{name}_")(_like(x)) for name in BINARY},
    "addcdiv": lambda x: x.addcdiv_(_like(x), _like(x) + 5, value=2),
    "addcmul": lambda x: x.addcmul_(_like(x), _like(x), value=2),
    "clamp": lambda x: x.clamp_(-0.5, 0.5),
    "clip": lambda x: x.clip_(-0.5, 0.5),
    "cumsum": lambda x: x.cumsum_(1),
    "cumprod": lambda x: x.cumprod_(0),
    "fill": lambda x: x.fill_(0.5),
    "fill_diagonal": lambda x: x.fill_diagonal_(0.5),
    "lerp": lambda x: x.lerp_(_like(x), 0.25),
    "masked_fill": lambda x: x.masked_fill_(_like(x) > 0, 7.0),
    "index_add": lambda x: x.index_add_(0, _index(x), _like(x)),
    "index_copy": lambda x: x.index_copy_(0, _index(x), _like(x)),
    "clamp_min": lambda x: x.clamp_min_(0.5),
    "clamp_max": lambda x: x.clamp_max_(0.5),
    # PyTorch writes the result, float64, into nothing else.
    "float_power": lambda x: x.float_power_(2) if isinstance(x, Tensor) else x.pow_(2),
    "mvlgamma": lambda x: x.add_(2).mvlgamma_(2),
    "addmm": lambda x: x.addmm_(_like(x)[:, :2], _like(x)[:2]),
    "addmv": lambda x: x[0].addmv_(_like(x).T, _like(x)[:, 0]),
    "addr": lambda x: x.addr_(_like(x)[:, 0], _like(x)[0], beta=2),
    "baddbmm": lambda x: x.unsqueeze(0).baddbmm_(_batch(x), _batch(x), alpha=2),
    "addbmm": lambda x: x.addbmm_(_batch(x), _batch(x)),
    "index_fill": lambda x: x.index_fill_(0, _index(x)[:2], 7.0),
    "index_put": lambda x: x.index_put_((_index(x), _index(x)[:1]), _like(x)[0], accumulate=True),
    "index_reduce": lambda x: x.index_reduce_(0, _index(x), _like(x), "amax"),
    "masked_scatter": lambda x: x.masked_scatter_(x > 0.5, _like(x)),
    "put": lambda x: x.put_(_index(x), _like(x)[0]),
    "renorm": lambda x: x.renorm_(2, 0, 0.5),
    "scatter": lambda x: x.scatter_(0, _index(x).reshape(3, 1), _like(x)),
    "scatter_reduce": lambda x: x.scatter_reduce_(0, _index(x).reshape(3, 1), _like(x), "amax"),
    "scatter_add": lambda x: x.scatter_add_(0, _index(x).reshape(3, 1), _like(x)),
}  # fmt: skip
ELSEWHERE = {
    "bitwise_not", *BITWISE, "normal", "uniform", "bernoulli", "detach", "requires_grad",
    "random", "exponential", "geometric", "cauchy", "log_normal",  # in test_draws.py
}  # fmt: skip


def _like(x: Any) -> Any:
    values = floats(*x.shape, low=0.1, high=0.9, seed=1)
    return Tensor(values, requires_grad=False) if isinstance(x, Tensor) else torch.tensor(values)


def _batch(x: Any) -> Any:
    return _like(x).unsqueeze(0)


def _index(x: Any) -> Any:
    return Tensor(INDEX) if isinstance(x, Tensor) else torch.tensor(INDEX)


@pytest.mark.parametrize("name", CASES)
def test_methods_in_place(name: str) -> None:
    low = 1.1 if name in ("acosh", "arccosh") else 0.1
    array = floats(4, 3, low=low, high=low + 0.8)
    x, known = Tensor(array, requires_grad=False), torch.tensor(array)
    view, expected = x[1:], known[1:]
    made = CASES[name](view)
    assert made is view or made.shape != view.shape  # that is a view of the view
    CASES[name](expected)
    assert_same(view, expected, 1e-6, 1e-5)
    assert_same(x, known, 1e-6, 1e-5)


@pytest.mark.parametrize("name", [*BITWISE, "bitwise_not"])
def test_bitwise_methods_in_place(name: str) -> None:
    arrays = integers(4, 3), integers(4, 3, low=0, high=5)
    x, known = Tensor(arrays[0]), torch.tensor(arrays[0])
    others: tuple = () if name == "bitwise_not" else (Tensor(arrays[1]),)
    getattr(x, f"{name}_")(*others)
    getattr(known, f"{name}_")(*[torch.tensor(arrays[1])] * len(others))
    assert_same(x, known, 0, 0)


def test_every_method_has_a_case() -> None:
    names = {name[:-1] for name in vars(InPlace) if name.endswith("_") and not name.startswith("_")}
    assert names <= set(CASES) | ELSEWHERE, names - set(CASES) - ELSEWHERE


OPERATORS = [
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.imod, operator.ipow,
]  # fmt: skip
INTEGER_OPERATORS = [
    operator.iadd, operator.ifloordiv, operator.imod, operator.iand, operator.ior, operator.ixor,
    operator.ilshift, operator.irshift,
]  # fmt: skip


@pytest.mark.parametrize("write", OPERATORS)
def test_operators_in_place(write: Callable[[Any, Any], Any]) -> None:
    def function(x: Any, y: Any) -> Any:
        made = x * 1
        view = made[1:]
        assert write(view, y) is view
        return made

    check(function, None, floats(3, 4, low=1, high=2), floats(2, 4, low=0.5, high=2, seed=1))


@pytest.mark.parametrize("write", INTEGER_OPERATORS)
def test_integer_operators_in_place(write: Callable[[Any, Any], Any]) -> None:
    array, other = integers(3, 4, low=0, high=50), integers(4, low=1, high=6, seed=1)
    x, expected = Tensor(array), array.copy()
    same, known = x, expected
    x, expected = write(x, Tensor(other)), write(expected, other)
    assert x is same and expected is known
    assert np.array_equal(x.numpy(), expected)


def test_a_matrix_is_multiplied_in_place() -> None:
    array, other = floats(3, 3), floats(3, 3, seed=1)
    x = Tensor(array)
    x @= Tensor(other)
    np.testing.assert_allclose(x.numpy(), array @ other, rtol=1e-5)


def test_results_take_the_dtype_of_their_place() -> None:
    x, known = Tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])
    x.add_(Tensor(np.array([0.1, 0.2])))
    known.add_(torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert_same(x, known, 0, 1e-7)
    small, other = Tensor(np.array([1, 200], np.uint8)), Tensor([300, 100])
    small += other
    assert small.numpy().dtype == np.uint8 and small.tolist() == [45, 44]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    x = Tensor([1, 2])
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: x.div_(2), r"div_: the result, float32\[2\].* int64\[2\]; write x = x.div\(...\)"),
        (lambda: x.add_(Tensor([[1, 2], [3, 4]])), r"add_: the result, int64\[2, 2\]"),
        (lambda: x.copy_([1, 2, 3]), r"copy_: shapes \(3,\) and \(2,\) do not broadcast"),
        (lambda: x.copy_([[1], [3]]), r"copy_: shape \(2, 1\) does not fit into \(2,\)"),
        (lambda: x.fill_diagonal_(1), r"fill_diagonal_: needs a matrix, not shape \(2,\)"),
        (lambda: x.bernoulli_(2), r"bernoulli_: a probability is in \[0, 1\], and 2 is not"),
        (lambda: x[:1].detach_(), "detach_: a view"),
    ]
    for write, message in cases:
        with pytest.raises(ValueError, match=message):
            write()
    assert x.tolist() == [1, 2]


def test_a_gradient_that_would_be_lost_is_refused() -> None:
    w, other = Tensor([1.0], requires_grad=True), Tensor([2.0], requires_grad=True)
    with pytest.raises(GradientError, match=r"shape \(1,\) with requires_grad=True"):
        w += other * 2
    with Tensor.no_grad():
        w += other * 2
    assert w.tolist() == [5] and w.is_leaf


def test_numbers_are_drawn_in_place() -> None:
    Tensor.manual_seed(3)
    x = Tensor.zeros(1000)
    assert abs(x.normal_(3, 0.5).mean().item() - 3) < 0.1
    assert 0.45 < x.std().item() < 0.55
    low, high = x.uniform_(-1, 4).min().item(), x.max().item()
    assert -1 <= low < -0.9 and 3.9 < high < 4
    assert set(x.bernoulli_(0.25).tolist()) == {0, 1} and 0.2 < x.mean().item() < 0.3


def test_detach_in_place_cuts_the_graph() -> None:
    x = Tensor([1.0, 2.0])
    y = x * 2
    assert y.detach_() is y
    (y * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2, 4]


def test_a_recorded_step_writes_in_place() -> None:
    total = Tensor.zeros(3, requires_grad=False)

    @jit
    def step(x: Tensor) -> None:
        total[1:].add_(x).clamp_(max=5)

    for _ in range(4):
        step(Tensor([1.0, 2.0]))
    assert total.tolist() == [0, 4, 5]


def _step(w: Tensor) -> None:
    w.assign(w * 2)


def _in_place_step(w: Tensor) -> None:
    with Tensor.no_grad():
        w.mul_(2)


@pytest.mark.parametrize("step", [_step, _in_place_step, jit(_step)])
def test_backward_to_what_a_parameter_held_before_is_refused(step: Any) -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    old, unrelated = (w * w).sum(), (w.detach() * Tensor([1.0, 1.0])).sum()
    step(w)
    with pytest.raises(GradientError, match=r"shape \(2,\).* has been written to since"):
        old.backward()
    unrelated.backward()
    (w * w).sum().backward()
    assert w.grad is not None and w.grad.tolist() == [4, 8]
