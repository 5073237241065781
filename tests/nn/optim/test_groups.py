"""Groups of parameters, options that change between steps, and parameters that are left out."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, jit, nn, profile
from gradlet.engine.trace import JitError

optim = nn.optim


def both(kind: str, groups: list[dict[str, Any]], **options: Any) -> tuple[Any, Any]:
    """Ours and PyTorch's, of groups whose parameters are given as lists of shapes."""
    made = []
    for module, tensor in ((optim, Tensor), (torch.optim, torch.from_numpy)):
        generator = np.random.default_rng(0)
        filled = [
            {**group, "params": [tensor(generator.normal(size=s)) for s in group["params"]]}
            for group in groups
        ]
        made.append(getattr(module, kind)(filled, **options))
    return made[0], made[1]


def params(opt: Any) -> list[Any]:
    return [param for group in opt.param_groups for param in group["params"]]


def give_gradients(ours: Any, theirs: Any, seed: int, used: Callable[[int], bool]) -> None:
    generator = np.random.default_rng(seed)
    for i, (a, b) in enumerate(zip(params(ours), params(theirs), strict=True)):
        gradient = generator.normal(size=tuple(a.shape))
        a.grad = Tensor(gradient) if used(i) else None
        b.grad = torch.from_numpy(gradient) if used(i) else None


def assert_same(ours: Any, theirs: Any) -> None:
    """Up to the momenta of NAdam, which PyTorch multiplies in float32."""
    for a, b in zip(params(ours), params(theirs), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("Adam", {"lr": 0.1}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
    ],
)
def test_groups_have_options_of_their_own(kind: str, options: dict[str, Any]) -> None:
    groups = [
        {"params": [(2, 3)], "weight_decay": 0.1, "name": "first"},
        {"params": [(3,), ()], "lr": 0.3, "maximize": True},
    ]
    ours, theirs = both(kind, groups, **options)
    assert ours.param_groups[0]["name"] == "first" and ours.param_groups[1]["lr"] == 0.3
    for step in range(6):
        give_gradients(ours, theirs, step, lambda i: True)
        if step == 2:
            for opt, tensor in ((ours, Tensor), (theirs, torch.from_numpy)):
                opt.add_param_group({"params": tensor(np.ones(4)), "lr": 1.0})
            give_gradients(ours, theirs, step, lambda i: True)
        if step > 2:
            ours.param_groups[1]["lr"] = theirs.param_groups[1]["lr"] = 1.0 / step
        ours.step(), theirs.step()
        assert_same(ours, theirs)
    assert len(ours.params) == len(ours.state) == 4


CHANGES: dict[str, tuple[str, dict[str, Any], Callable[[int], dict[str, Any]]]] = {
    "rate": ("Adam", {}, lambda n: {"lr": 0.5 / (n + 1)}),
    "betas": ("AdamW", {}, lambda n: {"betas": (0.9 - n / 50, 0.99 + n / 2000)}),
    "decay": ("Adam", {}, lambda n: {"lr": 0.1, "weight_decay": 0.01 * (n + 1)}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}, lambda n: {"momentum": 0.9 - n / 20}),
    "dampening": (
        "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}, lambda n: {"dampening": 0.1 + n / 20}
    ),
    "all": (
        "RMSprop",
        {"momentum": 0.5, "weight_decay": 0.1},
        lambda n: {"lr": 0.1 / (n + 1), "alpha": 0.9 + n / 100, "eps": 1e-4 * n, "momentum": n / 9},
    ),
    "nadam": ("NAdam", {}, lambda n: {"momentum_decay": 0.004 * (n + 1), "betas": (0.9, 0.9)}),
    "radam": ("RAdam", {}, lambda n: {"betas": (0.8, 0.7 + n / 100)}),
    "adagrad": ("Adagrad", {"lr": 0.1}, lambda n: {"lr_decay": 0.1 + n / 10}),
    "adadelta": ("Adadelta", {}, lambda n: {"rho": 0.5 + n / 50, "eps": 1e-6 * (n + 1)}),
}  # fmt: skip


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_options_that_change_in_each_step_compile_once(name: str, recorded: bool) -> None:
    kind, options, change = CHANGES[name]
    ours, theirs = both(kind, [{"params": [(2, 3), ()]}], **options)
    recordings: deque[int] = deque()  # where jit does not look

    def step(*gradients: Tensor) -> None:
        recordings.append(1)
        for param, gradient in zip(ours.params, gradients, strict=True):
            param.grad = gradient + 0
        ours.step()

    if recorded:
        step = jit(step)
    for n in range(9):
        give_gradients(ours, theirs, n, lambda i: True)
        gradients = [param.grad for param in ours.params]
        ours.zero_grad()
        if n:
            ours.param_groups[0].update(change(n))
            theirs.param_groups[0].update(change(n))
        with profile() as seen:
            step(*gradients)
        theirs.step()
        assert n < 3 or seen.counters["programs compiled"] == 0
        assert_same(ours, theirs)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    assert len(recordings) == 9 or (recorded and len(recordings) <= 3)


