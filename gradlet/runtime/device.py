"""The two kinds of device, and how a name finds one.

An *interpreted* device runs a graph op by op through a table (the NumPy oracle, PyTorch). A
*compiled* device gets kernels that the stages before it have scheduled, lowered and rendered (the
CPU, WebGPU). Each is one folder or file of this package, registered in `__init__.py` by name and
imported when it is first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gradlet.base import dtypes
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
class Sharing(Device, Protocol):
    """A device whose memory NumPy can work in."""

    def share(self, array: np.ndarray) -> Any:
        """Memory that is that of a contiguous array; ValueError, saying why, if it cannot be."""
        ...

    def view(self, memory: Any, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """An array that is that memory."""
        ...


@runtime_checkable
class Lacking(Device, Protocol):
    """A device that keeps arrays of some dtypes but does not compute with them."""

    lacks: Container[DType]


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


@dataclass(frozen=True)
class _Family:
    """Devices that one class opens: `factory(place)` where names have a place, else `factory()`."""

    factory: Callable[..., Device] | str
    about: str
    needs: str
    place: str

    def missing(self) -> bool:
        """Whether the package is absent that these devices need."""
        return bool(self.needs) and importlib.util.find_spec(self.needs) is None

    def open(self, place: str) -> Device:
        factory = self.factory
        if isinstance(factory, str):
            module, name = factory.split(":")
            factory = getattr(importlib.import_module(module), name)
        return factory(place) if self.place else factory()


# What users of other frameworks call the devices of PyTorch.
_SHORT = {"cuda": "torch:cuda", "mps": "torch:mps", "xpu": "torch:xpu"}

_families: dict[str, _Family] = {}
_devices: dict[str, Device] = {}


def register(
    name: str,
    factory: Callable[..., Device] | str,
    about: str,
    needs: str = "",
    place: str = "",
) -> None:
    """Makes a device known by name.

    Args:
        factory: makes it, or `module:name` of what does, imported when it is first wanted.
        about: in a few words what it is.
        needs: an optional package, which `pip install` knows by the same name.
        place: for names of several devices, such as `torch:cuda:0`, what stands for the part
            behind the first colon if that is left out. The factory is given that part.
    """
    _families[name] = _Family(factory, about, needs, place)


def get_device(name: Any) -> Device:
    """The device called `name`, opened on first use; `cuda:0` is short for `torch:cuda:0`.

    A `torch.device` is what it prints as.

    Raises:
        ValueError: no such device, or a package is missing; lists what there is.
    """
    found = _devices.get(name)
    if found is None:
        opened = _open(str(name))
        # One device however it is called.
        found = _devices[name] = _devices.setdefault(opened.name, opened)
    return found


def is_torch_device(value: Any) -> bool:
    """Whether it is a `torch.device`, which names a device of ours by what it prints as."""
    return type(value).__name__ == "device"


def finest_float(name: str) -> DType:
    """What counts without losing digits on a device: float64, or float32 where it lacks that."""
    device = get_device(name)
    lacking = isinstance(device, Lacking) and dtypes.float64 in device.lacks
    return dtypes.float32 if lacking else dtypes.float64


def _open(name: str) -> Device:
    first, colon, rest = name.lower().partition(":")
    full = _SHORT.get(first, first) + colon + rest
    key, _, place = full.partition(":")
    family = _families.get(key)
    if family is None or (place and not family.place):
        raise ValueError(f"unknown device {name!r}. {_available()}")
    if family.missing():
        raise ValueError(
            f"device {name!r} needs the package {family.needs}, which is not installed: "
            f"pip install {family.needs}. {_available()}"
        )
    return family.open(place or family.place)


def _available() -> str:
    """What there is, and what there could be, as the end of an error message."""
    here = [f"{key} ({f.about})" for key, f in _families.items() if not f.missing()]
    absent = [f"{key} (pip install {f.needs})" for key, f in _families.items() if f.missing()]
    more = f" Not installed: {'; '.join(absent)}." if absent else ""
    return (
        f"Available here: {'; '.join(here)}.{more} Choose one with device=, .to() or the "
        "environment variable GRADLET_DEVICE."
    )
