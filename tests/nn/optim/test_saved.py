"""States of optimisers: PyTorch's taken here, gradlet's taken there, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn.state import load_checkpoint, save_checkpoint

optim = nn.optim
SHAPES = [(2, 3), (), (4,)]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.2}),
    ("NAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1}),
    ("Adamax", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adadelta", {"rho": 0.7}),
]


def both(kind: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """Ours and PyTorch's, with two groups."""
    made = []
    for module, tensor in ((optim, Tensor), (torch.optim, torch.from_numpy)):
        generator = np.random.default_rng(0)
        a, b, c = (tensor(np.asarray(generator.normal(size=shape))) for shape in SHAPES)
        made.append(
            getattr(module, kind)([{"params": [a, b]}, {"params": c, "lr": 0.5}], **options)
        )
    return made[0], made[1]


def params(opt: Any) -> list[Any]:
    return [param for group in opt.param_groups for param in group["params"]]


def step(opt: Any, seed: int, used: tuple[int, ...] = (0, 1, 2)) -> None:
    generator = np.random.default_rng(seed)
    tensor: Any = Tensor if isinstance(opt, optim.Optimizer) else torch.from_numpy
    for i, param in enumerate(params(opt)):
        gradient = tensor(np.asarray(generator.normal(size=tuple(param.shape))))
        param.grad = gradient if i in used else None
    opt.step()


def give(source: Any, target: Any) -> None:
    """The parameters of one to the other."""
    for a, b in zip(params(source), params(target), strict=True):
        values = a.detach().numpy()
        b.assign(values) if isinstance(b, Tensor) else b.copy_(torch.from_numpy(values))


def to_torch(state: dict[str, Any]) -> dict[str, Any]:
    inner = {
        i: {name: torch.from_numpy(np.asarray(value.numpy())) for name, value in entry.items()}
        for i, entry in state["state"].items()
    }
    return {"state": inner, "param_groups": state["param_groups"]}


def assert_same(ours: Any, theirs: Any) -> None:
    for a, b in zip(params(ours), params(theirs), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.*no gradient for parameter")
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_training_goes_over_from_pytorch_and_back(kind: str, options: dict[str, Any]) -> None:
    ours, theirs = both(kind, options)
    for seed in range(3):
        step(theirs, seed, (0, 2) if seed < 2 else (0,))  # parameter 1 has no state yet
    theirs.param_groups[1]["lr"] = 0.25
    give(theirs, ours)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[1]["lr"] == 0.25
    for seed in range(3, 6):
        step(ours, seed), step(theirs, seed)
        assert_same(ours, theirs)
    _, theirs = both(kind, {})
    give(ours, theirs)
    theirs.load_state_dict(to_torch(ours.state_dict()))
    for seed in range(6, 9):
        step(ours, seed), step(theirs, seed)
        assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "options"), [*KINDS, ("Lion", {}), ("LARS", {}), ("LAMB", {"weight_decay": 0.1})]
)
def test_a_state_is_a_snapshot_that_goes_on(kind: str, options: dict[str, Any]) -> None:
    def made() -> Any:
        a, b = (Tensor(np.random.default_rng(i).normal(size=(2, 3))) for i in range(2))
        return getattr(optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.5}], **options)

    first, second = made(), made()
    for seed in range(2):
        step(first, seed)
    first.param_groups[0]["lr"] = 0.3
    state = first.state_dict()
    values = [param.numpy() for param in first.params]
    for seed in range(2, 5):
        step(first, seed)
    for param, value in zip(second.params, values, strict=True):
        param.assign(value)
    second.load_state_dict(state)
    for seed in range(2, 5):
        step(second, seed)
    for a, b in zip(first.params, second.params, strict=True):
        assert a.tolist() == b.tolist()


def test_the_layout_is_that_of_pytorch() -> None:
    ours, theirs = both("Adam", {})
    step(ours, 0), step(theirs, 0)
    mine, known = ours.state_dict(), theirs.state_dict()
    assert set(mine) == set(known) and set(mine["state"]) == set(known["state"])
    for i, entry in mine["state"].items():
        assert {name: value.shape for name, value in entry.items()} == {
            name: tuple(value.shape) for name, value in known["state"][i].items()
        }
    for a, b in zip(mine["param_groups"], known["param_groups"], strict=True):
        assert a == {name: b[name] for name in a}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_goes_over(dtype: str) -> None:
    theirs = torch.ones(3, dtype=getattr(torch, dtype))
    known = torch.optim.SGD([theirs], lr=0.5, momentum=0.5)
    theirs.grad = torch.ones_like(theirs)
    known.step()
    ours = Tensor([0.5] * 3, dtype=dtype)
    opt = optim.SGD([ours], lr=0.1, momentum=0.5)
    opt.load_state_dict(known.state_dict())
    ours.grad = Tensor([1.0] * 3, dtype=dtype)
    opt.step(), known.step()
    assert ours.tolist() == theirs.tolist() == [-0.25] * 3
    known.load_state_dict(to_torch(opt.state_dict()))
    assert known.state[theirs]["momentum_buffer"].tolist() == [1.5] * 3


def test_options_of_a_state_are_live() -> None:
    """Loading other rates makes no constants of them."""
    ours, _ = both("Adam", {"lr": 0.1})
    state = ours.state_dict()
    state["param_groups"][0]["lr"] = 0.7
    ours.load_state_dict(state)
    assert ours.param_groups[0]["lr"] == 0.7
    assert isinstance(ours.param_groups[0].now["lr"], Tensor)