def test_an_option_that_becomes_0_and_back() -> None:
    ours, theirs = both("SGD", [{"params": [(3,)]}], lr=0.1, momentum=0.9, weight_decay=0.1)
    for n, (momentum, decay, rate) in enumerate(
        [(0.5, 0.2, 0.1), (0.0, 0.0, 0.0), (0.5, 0.0, 0.1), (0.9, 0.3, 0.2), (0.0, 0.1, 0.1)]
    ):
        for opt in (ours, theirs):
            opt.param_groups[0].update(momentum=momentum, weight_decay=decay, lr=rate)
        give_gradients(ours, theirs, n, lambda i: True)
        ours.step(), theirs.step()
        assert_same(ours, theirs)


# Parameters that are left out


PATTERNS = {
    "in turn": lambda n, i: n % 2 == i % 2,
    "one late": lambda n, i: i != 1 or n > 3,
    "at random": lambda n, i: bool((n * 7 + i * 3) % 5 < 3),
}


@pytest.mark.filterwarnings("ignore:.*no gradient for parameter")
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("kind", ["Adam", "NAdam", "SGD"])
def test_each_parameter_counts_its_own_steps(kind: str, pattern: str, recorded: bool) -> None:
    options = {"momentum": 0.9, "dampening": 0.5} if kind == "SGD" else {}
    groups = [{"params": [(2,), (3,), ()]}, {"params": [(2, 2)]}]
    ours, theirs = both(kind, groups, lr=0.1, **options)
    step = jit(ours.step) if recorded else ours.step
    for n in range(8):
        give_gradients(ours, theirs, n, lambda i, n=n: PATTERNS[pattern](n, i))
        step(), theirs.step()
        assert_same(ours, theirs)
    if kind == "Adam":
        mine = [state["step"].item() for state in ours.state]
        assert mine == [theirs.state[p]["step"].item() for p in params(theirs)]


@pytest.mark.filterwarnings("ignore:.*no gradient for parameter")
def test_parameters_in_turn_do_not_recompile() -> None:
    ours, theirs = both("Adam", [{"params": [(2,), (3,)]}], lr=0.1)
    for n in range(8):
        give_gradients(ours, theirs, n, lambda i, n=n: i == n % 2)
        with profile() as seen:
            ours.step()
        assert n < 4 or seen.counters["programs compiled"] == 0


def test_a_closure_computes_gradients() -> None:
    w = Tensor([1.0])
    opt = optim.SGD([w], lr=0.25)

    def closure() -> Tensor:
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 1.0 and w.item() == 0.5
    assert opt.step(closure).item() == 0.25 and w.item() == 0.25


def test_gradients_of_zeros() -> None:
    w = Tensor([1.0])
    opt = optim.SGD([w], lr=0.25)
    opt.zero_grad(set_to_none=False)
    opt.step()
    assert w.grad.tolist() == [0.0] and w.tolist() == [1.0]


# As a dict, and what cannot be


def test_a_group_is_a_dict() -> None:
    w = Tensor([1.0])
    group = optim.AdamW([{"params": w, "name": "all"}], lr=1).param_groups[0]
    assert dict(group) == {
        "params": [w], "name": "all", "lr": 1.0, "betas": (0.9, 0.999), "eps": 1e-8,
        "weight_decay": 0.01, "amsgrad": False, "maximize": False, "decoupled_weight_decay": True,
    }  # fmt: skip
    assert len(group) == 9 and "lr" in group and "momentum" not in group
    assert repr(group).startswith("ParamGroup(1 parameters, name='all', lr=1.0")
    group["betas"] = [0.5, 0.25]
    assert group["betas"] == (0.5, 0.25)
    group["comment"] = "kept"
    del group["comment"]
    for name in ("lr", "params"):
        with pytest.raises(TypeError, match=f"cannot be without {name!r}"):
            del group[name]
    with pytest.raises(TypeError, match="use opt"):
        group["params"] = []


def test_generators_names_and_iterators() -> None:
    layer = nn.Linear(2, 3)
    assert len(optim.SGD(iter([layer.weight, layer.bias])).params) == 2
    assert len(optim.SGD(iter(nn.state.get_state_dict(layer).items())).params) == 2
    opt = optim.SGD([{"params": (p for p in [layer.weight])}, {"params": layer.bias}])
    assert [len(group["params"]) for group in opt.param_groups] == [1, 1]
    assert optim.SGD({"params": layer, "lr": 0.5}).lr == 0.5


