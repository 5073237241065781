"""The two kinds of device, and how a name finds one.

An *interpreted* device runs a graph op by op through a table (the NumPy oracle). A *compiled*
device gets kernels that the stages before it have scheduled, lowered and rendered (the CPU).
Each is one folder or file of this package that registers a factory here by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gradlet.base.dtypes import DType
from gradlet.ir.node import Node


class Device(Protocol):
    """What the engine and the tensor layer ask of every device."""

    name: str

    def from_numpy(self, array: np.ndarray) -> Any:
        """A copy of a contiguous array in the device's own memory."""
        ...

    def to_numpy(self, memory: Any, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of `memory` as a NumPy array."""
        ...


@runtime_checkable
class Interpreter(Device, Protocol):
    """A device that runs graphs op by op."""

    def compile(self, sinks: Sequence[Node], params: Sequence[Node]) -> Executable:
        """Something that computes `sinks` when given memory for each of `params`."""
        ...


class Executable(Protocol):
    """A graph made ready to run on one device."""

    def __call__(self, memories: Sequence[Any]) -> list[Any]:
        """Memory of the sinks, from memory of the parameters.

        Raises:
            IndexError: a gather or scatter met an index out of range.
        """
        ...


_factories: dict[str, tuple[Callable[[], Device], str]] = {}
_devices: dict[str, Device] = {}


def register(name: str, factory: Callable[[], Device], about: str) -> None:
    """Makes a device known by name; `about` says in a few words what it is."""
    _factories[name] = (factory, about)


def get_device(name: str) -> Device:
    """The device called `name`, opened on first use.

    Raises:
        ValueError: no such device; lists those there are.
    """
    name = name.lower()
    if name not in _devices:
        if name not in _factories:
            known = "; ".join(f"{key} ({about})" for key, (_, about) in _factories.items())
            raise ValueError(
                f"unknown device {name!r}. Available here: {known}. Choose one with device=, "
                ".to() or the environment variable GRADLET_DEVICE."
            )
        _devices[name] = _factories[name][0]()
    return _devices[name]
