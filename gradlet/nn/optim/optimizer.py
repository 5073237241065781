"""What all optimisers share: groups, the step, and what is remembered of parameters.

Whatever changes from step to step (rates, numbers of steps) is held in tensors and enters the graph
as data, so that all steps of a training loop are one compiled program.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from gradlet.engine import trace
from gradlet.nn.optim import saved
from gradlet.nn.optim.groups import ParamGroup, State, as_groups, collect, scalar
from gradlet.nn.optim.update import Changes, Update, Used
from gradlet.nn.optim.update import Numbers as Numbers
from gradlet.tensor.tensor import Tensor

STEPS = {"step": 0.0}  # the counter that most optimisers have

# Of what kind options are: numbers of at least 0, unless they are here.
_FLAGS = {
    "adam",
    "amsgrad",
    "centered",
    "classic",
    "decoupled_weight_decay",
    "maximize",
    "nesterov",
}
_LENGTHS = {"betas": 2, "ns_coefficients": 3}
_OTHERS = ("adjust_lr_fn", "ns_steps")
_RANGES = {"rho": (0.0, 1.0), "alpha": (0.0, 1.0), "dampening": (-math.inf, math.inf)}

# What others keep in a group besides its options.
_OF_OTHERS = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr")


class Optimizer:
    """What all optimisers share.

    An optimiser says how one parameter moves (`_move`), what is computed once for all of a group
    (`_next`, `_pace`), and what it remembers (`_new_state`, `counters`). The first three are
    functions of their arguments alone: what they build is built once and used in all steps, for
    all parameters of a shape.

    Args:
        params: parameters, models, or lists that mix both, where duplicates count once; or a list
            of groups, `{"params": ..., "lr": ...}`, with options of their own.
        defaults: the options of groups that do not say otherwise, `lr` among them.

    Attributes:
        params: the tensors that are trained.
        param_groups: a dict for each group. Its options can be read, and set between steps.
    """

    # What a parameter remembers in numbers that are equal for all that have taken as many steps,
    # and what these are at first.
    counters: ClassVar[dict[str, float]] = {}

    # What of its memory a parameter may be without.
    optional: ClassVar[tuple[str, ...]] = ()

    # Of no consequence for a recorded step.
    not_state = ("defaults", "_warned", "_stepped")

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.params: list[Tensor] = []
        self.param_groups: list[ParamGroup] = []
        self._shared: dict[str, Tensor] = {}
        self._warned = self._stepped = False
        for group in as_groups(params):
            self.add_param_group(group)

    # Groups and options

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Trains more parameters, with options of their own.

        Raises:
            ValueError: a parameter is in another group already, or there is no such option.
        """
        trace.refuse("add_param_group cannot be called while a step is recorded")
        name = type(self).__name__
        params = collect(group["params"])
        more = {k: v for k, v in group.items() if k != "params" and k not in self.defaults}
        for key, value in more.items():
            if isinstance(value, int | float) and key not in _OF_OTHERS:
                raise ValueError(
                    f"{name}: there is no option {key!r}; there are {', '.join(self.defaults)}"
                )
        for param in params:
            self._check_parameter(param)
        known = {id(param) for param in self.params}
        if any(id(param) in known for param in params):
            raise ValueError(f"{name}: a parameter can be in one group only")
        devices = sorted({param.device for param in (*self.params, *params)})
        if len(devices) > 1:
            raise ValueError(
                f"optimiser: parameters are on devices {', '.join(devices)}; use one optimiser each"
            )
        options = {key: group.get(key, default) for key, default in self.defaults.items()}
        self._check_options(options)
        made = ParamGroup(params, options, more, self._option)
        made.states = self._new_states(made)
        self.params += params
        self.param_groups.append(made)

    @property
    def device(self) -> str:
        """Where the parameters are."""
        return self.params[0].device

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it sets that of all groups."""
        rates = {group["lr"] for group in self.param_groups}
        if len(rates) > 1:
            raise ValueError("the groups have different rates: see opt.param_groups[i]['lr']")
        return rates.pop()

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    @property
    def state(self) -> list[State]:
        """What is remembered of each parameter, under the names of PyTorch."""
        return [state for group in self.param_groups for state in group.states]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, so that the next `backward` starts anew."""
        for param in self.params:
            param.grad = None
            if not set_to_none:
                zeros = np.zeros(param.shape, param.dtype.numpy)
                param.grad = Tensor(zeros, device=param.device, requires_grad=False)

    # The step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves every parameter that has a gradient; all of it runs as one program.

        Args:
            closure: computes the gradients and returns the loss, which is returned.

        Raises:
            ValueError: a gradient does not have the shape of its parameter.
        """
        loss = None if closure is None else closure()
        self._check_gradients()
        self._stepped = True
        changes = Changes(self.device)
        for number, group in enumerate(self.param_groups):
            used = [
                (param, state)
                for param, state in zip(group.params, group.states, strict=True)
                if param.grad is not None
            ]
            update = Update(type(self), self.device, group)
            for position, alike in enumerate(self._alike(used)):
                self._note(changes, update, group, alike, f"{number}.{position}")
        if changes.calls:
            changes.carry_out()
        return loss

    def _alike(self, used: Used) -> list[Used]:
        """Parameters parted by how many steps they have taken."""
        name = next(iter(self.counters), None)
        if name is None or len({id(state[name]) for _, state in used}) < 2:
            return [used] if used else []
        parted: dict[int, Used] = {}
        for param, state in used:
            parted.setdefault(id(state[name]), []).append((param, state))
        return list(parted.values())

    def _note(
        self, changes: Changes, update: Update, group: ParamGroup, alike: Used, place: str
    ) -> None:
        """Notes how these parameters move, with what is counted and computed for all of them."""
        counts = {name: alike[0][1][name] for name in self.counters}
        call, whole = update.call(counts, alike, self._count, self._change)
        changes.calls.append(call)
        results = whole.function.results
        cells: list[Tensor | None] = self._counted(changes, group, alike, counts)
        for i in range(whole.paces):
            if trace.current() is None:
                cells.append(None)
            else:  # which stores what is kept
                cells.append(changes.new(self._shared, f"{place}.{i}", results[len(cells)]))
        for (param, state), names in zip(alike, whole.names, strict=True):
            cells.append(param)
            for name in names:
                cell = state.get(name)
                if cell is None:
                    cell = changes.new(state, name, results[len(cells)])
                cells.append(cell)
        changes.cells += cells

    def _counted(
        self, changes: Changes, group: ParamGroup, alike: Used, counts: State
    ) -> list[Any]:
        """What takes the counters of these parameters, and of no others that have them."""
        first = next(iter(counts), None)
        if not first or len(alike) == sum(state[first] is counts[first] for state in group.states):
            return list(counts.values())
        own = {name: changes.new({}, name, cell.node) for name, cell in counts.items()}
        changes.news += [(state, name, cell) for _, state in alike for name, cell in own.items()]
        return list(own.values())

    def _count(self, now: Numbers, counts: State) -> tuple[State, tuple[Tensor, ...]]:
        """Counters after a step more, and the paces of the step."""
        following = self._next(now, counts) if counts else {}
        return following, self._pace(now, following)

    def _change(self, now: Numbers, paces: tuple[Tensor, ...], param: Tensor, state: State) -> None:
        """Moves one parameter. Half precision is for storing it, not for computing."""
        value, gradient = param, param.grad
        assert gradient is not None
        if param.dtype.bits == 16:
            value, gradient = param.float(), gradient.float()
        if now.get("maximize"):
            gradient = -gradient
        param.assign(self._move(now, paces, value, gradient, state).cast(param.dtype))

    # What each optimiser says of itself

    def _next(self, now: Numbers, counts: State) -> State:
        """The counters after one more step."""
        return {"step": counts["step"] + 1}

    def _pace(self, now: Numbers, counts: State) -> tuple[Tensor, ...]:
        """What a step needs of options and counters, computed once for many parameters."""
        return ()

    def _move(
        self,
        now: Numbers,
        pace: tuple[Tensor, ...],
        param: Tensor,
        gradient: Tensor,
        state: State,
    ) -> Tensor:
        """The next value of a parameter, in at least float32; its state changes too."""
        raise NotImplementedError

    def _new_state(self, options: Mapping[str, Any]) -> dict[str, float]:
        """What is remembered of a parameter's elements, and what it is before the first step."""
        return {}

    def _check_options(self, options: Mapping[str, Any]) -> None:
        """Raises if options do not go together."""

    def _check_parameter(self, param: Tensor) -> None:
        """Raises if a parameter is none that can be trained."""

    # State

    def _new_states(self, group: ParamGroup) -> list[State]:
        """The states of parameters that have taken no step, computed.

        Doing so now makes the first step the same program as all others.
        """
        trace.refuse("an optimiser cannot be made while a step is recorded; make it outside")
        counters = {name: scalar(v, group.params[0].device) for name, v in self.counters.items()}
        initial = self._new_state(dict(group))
        states = [
            {**counters, **{name: full_like(param, value) for name, value in initial.items()}}
            for param in group.params
        ]
        group.params[0].realize(*group.params[1:], *(v for s in states for v in s.values()))
        return states

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters, in PyTorch's layout, as it is now.

        >>> from gradlet import Tensor, nn
        >>> nn.optim.SGD([Tensor([1.0])], lr=0.1, momentum=0.9).state_dict()["state"]
        {0: {'momentum_buffer': Tensor([0.], shape=(1,), dtype=float32, device=cpu)}}
        """
        return saved.state_dict(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state that `state_dict` gave, here or in PyTorch.

        Raises:
            ValueError: lists all that does not fit. Nothing has changed then.
        """
        saved.load_state_dict(self, state_dict)

    # Checks

    def _option(self, name: str, value: Any) -> Any:
        """An option as it is kept: numbers as floats.

        Raises:
            TypeError, ValueError: it cannot have this value.
        """
        of = type(self).__name__
        if name in _OTHERS:
            return value
        if name in _FLAGS:
            if not isinstance(value, bool):
                raise TypeError(f"{of}: {name} must be True or False, not {value!r}")
            return value
        if name in _LENGTHS:
            if not isinstance(value, tuple | list) or len(value) != _LENGTHS[name]:
                raise ValueError(f"{of}: {name} must be {_LENGTHS[name]} numbers, not {value!r}")
            if name == "betas" and not all(0 <= beta < 1 for beta in value):
                raise ValueError(f"{of}: betas must be in [0, 1), not {value}")
            return tuple(float(part) for part in value)
        low, high = _RANGES.get(name, (0.0, math.inf))
        if not low <= value <= high:
            wanted = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
            raise ValueError(f"{of}: {name} must be {wanted}, not {value}")
        return float(value)

    def _check_gradients(self) -> None:
        """Raises if a gradient does not fit, and says once if some are not there."""
        unused = []
        for i, param in enumerate(self.params):
            if param.grad is None:
                unused.append(i)
            elif param.grad.node.shape != param.node.shape:
                raise ValueError(
                    f"{type(self).__name__}.step: parameter {i} has shape {param.shape} and its "
                    f"gradient {param.grad.shape}; they must agree"
                )
        if unused and not self._warned:
            self._warned = True
            self._note_unused(unused)

    def _note_unused(self, unused: Sequence[int]) -> None:
        listed = ", ".join(f"{i} of shape {self.params[i].shape}" for i in unused[:5])
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        warnings.warn(
            f"{type(self).__name__}.step: no gradient for parameter {listed}{more}, left as it "
            "is. Call loss.backward() before step(), and check that the loss depends on it.",
            stacklevel=4,
        )


# Helpers of optimisers


def remember(state: State, name: str, value: Tensor) -> Tensor:
    """Keeps a value for the next step, and returns it."""
    place = state.get(name)
    if place is None:
        state[name] = Tensor(value, requires_grad=False)
    else:
        place.assign(value.cast(place.dtype))
    return value


def full_like(param: Tensor, value: float) -> Tensor:
    """What is remembered of a parameter's elements, in at least float32."""
    dtype = np.float32 if param.dtype.bits == 16 else param.dtype.numpy
    return Tensor(np.full(param.shape, value, dtype), device=param.device, requires_grad=False)
