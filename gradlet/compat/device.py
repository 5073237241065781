"""tinygrad's `Device`: the device that new tensors get, and the others by name."""

from __future__ import annotations

from gradlet.base.settings import choose_device, device_name
from gradlet.runtime.device import get_device
from gradlet.tensor.tensor import Tensor

__all__ = ["Device"]


class Name(str):
    """A device's name in tinygrad's capitals, equal to what gradlet calls it."""

    __slots__ = ()

    def __new__(cls, name: str) -> Name:
        short = get_device(name).name.removeprefix("torch:").removesuffix(":0")
        return super().__new__(cls, short.upper())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        return _short(self) == _short(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def _short(name: str) -> str:
    return name.lower().removeprefix("torch:").removesuffix(":0")


class Opened:
    """One device.

    Attributes:
        device: its name.
    """

    def __init__(self, name: str) -> None:
        self.device = Name(name)

    def synchronize(self) -> None:
        """Waits until all that was begun on it has ended."""
        Tensor.zeros(1, device=get_device(self.device).name).numpy()


class Devices:
    """The devices by name; `Device.DEFAULT` is the one that new tensors get, and can be set.

    >>> Device.DEFAULT = "numpy"
    >>> from gradlet import Tensor
    >>> Tensor([1.0]).device, Device["CPU"].device
    ('numpy', 'CPU')
    >>> Device.DEFAULT = None  # the setting GRADLET_DEVICE again
    """

    @property
    def DEFAULT(self) -> Name:  # noqa: N802
        """The device that new tensors get."""
        return Name(device_name())

    @DEFAULT.setter
    def DEFAULT(self, name: str | None) -> None:  # noqa: N802
        choose_device(None if name is None else get_device(name).name)

    @property
    def default(self) -> Opened:
        """The device that new tensors get."""
        return self[self.DEFAULT]

    def __getitem__(self, name: str) -> Opened:
        return Opened(name)

    def canonicalize(self, device: str | None) -> str:
        """The one name of a device that has several."""
        return self.DEFAULT if device is None else Name(device)


Device = Devices()
