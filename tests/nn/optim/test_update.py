"""An optimiser's graphs are built once for all parameters and steps alike, and not for others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlet import Tensor, nn
from gradlet.base import dtypes
from gradlet.engine.realize import clear_programs
from gradlet.engine.trace import JitError
from gradlet.ir import build
from gradlet.nn.optim.optimizer import Optimizer


class Halving(Optimizer):
    """Moves parameters by half of the gradient, and remembers how often it was asked to."""

    asked = 0

    def __init__(self, params: Any, **more: Any) -> None:
        super().__init__(params, {"lr": 0.5, "weight_decay": 0.0, **more})

    def _move(self, now: Any, pace: Any, param: Tensor, gradient: Tensor, state: Any) -> Tensor:
        Halving.asked += 1
        return param - gradient * now["lr"] - param * now["weight_decay"]


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    clear_programs()
    Halving.asked = 0


def step(opt: Optimizer) -> None:
    opt.zero_grad()
    sum((p * p).sum() for p in opt.params).backward()
    opt.step()


def test_parameters_of_a_shape_share_a_graph() -> None:
    opt = Halving([Tensor([1.0, 2.0]), Tensor([3.0, 4.0]), Tensor([5.0])])
    for _ in range(3):
        step(opt)
    assert Halving.asked == 2
    assert [p.tolist() for p in opt.params] == [[0.0, 0.0], [0.0, 0.0], [0.0]]


def test_options_that_change_are_seen() -> None:
    opt = Halving([Tensor([8.0])])
    values = []
    for lr, decay in ((0.25, 0.0), (0.25, 0.5), (0.25, 0.25), (0.0, 0.0), (0.125, 0.0)):
        opt.param_groups[0]["lr"], opt.param_groups[0]["weight_decay"] = lr, decay
        step(opt)
        values.append(opt.params[0].item())
    assert values == [4.0, 0.0, 0.0, 0.0, 0.0]
    assert Halving.asked <= 4


def test_two_optimisers_share_graphs_and_keep_their_options() -> None:
    first, second = Halving([Tensor([8.0])]), Halving([Tensor([8.0])], weight_decay=0.25)
    for opt in (first, second, first):
        opt.lr = 0.25
        step(opt)
    assert first.params[0].item() == 2.0 and second.params[0].item() == 2.0
    assert Halving.asked == 2


def test_a_move_that_reads_other_tensors_is_refused() -> None:
    class Reader(Halving):
        def _move(self, now: Any, pace: Any, param: Tensor, gradient: Tensor, state: Any) -> Tensor:
            return param - gradient * outside

    outside = Tensor([0.5])
    opt = Reader([Tensor([1.0])])
    with pytest.raises(ValueError, match=r"Reader\.step: .* keep it in the state"):
        step(opt)
    assert opt.params[0].item() == 1.0


def test_a_move_that_looks_at_values_is_refused() -> None:
    class Looker(Halving):
        def _move(self, now: Any, pace: Any, param: Tensor, gradient: Tensor, state: Any) -> Tensor:
            return param - gradient * gradient.sum().item()

    with pytest.raises(JitError, match="a value is needed"):
        step(Looker([Tensor([1.0])]))


def test_constants_that_somebody_has_computed_are_no_other_tensors() -> None:
    opt = Halving([Tensor([1.0, 2.0])])
    zeros = build.const(0.0, dtypes.float32, (2,))  # as which weight_decay=0.0 is multiplied
    computed = Tensor.from_node(zeros, "cpu").realize()
    step(opt)
    assert opt.params[0].tolist() == [0.0, 0.0] and computed.tolist() == [0.0, 0.0]


def test_state_that_begins_later_is_kept() -> None:
    """As SGD's momentum, which there is from the first step on."""
    w = Tensor([1.0])
    opt = nn.optim.SGD([w], lr=0.5, momentum=0.5)
    for _ in range(2):
        step(opt)
    np.testing.assert_allclose(w.numpy(), [0.0 - 0.5 * 0.5 * 2.0])
    assert opt.state[0]["momentum_buffer"].tolist() == [1.0]


def test_the_default_dtype_is_part_of_the_form() -> None:
    for name in ("float32", "float64", "float32"):
        with Tensor.with_default_dtype(name):
            w = Tensor([1.0])
            step(nn.optim.Adam([w], lr=0.5))
            assert w.dtype.name == name and w.item() == pytest.approx(0.5)
