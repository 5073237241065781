"""The curve of every scheduler against PyTorch's, with two groups."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, jit, nn
from gradlet.engine.trace import JitError
from gradlet.nn.optim import lr_scheduler

OURS = SimpleNamespace(**vars(lr_scheduler))
THEIRS = SimpleNamespace(**vars(torch.optim.lr_scheduler), SWALR=torch.optim.swa_utils.SWALR)
STEPS = 60

CASES: dict[str, Callable[[Any, Any], Any]] = {
    "lambda": lambda m, o: m.LambdaLR(o, lambda e: 0.9**e),
    "lambda for each": lambda m, o: m.LambdaLR(o, [lambda e: 1 / (e + 1), lambda e: e + 1.0]),
    "multiplicative": lambda m, o: m.MultiplicativeLR(o, lambda e: 1 - 0.5 / (e + 1)),
    "step": lambda m, o: m.StepLR(o, 7),
    "step, gamma": lambda m, o: m.StepLR(o, 1, gamma=0.97),
    "multistep": lambda m, o: m.MultiStepLR(o, [3, 20, 20, 41], gamma=0.3),
    "multistep at 0": lambda m, o: m.MultiStepLR(o, [0, 5]),
    "constant": lambda m, o: m.ConstantLR(o),
    "constant, long": lambda m, o: m.ConstantLR(o, factor=0.7, total_iters=50),
    "linear": lambda m, o: m.LinearLR(o),
    "linear, down": lambda m, o: m.LinearLR(o, 1.0, 0.0, total_iters=31),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.93),
    "polynomial": lambda m, o: m.PolynomialLR(o, total_iters=40, power=2.5),
    "polynomial, short": lambda m, o: m.PolynomialLR(o),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 17, eta_min=0.01),
    "cosine, 1": lambda m, o: m.CosineAnnealingLR(o, 1),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, eta_min=0.002),
    "restarts, longer": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
    "one cycle": lambda m, o: m.OneCycleLR(o, 1.0, total_steps=STEPS),
    "one cycle, linear": lambda m, o: m.OneCycleLR(
        o, [0.5, 2.0], epochs=4, steps_per_epoch=20, pct_start=0.4, anneal_strategy="linear",
        base_momentum=[0.7, 0.8], max_momentum=0.9, div_factor=10.0, final_div_factor=100.0,
    ),
    "one cycle, three phases": lambda m, o: m.OneCycleLR(
        o, 1.0, total_steps=70, three_phase=True, cycle_momentum=False
    ),
    "cyclic": lambda m, o: m.CyclicLR(o, 0.01, 0.1, step_size_up=7),
    "cyclic 2": lambda m, o: m.CyclicLR(
        o, [0.01, 0.1], [0.1, 0.3], step_size_up=5, step_size_down=11, mode="triangular2",
        base_momentum=0.5, max_momentum=[0.8, 0.95],
    ),
    "cyclic, exp": lambda m, o: m.CyclicLR(
        o, 0.01, 0.1, step_size_up=7, mode="exp_range", gamma=0.97, cycle_momentum=False
    ),
    "cyclic, own": lambda m, o: m.CyclicLR(
        o, 0.01, 0.1, step_size_up=7, scale_fn=lambda x: 1 / x, scale_mode="cycle"
    ),
    "swa": lambda m, o: m.SWALR(o, [0.05, 0.01]),
    "swa, linear": lambda m, o: m.SWALR(o, 0.05, anneal_epochs=20, anneal_strategy="linear"),
    "swa at once": lambda m, o: m.SWALR(o, 0.05, anneal_epochs=0),
    "warm-up": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=10), m.CosineAnnealingLR(o, 40)], [10]
    ),
    "sequence": lambda m, o: m.SequentialLR(
        o,
        [
            m.ConstantLR(o, 0.1, 5), m.ExponentialLR(o, 0.9), m.StepLR(o, 4),
            m.MultiplicativeLR(o, lambda e: 1 + 1 / (e + 2)), m.LambdaLR(o, lambda e: 1 / (e + 1)),
            m.CosineAnnealingWarmRestarts(o, 4),
        ],
        [5, 12, 20, 30, 40],
    ),
    "sequence from 0": lambda m, o: m.SequentialLR(
        o, [m.StepLR(o, 4), m.LinearLR(o, 0.2), m.PolynomialLR(o, 20)], [0, 9]
    ),
    "chained": lambda m, o: m.ChainedScheduler([
        m.ConstantLR(o, 0.1, 10), m.ExponentialLR(o, 0.95), m.MultiStepLR(o, [20, 30]),
    ]),
}  # fmt: skip
MOMENTUM = ("one cycle", "one cycle, linear", "cyclic", "cyclic 2")


def optimizers(kind: str = "SGD") -> Iterator[Any]:
    """Ours and PyTorch's, with two groups that have steps behind them."""
    options = {"momentum": 0.6} if kind == "SGD" else {}
    for module, tensor in ((nn.optim, Tensor), (torch.optim, torch.tensor)):
        params = [tensor([1.0]), tensor([2.0])]
        groups = [{"params": params[:1], "lr": 0.1}, {"params": params[1:]}]
        yield getattr(module, kind)(groups, lr=0.5, **options)


