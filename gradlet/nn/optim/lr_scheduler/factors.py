"""Schedules that multiply the rate by a number in each epoch."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from gradlet.nn.optim.lr_scheduler.base import LRScheduler
from gradlet.nn.optim.optimizer import Optimizer


class _Factors(LRScheduler):
    """A schedule that says by what the rate of the epoch before is multiplied.

    Attributes:
        goes_on: going on after an epoch leaves rates as they are loaded, as in PyTorch.
    """

    goes_on = True

    def _factor(self, epoch: int) -> float:
        """By what the rate of the epoch before is multiplied; in epoch 0, that of the group."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`, where the groups have those of the epoch before."""
        if self.goes_on and self._beginning and self.last_epoch > 0:
            return self._rates()
        factor = self._factor(self.last_epoch)
        return [rate * factor for rate in self._rates()]

    def _first(self) -> list[float]:
        factor = self._factor(0)
        return [rate * factor for rate in self.base_lrs]


class StepLR(_Factors):
    """Multiplies by `gamma` in every `step_size`-th epoch.

    >>> from gradlet import Tensor, nn
    >>> opt = nn.optim.SGD([Tensor([1.0])], lr=1.0); opt.zero_grad(set_to_none=False)
    >>> schedule, rates = StepLR(opt, step_size=2, gamma=0.5), []
    >>> for _ in range(5):
    ...     opt.step(); rates.append(opt.lr); schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    goes_on = False

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        """`gamma`, or 1 in the epochs between."""
        return self.gamma if epoch > 0 and epoch % self.step_size == 0 else 1.0


class MultiStepLR(_Factors):
    """Multiplies by `gamma` in the epochs that are `milestones`."""

    goes_on = False

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        """`gamma` as often as the epoch is among the milestones."""
        return self.gamma ** self.milestones.get(epoch, 0)


class ConstantLR(_Factors):
    """Multiplies by `factor` until epoch `total_iters`."""

    goes_on = False

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < factor <= 1:
            raise ValueError(f"ConstantLR: factor must be in (0, 1], not {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        """The factor at first, and what undoes it at the end."""
        if epoch == 0:
            return self.factor
        return 1.0 / self.factor if epoch == self.total_iters else 1.0


class LinearLR(_Factors):
    """Goes from `start_factor` to `end_factor` of the rate in `total_iters` epochs: a warm-up.

    >>> from gradlet import Tensor, nn
    >>> opt = nn.optim.SGD([Tensor([1.0])], lr=1.0); opt.zero_grad(set_to_none=False)
    >>> schedule, rates = LinearLR(opt, start_factor=0.25, total_iters=3), []
    >>> for _ in range(5):
    ...     opt.step(); rates.append(opt.lr); schedule.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be in (0, 1], not {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be in [0, 1], not {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        """The line at this epoch relative to the epoch before."""
        if epoch == 0:
            return self.start_factor
        if epoch > self.total_iters:
            return 1.0
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (epoch - 1) * rise)


class ExponentialLR(_Factors):
    """Multiplies by `gamma` in every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        """`gamma`, but for the first epoch."""
        return self.gamma if epoch > 0 else 1.0


class PolynomialLR(_Factors):
    """Falls to 0 in `total_iters` epochs, as a power of those that are left."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        """The share of epochs that are left relative to the epoch before."""
        if epoch == 0 or epoch > self.total_iters:
            return 1.0
        left, before = (1.0 - e / self.total_iters for e in (epoch, epoch - 1))
        return (left / before) ** self.power


# Schedules that the user writes

Function = Callable[[int], float]


class _Functions(LRScheduler):
    """A function of the epoch for all groups, or one for each."""

    not_saved = ("optimizer", "_beginning", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Function | list[Function], last_epoch: int = -1
    ) -> None:
        self._attach(optimizer)
        self.lr_lambdas: list[Function] = self._for_each("lr_lambda", lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"{type(self).__name__}: lr_lambda is no function: {function!r}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """All but functions; of objects that are called, their attributes."""
        attributes = [
            None
            if isinstance(f, types.FunctionType) or not hasattr(f, "__dict__")
            else dict(vars(f))
            for f in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": attributes}

    def _load(self, state: dict[str, Any]) -> None:
        for function, attributes in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if attributes is not None:
                vars(function).update(attributes)
        super()._load(state)


class LambdaLR(_Functions):
    """The first rate times a function of the epoch.

    >>> from gradlet import Tensor, nn
    >>> opt = nn.optim.SGD([Tensor([1.0])], lr=2.0); opt.zero_grad(set_to_none=False)
    >>> schedule, rates = LambdaLR(opt, lambda epoch: 1 / (epoch + 1)), []
    >>> for _ in range(4):
    ...     opt.step(); rates.append(opt.lr); schedule.step()
    >>> rates
    [2.0, 1.0, 0.6666666666666666, 0.5]
    """

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [rate * function(self.last_epoch) for rate, function in pairs]


class MultiplicativeLR(_Functions):
    """The rate of the epoch before times a function of the epoch."""

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`, where the groups have those of the epoch before."""
        if self._beginning:
            return self._rates()
        pairs = zip(self._rates(), self.lr_lambdas, strict=True)
        return [rate * function(self.last_epoch) for rate, function in pairs]
