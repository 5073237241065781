"""`Tensor`: the constructor on top of the layers of methods."""

from __future__ import annotations

from typing import Any

from gradlet.base import dtypes
from gradlet.base.settings import device_name
from gradlet.engine.realize import hold
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.runtime.buffer import Buffer, from_numpy, node_of
from gradlet.runtime.device import Device, get_device, is_torch_device
from gradlet.tensor.autograd import names_dtype
from gradlet.tensor.core import Core, as_array
from gradlet.tensor.interop import Interop


class Tensor(Interop):
    """An array of numbers on a device, computed when it is looked at, with gradients.

    Args:
        data: a number, nested lists, an array, or a tensor, whose value is copied. Python ints
            become int64, floats `Tensor.default_dtype`, bools bool; arrays keep their dtype.
        device: a name such as `cpu`; the setting GRADLET_DEVICE if not given.
        dtype: a DType, a name or a NumPy dtype, to convert to.
        requires_grad: False keeps gradients out; None and True let them in.

    >>> x = Tensor([1.0, 2.0, 3.0])
    >>> (x * 2).tolist()
    [2.0, 4.0, 6.0]
    """

    __slots__ = ()

    def __init__(
        self,
        data: Any = None,
        device: str | None = None,
        dtype: Any = None,
        requires_grad: bool | None = None,
    ) -> None:
        if device is not None:
            _check_device(device)
        home = get_device(device or (data.device if isinstance(data, Core) else device_name()))
        wanted = None if dtype is None else dtypes.as_dtype(dtype)
        if isinstance(data, Interop):
            made = _copied(data, home, wanted)
        else:
            array, found = as_array([] if data is None else data, wanted)
            made = from_numpy(array, found, home)
        if requires_grad and not made.dtype.is_float:
            raise TypeError(
                f"Tensor: only floats have gradients, and this is {made.dtype.name}; "
                "pass dtype='float32'"
            )
        self.node = made
        self.device = home.name
        self.grad = None
        self.hooks = None
        self.requires_grad = requires_grad
        self.share = None
        hold(self)


def _check_device(device: Any) -> None:
    """Refuses what somebody may have meant for something else."""
    if isinstance(device, (int, float)):
        raise TypeError(
            f"Tensor: the second argument names a device, and {device!r} does not. Put several "
            "numbers into a list; for a tensor of a shape see Tensor.zeros and Tensor.empty"
        )
    if is_torch_device(device):
        return
    if not isinstance(device, str) or names_dtype(device):
        raise TypeError(f"Tensor: the second argument names a device; write dtype={device!r}")


def _copied(source: Interop, home: Device, dtype: dtypes.DType | None) -> Node:
    """A leaf with the value of a tensor."""
    moved = source.to(device=home.name, dtype=dtype).node
    return node_of(Buffer(home, moved.dtype, moved.shape, pending=build.detach(moved)))
