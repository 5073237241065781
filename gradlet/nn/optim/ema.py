"""Averages of a model's weights over the steps of training."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gradlet.engine import trace
from gradlet.nn.optim.saved import snapshot
from gradlet.nn.state.names import get_state_dict, load_state_dict
from gradlet.tensor.tensor import Tensor

# From (average, current value, how many values are in the average) to the next average.
Average = Callable[[Tensor, Tensor, Tensor], Tensor]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """An exponential moving average.

    >>> get_ema_avg_fn(0.75)(Tensor([1.0]), Tensor([2.0]), Tensor(3)).tolist()
    [1.25]
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"get_ema_avg_fn: decay must be in [0, 1], not {decay}")

    def average(mean: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return mean * decay + value * (1 - decay)

    return average


def get_swa_avg_fn() -> Average:
    """The mean of all values (stochastic weight averaging, Izmailov et al. 2018).

    >>> get_swa_avg_fn()(Tensor([1.0]), Tensor([5.0]), Tensor(3)).tolist()
    [2.0]
    """

    def average(mean: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return mean + (value - mean) / (count + 1)

    return average


class AveragedModel:
    """A copy of a model whose weights are averages of the model's.

    `update_parameters(model)` takes its weights into account, in one program, which may be part of
    a recorded step; the first time they are copied. Half precision is computed in float32, and
    stored as the model's: small changes are lost there, so that a float32 model is better averaged.

    Args:
        avg_fn: from (average, value, count) to the next average; the mean of all if not given.
        use_buffers: average what is not trained, such as running statistics, instead of copying.

    Attributes:
        module: the copy, which calling this object calls.
        n_averaged: how many updates there were, an int64 scalar.

    >>> from gradlet import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> mean = AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = model.weight.assign(Tensor([[value]]))
    ...     mean.update_parameters(model)
    >>> mean(Tensor([[1.0]])).item()
    3.0
    """

    def __init__(
        self, model: Any, avg_fn: Average | None = None, use_buffers: bool = False
    ) -> None:
        trace.refuse("an average cannot be made while a step is recorded; make it outside")
        self.module = copy.deepcopy(model)
        self.avg_fn = avg_fn or get_swa_avg_fn()
        self.use_buffers = use_buffers
        self.n_averaged = Tensor(0, device=_device(model), requires_grad=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Any) -> None:
        """Takes the weights of the model as they are now into the averages.

        Raises:
            ValueError: the model has other tensors than it had.
        """
        changed = [self.n_averaged]
        for mean, value in self._pairs(model):
            if mean.dtype.is_float and (mean.requires_grad is not False or self.use_buffers):
                mean.assign(self._next(mean, value).cast(mean.dtype))
            else:
                mean.assign(value)
            changed.append(mean)
        self.n_averaged.assign(self.n_averaged + 1)
        changed[0].realize(*changed[1:])

    def _next(self, mean: Tensor, value: Tensor) -> Tensor:
        if mean.dtype.bits == 16:
            mean, value = mean.float(), value.float()
        moved = self.avg_fn(mean, value, self.n_averaged)
        return self.n_averaged.eq(0).where(value, moved)

    def _pairs(self, model: Any) -> list[tuple[Tensor, Tensor]]:
        """(average, the model's) for each tensor, once where one has several names."""
        own, other = get_state_dict(self.module), get_state_dict(model)
        shapes, wanted = ({n: t.shape for n, t in d.items()} for d in (other, own))
        if shapes != wanted:
            names = sorted({n for n in {*own, *other} if shapes.get(n) != wanted.get(n)})
            raise ValueError(
                f"{type(self).__name__}: the model has other tensors than the copy that holds the "
                f"averages: {', '.join(names[:5])}"
            )
        return list({id(own[name]): (own[name], other[name]) for name in own}.values())

    # In place of the model's weights

    def copy_to(self, model: Any) -> None:
        """Gives the model the averages."""
        pairs = self._pairs(model)
        for mean, value in pairs:
            value.assign(mean)
        _realize([value for _, value in pairs])

    def swap(self, model: Any) -> None:
        """Exchanges weights and averages; a second time, all is as it was."""
        pairs = self._pairs(model)
        for mean, value in pairs:
            before = snapshot(value)
            value.assign(mean)
            mean.assign(before)
        _realize([tensor for pair in pairs for tensor in pair])

    @contextlib.contextmanager
    def swapped(self, model: Any) -> Iterator[None]:
        """While it lasts, the model has the averages: to evaluate or save it."""
        self.swap(model)
        try:
            yield
        finally:
            self.swap(model)

    # State

    def state_dict(self) -> dict[str, Tensor]:
        """The averages and their count as they are now: `module.weight`, `n_averaged`."""
        tensors = {"n_averaged": self.n_averaged, **get_state_dict(self.module, "module")}
        return {name: snapshot(tensor) for name, tensor in tensors.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state; nothing changes if it does not fit."""
        load_state_dict({"n_averaged": self.n_averaged, "module": self.module}, state_dict)


class EMA(AveragedModel):
    """An exponential moving average of a model's weights.

    >>> from gradlet import nn
    >>> model = nn.Linear(1, 1, bias=False); _ = model.weight.assign(Tensor([[1.0]]))
    >>> ema = EMA(model, decay=0.75); ema.update()
    >>> _ = model.weight.assign(Tensor([[2.0]])); ema.update()
    >>> ema(Tensor([[1.0]])).item()
    1.25
    >>> with ema.swapped():
    ...     model.weight.item()
    1.25
    """

    def __init__(self, model: Any, decay: float = 0.999, use_buffers: bool = False) -> None:
        super().__init__(model, get_ema_avg_fn(decay), use_buffers)
        self.decay, self.model = decay, model

    def update(self) -> None:
        """Takes the weights of the model as they are now into the averages."""
        self.update_parameters(self.model)

    def copy_to(self, model: Any = None) -> None:
        """Gives the averages to the model, or another."""
        super().copy_to(self.model if model is None else model)

    def swap(self, model: Any = None) -> None:
        """Exchanges weights and averages; a second time, all is as it was."""
        super().swap(self.model if model is None else model)

    @contextlib.contextmanager
    def swapped(self, model: Any = None) -> Iterator[None]:
        """While it lasts, the model has the averages: to evaluate or save it."""
        with super().swapped(self.model if model is None else model):
            yield


def _device(model: Any) -> str | None:
    return next((tensor.device for tensor in get_state_dict(model).values()), None)


def _realize(tensors: list[Tensor]) -> None:
    if tensors:
        tensors[0].realize(*tensors[1:])