@pytest.fixture(autouse=True)
def no_order() -> Iterator[None]:
    """No optimiser steps here, of which both remind."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*before.*step")
        yield


def facts(optimizer: Any) -> list[list[float]]:
    names = ("lr", "momentum", "initial_lr")
    return [
        [*(group.get(name, 0.0) for name in names), *group.get("betas", ())]
        for group in optimizer.param_groups
    ]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", CASES)
def test_curves_agree_with_pytorch(name: str, kind: str) -> None:
    if kind == "Adam" and name not in MOMENTUM:
        kind = "Adagrad" if "cyc" not in name else "AdamW"
    ours, theirs = optimizers(kind)
    mine, known = CASES[name](OURS, ours), CASES[name](THEIRS, theirs)
    for step in range(STEPS):
        np.testing.assert_allclose(facts(ours), facts(theirs), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(mine.get_last_lr(), known.get_last_lr(), rtol=1e-12, atol=1e-15)
        mine.step(), known.step()
        if step == 25:  # a run that was cut off, and goes on
            state, groups = mine.state_dict(), ours.state_dict()
            (ours, _), mine = optimizers(kind), None
            mine = CASES[name](OURS, ours)
            mine.load_state_dict(state)
            ours.load_state_dict(groups)


# All that take an epoch to go on from; SWALR knows its place by the steps it has made itself.
GOING_ON = [
    name
    for name in CASES
    if name.partition(",")[0] not in ("cyclic", "sequence", "sequence from 0", "warm-up", "chained")
    and not name.startswith("swa")
] + ["cyclic", "cyclic, exp"]


@pytest.mark.parametrize("name", GOING_ON)
def test_going_on_from_an_epoch(name: str) -> None:
    ours, theirs = optimizers()
    for opt in (ours, theirs):
        for group in opt.param_groups:
            group.update(
                initial_lr=0.3, max_lr=1.0, min_lr=0.01, max_momentum=0.9, base_momentum=0.7
            )
    modules = []
    for module in (OURS, THEIRS):
        facade = {
            key: (lambda *a, cls=cls, **k: cls(*a, **k, last_epoch=13))
            for key, cls in vars(module).items()
            if key.endswith(("LR", "Restarts"))
        }
        modules.append(SimpleNamespace(**facade))
    mine, known = CASES[name](modules[0], ours), CASES[name](modules[1], theirs)
    for _ in range(10):
        np.testing.assert_allclose(facts(ours), facts(theirs), rtol=1e-12, atol=1e-15)
        mine.step(), known.step()


def test_restarts_at_any_epoch() -> None:
    ours, theirs = optimizers()
    mine = OURS.CosineAnnealingWarmRestarts(ours, 3, T_mult=2)
    known = THEIRS.CosineAnnealingWarmRestarts(theirs, 3, T_mult=2)
    for epoch in (0.25, 1.5, 3.0, 2.0, 10.75, None, 40.5, None, None):
        mine.step(epoch), known.step(epoch)
        np.testing.assert_allclose(facts(ours), facts(theirs), rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="at least 0, not -1"):
        mine.step(-1)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_agrees_with_pytorch(mode: str, threshold_mode: str) -> None:
    ours, theirs = optimizers()
    options = {
        "mode": mode, "threshold_mode": threshold_mode, "factor": 0.4, "patience": 2,
        "threshold": 0.02, "cooldown": 3, "min_lr": [0.01, 0.001],
    }  # fmt: skip
    mine = OURS.ReduceLROnPlateau(ours, **options)
    known = THEIRS.ReduceLROnPlateau(theirs, **options)
    metrics = 1 + np.random.default_rng(0).normal(size=STEPS) * 0.3
    metrics[10] = math.nan
    for step, metric in enumerate(metrics.tolist()):
        mine.step(Tensor(np.float64(metric)) if step % 2 else metric), known.step(metric)
        np.testing.assert_allclose(facts(ours), facts(theirs), rtol=1e-12)
        assert (mine.best, mine.num_bad_epochs) == (known.best, known.num_bad_epochs)
        if step == 30:
            state, groups = mine.state_dict(), ours.state_dict()
            ours, _ = optimizers()
            mine = OURS.ReduceLROnPlateau(ours)
            mine.load_state_dict(state), ours.load_state_dict(groups)
    assert ours.param_groups[0]["lr"] == 0.01


def test_a_state_of_pytorch_is_taken() -> None:
    ours, theirs = optimizers()
    known = THEIRS.SequentialLR(theirs, [THEIRS.LinearLR(theirs), THEIRS.StepLR(theirs, 3)], [4])
    for _ in range(9):
        known.step()
    mine = OURS.SequentialLR(ours, [OURS.LinearLR(ours), OURS.StepLR(ours, 3)], [4])
    mine.load_state_dict(known.state_dict()), ours.load_state_dict(theirs.state_dict())
    for _ in range(9):
        mine.step(), known.step()
        np.testing.assert_allclose(facts(ours), facts(theirs), rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda kinds, opt: kinds.OneCycleLR(opt, 0.5, 30, pct_start=0.4, three_phase=True),
        lambda kinds, opt: kinds.CyclicLR(opt, 0.1, 0.5, 4, mode="triangular2"),
        lambda kinds, opt: kinds.SWALR(opt, 0.05, 9, "linear"),
        lambda kinds, opt: kinds.ReduceLROnPlateau(opt, patience=2),
    ],
)
def test_a_state_of_pytorch_that_lacks_arguments_is_taken(make: Callable[..., Any]) -> None:
    (_, theirs), (new, _) = optimizers(), optimizers()
    known, mine = make(THEIRS, theirs), make(OURS, new)
    metric = (1.0,) if isinstance(mine, OURS.ReduceLROnPlateau) else ()
    for _ in range(7):
        theirs.step(), known.step(*metric)
    mine.load_state_dict(known.state_dict()), new.load_state_dict(theirs.state_dict())
    for _ in range(9):
        mine.step(*metric), known.step(*metric)
        np.testing.assert_allclose(facts(new), facts(theirs), rtol=1e-12)


class Halving:
    def __init__(self) -> None:
        self.by = 0.5

    def __call__(self, epoch: int) -> float:
        return self.by**epoch


def test_attributes_of_objects_that_are_called_are_saved() -> None:
    ours, _ = optimizers()
    first, second = (OURS.LambdaLR(ours, Halving()) for _ in range(2))
    first.lr_lambdas[0].by = 0.25
    second.load_state_dict(first.state_dict())
    assert second.lr_lambdas[0].by == 0.25


# What goes wrong


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: OURS.LambdaLR(o, [Halving()]), "lr_lambda has 1 items, and the optimiser 2"),
        (lambda o: OURS.LambdaLR(o, 0.5), "lr_lambda is no function"),
        (lambda o: OURS.StepLR(None, 3), "needs an optimiser, not None"),
        (lambda o: OURS.StepLR(o, 3, last_epoch=4), "group 0 has no 'initial_lr'"),
        (lambda o: OURS.ConstantLR(o, 2.0), r"factor must be in \(0, 1\], not 2.0"),
        (lambda o: OURS.LinearLR(o, 0.0), "start_factor must be in"),
        (lambda o: OURS.LinearLR(o, 0.5, 2.0), "end_factor must be in"),
        (lambda o: OURS.CosineAnnealingWarmRestarts(o, 0), "T_0 must be a positive int"),
        (lambda o: OURS.OneCycleLR(o, 1.0), "give total_steps, or epochs"),
        (lambda o: OURS.OneCycleLR(o, 1.0, 10, pct_start=2.0), "pct_start must be in"),
        (lambda o: OURS.OneCycleLR(o, 1.0, 10, anneal_strategy="x"), "'cos' or 'linear'"),
        (lambda o: OURS.CyclicLR(o, 0.1, 1.0, mode="x"), "or give a scale_fn"),
        (lambda o: OURS.SWALR(o, 0.1, anneal_epochs=-1), "anneal_epochs must be"),
        (lambda o: OURS.SequentialLR(o, [], []), "needs at least one scheduler"),
        (lambda o: OURS.SequentialLR(o, [OURS.StepLR(o, 2)], [3]), "one milestone fewer, not 1"),
        (lambda o: OURS.ChainedScheduler([OURS.ReduceLROnPlateau(o)]), "needs a metric"),
        (lambda o: OURS.ReduceLROnPlateau(o, factor=1.0), "factor must be below 1"),
        (lambda o: OURS.ReduceLROnPlateau(o, mode="low"), "mode must be 'min' or 'max'"),
    ],
)
def test_arguments_that_cannot_be(make: Callable[[Any], Any], message: str) -> None:
    ours, _ = optimizers()
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        make(ours)


def test_schedulers_of_two_optimizers_do_not_go_together() -> None:
    (a, _), (b, _) = optimizers(), optimizers()
    with pytest.raises(ValueError, match="must be of one optimiser"):
        OURS.ChainedScheduler([OURS.StepLR(a, 2), OURS.StepLR(b, 2)])


def test_momentum_needs_an_optimizer_that_has_it() -> None:
    ours, _ = optimizers("Adagrad")
    with pytest.raises(ValueError, match="Adagrad has no momentum"):
        OURS.OneCycleLR(ours, 1.0, 10)


@pytest.mark.parametrize("name", ["step", "cosine", "restarts", "chained"])
def test_groups_that_come_later_are_noticed(name: str) -> None:
    ours, _ = optimizers()
    schedule = CASES[name](OURS, ours)
    ours.add_param_group({"params": Tensor([3.0])})
    with pytest.raises(ValueError, match="has 3 groups of parameters, and had 2"):
        schedule.step()


def test_a_cycle_ends() -> None:
    ours, _ = optimizers()
    schedule = OURS.OneCycleLR(ours, 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    before = facts(ours)
    with pytest.raises(ValueError, match="has 3 steps, and this is number 4"):
        schedule.step()
    assert (schedule.last_epoch, facts(ours)) == (3, before)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    ours, _ = optimizers()
    schedule = OURS.StepLR(ours, 3)
    before = schedule.state_dict()
    other = OURS.ExponentialLR(ours, 0.5).state_dict()
    with pytest.raises(ValueError, match="'step_size' is missing"):
        schedule.load_state_dict(other)
    with pytest.raises(ValueError, match="'base_lrs' has 1 items instead of 2"):
        schedule.load_state_dict({**before, "base_lrs": [0.1]})
    with pytest.raises(ValueError, match="'more' is unexpected"):
        schedule.load_state_dict({**before, "more": 0.1})
    assert schedule.state_dict() == before


def test_the_order_of_steps_is_noted() -> None:
    ours, _ = optimizers()
    with pytest.warns(UserWarning, match=r"StepLR.step\(\) was called before") as notes:
        OURS.StepLR(ours, 3).step()
    assert notes[0].filename == __file__
    ours.params[0].grad = Tensor([1.0])
    ours.params[1].grad = Tensor([1.0])
    ours.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OURS.StepLR(ours, 3).step()


def test_a_recorded_step_sees_the_schedule_and_cannot_take_it() -> None:
    w = Tensor([0.0])
    opt = nn.optim.SGD([w], lr=1.0)
    schedule = OURS.LambdaLR(opt, lambda epoch: 2.0**epoch)
    recordings: deque[int] = deque()  # where jit does not look

    class Trainer:
        def __init__(self) -> None:
            self.schedule, self.opt = schedule, opt

        @jit
        def step(self) -> None:
            recordings.append(1)
            self.opt.zero_grad()
            w.sum().backward()
            self.opt.step()

    trainer = Trainer()
    for _ in range(6):
        trainer.step()
        schedule.step()
    assert w.item() == -63.0 and len(recordings) <= 2
    with pytest.raises(JitError, match="call it outside of the recorded function"):
        jit(schedule.step)()
    assert schedule.last_epoch == 6


def test_schedulers_have_one_base() -> None:
    assert issubclass(nn.optim.lr_scheduler.StepLR, nn.optim.LRScheduler)
