"""tinygrad's `TinyJit`, which is `gradlet.jit` with a few names more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gradlet.base.settings import device_name
from gradlet.compat.context import JIT
from gradlet.compat.variable import Bound
from gradlet.engine.trace import JitError
from gradlet.jit.jit import Jitted
from gradlet.nn.state import get_state_dict
from gradlet.tensor.tensor import Tensor

__all__ = ["JitError", "TinyJit"]


class TinyJit:
    """A function, or a method, whose step is recorded and run again; see `gradlet.jit`.

    Other shapes and Python arguments are recorded anew where tinygrad raises, and two calls never
    share their results' memory. As in tinygrad, no gradient flows to what arguments were computed
    from. A call with a bound `Variable` is not recorded but plainly made.

    Args:
        prune: of no consequence.

    >>> from gradlet import Tensor
    >>> @TinyJit
    ... def double(x):
    ...     return (x * 2).realize()
    >>> double(Tensor([1.0])).tolist(), double(Tensor([1.0, 2.0])).tolist()
    ([2.0], [2.0, 4.0])
    """

    not_state = ("cnt", "_jitted")

    def __new__(cls, fxn: Callable[..., Any] | None = None, *, prune: bool = False) -> Any:
        return functools.partial(cls, prune=prune) if fxn is None else object.__new__(cls)

    def __init__(self, fxn: Callable[..., Any], *, prune: bool = False) -> None:
        functools.update_wrapper(self, fxn)
        self.fxn = fxn
        self.reset()

    def reset(self) -> None:
        """Forgets what was recorded."""
        self.cnt = 0
        self._jitted: dict[str, Jitted] = {}  # by the device that new tensors get

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self._call, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(None, *args, **kwargs)

    def _call(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        self.cnt += 1
        args = tuple(_cut_off(a) for a in args)
        kwargs = {name: _cut_off(a) for name, a in kwargs.items()}
        recorded = self._jitted.setdefault(device_name(), Jitted(self.fxn))
        function: Any = self.fxn
        if instance is not None:
            recorded, function = recorded.__get__(instance), functools.partial(function, instance)
        if JIT and not any(isinstance(a, Bound) for a in (*args, *kwargs.values())):
            return recorded(*args, **kwargs)
        result = function(*args, **kwargs)
        tensors = list(get_state_dict(result).values())
        if tensors:
            Tensor.realize(*tensors)
        return result


def _cut_off(argument: Any) -> Any:
    """An argument, or a list or dict of those, without the history of its tensors."""
    if isinstance(argument, Tensor):
        return argument if argument.is_leaf or not argument.dtype.is_float else argument.detach()
    if type(argument) in (list, tuple):
        return type(argument)(_cut_off(item) for item in argument)
    if type(argument) is dict:
        return {name: _cut_off(item) for name, item in argument.items()}
    return argument
