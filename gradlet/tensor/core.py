"""What every Tensor is: a mutable cell that holds a node of the graph and the name of its device.

The methods of `Tensor` come in layers, one file each, and a layer uses only those before it:
core, operators, arithmetic, elementwise, trigonometry, special, formulas, activations, movement,
padding, arrange, rearrange, reduce, indexing, scatter, selecting, contraction, einsum, convolution,
pooling, adaptive, unpooling, resampling, grids, creation, random, functional, losses, sequences,
attention, statistics, order, counting, linalg, fft, products, layouts, names, draws, values, hooks,
autograd, inplace, interop, tensor. What views have to do with each other stands in `sharing`, which
tensors gradients reach in `leaves`, and what backward passes have in common in `passes`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.settings import device_name
from gradlet.engine.realize import hold
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.runtime.buffer import Buffer, from_numpy, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor import sharing

Shape = tuple[int, ...]
Scalar = bool | int | float

_NUMBERS = (bool, int, float, np.generic)
_ARRAYS = (list, tuple, np.ndarray)


class Switches(type):
    """What can be switched for all tensors, with a check."""

    @property
    def default_dtype(cls) -> DType:
        """The dtype of Python's floats, and of what is created without saying which: float32.

        >>> from gradlet import Tensor
        >>> Tensor.default_dtype = "float64"
        >>> Tensor([1.0]).dtype, (Tensor([1]) + 0.5).dtype, Tensor.zeros(2).dtype
        (dtypes.float64, dtypes.float64, dtypes.float64)
        >>> Tensor.default_dtype = "float32"
        """
        return dtypes.current_float()

    @default_dtype.setter
    def default_dtype(cls, dtype: Any) -> None:
        dtypes.set_default_float(dtype)


class Core(metaclass=Switches):
    """A cell with a node, and what the layers above need to make and combine such cells.

    Attributes:
        node: the graph that computes the value. A leaf's is a BUFFER.
        device: the name of the device that the value lives on.
        grad: the gradient that `backward` has added up so far, or None.
        requires_grad: False keeps gradients out of this leaf; True and None let them in. True
            also says that it is being trained: see `backward`.
        share: its place among the tensors that share elements, if it has any: see `sharing`.
        hooks: those of a leaf, or None; see `hooks.py`.
        training: whether `dropout` and batch normalisation act as in training. One live switch
            for all tensors.
    """

    __slots__ = ("node", "device", "grad", "requires_grad", "share", "hooks", "__weakref__")
    __array_priority__ = 1000  # NumPy's operators leave the work to ours

    node: Node
    device: str
    grad: Self | None
    requires_grad: bool | None
    share: sharing.Share | None
    hooks: Any
    training: ClassVar[bool] = False
    grad_enabled: ClassVar[bool] = True

    # Making cells

    @classmethod
    def from_node(cls, made: Node, device: str, requires_grad: bool | None = None) -> Self:
        """A tensor that shows `made`."""
        cell = object.__new__(cls)
        cell.node = made
        cell.device = device
        cell.grad = None
        cell.hooks = None
        cell.requires_grad = requires_grad
        cell.share = None
        hold(cell)
        return cell

    def _result(self, made: Node) -> Self:
        """What an operation on `self` returns: cut off from gradients inside `no_grad`."""
        if not Core.grad_enabled:
            made = build.detach(made)
        cell = object.__new__(type(self))
        cell.node = made
        cell.device = self.device
        cell.grad = None
        cell.hooks = None
        cell.requires_grad = None
        cell.share = None
        hold(cell)
        return cell

    def _changed(self, made: Node) -> Self:
        """What an operation returns that may have nothing to do, and then returns `self`."""
        return self if made is self.node else self._result(made)

    def _view(self, *moves: sharing.Move) -> Self:
        """A tensor that shares the elements of `self` that `moves` lead to; `self` if it is all."""
        made = self.node
        for move, argument in moves:
            made = move(made, argument)
        if made is self.node:
            return self
        view = self._result(made)
        sharing.join(view, self, moves if Core.grad_enabled else (*moves, (sharing.detach, None)))
        return view

    def _own(self) -> Self:
        """A tensor with the value of `self` that shares nothing."""
        return self._result(build.surrogate(self.node, self.node))

    def _write(self, made: Node, operation: str) -> None:
        """Changes `self` to `made`, and what shares its elements with it."""
        raise NotImplementedError  # the layer `inplace` knows how

    def _become(self, made: Node) -> None:
        """Changes `self` alone to `made`."""
        raise NotImplementedError  # the layer `inplace` knows how

    @classmethod
    def _leaf(
        cls,
        graph: Node,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """A new leaf whose contents `graph` will compute when they are first needed."""
        home = get_device(device or device_name())
        pending = Buffer(home, graph.dtype, graph.shape, pending=build.detach(graph))
        return cls.from_node(node_of(pending), home.name, requires_grad)

    # What it is

    @property
    def shape(self) -> Shape:
        """Extent of each axis."""
        return self.node.shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.node.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.node.shape)

    def dim(self) -> int:
        """Number of axes."""
        return len(self.node.shape)

    def numel(self) -> int:
        """Number of elements."""
        return self.node.size

    def nbytes(self) -> int:
        """Bytes that the elements take."""
        return self.node.size * self.node.dtype.itemsize

    def element_size(self) -> int:
        """Bytes that one element takes."""
        return self.node.dtype.itemsize

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the extent of one axis."""
        return self.shape if dim is None else self.shape[self._axis(dim, "size")]

    def is_floating_point(self) -> bool:
        """True for float16, bfloat16, float32, float64 and the 8-bit floats."""
        return self.node.dtype.is_float

    @property
    def is_leaf(self) -> bool:
        """True if it holds elements of its own rather than the result of operations."""
        return self.node.op is ops.BUFFER

    # Operands

    def _operand(self, other: Any, operation: str) -> Node | None:
        """The node of an operand that is no Python scalar, or None if it is none of ours."""
        if isinstance(other, Core):
            if other.device != self.device:
                raise ValueError(
                    f"{operation}: one tensor is on device {self.device!r}, the other on "
                    f"{other.device!r}. Move one with .to({self.device!r}) first."
                )
            return other.node
        if isinstance(other, _ARRAYS):
            array, dtype = as_array(other, None)
            return from_numpy(array, dtype, get_device(self.device))
        return None

    def _pair(self, other: Any, operation: str) -> tuple[Node, Node] | None:
        """Both operands in one dtype and shape, or None if `other` is nothing to compute with."""
        a = self.node
        if isinstance(other, _NUMBERS):
            value = other.item() if isinstance(other, np.generic) else other
            dtype = dtypes.weak_promote(a.dtype, value)
            return build.cast(a, dtype), scalar_node(value, dtype, a.shape, operation)
        b = self._operand(other, operation)
        if b is None:
            return None
        if a.dtype is b.dtype and a.shape == b.shape:
            return a, b
        return meet(a, b, operation)

    def _axis(self, axis: int, operation: str) -> int:
        """`axis` counted from the front; IndexError if there is no such axis."""
        return normal_axis(axis, self.ndim, operation)

    def _axes(self, axis: int | Sequence[int] | None, operation: str) -> Shape:
        """Axes counted from the front; None means all of them."""
        if axis is None:
            return tuple(range(self.ndim))
        if not isinstance(axis, int):
            axes = tuple(normal_axis(a, self.ndim, operation) for a in axis)
            if len(set(axes)) != len(axes):
                raise ValueError(f"{operation}: axis {tuple(axis)} names an axis twice")
            return axes
        return (self._axis(axis, operation),)


