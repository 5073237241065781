"""`jit`: records a function's step for each kind of arguments, and runs the recordings."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from gradlet.engine import trace
from gradlet.engine.trace import JitError
from gradlet.jit.call import nested_call, plain_kind, switches
from gradlet.jit.parts import CONSTANT
from gradlet.jit.record import record
from gradlet.jit.recording import Recording
from gradlet.jit.varying import SizedRecordings, Varying

P = ParamSpec("P")
R = TypeVar("R")

_MOST = 8  # recordings for arguments of one kind, before a warning


@overload
def jit(function: Callable[P, R], *, varying: Varying | None = None) -> Jitted[P, R]: ...


@overload
def jit(*, varying: Varying | None = None) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...


def jit(function: Callable[..., Any] | None = None, *, varying: Varying | None = None) -> Any:
    """A function that does what `function` does, as one program that Python starts and leaves.

    The first call with arguments of a kind records what `function` does: forward and backward
    pass, the optimiser's step, running statistics, random numbers. Later calls run the recording.
    Shapes, dtypes, Python arguments, `Tensor.training` and whatever Python values the function
    reads are part of the kind: where one is different, the step is recorded anew. Tensors that
    the function reaches, such as parameters, are read where they stand at the time of the call.

    Arguments and results may be nested lists, tuples, dicts and dataclasses of tensors.

    A tensor that is made of numbers inside is a constant: it is compared with that of one other
    call, which must have the same numbers.

    Args:
        varying: for arguments, by name, an axis of the tensors in them and the most elements it
            can have, as in `jit(f, varying={"x": {0: 128}})`. The step is then compiled once for
            all extents of that axis, where otherwise it is for each.

    Raises:
        JitError: the function needs a value while it is recorded, as `.item()` and `if x > 0` do,
            or changes Python values. Nothing has changed then.

    >>> from gradlet import Tensor, jit
    >>> w = Tensor([1.0, 2.0], requires_grad=False)
    >>> @jit
    ... def step(x):
    ...     w.assign(w + x)
    ...     return w.sum()
    >>> step(Tensor([1.0, 1.0])).item(), step(Tensor([1.0, 1.0])).item()
    (5.0, 7.0)
    """
    if function is None:
        return functools.partial(Jitted, varying=varying)
    return Jitted(function, varying)


class Jitted(Generic[P, R]):
    """What `jit` returns: a function, or a method that has its own recordings for each object."""

    not_state = ("_lock", "_recordings", "_methods", "_sized")

    def __init__(self, function: Callable[P, R], varying: Varying | None = None) -> None:
        if not callable(function):
            raise TypeError(f"jit: needs a function, not {function!r}")
        functools.update_wrapper(self, function)
        self._function = function
        self._sized = SizedRecordings(function, varying) if varying else None
        self._lock = threading.RLock()
        self._recordings: dict[tuple, list[Recording]] = {}
        self._methods: dict[int, tuple[weakref.ref, Jitted]] = {}

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        key = id(instance)
        found = self._methods.get(key)
        if found is not None and found[0]() is instance:
            return found[1]
        reference = weakref.ref(instance, lambda _: self._methods.pop(key, None))
        varying = self._sized.varying if self._sized is not None else None
        made = Jitted(_Method(self._function, reference), varying)
        self._methods[key] = (reference, made)
        return made

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if trace.inlines():  # part of a larger step
            return self._function(*args, **kwargs)
        with self._lock:
            return self._call(args, kwargs)

    def _call(self, args: tuple, kwargs: dict) -> Any:
        kind = None if kwargs or self._sized is not None else plain_kind(args)
        call = nested_call(args, kwargs) if kind is None else None
        arguments = args if call is None else call.arguments
        if self._sized is not None and call is not None:
            sized = self._sized.find(call, args, kwargs)
            if sized is not None:
                return sized.run(arguments)
        key = (kind if call is None else call.kind, *switches())
        known = self._recordings.get(key)
        if known is None:
            known = self._recordings[key] = []
        changed = []
        for position, recording in enumerate(known):
            difference = recording.difference(arguments)
            if difference is None:
                if recording.unsure:
                    break
                if recording.entangled(arguments):
                    return self._function(*args, **kwargs)
                if position:
                    known.insert(0, known.pop(position))
                return recording.run(arguments)
            changed.append(difference)
        call = call or nested_call(args, kwargs)
        check = functools.partial(self._check, known)
        recorded = record(self._function, call.form, call.order, arguments, call.objects, check)
        if recorded is None:
            return self._function(*args, **kwargs)
        made, result = recorded
        known.insert(0, made)
        if len(known) > _MOST:
            del known[_MOST:]
            warnings.warn(
                f"jit: {self.__name__} was recorded over and over, since "  # type: ignore
                f"{changed[0]} is different each time; pass it as a tensor, or do without jit",
                stacklevel=3,
            )
        return result

    def _check(self, known: list[Recording], made: Recording) -> None:
        """Recordings with constants are made twice, and must then have the same ones."""
        constants = [which for kind, which in made.inputs if kind == CONSTANT]
        if not constants:
            return
        for earlier in [r for r in known if r.unsure and r.program is made.program]:
            others = [which for kind, which in earlier.inputs if kind == CONSTANT]
            if [b.numpy().tobytes() for b in constants] == [b.numpy().tobytes() for b in others]:
                known.remove(earlier)
                return
            raise JitError(
                "jit: the function makes a tensor from other data in each call, which a recorded "
                "step cannot do; pass the data as an argument, in a tensor"
            )
        made.unsure = True


class _Method:
    """A function bound to an object without keeping it alive."""

    def __init__(self, function: Callable[..., Any], reference: weakref.ref) -> None:
        self.function, self.reference = function, reference
        self.__name__ = getattr(function, "__name__", "a method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.reference(), *args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        whole = inspect.signature(self.function)
        return whole.replace(parameters=list(whole.parameters.values())[1:])
