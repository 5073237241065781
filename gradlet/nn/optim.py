"""Optimisers with PyTorch's formulas and defaults.

Whatever changes from step to step (the learning rate, powers of beta) is held in tensors and enters
the graph as data, so that all steps of a training loop are one compiled program.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gradlet.engine import trace
from gradlet.nn.state import get_parameters
from gradlet.tensor.tensor import Tensor


class Optimizer:
    """What all optimisers share.

    Args:
        params: parameters, models, or lists that mix both; duplicates count once.
        lr: the learning rate, to be read and set as `opt.lr`.

    Attributes:
        params: the tensors that are trained.
    """

    def __init__(self, params: Any, lr: float) -> None:
        self.params = _collect(params)
        self.device = self.params[0].device
        self.lr = lr
        self._warned = False

    # Of no consequence for a recorded step, which reads `_rate`.
    not_state = ("_lr", "_warned")

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        trace.refuse("opt.lr is a Python number, which a recorded step would not see change")
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        trace.refuse("opt.lr cannot be set while a step is recorded; set it outside")
        if not value >= 0:
            raise ValueError(f"{type(self).__name__}: lr must be at least 0, not {value}")
        self._lr = float(value)
        self._rate = _scalar(value, self.device)

    def zero_grad(self) -> None:
        """Forgets the gradients, so that the next `backward` starts anew."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Moves every parameter that has a gradient; all of it runs as one program.

        Raises:
            ValueError: a gradient does not have the shape of its parameter.
        """
        gradients = [(i, p.grad) for i, p in enumerate(self.params) if p.grad is not None]
        self._check(gradients)
        self._begin()
        changed = list(self._shared())
        for i, gradient in gradients:
            param = self.params[i]
            moved = self._moved(i, param.detach(), gradient.detach())
            _set(param, moved)
            changed += [param, *self._state(i)]
        if changed:
            changed[0].realize(*changed[1:])

    # What each optimiser says of itself

    def _begin(self) -> None:
        """Brings what all parameters share to the next step."""

    def _shared(self) -> list[Tensor]:
        """What `_begin` has changed."""
        return []

    def _moved(self, i: int, param: Tensor, gradient: Tensor) -> Tensor:
        """The next value of parameter `i`; its state changes too."""
        raise NotImplementedError

    def _state(self, i: int) -> list[Tensor]:
        """What is remembered of parameter `i`."""
        return []

    def _check(self, gradients: list[tuple[int, Tensor]]) -> None:
        """Raises if a gradient does not fit, and says once if some are not there."""
        for i, gradient in gradients:
            if gradient.shape != self.params[i].shape:
                raise ValueError(
                    f"{type(self).__name__}.step: parameter {i} has shape "
                    f"{self.params[i].shape} and its gradient {gradient.shape}; they must agree"
                )
        unused = [i for i, param in enumerate(self.params) if param.grad is None]
        if not unused or self._warned:
            return
        self._warned = True
        listed = ", ".join(f"{i} of shape {self.params[i].shape}" for i in unused[:5])
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        warnings.warn(
            f"{type(self).__name__}.step: no gradient for parameter {listed}{more}, left as it "
            "is. Call loss.backward() before step(), and check that the loss depends on it.",
            stacklevel=3,
        )


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) if asked for.

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); SGD([w], lr=0.25).step(); w.tolist()
    [0.5]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        if nesterov and momentum <= 0:
            raise ValueError("SGD: nesterov needs a momentum above 0")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.velocity = _zeros_like(self.params) if momentum else []
        _make_ready([*self.params, *self.velocity])

    def _moved(self, i: int, param: Tensor, gradient: Tensor) -> Tensor:
        if self.weight_decay:
            gradient = gradient + param * self.weight_decay
        if self.momentum:
            velocity = self.velocity[i] * self.momentum + gradient
            _set(self.velocity[i], velocity)
            gradient = gradient + velocity * self.momentum if self.nesterov else velocity
        return param - gradient * self._rate

    def _state(self, i: int) -> list[Tensor]:
        return self.velocity[i : i + 1]


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014); `weight_decay` adds to the gradient.

    >>> from gradlet import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> _ = (w * w).sum().backward(); Adam([w], lr=0.5).step(); w.tolist()
    [0.5]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas must be in [0, 1), not {betas}")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.mean = _zeros_like(self.params)
        self.square = _zeros_like(self.params)
        # 1 - beta ** t for either beta, kept in this form because it is exact where it is small.
        self.seen = [_scalar(0.0, self.device), _scalar(0.0, self.device)]
        _make_ready([*self.params, *self.mean, *self.square])

    def _begin(self) -> None:
        for seen, beta in zip(self.seen, self.betas, strict=True):
            seen.assign(seen * beta + (1 - beta))
        self._stride = self._rate / self.seen[0]
        self._root = self.seen[1].sqrt()

    def _shared(self) -> list[Tensor]:
        return [*self.seen, self._stride, self._root]

    def _moved(self, i: int, param: Tensor, gradient: Tensor) -> Tensor:
        if self.weight_decay:
            param, gradient = self._decayed(param, gradient)
        by_mean, by_square = self.betas
        mean = self.mean[i] * by_mean + gradient * (1 - by_mean)
        square = self.square[i] * by_square + gradient * gradient * (1 - by_square)
        _set(self.mean[i], mean)
        _set(self.square[i], square)
        return param - mean * self._stride / (square.sqrt() / self._root + self.eps)

    def _decayed(self, param: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return param, gradient + param * self.weight_decay

    def _state(self, i: int) -> list[Tensor]:
        return [self.mean[i], self.square[i]]


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2017)."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _decayed(self, param: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return param - param * (self._rate * self.weight_decay), gradient


# Helpers


def _collect(given: Any) -> list[Tensor]:
    """The parameters in whatever an optimiser was given, each once, made leaves."""
    listed = given if isinstance(given, list | tuple) else [given]
    for i, item in enumerate(listed):
        if isinstance(item, Tensor) and not item.dtype.is_float:
            raise TypeError(
                f"optimiser: parameter {i} is {item.dtype.name}, and only floats can be trained; "
                "make it with dtype='float32'"
            )
    params = get_parameters(listed if isinstance(given, list | tuple) else given)
    if not params:
        raise ValueError(
            "optimiser: there is nothing to train in what was given; pass parameters, or models "
            "that hold some with requires_grad other than False"
        )
    devices = sorted({param.device for param in params})
    if len(devices) > 1:
        raise ValueError(
            f"optimiser: parameters are on devices {', '.join(devices)}; use one optimiser each"
        )
    for param in params:
        param.requires_grad = True
        if not param.is_leaf:  # such as a weight made as Tensor.randn(3, 3) * 0.1
            param.assign(param)
    return params


def _set(place: Tensor, value: Tensor) -> None:
    """Gives `place` a value in its own dtype, whatever it was computed in."""
    place.assign(value.cast(place.dtype))


def _scalar(value: float, device: str) -> Tensor:
    return Tensor(np.float32(value), device=device, requires_grad=False)


def _zeros_like(params: list[Tensor]) -> list[Tensor]:
    return [
        Tensor(np.zeros(p.shape, p.dtype.numpy), device=p.device, requires_grad=False)
        for p in params
    ]


def _make_ready(tensors: list[Tensor]) -> None:
    """Computes initial values now, so that the first step is the same program as all others."""
    tensors[0].realize(*tensors[1:])