# Whether operations have gradients


@contextlib.contextmanager
def gradients(enabled: bool) -> Iterator[None]:
    """While it lasts, operations have gradients or have none."""
    before = Core.grad_enabled
    Core.grad_enabled = enabled
    try:
        yield
    finally:
        Core.grad_enabled = before


# Helpers on nodes


def normal_axis(axis: int, ndim: int, operation: str) -> int:
    """`axis` counted from the front; a scalar is allowed axis 0 and -1, as in PyTorch."""
    rank = max(ndim, 1)
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{operation}: an axis must be an int, not {axis!r}")
    if not -rank <= axis < rank:
        raise IndexError(
            f"{operation}: axis {axis} is out of range for a tensor with {ndim} axes; "
            f"use {-rank} to {rank - 1}"
        )
    return int(axis) % rank


def scalar_node(value: Scalar, dtype: DType, shape: Shape, operation: str) -> Node:
    """A Python scalar as a constant; OverflowError if an integer dtype cannot hold it."""
    if dtype.is_int and not dtype.min <= value <= dtype.max:
        raise OverflowError(
            f"{operation}: {value} does not fit {dtype.name} ({dtype.min} to {dtype.max}). "
            "Cast the tensor to a wider dtype first."
        )
    return build.const(value, dtype, shape)


