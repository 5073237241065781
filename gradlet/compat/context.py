"""tinygrad's switches: from the environment, or for as long as a `Context` lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from gradlet.base.settings import variable
from gradlet.compat.device import Device
from gradlet.tensor.tensor import Tensor

# Advice on how tinygrad compiles and on what it prints. It is accepted, and changes nothing here.
_ADVICE = {
    "ALLOW_TF32": 0, "BEAM": 0, "CACHELEVEL": 2, "CAPTURING": 1, "CCACHE": 1, "CHECK_OOB": 0,
    "DEBUG": 0, "FLOAT16": 0, "FUSE_ARANGE": 0, "FUSE_CONV_BW": 0, "FUSE_OPTIM": 0, "GRAPH": 0,
    "IGNORE_BEAM_CACHE": 0, "IMAGE": 0, "JIT_BATCH_SIZE": 32, "LRU": 1, "NOLOCALS": 0, "NOOPT": 0,
    "NO_MEMORY_PLANNER": 0, "PARALLEL": 0, "PROFILE": 0, "SCACHE": 1, "SPEC": 1,
    "SPLIT_REDUCEOP": 1, "TC": 1, "TC_OPT": 0, "TC_SELECT": -1, "TRACEMETA": 1,
    "TRANSCENDENTAL": 1, "USE_TC": 1, "VIZ": 0, "WINO": 0,
}  # fmt: skip


def getenv(key: str, default: Any = 0) -> Any:
    """A variable of the environment, as a value of the type of `default`.

    >>> getenv("NOT_SET"), getenv("NOT_SET", "text")
    (0, 'text')
    """
    found = variable(key)
    return default if found is None else type(default)(found)


class ContextVar:
    """A switch: a number that `Context` sets for a while."""

    known: ClassVar[dict[str, ContextVar]] = {}

    def __init__(self, key: str, default_value: Any) -> None:
        if key in ContextVar.known:
            raise RuntimeError(f"there is a switch {key} already")
        self.key = key
        self.value = getenv(key, default_value)
        ContextVar.known[key] = self

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == other

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> bool:
        return self.value < other

    def __le__(self, other: Any) -> bool:
        return self.value <= other

    def __gt__(self, other: Any) -> bool:
        return self.value > other

    def __ge__(self, other: Any) -> bool:
        return self.value >= other

    def __repr__(self) -> str:
        return f"{self.key}={self.value!r}"


class Linked(ContextVar):
    """A switch that is one of gradlet's own."""

    def __init__(self, key: str, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self.key, self._get, self._put = key, get, put
        ContextVar.known[key] = self

    @property
    def value(self) -> Any:
        """What it is now."""
        return self._get()

    @value.setter
    def value(self, value: Any) -> None:
        self._put(value)


def _set_training(value: Any) -> None:
    Tensor.training = bool(value)


def _set_default_float(value: Any) -> None:
    Tensor.default_dtype = value.lower() if isinstance(value, str) else value


def _set_device(value: str | None) -> None:
    Device.DEFAULT = value or None


JIT = ContextVar("JIT", 1)
TRAINING = Linked("TRAINING", lambda: int(Tensor.training), _set_training)
DEFAULT_FLOAT = Linked("DEFAULT_FLOAT", lambda: Tensor.default_dtype.name, _set_default_float)
DEV = Linked("DEV", lambda: Device.DEFAULT, _set_device)
NO_COLOR = ContextVar("NO_COLOR", 0)
_advice = {key: ContextVar(key, value) for key, value in _ADVICE.items()}

__all__ = [
    *_ADVICE, "Context", "ContextVar", "DEFAULT_FLOAT", "DEV", "JIT", "NO_COLOR", "TRAINING",
    "getenv",
]  # fmt: skip


def __getattr__(name: str) -> ContextVar:
    if name not in _advice:
        raise AttributeError(f"there is no switch {name}")
    return _advice[name]


class Context(contextlib.ContextDecorator):
    """While it lasts, switches have other values. Also a decorator.

    `TRAINING`, `DEFAULT_FLOAT`, `DEV` and `JIT` are gradlet's own; the others are accepted as
    advice on how to compile, and change nothing.

    Raises:
        ValueError: there is no such switch.

    >>> with Context(TRAINING=1, BEAM=2):
    ...     Tensor.training
    True
    """

    def __init__(self, **values: Any) -> None:
        unknown = sorted(set(values) - set(ContextVar.known))
        if unknown:
            raise ValueError(
                f"Context: gradlet has no switch {', '.join(unknown)}; there are "
                f"{', '.join(sorted(ContextVar.known))}"
            )
        self.values = values
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> Context:
        self._before.append({key: ContextVar.known[key].value for key in self.values})
        for key, value in self.values.items():
            ContextVar.known[key].value = value
        return self

    def __exit__(self, *_: object) -> None:
        for key, value in self._before.pop().items():
            ContextVar.known[key].value = value
