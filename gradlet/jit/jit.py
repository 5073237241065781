"""`jit`: records a function's step for each kind of arguments, and runs the recordings."""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from gradlet.engine import trace
from gradlet.engine.trace import JitError
from gradlet.jit.record import record
from gradlet.jit.recording import CONSTANT, Recording
from gradlet.tensor.core import Core
from gradlet.tensor.nested import flatten
from gradlet.tensor.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_MOST = 8  # recordings for arguments of one kind, before a warning


def jit(function: Callable[P, R]) -> Jitted[P, R]:
    """A function that does what `function` does, as one program that Python starts and leaves.

    The first call with arguments of a kind records what `function` does: forward and backward
    pass, the optimiser's step, running statistics, random numbers. Later calls run the recording.
    Shapes, dtypes, Python arguments, `Tensor.training` and whatever Python values the function
    reads are part of the kind: where one is different, the step is recorded anew. Tensors that
    the function reaches, such as parameters, are read where they stand at the time of the call.

    Arguments and results may be nested lists, tuples, dicts and dataclasses of tensors.

    A tensor that is made of numbers inside is a constant: it is compared with that of one other
    call, which must have the same numbers.

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
    return Jitted(function)


class Jitted(Generic[P, R]):
    """What `jit` returns: a function, or a method that has its own recordings for each object."""

    not_state = ("_lock", "_recordings", "_methods")

    def __init__(self, function: Callable[P, R]) -> None:
        if not callable(function):
            raise TypeError(f"jit: needs a function, not {function!r}")
        functools.update_wrapper(self, function)
        self._function = function
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
        made = Jitted(_Method(self._function, reference))
        self._methods[key] = (reference, made)
        return made

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if trace.current() is not None:  # part of a larger step
            return self._function(*args, **kwargs)
        with self._lock:
            return self._call(args, kwargs)

    def _call(self, args: tuple, kwargs: dict) -> Any:
        call = _plain_call(args) if not kwargs else None
        call = call or _nested_call(args, kwargs)
        arguments = call.arguments
        switches = (Tensor.training, Core.grad_enabled, Tensor.default_dtype)
        known = self._recordings.setdefault((call.kind, *switches), [])
        changed = []
        for position, recording in enumerate(known):
            difference = recording.difference(arguments)
            if difference is None:
                if recording.unsure:
                    break
                if position:
                    known.insert(0, known.pop(position))
                return recording.run(arguments)
            changed.append(difference)
        call = call if call.form else _nested_call(args, kwargs)
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


class _Call(NamedTuple):
    """The arguments of a call.

    Attributes:
        kind: equal for calls that may do the same.
        arguments: the tensors, each once.
        form: of (args, kwargs), and for each tensor in it its place among `arguments`.
        objects: what else may hold tensors.
    """

    kind: tuple
    arguments: Sequence[Core]
    form: tuple = ()
    order: Sequence[int] = ()
    objects: Sequence[Any] = ()


def _nested_call(args: tuple, kwargs: dict) -> _Call:
    tensors: list[Core] = []
    objects: list[Any] = []
    form = flatten((args, kwargs), tensors, objects)
    place: dict[int, int] = {}
    order = [place.setdefault(id(t), len(place)) for t in tensors]
    arguments = list({id(t): t for t in tensors}.values())
    facts = tuple((t.shape, t.dtype, t.device, t.requires_grad) for t in arguments)
    return _Call((form, tuple(order), facts), arguments, form, order, objects)


def _plain_call(args: tuple) -> _Call | None:
    """The same, sooner, for a call with nothing but different tensors."""
    kind: list[Any] = []
    for argument in args:
        if type(argument) is not Tensor:
            return None
        node = argument.node
        kind += (node.shape, node.dtype, argument.device, argument.requires_grad)
    if len(args) > 1 and len(set(map(id, args))) < len(args):
        return None
    return _Call(tuple(kind), args)


class _Method:
    """A function bound to an object without keeping it alive."""

    def __init__(self, function: Callable[..., Any], reference: weakref.ref) -> None:
        self.function, self.reference = function, reference
        self.__name__ = getattr(function, "__name__", "a method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.reference(), *args, **kwargs)