def broadcast_shape(shapes: Sequence[Shape], operation: str) -> Shape:
    """The shape in which all of `shapes` meet under NumPy's rules."""
    result = [1] * max(len(shape) for shape in shapes)
    for shape in shapes:
        lead = len(result) - len(shape)
        for axis, extent in enumerate(shape, lead):
            if extent == 1 or extent == result[axis]:
                continue
            if result[axis] != 1:
                listed = " and ".join(str(shape) for shape in shapes)
                raise ValueError(
                    f"{operation}: shapes {listed} do not broadcast: aligned from the right, each "
                    "pair of extents must be equal or contain a 1. Use reshape or unsqueeze to "
                    "align them."
                )
            result[axis] = extent
    return tuple(result)


def meet(a: Node, b: Node, operation: str) -> tuple[Node, Node]:
    """Two nodes brought to their common dtype and shape."""
    if a.dtype is not b.dtype:
        dtype = _common_dtype(a, b)
        a, b = build.cast(a, dtype), build.cast(b, dtype)
    if a.shape != b.shape:
        shape = broadcast_shape((a.shape, b.shape), operation)
        a, b = build.expand(a, shape), build.expand(b, shape)
    return a, b


def _common_dtype(a: Node, b: Node) -> DType:
    """A scalar tensor widens another tensor only if it is of a higher category, as in PyTorch."""
    if (a.ndim == 0) != (b.ndim == 0):
        scalar, tensor = (a, b) if a.ndim == 0 else (b, a)
        if dtypes.category(scalar.dtype) <= dtypes.category(tensor.dtype):
            return tensor.dtype
    return dtypes.promote(a.dtype, b.dtype)


def shape_argument(shape: Sequence[Any], by_name: Any = None) -> Shape:
    """A shape given as `f(2, 3)`, `f((2, 3))`, `f([2, 3])` or by a name, as `f(size=(2, 3))`."""
    if by_name is not None:
        shape = (by_name,)
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    for extent in shape:
        if not isinstance(extent, (int, np.integer)) or isinstance(extent, bool):
            raise TypeError(f"a shape consists of ints, not {extent!r} in {tuple(shape)}")
    return tuple(int(extent) for extent in shape)


def check_extents(shape: Shape, operation: str) -> Shape:
    """`shape` itself; ValueError if an extent is negative."""
    if any(extent < 0 for extent in shape):
        raise ValueError(f"{operation}: a shape cannot have a negative extent: {shape}")
    return shape


# Data from outside


def as_array(data: Any, dtype: DType | None) -> tuple[np.ndarray, DType]:
    """Any data as (array, dtype). Python floats get the default, NumPy data keeps its dtype.

    Raises:
        ValueError: ragged nesting, or integers that the dtype cannot hold.
        TypeError: data that is not numbers.
    """
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(
            f"Tensor: the data is not a rectangular array of numbers ({error})"
        ) from None
    if array.dtype.kind == "O" and isinstance(data, int):
        raise OverflowError(f"Tensor: {data} does not fit 64 bits")
    if array.dtype.kind in "OSUMm":
        raise TypeError(
            f"Tensor: cannot hold data of type {_first_leaf(data).__class__.__name__}; give "
            "numbers, nested lists of numbers, or arrays of a numeric dtype"
        )
    if dtype is None:
        weak = array.dtype == np.float64 and not isinstance(_first_leaf(data), _NUMPY_DATA)
        dtype = dtypes.current_float() if weak else dtypes.from_numpy(array.dtype)
    if dtype.is_int and array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if low < dtype.min or high > dtype.max:
            raise OverflowError(
                f"Tensor: values {low} to {high} do not fit {dtype.name} "
                f"({dtype.min} to {dtype.max})"
            )
    return array.astype(dtype.numpy, copy=False), dtype


_NUMPY_DATA = (np.ndarray, np.generic)


def _first_leaf(data: Any) -> Any:
    """The first thing in nested lists that is no list itself."""
    while isinstance(data, (list, tuple)) and len(data) > 0:
        data = data[0]
    if isinstance(data, (list, tuple)):
        return 0.0
    return np.asarray(data) if hasattr(data, "__array__") else data


def product(extents: Sequence[int]) -> int:
    """How many elements axes of these extents have."""
    return math.prod(extents)
