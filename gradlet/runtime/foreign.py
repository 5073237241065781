"""Arrays that pass from one device to another, to other libraries and back.

A buffer is never written again, and everything relies on that. So memory is shared only where a
caller asks for it, who then answers for it that nobody writes into it.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir.node import Node
from gradlet.runtime.buffer import Buffer, from_numpy, node_of
from gradlet.runtime.device import Device, Sharing


def move(buffer: Buffer, device: Device) -> Node:
    """A BUFFER node with the elements of a filled buffer, on another device."""
    if _is_torch(device) and _is_torch(buffer.device):
        memory = device.adopt(buffer.memory)  # type: ignore[attr-defined]
        return node_of(Buffer(device, buffer.dtype, buffer.shape, memory))
    try:
        array = view(buffer, copy=False)
    except ValueError:
        array = buffer.numpy()
    return from_numpy(array, buffer.dtype, device)


def take(array: np.ndarray, dtype: DType, device: Device, copy: bool) -> Node:
    """A BUFFER node that holds a copy of an array, or shares its memory.

    Raises:
        ValueError: the memory cannot be shared.
    """
    if copy:
        return from_numpy(array, dtype, device)
    if not isinstance(device, Sharing):
        raise _cannot_share(f"{device.name} has memory of its own")
    if not array.flags.c_contiguous:
        raise _cannot_share("it is not contiguous")
    if not array.flags.writeable:
        raise _cannot_share("it is read-only")
    try:
        memory = device.share(array)
    except ValueError as error:
        raise _cannot_share(str(error)) from None
    return node_of(Buffer(device, dtype, array.shape, memory))


def view(buffer: Buffer, copy: bool) -> np.ndarray:
    """The elements of a filled buffer, or a copy of them."""
    if copy:
        return buffer.numpy()
    if not isinstance(buffer.device, Sharing):
        raise _cannot_share(f"{buffer.device.name} has memory of its own")
    try:
        return buffer.device.view(buffer.memory, buffer.dtype, buffer.shape)
    except ValueError as error:
        raise _cannot_share(str(error)) from None


def from_torch(tensor: Any, device: Device, copy: bool) -> Node:
    """A BUFFER node with the elements of a tensor of PyTorch."""
    _pytorch("from_torch")
    from gradlet.runtime.pytorch.arrays import carrier, to_array

    dtype = dtypes.as_dtype(tensor.dtype)
    tensor = tensor.detach().resolve_neg()
    if not _is_torch(device):
        if not copy and tensor.device.type != "cpu":
            raise _cannot_share(f"it is on {tensor.device}, and the device is {device.name}")
        return take(to_array(tensor, dtype), dtype, device, copy)
    carried = tensor.view(carrier(dtype))
    memory = device.adopt(carried)  # type: ignore[attr-defined]
    if copy and memory is carried:
        memory = memory.clone()
    if not copy and memory is not carried:
        raise _cannot_share(f"it is on {tensor.device}, and the device is {device.name}")
    return node_of(Buffer(device, dtype, tuple(tensor.shape), memory))


def to_torch(buffer: Buffer, copy: bool) -> Any:
    """A tensor of PyTorch with the elements of a filled buffer."""
    torch = _pytorch("to_torch")
    from gradlet.runtime.pytorch.arrays import from_array

    if _is_torch(buffer.device):
        memory = buffer.memory.clone() if copy else buffer.memory
    else:
        memory = from_array(view(buffer, copy), buffer.dtype)
    return memory.view(getattr(torch, buffer.dtype.name))


def from_dlpack(source: Any, device: Device, copy: bool) -> Node:
    """A BUFFER node with the elements of what knows DLPack."""
    if _is_torch(device):
        import torch

        return from_torch(torch.from_dlpack(source), device, copy)
    try:
        array = np.from_dlpack(source)
    except (BufferError, RuntimeError) as error:
        raise ValueError(
            f"from_dlpack: {type(source).__name__} cannot pass through NumPy ({error}); move it to "
            "the CPU, and give a bfloat16 tensor of PyTorch to from_torch"
        ) from error
    return take(array, dtypes.from_numpy(array.dtype), device, copy)


def exchanged(buffer: Buffer) -> Any:
    """An array or a tensor of PyTorch in the memory of a filled buffer, which speaks DLPack.

    Raises:
        BufferError: NumPy has no such dtype, and PyTorch is not installed.
    """
    if not _is_torch(buffer.device) and buffer.dtype.numpy.isbuiltin == 1:
        return view(buffer, copy=False)
    try:
        return to_torch(buffer, copy=False)
    except ImportError:
        raise BufferError(
            f"DLPack: {buffer.dtype.name} needs PyTorch, which is not installed: pip install torch"
        ) from None


def _pytorch(operation: str) -> Any:
    """The package; ImportError that says what to install."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        raise ImportError(
            f"{operation} needs PyTorch, which is not installed: pip install torch"
        ) from None


def _is_torch(device: Device) -> bool:
    return device.name.startswith("torch:")


def _cannot_share(why: str) -> ValueError:
    return ValueError(f"copy=False: the memory cannot be shared, for {why}; use copy=True")