def test_betas_under_the_names_of_tinygrad() -> None:
    for kind in (optim.Adam, optim.AdamW, optim.LAMB):
        opt = kind([Tensor([1.0])], b1=0.5, b2=0.25)
        assert opt.param_groups[0]["betas"] == (0.5, 0.25)
    assert optim.Adam([Tensor([1.0])], b2=0.25).param_groups[0]["betas"] == (0.9, 0.25)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.SGD([{"params": w, "weigth_decay": 0.1}]), "no option 'weigth_decay'"),
        (lambda w: optim.SGD([{"params": w}, {"params": [w]}]), "in one group only"),
        (lambda w: optim.SGD([{"params": w}, w]), "some items are groups"),
        (lambda w: optim.SGD([{"params": []}]), "nothing to train"),
        (lambda w: optim.SGD(w, lr=-1), "SGD: lr must be at least 0, not -1"),
        (lambda w: optim.SGD(w, momentum=-0.1), "momentum must be at least 0"),
        (lambda w: optim.SGD(w, weight_decay=float("nan")), "weight_decay must be .* not nan"),
        (lambda w: optim.SGD(w, nesterov=True, momentum=0.9, dampening=0.1), "no dampening"),
        (lambda w: optim.SGD(w, nesterov=1, momentum=0.9), "nesterov must be True or False"),
        (lambda w: optim.Adam(w, betas=(0.9,)), "betas must be 2 numbers"),
        (lambda w: optim.LAMB(w, 0.1, 0.9), "betas must be"),
        (lambda w: optim.RMSprop(w, alpha=1.5), r"alpha must be in \[0, 1\], not 1.5"),
        (lambda w: optim.Adadelta(w, rho=-1), r"rho must be in \[0, 1\]"),
        (lambda w: optim.LARS(w, momentum=0.0, nesterov=True), "nesterov needs a momentum"),
    ],
)
def test_what_cannot_be(make: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(Tensor([1.0]))


def test_a_value_that_cannot_be_changes_nothing() -> None:
    opt = optim.Adam([Tensor([1.0])])
    before = dict(opt.param_groups[0])
    for name, value in (("lr", -1.0), ("betas", (1.0, 0.5)), ("amsgrad", None)):
        with pytest.raises((TypeError, ValueError)):
            opt.param_groups[0][name] = value
    with pytest.raises(ValueError, match="one group only"):
        opt.add_param_group({"params": opt.params})
    assert dict(opt.param_groups[0]) == before and len(opt.param_groups) == 1


def test_rates_of_all_groups() -> None:
    opt = optim.SGD([{"params": Tensor([1.0])}, {"params": Tensor([1.0]), "lr": 0.3}], lr=0.1)
    with pytest.raises(ValueError, match="different rates"):
        _ = opt.lr
    opt.lr = 0.5
    assert opt.lr == 0.5 and [group["lr"] for group in opt.param_groups] == [0.5, 0.5]


def test_what_a_recorded_step_cannot_do() -> None:
    w = Tensor([1.0])
    opt = optim.SGD([w], lr=0.1)

    def sets() -> None:
        opt.param_groups[0]["lr"] = 0.5

    for function in (
        sets,
        lambda: opt.param_groups[0]["lr"],
        lambda: opt.lr,
        opt.state_dict,
        lambda: opt.load_state_dict({}),
        lambda: opt.add_param_group({"params": Tensor([1.0])}),
        lambda: optim.Adam([w]),
    ):
        with pytest.raises(JitError):
            jit(function)()
    assert opt.lr == 0.1


def test_a_recorded_step_sees_every_option() -> None:
    w = Tensor([1.0])
    opt = optim.SGD([w], lr=1.0)

    @jit
    def step() -> None:
        opt.zero_grad()
        w.sum().backward()
        opt.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(), step()
        assert w.item() == -1.0
        opt.param_groups[0]["maximize"] = True
        step()
        assert w.item() == 0.0
        opt.param_groups[0]["weight_decay"] = 0.5
        step()
        assert w.item() == 1.0
        opt.param_groups[0]["weight_decay"] = 1.0
        step()
        assert w.item() == 1.0


def test_what_is_remembered_shares_nothing_with_gradients() -> None:
    w = Tensor([1.0])
    opt = optim.SGD([w], lr=1.0, momentum=0.5, dampening=0.5)
    w.grad = Tensor([2.0])
    opt.step()
    w.grad *= 0
    assert opt.state[0]["momentum_buffer"].tolist() == [2.0]
    state = opt.state_dict()["state"][0]["momentum_buffer"]
    opt.step()
    assert state.tolist() == [2.0] and opt.state[0]["momentum_buffer"].tolist() == [1.0]
