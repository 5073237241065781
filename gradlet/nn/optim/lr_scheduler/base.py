"""What all schedulers share."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from gradlet.engine import trace
from gradlet.nn.optim.groups import ParamGroup
from gradlet.nn.optim.optimizer import Optimizer

_OUTSIDE = (
    "a scheduler's step() computes with Python numbers, and would happen once; call it outside of "
    "the recorded function, whose next run sees the new rate"
)


class LRScheduler:
    """Sets the rates of an optimiser's groups, epoch by epoch.

    An epoch is what lies between two calls of `step`, be it one step of the optimiser or many.
    Making a scheduler sets the rates of epoch 0.

    Args:
        last_epoch: the epoch after which to go on; the groups must then have an `initial_lr`.

    Attributes:
        base_lrs: the rates to which a schedule refers, a number for each group.
        last_epoch: the current epoch.
    """

    # What changes outside of recorded steps, and is nothing to them.
    not_state: ClassVar[tuple[str, ...]] = (
        *("last_epoch", "_last_lr", "_step_count", "_beginning"),
        *("T_cur", "T_i", "best", "cooldown_counter", "num_bad_epochs"),
    )

    not_saved: ClassVar[tuple[str, ...]] = ("optimizer", "_beginning")

    # What a state of PyTorch's lacks, and then stays as it was given; and what it has beyond ours.
    not_theirs: ClassVar[tuple[str, ...]] = ()
    theirs_alone: ClassVar[tuple[str, ...]] = ()

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: group {i} has no 'initial_lr', which going on after "
                    f"epoch {last_epoch} needs; load the optimiser's state first"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    def _attach(self, optimizer: Optimizer) -> None:
        trace.refuse("a scheduler cannot be made while a step is recorded; make it outside")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: needs an optimiser, not {optimizer!r}")
        self.optimizer = optimizer

    def _begin(self) -> None:
        """Takes the step to epoch 0, or to the one after `last_epoch`."""
        self._step_count, self._beginning = 0, True
        self.step()
        self._beginning = False

    def step(self) -> None:
        """Goes on to the next epoch. Call it after the optimiser's steps of an epoch."""
        self._check_place()
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                f"{type(self).__name__}.step() was called before the optimiser's step(), so that "
                "no step is made with the first rate; call it after",
                stacklevel=2,
            )
        self._step_count += 1
        self.last_epoch += 1
        try:
            rates = self.get_lr()
        except Exception:
            self._step_count -= 1
            self.last_epoch -= 1
            raise
        self._set(rates)

    def _check_place(self) -> None:
        """Raises if this is no place or time for a step."""
        trace.refuse(_OUTSIDE)
        groups = len(self.optimizer.param_groups)
        known = len(self._last_lr) if hasattr(self, "_last_lr") else groups
        if known != groups:
            raise ValueError(
                f"{type(self).__name__}.step: the optimiser has {groups} groups of parameters, and "
                f"had {known} when the scheduler was made; make another for it"
            )

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`, where the groups have those of the epoch before."""
        raise NotImplementedError

    def _restart(self) -> None:
        """Goes to epoch 0 from wherever the rates are, as `SequentialLR` wants."""
        self.last_epoch = 0
        self._set(self._first())

    def _first(self) -> list[float]:
        return self.get_lr()

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._rates()

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The rates that the last call of `step` has set."""
        return list(self._last_lr)

    def _for_each(self, name: str, value: Any) -> list[Any]:
        """An argument that is one for all groups or a list of one for each."""
        wanted = len(self.optimizer.param_groups)
        given = list(value) if isinstance(value, list | tuple) else [value] * wanted
        if len(given) != wanted:
            raise ValueError(
                f"{type(self).__name__}: {name} has {len(given)} items, and the optimiser {wanted} "
                "groups; give one for all, or one for each"
            )
        return given

    # State

    def state_dict(self) -> dict[str, Any]:
        """All that changes or was given, but for the optimiser and plain functions."""
        names = [name for name in vars(self) if name not in self.not_saved]
        return {name: copy.deepcopy(getattr(self, name)) for name in names}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state, also one of PyTorch's; the rates are part of the optimiser's.

        Raises:
            ValueError: it is of another kind or number of groups. Nothing has changed then.
        """
        problems = list(self._misfits(state_dict))
        if problems:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: the state does not fit, and nothing was "
                f"loaded: {'; '.join(problems)}"
            )
        self._load(copy.deepcopy(dict(state_dict)))

    def _load(self, state: dict[str, Any]) -> None:
        own = self.state_dict()
        vars(self).update({name: value for name, value in state.items() if name in own})

    def _misfits(self, state: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with a state. Private names that only PyTorch has are left alone."""
        own = self.state_dict()
        known = {*state, *self.not_theirs}
        yield from (f"{name!r} is missing" for name in own if name not in known)
        for name, value in state.items():
            if name not in {*own, *self.theirs_alone} and not name.startswith("_"):
                yield f"{name!r} is unexpected"
            elif isinstance(own.get(name), list) and len(own[name]) != len(value):
                yield f"{name!r} has {len(value)} items instead of {len(own[name])}"


class CyclesMomentum(LRScheduler):
    """What schedulers of momentum share: SGD's `momentum`, or the first of Adam's `betas`."""

    def _take_momenta(self, low: Any, high: Any, last_epoch: int) -> None:
        """Finds what to change, and begins with the highest.

        Raises:
            ValueError: the optimiser has neither.
        """
        if not {"momentum", "betas"} & set(self.optimizer.defaults):
            raise ValueError(
                f"{type(self).__name__}: {type(self.optimizer).__name__} has no momentum and no "
                "betas; pass cycle_momentum=False"
            )
        self.use_beta1 = "betas" in self.optimizer.defaults
        self.base_momentums = self._for_each("base_momentum", low)
        self.max_momentums = self._for_each("max_momentum", high)
        if last_epoch != -1:
            return
        groups = self.optimizer.param_groups
        for group, base, most in zip(groups, self.base_momentums, self.max_momentums, strict=True):
            self._set_momentum(group, most)
            group["max_momentum"], group["base_momentum"] = most, base

    def _set_momentum(self, group: ParamGroup, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum
