"""Schedules that rise and fall."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradlet.nn.optim.lr_scheduler.base import CyclesMomentum, LRScheduler
from gradlet.nn.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """Falls to `eta_min` as half a cosine in `T_max` epochs, and rises again (Loshchilov 2016).

    >>> from gradlet import Tensor, nn
    >>> opt = nn.optim.SGD([Tensor([1.0])], lr=1.0); opt.zero_grad(set_to_none=False)
    >>> schedule, rates = CosineAnnealingLR(opt, T_max=2), []
    >>> for _ in range(3):
    ...     opt.step(); rates.append(f"{opt.lr:.3f}"); schedule.step()
    >>> rates
    ['1.000', '0.500', '0.000']
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`, where the groups have those of the epoch before."""
        if self._beginning:
            return self._rates()
        pairs = list(zip(self.base_lrs, self._rates(), strict=True))
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # away from the lowest
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [rate + (base - self.eta_min) * rise for base, rate in pairs]
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return [ratio * (rate - self.eta_min) + self.eta_min for _, rate in pairs]

    def _height(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def _first(self) -> list[float]:
        return list(self.base_lrs)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Falls to `eta_min` as half a cosine, and begins anew (Loshchilov & Hutter 2016).

    Args:
        T_0: epochs of the first fall.
        T_mult: how many times longer each is than the one before.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be a positive int: {value!r}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Goes on to the next epoch, or to any; a fraction is for batches within one."""
        self._check_place()
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch, self.T_cur = self.last_epoch + 1, self.T_cur + 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            if not epoch >= 0:
                raise ValueError(
                    f"{type(self).__name__}.step: epoch must be at least 0, not {epoch}"
                )
            self.T_cur, self.T_i = self._place(epoch)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _place(self, epoch: float) -> tuple[float, int]:
        """(how far into a fall an epoch is, how long that is)."""
        if self.T_mult == 1:
            return epoch % self.T_0, self.T_0
        length = self.T_0
        while epoch >= length:
            epoch, length = epoch - length, length * self.T_mult
        return epoch, length

    def get_lr(self) -> list[float]:
        """The rates of this place in the fall."""
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class OneCycleLR(CyclesMomentum):
    """Rises to `max_lr` and falls to almost nothing, and momentum the other way (Smith 2017).

    Args:
        total_steps: how often `step` will be called; or give `epochs` and `steps_per_epoch`.
        pct_start: the share of steps in which the rate rises.
        div_factor: `max_lr` divided by the first rate.
        final_div_factor: the first rate divided by the last.
        three_phase: fall to the first rate as fast as it has risen, and then to the last.

    Raises:
        ValueError: the steps are over, or arguments do not fit together.
    """

    not_theirs = (
        "pct_start", "three_phase", "anneal_strategy", "base_momentums", "max_momentums",
    )  # fmt: skip

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps < 1:
            raise ValueError(f"OneCycleLR: a positive int of steps is needed, not {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be in [0, 1], not {pct_start}")
        self.total_steps, self.pct_start, self.three_phase = total_steps, pct_start, three_phase
        self.anneal_strategy = _known_strategy(anneal_strategy, type(self).__name__)
        self.cycle_momentum = cycle_momentum
        max_lrs = self._for_each("max_lr", max_lr)
        if last_epoch == -1:
            for group, most in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"], group["max_lr"] = most / div_factor, most
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            self._take_momenta(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`; sets momenta too."""
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR.step: the cycle has {self.total_steps} steps, and this is number "
                f"{self.last_epoch}; make it with as many steps as there will be"
            )
        share, (start, end), (before, after) = self._phase()
        blend = _STRATEGIES[self.anneal_strategy]
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                self._set_momentum(group, blend(group[before], group[after], share))
        return [blend(group[start], group[end], share) for group in groups]

    def _phase(self) -> tuple[float, tuple[str, str], tuple[str, str]]:
        """(how much of a phase is over, rates at its ends, momenta at its ends)."""
        top, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        up, down = ("initial_lr", "max_lr"), ("max_lr", "initial_lr")
        low, high = ("max_momentum", "base_momentum"), ("base_momentum", "max_momentum")
        phases = [(top, up, low), (last, ("max_lr", "min_lr"), high)]
        if self.three_phase:
            rest = (last, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum"))
            phases = [(top, up, low), (2 * top, down, high), rest]
        start = 0.0
        for end, rates, momenta in phases[:-1]:
            if self.last_epoch <= end:
                return self._share(start, end), rates, momenta
            start = end
        end, rates, momenta = phases[-1]
        return self._share(start, end), rates, momenta

    def _share(self, start: float, end: float) -> float:
        return (self.last_epoch - start) / (end - start) if end != start else 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)


def _line(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


_STRATEGIES = {"cos": _cosine, "linear": _line}


def _known_strategy(given: str, kind: str) -> str:
    if given not in _STRATEGIES:
        raise ValueError(f"{kind}: anneal_strategy must be 'cos' or 'linear', not {given!r}")
    return given


class CyclicLR(CyclesMomentum):
    """Goes up and down between two rates, and momentum the other way (Smith 2015).

    Args:
        mode: "triangular"; "triangular2", which halves the height in each cycle; or "exp_range",
            which multiplies it by `gamma` in each step.
        scale_fn: another height, from the number of the cycle, counted from 1, or of the step, as
            `scale_mode` ("cycle" or "iterations") says.
    """

    not_saved = ("optimizer", "_beginning", "scale_fn")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(
                f"CyclicLR: mode must be 'triangular', 'triangular2' or 'exp_range', not {mode!r}; "
                "or give a scale_fn"
            )
        base_lrs = self._for_each("base_lr", base_lr)
        self.max_lrs = self._for_each("max_lr", max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, gamma
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        self.cycle_momentum = cycle_momentum
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = rate
        if cycle_momentum:
            self._take_momenta(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`; sets momenta too."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        place = 1 + self.last_epoch / self.total_size - cycle
        up = self.step_ratio
        height = place / up if place <= up else (place - 1) / (up - 1)
        height *= self._scale(cycle)
        if self.cycle_momentum:
            spans = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, spans, strict=True):
                self._set_momentum(group, high - (high - low) * height)
        return [
            base + (most - base) * height
            for base, most in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def _scale(self, cycle: int) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.mode == "exp_range":
            return self.gamma**self.last_epoch
        return 2.0 ** (1 - cycle) if self.mode == "triangular2" else 1.0


class SWALR(LRScheduler):
    """Goes to `swa_lr` in `anneal_epochs`, and stays there, while weights are averaged.

    See `AveragedModel` (Izmailov et al. 2018).
    """

    not_theirs = ("anneal_strategy",)

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs must be an int of at least 0: {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        self.anneal_strategy = _known_strategy(anneal_strategy, type(self).__name__)
        for group, rate in zip(
            optimizer.param_groups, self._for_each("swa_lr", swa_lr), strict=True
        ):
            group["swa_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`, where the groups have those of the epoch before."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, after = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            rate, aim = group["lr"], group["swa_lr"]
            start = aim if before == 1 else (rate - before * aim) / (1 - before)
            rates.append(aim * after + start * (1 - after))
        return rates

    def _share(self, step: int) -> float:
        """How much of a rate is `swa_lr`."""
        share = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return _STRATEGIES[self.anneal_strategy](0.0, 1.0, share)
