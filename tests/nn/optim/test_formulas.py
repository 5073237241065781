"""Each optimiser with each option against PyTorch, or against a paper where PyTorch has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn

optim, reference = nn.optim, torch.optim
Arrays = list[np.ndarray]

SGD, ADAM, PROP = {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "betas": (0.5, 0.9)}, {"lr": 0.1}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", SGD),
    ("SGD", {**SGD, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {**SGD, "dampening": 0.3, "maximize": True}),
    ("SGD", {**SGD, "dampening": -0.5, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {**ADAM, "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {**ADAM, "amsgrad": True, "maximize": True}),
    ("Adam", {**ADAM, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {**ADAM, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {**ADAM, "momentum_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {**ADAM, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {**ADAM, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adamax", {}),
    ("Adamax", {**ADAM, "eps": 1e-2, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {**PROP, "alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {**PROP, "momentum": 0.9}),
    ("RMSprop", {**PROP, "momentum": 0.5, "centered": True}),
    ("Adagrad", {}),
    ("Adagrad", {**PROP, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {**PROP, "weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.5, "eps": 1e-2, "weight_decay": 0.1, "maximize": True}),
]
SHAPES = [(3, 5), (), (0, 2)]


def arrays(seed: int, dtype: Any = np.float64) -> Arrays:
    generator = np.random.default_rng(seed)
    return [np.asarray(generator.normal(size=shape)).astype(dtype) for shape in SHAPES]


def train(params: Any, opt: Any, grads: Any, steps: int) -> Iterator[Arrays]:
    """The parameters after each step, with options that change as a schedule would change them."""
    for step in range(steps):
        for param, grad in zip(params, grads(step), strict=True):
            param.grad = grad
        if step in (4, 5):
            opt.param_groups[0]["lr"] = 0.3 / step
            opt.param_groups[0]["weight_decay"] = 0.2 / step
        opt.step()
        yield [np.array(param.detach().tolist(), np.float64) for param in params]


@pytest.fixture
def double() -> Iterator[None]:
    """PyTorch counts, and multiplies NAdam's momenta, in its default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_agree_with_pytorch(name: str, options: dict[str, Any], double: None) -> None:
    mine = [Tensor(a) for a in arrays(0)]
    theirs = [torch.from_numpy(a).requires_grad_() for a in arrays(0)]
    mine_steps = train(
        mine, getattr(optim, name)(mine, **options), lambda n: map(Tensor, arrays(n + 1)), 9
    )
    their_steps = train(
        theirs,
        getattr(reference, name)(theirs, **options),
        lambda n: map(torch.from_numpy, arrays(n + 1)),
        9,
    )
    for got, wanted in zip(mine_steps, their_steps, strict=True):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_defaults_are_those_of_pytorch(name: str) -> None:
    mine = getattr(optim, name)([Tensor([1.0])]).param_groups[0]
    theirs = getattr(reference, name)([torch.ones(1)]).param_groups[0]
    options = {key: theirs[key] for key in mine if key != "params"}
    assert {key: mine[key] for key in options} == options
    skipped = {"params", "foreach", "fused", "capturable", "differentiable"}
    assert set(theirs) - skipped <= set(mine)


# Those that PyTorch has not, from their papers, in float64


def norm(x: np.ndarray) -> float:
    return float(np.sqrt((x * x).sum()))


def lion(lr: float, b1: float, b2: float, decay: float) -> Callable[..., np.ndarray]:
    def step(t: int, w: np.ndarray, g: np.ndarray, m: dict[str, Any]) -> np.ndarray:
        mean = m.get("mean", 0.0)
        m["mean"] = b2 * mean + (1 - b2) * g
        return w - lr * (np.sign(b1 * mean + (1 - b1) * g) + decay * w)

    return step


def lars(
    lr: float, momentum: float, decay: float, trust: float, classic: bool, nesterov: bool
) -> Callable[..., np.ndarray]:
    def step(t: int, w: np.ndarray, g: np.ndarray, m: dict[str, Any]) -> np.ndarray:
        local = 1.0
        if trust and norm(w) > 0 and norm(g) > 0:
            local = trust * norm(w) / (norm(g) + decay * norm(w))
        g = g + decay * w
        scale = lr * local
        before, after = (scale, 1.0) if classic else (1.0, scale)
        m["v"] = momentum * m.get("v", 0.0) + before * g
        return w - after * (before * g + momentum * m["v"] if nesterov else m["v"])

    return step


def lamb(
    lr: float, b1: float, b2: float, eps: float, decay: float, adam: bool = False
) -> Callable[..., np.ndarray]:
    def step(t: int, w: np.ndarray, g: np.ndarray, m: dict[str, Any]) -> np.ndarray:
        m["m"] = b1 * m.get("m", 0.0) + (1 - b1) * g
        m["v"] = b2 * m.get("v", 0.0) + (1 - b2) * g * g
        r = m["m"] / (1 - b1**t) / (np.sqrt(m["v"] / (1 - b2**t)) + eps) + decay * w
        ratio = norm(w) / norm(r) if not adam and norm(w) > 0 and norm(r) > 0 else 1.0
        return w - lr * ratio * r

    return step


