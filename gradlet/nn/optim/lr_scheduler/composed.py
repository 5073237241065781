"""Schedules made of others, and one that looks at how training goes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, SupportsFloat

from gradlet.nn.optim.lr_scheduler.base import LRScheduler
from gradlet.nn.optim.optimizer import Optimizer


class _Composed(LRScheduler):
    """Several schedulers of one optimiser."""

    not_saved = ("optimizer", "_beginning", "_schedulers")

    def _take(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        self._schedulers = list(schedulers)
        if not self._schedulers:
            raise ValueError(f"{name}: needs at least one scheduler")
        self._attach(optimizer or self._schedulers[0].optimizer)
        for scheduler in self._schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"{name}: ReduceLROnPlateau needs a metric; step it by itself")
            if scheduler.optimizer is not self.optimizer:
                raise ValueError(f"{name}: its schedulers must be of one optimiser")

    def state_dict(self) -> dict[str, Any]:
        """Its own state, and that of each of its schedulers."""
        inner = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": inner}

    def _load(self, state: dict[str, Any]) -> None:
        inner = state.pop("_schedulers")
        problems = [
            f"scheduler {i}: {problem}"
            for i, (scheduler, part) in enumerate(zip(self._schedulers, inner, strict=True))
            for problem in scheduler._misfits(part)
        ]
        if problems:
            raise ValueError(f"{type(self).__name__}.load_state_dict: {'; '.join(problems)}")
        for scheduler, part in zip(self._schedulers, inner, strict=True):
            scheduler._load(part)
        super()._load(state)


class SequentialLR(_Composed):
    """One schedule after the other: each but the first begins at its milestone.

    Raises:
        ValueError: a schedule that is itself made of others.

    >>> from gradlet import Tensor, nn
    >>> opt = nn.optim.SGD([Tensor([1.0])], lr=1.0); opt.zero_grad(set_to_none=False)
    >>> warm_up = nn.optim.LinearLR(opt, start_factor=0.5, total_iters=2)
    >>> fall, rates = nn.optim.CosineAnnealingLR(opt, T_max=2), []
    >>> schedule = SequentialLR(opt, [warm_up, fall], milestones=[2])
    >>> for _ in range(5):
    ...     opt.step(); rates.append(f"{opt.lr:.2f}"); schedule.step()
    >>> rates
    ['0.50', '0.75', '1.00', '0.50', '0.00']
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._take(schedulers, optimizer)
        if len(milestones) != len(self._schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(self._schedulers)} schedulers need one milestone fewer, not "
                f"{len(milestones)}"
            )
        if any(isinstance(scheduler, _Composed) for scheduler in self._schedulers):
            raise ValueError("SequentialLR: give single schedulers, not those made of others")
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self._schedulers:  # the one that is to begin does so once more
            scheduler.last_epoch -= 1
        current = self._schedulers[bisect_right(self._milestones, 0)]
        current._begin()
        self._last_lr = current.get_last_lr()

    def step(self) -> None:
        """Goes on to the next epoch."""
        self._check_place()
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        current = self._schedulers[number]
        if number > 0 and self._milestones[number - 1] == self.last_epoch:
            current._restart()
        else:
            current.step()
        self._last_lr = current.get_last_lr()


class ChainedScheduler(_Composed):
    """All schedules at once, each of which goes on from the rates of the one before."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._take(schedulers, optimizer)
        self._last_lr = self._rates()

    def step(self) -> None:
        """Goes on to the next epoch."""
        self._check_place()
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._rates()


class ReduceLROnPlateau(LRScheduler):
    """Multiplies by `factor` where a metric has not become better for `patience` epochs.

    Args:
        mode: "min" for a loss, "max" for an accuracy.
        threshold: by how much better counts, relative ("rel") or not ("abs"), as `threshold_mode`
            says.
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: the lowest rate, for all groups or for each.
        eps: a smaller change of a rate is not made.

    >>> from gradlet import Tensor, nn
    >>> opt = nn.optim.SGD([Tensor([1.0])], lr=1.0); opt.zero_grad(set_to_none=False)
    >>> schedule, rates = ReduceLROnPlateau(opt, factor=0.5, patience=1), []
    >>> for loss in (1.0, 0.5, 0.5, 0.5, 0.5):
    ...     opt.step(); schedule.step(loss); rates.append(opt.lr)
    >>> rates
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    theirs_alone = ("default_min_lr", "mode_worse")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, not {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', not {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', not {threshold_mode!r}"
            )
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.min_lrs = self._for_each("min_lr", min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.cooldown_counter = self.num_bad_epochs = 0
        self._last_lr = self._rates()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Ends an epoch, with its loss or whatever is to become better: a number or a tensor."""
        self._check_place()
        current = float(metrics)
        self.last_epoch += 1
        better = self._is_better(current)
        if better:
            self.best = current
        self.num_bad_epochs = 0 if better else self.num_bad_epochs + 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()

    def _is_better(self, current: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs":
            bound = self.best + sign * self.threshold
        else:
            bound = self.best * (1 + sign * self.threshold)
        return current > bound if self.mode == "max" else current < bound

    def _reduce(self) -> None:
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            rate = max(group["lr"] * self.factor, lowest)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate
