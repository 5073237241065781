"""The tensors of a model by name: collected, loaded into place, moved to another device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.engine import trace
from gradlet.engine.realize import value_of
from gradlet.ir.node import Node
from gradlet.jit.jit import Jitted
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.tensor import Tensor

_NO_MODELS = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, Jitted)


# Collecting


def get_state_dict(model: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor in `model` by its dotted name, as PyTorch names them.

    Args:
        model: an object with tensors in its attributes, or a list, tuple or dict of such objects,
            to any depth. A tensor that is reached in two ways has two names.
        prefix: what all names begin with.

    >>> from gradlet import nn
    >>> list(get_state_dict({"head": [nn.Linear(2, 1)]}))
    ['head.0.weight', 'head.0.bias']
    """
    return dict(_walk(model, prefix.rstrip("."), (), set()))


def get_parameters(model: Any) -> list[Tensor]:
    """The tensors in `model` that are trained, each once.

    These are all float tensors but those with `requires_grad=False`, such as the running statistics
    of batch normalisation.
    """
    trained = {
        id(tensor): tensor
        for tensor in get_state_dict(model).values()
        if tensor.dtype.is_float and tensor.requires_grad is not False
    }
    return list(trained.values())


def _walk(
    found: Any, name: str, path: tuple[int, ...], barren: set[int]
) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors under `found`.

    Args:
        path: ids of the objects through which `found` was reached, where cycles end.
        barren: ids of objects that hold no tensor, to which what is found here is added.
    """
    if isinstance(found, Tensor):
        yield name, found
        return
    if id(found) in path or id(found) in barren:
        return
    empty = True
    for key, part in _parts(found):
        inner = f"{name}.{key}" if name else str(key)
        for named in _walk(part, inner, (*path, id(found)), barren):
            empty = False
            yield named
    if empty:
        barren.add(id(found))


def _parts(found: Any) -> Iterator[tuple[Any, Any]]:
    """What an object is made of, by the names that lead there."""
    if isinstance(found, _NO_MODELS):
        return
    if isinstance(found, Mapping):
        yield from found.items()
    elif isinstance(found, list | tuple):
        fields = getattr(found, "_fields", range(len(found)))  # a named tuple has names
        yield from zip(fields, found, strict=True)
    for kind in type(found).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if not slot.startswith("__") and hasattr(found, slot):
                yield slot, getattr(found, slot)
    yield from getattr(found, "__dict__", {}).items()


# Loading into place


def load_state_dict(model: Any, state: Mapping[str, Any], strict: bool = True) -> None:
    """Gives the tensors of `model` the values in `state`. Nothing changes if anything is wrong.

    A value is converted to the dtype of its place, but floats do not go into an integer place.

    Args:
        state: tensors or arrays by the names that `get_state_dict` gives.
        strict: names that only one side has are errors; otherwise they are left alone.

    Raises:
        ValueError: lists every missing, unexpected and misshapen name.
    """
    trace.refuse("load_state_dict() would act once, and not when the step runs again")
    places = get_state_dict(model)
    problems = _misfits(places, state)
    if strict:
        problems += [f"missing: {name}" for name in places if name not in state]
        problems += [f"unexpected: {name}" for name in state if name not in places]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(
            f"load_state_dict: the state does not fit the model, which is left as it was:\n{listed}"
            "\nBuild the model with the sizes that were saved, or pass strict=False to leave "
            "missing and unexpected names alone."
        )
    values = {name: _leaf(state[name], place) for name, place in places.items() if name in state}
    for name, leaf in values.items():
        places[name].node = leaf


def _leaf(value: Any, place: Tensor) -> Node:
    """A leaf with a value for `place`, which shares the memory of a tensor where it can."""
    if not isinstance(value, Tensor) or (value.device, value.dtype) != (place.device, place.dtype):
        return Tensor(_array(value), device=place.device, dtype=place.dtype).node
    home = get_device(place.device)
    filled = value_of(value.realize().node, home)
    return node_of(Buffer(home, filled.dtype, filled.shape, filled.memory))


def _misfits(places: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, place in places.items():
        if name not in state:
            continue
        value = state[name]
        wanted, shape = place.shape, tuple(np.shape(value))
        if shape != wanted:
            problems.append(f"wrong shape: {name} is {wanted} in the model, {shape} in the state")
        elif _dtype(value).is_float and not place.dtype.is_float:
            kinds = f"{place.dtype.name} in the model, {_dtype(value).name} in the state"
            problems.append(f"wrong dtype: {name} is {kinds}")
    return problems


def _dtype(value: Any) -> DType:
    return value.dtype if isinstance(value, Tensor) else dtypes.from_numpy(_array(value).dtype)


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


# Moving


def to(model: Any, device: str) -> Any:
    """Moves every tensor in `model`, and its gradient, to `device`; returns `model`.

    An optimiser refers to the same tensors, but holds more of its own: make it afterwards.

    Raises:
        ValueError: there is no such device; nothing has moved.

    >>> from gradlet import nn
    >>> to(nn.Linear(2, 1), "numpy").weight.device
    'numpy'
    """
    trace.refuse("nn.state.to() would act once, and not when the step runs again")
    tensors = {id(tensor): tensor for tensor in get_state_dict(model).values()}.values()
    moved = [(tensor, tensor.to(device)) for tensor in tensors]
    grads = [None if tensor.grad is None else tensor.grad.to(device) for tensor in tensors]
    for (tensor, there), grad in zip(moved, grads, strict=True):
        tensor.node, tensor.device, tensor.grad = there.node, there.device, grad
    return model