PAPERS: list[tuple[Any, Callable[..., np.ndarray]]] = [
    (lambda p: optim.Lion(p), lion(1e-4, 0.9, 0.99, 0.0)),
    (
        lambda p: optim.Lion(p, lr=0.1, betas=(0.5, 0.7), weight_decay=0.3),
        lion(0.1, 0.5, 0.7, 0.3),
    ),
    (lambda p: optim.LARS(p), lars(0.001, 0.9, 1e-4, 0.001, True, False)),
    (
        lambda p: optim.LARS(p, lr=0.5, momentum=0.0, weight_decay=0.1, tcoef=0.2),
        lars(0.5, 0.0, 0.1, 0.2, True, False),
    ),
    (
        lambda p: optim.LARS(p, lr=0.5, nesterov=True, classic=False, tcoef=0.1),
        lars(0.5, 0.9, 1e-4, 0.1, False, True),
    ),
    (lambda p: optim.LARS(p, lr=0.1, tcoef=0.0), lars(0.1, 0.9, 1e-4, 0.0, True, False)),
    (lambda p: optim.LAMB(p), lamb(0.001, 0.9, 0.999, 1e-6, 0.0)),
    (
        lambda p: optim.LAMB(p, lr=0.1, betas=(0.5, 0.8), eps=1e-3, weight_decay=0.2),
        lamb(0.1, 0.5, 0.8, 1e-3, 0.2),
    ),
    (lambda p: optim.LAMB(p, lr=0.1, adam=True), lamb(0.1, 0.9, 0.999, 1e-6, 0.0, True)),
]


@pytest.mark.parametrize(("make", "rule"), PAPERS)
def test_steps_agree_with_papers(make: Any, rule: Callable[..., np.ndarray]) -> None:
    known = [*arrays(0), np.zeros(4)]  # a weight of 0 has a ratio of 1
    mine = [Tensor(a) for a in known]
    opt, memories = make(mine), [{} for _ in known]
    for t in range(1, 7):
        grads = [*arrays(t), np.arange(4.0) - 1]
        if t == 3:
            grads[0] = np.zeros_like(grads[0])
        for param, grad in zip(mine, grads, strict=True):
            param.grad = Tensor(grad)
        opt.step()
        known = [rule(t, w, g, m) for w, g, m in zip(known, grads, memories, strict=True)]
        for param, wanted in zip(mine, known, strict=True):
            np.testing.assert_allclose(param.numpy(), wanted, rtol=1e-11, atol=1e-13)


# Muon: PyTorch iterates in bfloat16, gradlet as finely as the parameter is stored


def muon_step(w: np.ndarray, g: np.ndarray, memory: dict[str, Any], o: dict) -> np.ndarray:
    buffer = memory["v"] = o["momentum"] * memory.get("v", 0.0) + (1 - o["momentum"]) * g
    x = (1 - o["momentum"]) * g + o["momentum"] * buffer if o["nesterov"] else buffer
    a, b, c = o["ns_coefficients"]
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / max(norm(x), o["eps"])
    for _ in range(o["ns_steps"]):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    rows, columns = w.shape
    scale = max(1, rows / columns) ** 0.5
    if o["adjust_lr_fn"] == "match_rms_adamw":
        scale = 0.2 * max(rows, columns) ** 0.5
    return w * (1 - o["lr"] * o["weight_decay"]) - o["lr"] * scale * (x.T if tall else x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.1, "nesterov": False, "adjust_lr_fn": "match_rms_adamw"},
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.0, "ns_steps": 3, "eps": 1e-3},
        {"lr": 0.1, "ns_coefficients": (2.0, -1.5, 0.5), "adjust_lr_fn": "original"},
    ],
)
def test_muon(options: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    known = [generator.normal(size=shape) for shape in ((4, 6), (7, 2))]
    mine = [Tensor(w) for w in known]
    theirs = [torch.from_numpy(w.copy()).requires_grad_() for w in known]
    opt, torch_opt = optim.Muon(mine, **options), reference.Muon(theirs, **options)
    facts, memories = dict(opt.param_groups[0]), [{}, {}]
    assert {key: torch_opt.param_groups[0][key] for key in facts if key != "params"} == {
        key: value for key, value in facts.items() if key != "params"
    }
    for _ in range(4):
        grads = [generator.normal(size=w.shape) for w in known]
        for a, b, g in zip(mine, theirs, grads, strict=True):
            a.grad, b.grad = Tensor(g), torch.from_numpy(g)
        opt.step(), torch_opt.step()
        known = [muon_step(*parts, facts) for parts in zip(known, grads, memories, strict=True)]
        for a, b, wanted in zip(mine, theirs, known, strict=True):
            np.testing.assert_allclose(a.numpy(), wanted, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(a.numpy(), b.detach(), atol=0.1 * facts["lr"])


def test_muon_takes_matrices_only() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), and only matrices"):
        optim.Muon([Tensor.ones(2, 3), Tensor.ones(3)])
    with pytest.raises(ValueError, match="adjust_lr_fn must be one of"):
        optim.Muon([Tensor.ones(2, 3)], adjust_lr_fn="other")


# Edges


def test_a_constant_gradient_does_not_make_a_variance_negative() -> None:
    w = Tensor([1.0])
    opt = optim.RMSprop([w], lr=1e-9, alpha=0.5, centered=True)
    for _ in range(60):  # where the mean is the gradient, and all of the variance is rounding
        w.grad = Tensor([0.1])
        opt.step()
        assert np.isfinite(w.item())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Lion", "LAMB"])
def test_half_precision_is_for_storing_only(name: str, dtype: str) -> None:
    """As float32 would step from what is stored; small squares are not lost."""
    kind = getattr(optim, name)
    half = Tensor([1.0, -2.0, 0.5, 3.0], dtype=dtype)
    opt = kind([half], lr=0.01)
    single = Tensor([0.0] * 4)
    known = kind([single], lr=0.01)
    for step in range(3):
        grad = np.float32([1e-4, 0.0, 2.0, -300.0]) * (step + 1)
        single.assign(half.float())
        half.grad = Tensor(grad).cast(dtype)
        single.grad = half.grad.float()
        opt.step(), known.step()
        assert half.dtype.name == dtype
        assert half.tolist() == single.cast(dtype).tolist()
        assert np.isfinite(half.float().numpy()).all()
