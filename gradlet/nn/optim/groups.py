"""Groups of parameters with their options, and where an optimiser finds its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from gradlet.engine import trace
from gradlet.nn.state.names import get_parameters
from gradlet.runtime.device import finest_float
from gradlet.tensor import sharing
from gradlet.tensor.tensor import Tensor

State = dict[str, Tensor]  # what is remembered of one parameter, by name


class ParamGroup(MutableMapping[str, Any]):
    """Parameters and the options they share: a dict whose numbers can be changed between steps.

    The learning rate is held in a tensor, and enters the graph of a step as data. Other options
    are constants of the compiled step until one is changed for the first time; from then on it is
    held in a tensor as well, so that a schedule costs one compilation and not one a step.

    Attributes:
        params: the tensors that are trained.
        states: what is remembered of each of them.
        now: what a step reads for each option: a number, a tensor, or a list of those.
    """

    # A recorded step reads `now`, and nothing that would tell it of another number.
    not_state = ("_numbers", "_checked", "_facts")

    def __init__(
        self,
        params: list[Tensor],
        options: Mapping[str, Any],
        more: Mapping[str, Any],
        checked: Callable[[str, Any], Any],
    ) -> None:
        """
        Args:
            options: what the optimiser knows.
            more: what others keep here, such as a name or a scheduler's first rate.
            checked: gives an option's value as it is to be kept, or raises.
        """
        self.params = params
        self.states: list[State] = []
        self.now: dict[str, Any] = {}
        self._checked = checked
        self._numbers: dict[str, Any] = dict(more)
        for name, value in options.items():
            kept = self._numbers[name] = checked(name, value)
            self.now[name] = list(kept) if isinstance(kept, tuple) else kept
        self.now["lr"] = scalar(self._numbers["lr"], params[0].device)
        self._facts: tuple[list[Tensor], list[str]] | None = None

    @property
    def facts(self) -> tuple[list[Tensor], list[str]]:
        """Of what steps read, (the tensors, all of it in words but for what those hold)."""
        if self._facts is None:
            parts = [p for v in self.now.values() for p in (v if isinstance(v, list) else (v,))]
            tensors = [part for part in parts if isinstance(part, Tensor)]
            self._facts = tensors, ["" if isinstance(p, Tensor) else repr(p) for p in parts]
        return self._facts

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self.params
        trace.refuse(
            f"{name!r} of a parameter group is a Python value, which a recorded step would not "
            "see change"
        )
        return self._numbers[name]

    def __setitem__(self, name: str, value: Any) -> None:
        trace.refuse(f"{name!r} cannot be set while a step is recorded; set it outside")
        if name == "params":
            raise TypeError("the parameters of a group stay; use opt.add_param_group for others")
        if name in self.now:
            value = self._checked(name, value)
            self.now[name] = self._placed(name, value)
            self._facts = None
        self._numbers[name] = value

    def __delitem__(self, name: str) -> None:
        if name == "params" or name in self.now:
            raise TypeError(f"a parameter group cannot be without {name!r}; set another value")
        del self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["params", *self._numbers])

    def __len__(self) -> int:
        return 1 + len(self._numbers)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._numbers.items())
        return f"ParamGroup({len(self.params)} parameters, {options})"

    def _placed(self, name: str, value: Any) -> Any:
        """What steps read for a new value."""
        before, held = self._numbers[name], self.now[name]
        if not isinstance(value, tuple):
            return self._read(name, before, value, held)
        parts = zip(before, value, held, strict=True)
        held[:] = [self._read(name, *part) for part in parts]
        return held  # the same list, in which a recorded step looks

    def _read(self, name: str, before: Any, value: Any, held: Any) -> Any:
        """A tensor for a number that changes. Only of a rate is 0 a number like others: where
        another option is 0, a part of the computation falls away.
        """
        if value == before and type(value) is type(before):
            return held
        if not isinstance(value, float) or (value == 0 and name != "lr"):
            return value
        return scalar(value, self.params[0].device)


def scalar(value: float, device: str) -> Tensor:
    """A number in a tensor. It widens no parameter.

    In float64 where the device has that, for 1 - beta loses half of its digits in float32.
    """
    kind = finest_float(device).numpy
    return Tensor(np.asarray(value, kind), device=device, requires_grad=False)


def in_use(option: float | Tensor) -> bool:
    """Whether a number is other than 0, as one that is held in a tensor always is."""
    return isinstance(option, Tensor) or option != 0


# What an optimiser is given


def as_groups(given: Any) -> list[dict[str, Any]]:
    """Parameter groups as dicts, of which each has "params"."""
    if _is_group(given):
        return [dict(given)]
    listed = list(given) if isinstance(given, Iterator) else given
    if isinstance(listed, list | tuple) and any(_is_group(item) for item in listed):
        if all(_is_group(item) for item in listed):
            return [dict(item) for item in listed]
        raise TypeError(
            'optimiser: some items are groups, dicts with "params", and some are not; make groups '
            "of all of them"
        )
    return [{"params": listed}]


def _is_group(item: Any) -> bool:
    return isinstance(item, Mapping) and "params" in item


def collect(given: Any) -> list[Tensor]:
    """The parameters in whatever a group was given, each once, made leaves."""
    if isinstance(given, Iterator):
        given = list(given)
    listed = given if isinstance(given, list | tuple) else [given]
    for i, item in enumerate(listed):
        if isinstance(item, Tensor) and not item.dtype.is_float:
            raise TypeError(
                f"optimiser: parameter {i} is {item.dtype.name}, and only floats can be trained; "
                "make it with dtype='float32'"
            )
    params = get_parameters(given)
    if not params:
        raise ValueError(
            "optimiser: there is nothing to train in what was given; pass parameters, or models "
            "that hold some with requires_grad other than False"
        )
    params = [param for param in params if not _shown_by_another(param, params)]
    for param in params:
        param.requires_grad = True
        if not param.is_leaf:  # such as a weight made as Tensor.randn(3, 3) * 0.1
            param.assign(param)
    return params


def _shown_by_another(param: Tensor, params: list[Tensor]) -> bool:
    """Whether it is a view of another parameter, with which it changes; no view of anything else.

    Raises:
        ValueError: it is a view of what is not trained.
    """
    source = sharing.source(param)
    if source is None or any(source is other for other in params):
        return source is not None
    raise ValueError(
        f"optimiser: a parameter of shape {param.shape} is a view of a tensor of shape "
        f"{source.shape}, which is not among the parameters; pass that one, or make the parameter "
        "a tensor of its own with .clone()"
    )
