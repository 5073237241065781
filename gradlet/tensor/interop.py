"""Exchange with other libraries: PyTorch, NumPy, and all that know DLPack."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from gradlet.base.settings import device_name
from gradlet.engine.realize import value_of
from gradlet.ir.node import Node
from gradlet.runtime import foreign
from gradlet.runtime.buffer import Buffer
from gradlet.runtime.device import Device, get_device
from gradlet.tensor.core import as_array
from gradlet.tensor.inplace import InPlace
from gradlet.tensor.values import realize_all


class Interop(InPlace):
    """From and to what other libraries hold.

    With `copy=False` memory is shared. The values of tensors here never change, and programs rely
    on that: write neither into what a tensor was made of nor into what was made of it.
    """

    __slots__ = ()

    @classmethod
    def from_torch(
        cls,
        tensor: Any,
        device: str | None = None,
        copy: bool = True,
        requires_grad: bool | None = None,
    ) -> Self:
        """A leaf with the elements of a `torch.Tensor`; no gradient flows between the two.

        Args:
            device: where it is to live; the setting GRADLET_DEVICE if not given.
            copy: False shares the memory: see `Interop`.

        Raises:
            ValueError: the memory is to be shared and cannot be: it is another device's, or on
                `cpu` not contiguous or not aligned to 64 bytes.

        >>> import torch
        >>> from gradlet import Tensor
        >>> Tensor.from_torch(torch.ones(2), device="torch:cpu", copy=False).tolist()
        [1.0, 1.0]
        """
        home = get_device(device or device_name())
        return cls._taken(foreign.from_torch(tensor, home, copy), home, requires_grad)

    def to_torch(self, copy: bool = True) -> Any:
        """The elements as a `torch.Tensor`, on the CPU or on the device `torch:...` of `self`.

        Args:
            copy: False shares the memory: see `Interop`.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, 2.0]).to_torch()
        tensor([1., 2.])
        """
        return foreign.to_torch(self._filled(), copy)

    @classmethod
    def from_numpy(
        cls,
        array: np.ndarray,
        device: str | None = None,
        copy: bool = True,
        requires_grad: bool | None = None,
    ) -> Self:
        """A leaf with the elements and the dtype of an array; see `from_torch`.

        >>> import numpy as np
        >>> from gradlet import Tensor
        >>> Tensor.from_numpy(np.array([1, 2]), device="numpy", copy=False).tolist()
        [1, 2]
        """
        home = get_device(device or device_name())
        made, dtype = as_array(array, None)
        if not copy and made is not array:
            raise ValueError("from_numpy: copy=False needs an array of a native dtype")
        return cls._taken(foreign.take(made, dtype, home, copy), home, requires_grad)

    def __dlpack__(self, **options: Any) -> Any:
        return self._exchanged().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._exchanged().__dlpack_device__()

    def _exchanged(self) -> Any:
        """What speaks for `self` in DLPack: an array or tensor in the same memory."""
        buffer = self._filled()
        if self.device.startswith("torch:"):
            return foreign.to_torch(buffer, copy=False)
        return foreign.view(buffer, copy=False)

    def _filled(self) -> Buffer:
        realize_all((self,))
        return value_of(self.node, get_device(self.device))

    @classmethod
    def _taken(cls, leaf: Node, home: Device, requires_grad: bool | None) -> Self:
        if requires_grad and not leaf.dtype.is_float:
            raise TypeError(f"only floats have gradients, and this is {leaf.dtype.name}")
        return cls.from_node(leaf, home.name, requires_grad)
