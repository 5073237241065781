"""An optimiser's state in PyTorch's layout: taken out, checked, and put back.

{"state": {0: {"step": ..., "exp_avg": ...}, ...},
 "param_groups": [{"lr": 0.001, ..., "params": [0, 1]}, ...]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlet.engine import trace
from gradlet.nn.optim.groups import ParamGroup, State, scalar
from gradlet.tensor.tensor import Tensor

if TYPE_CHECKING:
    from gradlet.nn.optim.optimizer import Optimizer

# Options of PyTorch's that say how to compute a step, and not what.
_OF_PYTORCH = ("foreach", "fused", "capturable", "differentiable")


def state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """What `Optimizer.state_dict` returns."""
    groups, first = [], 0
    for group in optimizer.param_groups:
        options = {name: value for name, value in group.items() if name != "params"}
        last = first + len(group.params)
        groups.append({**options, "params": list(range(first, last))})
        first = last
    states = {
        i: {name: snapshot(value) for name, value in state.items()}
        for i, state in enumerate(optimizer.state)
    }
    return {"state": {i: state for i, state in states.items() if state}, "param_groups": groups}


def snapshot(value: Tensor) -> Tensor:
    """Another tensor with the same value, which later steps do not change."""
    return Tensor.from_node(value.node, value.device, value.requires_grad)


def load_state_dict(optimizer: Optimizer, given: Mapping[str, Any]) -> None:
    """What `Optimizer.load_state_dict` does."""
    trace.refuse("load_state_dict cannot be called while a step is recorded")
    problems = list(_misfits(optimizer, given))
    if not problems:
        made = [
            _group(optimizer, group, saved, given["state"])
            for group, saved in zip(optimizer.param_groups, given["param_groups"], strict=True)
        ]
        problems = [problem for _, found in made for problem in found]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(
            f"{type(optimizer).__name__}.load_state_dict: the state does not fit the optimiser, "
            f"which is left as it was:\n{listed}\nMake it with the parameters and groups, in the "
            "order, that it had when its state was saved."
        )
    for group, saved, (states, _) in zip(
        optimizer.param_groups, given["param_groups"], made, strict=True
    ):
        for name, value in _options(saved):
            group[name] = value
        group.states = states


def _misfits(optimizer: Optimizer, given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the groups."""
    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= set(given):
        yield 'it has not the keys "state" and "param_groups"'
        return
    groups, saved = optimizer.param_groups, given["param_groups"]
    if len(groups) != len(saved):
        yield f"{len(saved)} groups of parameters, and the optimiser has {len(groups)}"
        return
    for number, (group, other) in enumerate(zip(groups, saved, strict=True)):
        if len(other["params"]) != len(group.params):
            yield (
                f"group {number} has {len(other['params'])} parameters, and the optimiser's has "
                f"{len(group.params)}"
            )
        options = dict(_options(other))
        yield from (f"group {number} is without {k!r}" for k in group.now if k not in options)
        try:
            for name in set(options) & set(group.now):
                optimizer._option(name, options[name])
            optimizer._check_options({**group, **options})
        except (TypeError, ValueError) as error:
            yield f"group {number}: {error}"
    known = {i for group in saved for i in group["params"]}
    yield from (f"there is no parameter {i!r}" for i in given["state"] if i not in known)


def _options(saved: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in saved.items():
        if name != "params" and name not in _OF_PYTORCH:
            yield name, tuple(value) if isinstance(value, list) else value


def _group(
    optimizer: Optimizer, group: ParamGroup, saved: Mapping[str, Any], states: Mapping[Any, Any]
) -> tuple[list[State], list[str]]:
    """(the states of a group's parameters, what does not fit)."""
    initial = optimizer._new_state({**group, **dict(_options(saved))})
    counters: dict[tuple[float, ...], State] = {}
    made, problems = [], []
    for param, i in zip(group.params, saved["params"], strict=True):
        given = {k: v for k, v in states.get(i, {}).items() if v is not None}
        wrong = list(_misfit_state(optimizer, initial, param, given))
        problems += [f"parameter {i}: {problem}" for problem in wrong]
        if not wrong:
            made.append(_state(optimizer, initial, param, given, counters))
    return made, problems


def _misfit_state(
    optimizer: Optimizer, initial: Mapping[str, float], param: Tensor, given: Mapping[str, Any]
) -> Iterator[str]:
    names = {*initial, *optimizer.counters}
    needed = names - set(optimizer.optional) if given else set()
    yield from (f"{name!r} is missing" for name in sorted(needed - set(given)))
    for name, value in given.items():
        shape = () if name in optimizer.counters else param.shape
        if name not in names and name not in optimizer.optional:
            yield f"{name!r} is nothing that {type(optimizer).__name__} remembers"
        elif _array(value).shape != shape:
            yield f"{name!r} has shape {_array(value).shape}, and should have {shape}"


def _state(
    optimizer: Optimizer,
    initial: Mapping[str, float],
    param: Tensor,
    given: Mapping[str, Any],
    counters: dict[tuple[float, ...], State],
) -> State:
    """A parameter's state; those with equal counters share them."""
    state: State = {}
    if optimizer.counters:
        pairs = optimizer.counters.items()
        counts = tuple(float(_array(given.get(name, start))) for name, start in pairs)
        if counts not in counters:
            made = [scalar(count, param.device) for count in counts]
            counters[counts] = dict(zip(optimizer.counters, made, strict=True))
        state.update(counters[counts])
    dtype = np.float32 if param.dtype.bits == 16 else param.dtype.numpy
    for name in [n for n in (*initial, *optimizer.optional) if n in initial or n in given]:
        value = given.get(name, np.full(param.shape, initial.get(name, 0.0)))
        array = _array(value).astype(dtype)
        state[name] = Tensor(array, device=param.device, requires_grad=False)
    return state


def _array(value: Any) -> np.ndarray:
    """The elements of a tensor, be it gradlet's or PyTorch's, or of an array."""
    if isinstance(value, Tensor):
        return value.numpy()
    if hasattr(value, "detach"):  # PyTorch's, whose bfloat16 NumPy does not know
        value = value.detach().cpu().double().numpy()
    return np.asarray(value)