def broken(change: Any) -> Any:
    def make(state: dict[str, Any]) -> Any:
        change(state)
        return state

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: None, 'the keys "state" and "param_groups"'),
        (lambda s: {"state": {}}, 'the keys "state" and "param_groups"'),
        (broken(lambda s: s["param_groups"].pop()), "1 groups of parameters, and .* has 2"),
        (broken(lambda s: s["param_groups"][0]["params"].pop()), "group 0 has 1 parameters"),
        (broken(lambda s: s["param_groups"][1].pop("eps")), "group 1 is without 'eps'"),
        (broken(lambda s: s["param_groups"][1].update(lr=-1.0)), "group 1: Adam: lr must be"),
        (broken(lambda s: s["state"][2].pop("step")), "parameter 2: 'step' is missing"),
        (broken(lambda s: s["state"][0].pop("exp_avg")), "parameter 0: 'exp_avg' is missing"),
        (broken(lambda s: s["state"][0].update(sum=1.0)), "'sum' is nothing that Adam remembers"),
        (broken(lambda s: s["state"].update({7: {}})), "there is no parameter 7"),
        (
            broken(lambda s: s["state"][2].update(exp_avg=np.zeros((2, 2)))),
            r"parameter 2: 'exp_avg' has shape \(2, 2\), and should have \(4,\)",
        ),
        (
            broken(lambda s: s["state"][2].update(step=np.zeros(4))),
            r"'step' has shape \(4,\), and should have \(\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(make: Any, message: str) -> None:
    ours, _ = both("Adam", {"lr": 0.1})
    step(ours, 0)
    before = ours.state_dict()
    state = ours.state_dict()
    state["param_groups"][0]["lr"] = 0.9
    with pytest.raises(ValueError, match=message):
        ours.load_state_dict(make(state))
    after = ours.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, entry in before["state"].items():
        for name, value in entry.items():
            assert after["state"][i][name].tolist() == value.tolist()


def test_a_state_of_another_optimizer_is_refused() -> None:
    ours, _ = both("Adam", {})
    other, _ = both("SGD", {"momentum": 0.9})
    step(other, 0)
    with pytest.raises(ValueError, match="group 0 is without"):
        ours.load_state_dict(other.state_dict())


def test_a_whole_training_goes_on_from_a_file(tmp_path: Path) -> None:
    def made() -> tuple[Any, Any, Any, Any]:
        Tensor.manual_seed(0)
        model = nn.Linear(3, 2)
        opt = optim.AdamW([{"params": model.weight}, {"params": model.bias, "lr": 0.3}], lr=0.1)
        schedule = optim.SequentialLR(
            opt, [optim.LinearLR(opt), optim.MultiStepLR(opt, [2, 4])], [3]
        )
        return model, opt, schedule, optim.EMA(model, 0.5)

    def go(parts: tuple[Any, Any, Any, Any], epochs: range) -> None:
        model, opt, schedule, ema = parts
        for n in epochs:
            opt.zero_grad()
            (model(Tensor.ones(4, 3) * float(n)) ** 2).sum().backward()
            opt.step(), ema.update(), schedule.step()

    first, second = made(), made()
    names = ("model", "optimizer", "scheduler", "ema")
    go(first, range(5))
    save_checkpoint(tmp_path / "x", **dict(zip(names, first, strict=True)))
    go(first, range(5, 9))
    load_checkpoint(tmp_path / "x", **dict(zip(names, second, strict=True)))
    go(second, range(5, 9))
    assert first[1].state_dict()["param_groups"] == second[1].state_dict()["param_groups"]
    for one, other in zip(
        first[3].state_dict().values(), second[3].state_dict().values(), strict=True
    ):
        assert one.tolist() == other.tolist()


def test_a_group_of_optimisers_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    def made() -> tuple[Any, Any]:
        a, b = Tensor(np.eye(3)), Tensor(np.ones(4))
        return optim.OptimizerGroup(optim.Muon([a], lr=0.1), optim.AdamW([b], lr=0.2)), (a, b)

    def train(opt: Any, tensors: Any, numbers: range) -> list[Any]:
        for number in numbers:
            for tensor in tensors:
                tensor.grad = Tensor(np.full(tensor.shape, 0.1 + number), requires_grad=False)
            opt.step()
        return [tensor.tolist() for tensor in tensors]

    opt, tensors = made()
    train(opt, tensors, range(3))
    opt[1].lr = 0.05
    save_checkpoint(tmp_path / "x", model=list(tensors), optimizer=opt)
    expected = train(opt, tensors, range(3, 6))
    other, others = made()
    load_checkpoint(tmp_path / "x", model=list(others), optimizer=other)
    assert other[1].lr == 0.05 and train(other, others, range(3, 6)) == expected
    before = other.state_dict()
    wrong = {"optimizers": [opt[0].state_dict(), optim.SGD([Tensor([1.0])]).state_dict()]}
    with pytest.raises(ValueError, match=r"AdamW\.load_state_dict"):
        other.load_state_dict(wrong)
    assert repr(other.state_dict()) == repr(before)
    with pytest.raises(ValueError, match="the states of 2 optimisers"):
        other.load_state_dict(opt[0].state_dict())
