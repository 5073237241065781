"""Exchange with other libraries: PyTorch, NumPy, all that know DLPack or arrays; and copies."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from gradlet.base.settings import device_name
from gradlet.engine.realize import value_of
from gradlet.grad.vjp import GradientError
from gradlet.ir.node import Node
from gradlet.runtime import foreign
from gradlet.runtime.buffer import Buffer
from gradlet.runtime.device import Device, get_device
from gradlet.tensor import sharing
from gradlet.tensor.core import Core, as_array
from gradlet.tensor.inplace import InPlace
from gradlet.tensor.leaves import reaches_a_trained_leaf
from gradlet.tensor.values import realize_all

_OF_SHAPES = (np.shape, np.ndim, np.size)  # functions of NumPy that need no elements


class Interop(InPlace):
    """From and to what other libraries hold.

    With `copy=False` memory is shared. Values never change, and programs rely on that: write
    neither into what a tensor was made of nor into what was made of it. A write into the tensor, as
    `x += 1` is one, gives it other memory, and does not show in either.

    NumPy's functions take tensors as arrays, and return arrays. `np.asarray(x)` shows the elements
    without a copy where they are in NumPy's reach, and is read-only; so is what other libraries
    make of `x` by it. `x.numpy()` is a copy. Operators between array and tensor give a tensor.
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

    @classmethod
    def from_dlpack(
        cls,
        source: Any,
        device: str | None = None,
        copy: bool = True,
        requires_grad: bool | None = None,
    ) -> Self:
        """A leaf with the elements of whatever knows DLPack, such as a JAX array; see `from_torch`.

        >>> import torch
        >>> from gradlet import Tensor
        >>> Tensor.from_dlpack(torch.arange(3)).tolist()
        [0, 1, 2]
        """
        home = get_device(device or device_name())
        return cls._taken(foreign.from_dlpack(source, home, copy), home, requires_grad)

    def __dlpack__(self, **options: Any) -> Any:
        return self._exchanged().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._exchanged().__dlpack_device__()

    def _exchanged(self) -> Any:
        """What speaks for `self` in DLPack: an array or tensor in the same memory."""
        return foreign.exchanged(self._filled())

    # As an array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy() if copy else self._array(copy is None)
        wanted = array.dtype if dtype is None else np.dtype(dtype)
        if copy is False and wanted != array.dtype:
            raise ValueError(f"copy=False: {array.dtype} does not become {wanted} without one")
        return array.astype(wanted, copy=False)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self.dtype.numpy.isbuiltin != 1:
            raise AttributeError(f"{self.dtype.name} is none of NumPy's own dtypes")
        array = np.asarray(self._array(), order="C")
        # The array itself as data, and not its address, so that the memory lives as long as what
        # is made of it, whatever `self` holds by then. Pillow wants strides, and then `tobytes`.
        return {**array.__array_interface__, "data": array, "strides": array.strides}

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if function in _OF_SHAPES:
            return function(np.broadcast_to(np.False_, self.shape), *args[1:], **kwargs)
        return function(*_as_arrays(args), **_as_arrays(kwargs))

    def tobytes(self) -> bytes:
        """The elements as they lie in memory, row after row."""
        return self._array().tobytes()

    def _array(self, may_copy: bool = True) -> np.ndarray:
        """The elements as a read-only array, without a copy if that can be."""
        buffer = self._filled()
        try:
            array = foreign.view(buffer, copy=False)
        except ValueError:
            if not may_copy:
                raise
            array = buffer.numpy()
        array.flags.writeable = False
        return array

    # Copies

    def __copy__(self) -> Self:
        """A tensor of its own that shares the elements of `self`, as in PyTorch."""
        made = self.from_node(self.node, self.device, self.requires_grad)
        sharing.join(made, self, ())
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf with the value of `self`; a view is one of the copy of what it is a view of.

        Raises:
            GradientError: a gradient would flow from it to a leaf with requires_grad=True.
        """
        source = sharing.source(self)
        if source is not None and not reaches_a_trained_leaf(source.node):
            assert self.share is not None
            made = copying.copy(copying.deepcopy(source, memo)._view(*self.share.moves))
            made.requires_grad = self.requires_grad
            return made
        if reaches_a_trained_leaf(self.node):
            raise GradientError(
                f"deepcopy: a gradient would flow from this tensor of shape {self.shape} to a leaf "
                "with requires_grad=True, and not from a copy; copy its .detach()"
            )
        made = self._leaf(self.node, self.device, self.requires_grad)
        made.grad = copying.deepcopy(self.grad, memo)
        return made

    # Helpers

    def _filled(self) -> Buffer:
        realize_all((self,))
        return value_of(self.node, get_device(self.device))

    @classmethod
    def _taken(cls, leaf: Node, home: Device, requires_grad: bool | None) -> Self:
        if requires_grad and not leaf.dtype.is_float:
            raise TypeError(f"only floats have gradients, and this is {leaf.dtype.name}")
        return cls.from_node(leaf, home.name, requires_grad)


def _as_arrays(given: Any) -> Any:
    """Arguments of a function of NumPy, with arrays in place of tensors."""
    if isinstance(given, Core):
        return np.asarray(given)
    if type(given) in (list, tuple):
        return type(given)(_as_arrays(item) for item in given)
    if type(given) is dict:
        return {name: _as_arrays(item) for name, item in given.items()}
    return given
