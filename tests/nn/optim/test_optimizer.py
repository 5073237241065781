"""Optimisers against PyTorch's over several steps from the same weights."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, jit, nn, profile
from gradlet.engine import realize
from gradlet.ir.node import interned_count

CASES = [
    (nn.optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (nn.optim.Adam, torch.optim.Adam, {}),
    (nn.optim.AdamW, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3}),
]
KINDS = [
    *(nn.optim.SGD, nn.optim.Adam, nn.optim.AdamW, nn.optim.NAdam, nn.optim.RAdam),
    *(nn.optim.Adamax, nn.optim.RMSprop, nn.optim.Adagrad, nn.optim.Adadelta, nn.optim.Lion),
    *(nn.optim.LARS, nn.optim.LAMB),
]


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def small_model() -> Any:
    # No bias before the normalisation: its gradient is zero but for rounding, which Adam blows up.
    first = nn.Linear(5, 8, bias=False)
    return nn.Sequential(first, nn.BatchNorm(8), Tensor.tanh, nn.Linear(8, 3))


def torch_model() -> torch.nn.Sequential:
    first = torch.nn.Linear(5, 8, bias=False)
    rest = torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    return torch.nn.Sequential(first, *rest)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_steps_agree_with_pytorch(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    reference, model = torch_model(), small_model()
    nn.state.load_state_dict(model, {k: v.numpy() for k, v in reference.state_dict().items()})
    opt, torch_opt = ours([model], **options), theirs(reference.parameters(), **options)
    x, y = array(16, 5), np.arange(16) % 3
    with Tensor.train():
        for step in range(6):
            if step == 3:  # as a schedule would
                opt.lr = opt.lr / 2
                torch_opt.param_groups[0]["lr"] /= 2
            loss = model(Tensor(x)).cross_entropy(Tensor(y))
            opt.zero_grad()
            loss.backward()
            opt.step()
            expected = torch.nn.functional.cross_entropy(
                reference(torch.tensor(x)), torch.tensor(y)
            )
            torch_opt.zero_grad()
            expected.backward()
            torch_opt.step()
            assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for name, value in nn.state.get_state_dict(model).items():
        wanted = reference.state_dict()[name].numpy()
        np.testing.assert_allclose(value.numpy(), wanted, rtol=2e-3, atol=2e-4, err_msg=name)


def train(model: Any, opt: nn.optim.Optimizer, steps: int) -> None:
    x, y = array(16, 5), np.arange(16) % 3
    for _ in range(steps):
        loss = model(Tensor(x)).cross_entropy(Tensor(y))
        loss.backward()
        opt.step()
        opt.zero_grad()


@pytest.mark.parametrize("kind", [nn.optim.SGD, nn.optim.Adam, nn.optim.LAMB])
def test_all_steps_are_one_program_and_no_graph_grows(kind: Any) -> None:
    model = small_model()
    opt = kind([model], lr=0.1)
    with Tensor.train():
        realize.clear_programs()
        train(model, opt, 1)
        assert len(realize._programs) == 1
        gc.collect()
        nodes = interned_count()
        for step in range(4):
            opt.lr = 0.1 / (step + 2)
            train(model, opt, 2)
        gc.collect()
        assert len(realize._programs) == 1
        assert interned_count() <= nodes


@pytest.mark.parametrize("kind", [*KINDS, nn.optim.Muon])
def test_recorded_steps_are_the_same(kind: Any) -> None:
    """Of float32 and float64 parameters, and on the device that others are measured by."""
    results = []
    for wrap, device in ((jit, "cpu"), (lambda step: step, "cpu"), (lambda step: step, "numpy")):
        params = [Tensor(array(3, 4), device=device), Tensor(array(2, 5), device=device).double()]
        opt = kind(params, lr=0.1)
        step = wrap(opt.step)
        for n in range(4):
            for param in params:
                gradient = array(*param.shape).astype(param.dtype.numpy) * (n + 1)
                param.grad = Tensor(gradient, device=device)
            opt.lr = 0.1 / (n + 1)
            with profile() as seen:
                step()
            assert n < 2 or seen.counters["programs compiled"] == 0
        results.append([param.numpy() for param in params])
    for other in results[1:]:
        np.testing.assert_allclose(other[0], results[0][0], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(other[1], results[0][1], rtol=1e-10, atol=1e-12)


def test_steps_whatever_the_training_switch_says() -> None:
    for training in (True, False):
        w = Tensor([1.0])
        with Tensor.train(training):
            (w * 3).sum().backward()
            nn.optim.SGD([w], lr=0.5).step()
        assert w.tolist() == [-0.5]


def test_parameters_models_and_both() -> None:
    first, second, loose = nn.Linear(2, 3), nn.BatchNorm(3), Tensor.randn(4)
    opt = nn.optim.SGD([first, [second, loose], first.weight, {"again": loose}], lr=0.1)
    wanted = [first.weight, first.bias, second.weight, second.bias, loose]
    assert [id(p) for p in opt.params] == [id(p) for p in wanted]
    assert loose.requires_grad is True
    assert len(nn.optim.Adam(first).params) == 2
    assert len(nn.optim.Adam(nn.state.get_parameters(first)).params) == 2


def test_frozen_parameters_stay() -> None:
    layer = nn.Linear(2, 3)
    layer.weight.requires_grad = False
    assert len(nn.optim.SGD([layer]).params) == 1


def test_a_weight_that_is_a_result_becomes_a_leaf() -> None:
    w = Tensor([2.0, 4.0]) * 0.5
    opt = nn.optim.SGD([w], lr=1.0)
    (w * w).sum().backward()
    opt.step()
    assert w.tolist() == [-1.0, -2.0]


def test_learning_rate() -> None:
    w = Tensor([1.0])
    opt = nn.optim.SGD([w], lr=0.1)
    assert opt.lr == 0.1
    opt.lr = 2
    w.sum().backward()
    opt.step()
    assert (opt.lr, w.tolist()) == (2.0, [-1.0])
    with pytest.raises(ValueError, match="at least 0, not -1"):
        opt.lr = -1
    with pytest.raises(ValueError, match="not nan"):
        opt.lr = float("nan")


def test_zero_grad_and_accumulation() -> None:
    w = Tensor([1.0])
    opt = nn.optim.SGD([w], lr=0.25)
    for _ in range(2):
        (w * 2).sum().backward()
    opt.step()
    assert w.tolist() == [0.0]
    opt.zero_grad()
    assert w.grad is None


def test_an_unused_parameter_is_noted_once_and_skipped() -> None:
    used, unused = Tensor([1.0]), Tensor([[5.0, 6.0]])
    opt = nn.optim.Adam([used, unused], lr=0.5)
    used.sum().backward()
    with pytest.warns(UserWarning, match=r"no gradient for parameter 1 of shape \(1, 2\)") as notes:
        opt.step()
    assert notes[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opt.step()
    assert unused.tolist() == [[5.0, 6.0]] and used.tolist() == [pytest.approx(0.0, abs=1e-6)]


def test_a_gradient_of_a_wrong_shape_changes_nothing() -> None:
    a, b = Tensor([1.0]), Tensor([1.0, 2.0])
    opt = nn.optim.SGD([a, b], lr=1.0)
    a.grad, b.grad = Tensor([1.0]), Tensor([1.0])
    with pytest.raises(ValueError, match=r"parameter 1 has shape \(2,\) and its gradient \(1,\)"):
        opt.step()
    assert a.tolist() == [1.0]


def test_half_precision_parameters_keep_their_dtype() -> None:
    w = Tensor([1.0, 2.0], dtype="float16")
    opt = nn.optim.Adam([w], lr=0.5)
    w.sum().backward()
    opt.step()
    assert w.dtype.name == "float16" and w.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, "nothing to train"),
        ([Tensor.relu], ValueError, "nothing to train"),
        ([Tensor([1, 2])], TypeError, "parameter 0 is int64"),
        ([Tensor([1.0], device="numpy"), "other"], ValueError, "are on devices"),
    ],
)
def test_what_cannot_be_trained(params: Any, error: type[Exception], message: str) -> None:
    if "other" in params:
        other = next((d for d in ("cpu",) if params[0].device != d), None)
        try:
            params = [params[0], Tensor([1.0], device=other)]
        except ValueError:
            pytest.skip("there is one device only")
    with pytest.raises(error, match=message):
        nn.optim.SGD(params)


def test_options_that_cannot_be() -> None:
    w = Tensor([1.0])
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        nn.optim.SGD([w], nesterov=True)
    with pytest.raises(ValueError, match="betas"):
        nn.optim.Adam([w], betas=(0.9, 1.0))


def test_a_view_of_a_parameter_follows_it() -> None:
    class Tied:
        def __init__(self) -> None:
            self.weight = Tensor([[1.0, 2.0, 3.0]])
            self.turned = self.weight.T

    model = Tied()
    opt = nn.optim.SGD([model], lr=0.5)
    assert [p is model.weight for p in opt.params] == [True]
    (model.turned * 2).sum().backward()
    opt.step()
    assert model.weight.tolist() == [[0, 1, 2]] and model.turned.tolist() == [[0], [1], [2]]


def test_a_view_of_something_else_is_no_parameter() -> None:
    whole = Tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"shape \(2,\) is a view of a tensor of shape \(3,\)"):
        nn.optim.SGD([whole[:2]], lr=0.1)
    nn.optim.SGD([whole[:2].clone()], lr=0.1)


def test_several_optimisers_step_together() -> None:
    a, b = Tensor([1.0]), Tensor([2.0])
    first, second = nn.optim.SGD([a], lr=0.5), nn.optim.SGD([b], lr=0.25)
    both = nn.optim.OptimizerGroup(first, second)
    assert both[1] is second and [id(p) for p in both.params] == [id(a), id(b)]
    (a * b).sum().backward()
    both.step()
    assert (a.tolist(), b.tolist()) == ([0.0], [1.75])
    both.zero_grad()
    assert a.grad is None and b.grad is None
