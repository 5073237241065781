"""What a function is recorded on: tensors with a leaf of their own, and stand-ins for arguments."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.engine import realize as engine
from gradlet.ir import build, ops
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.core import Core
from gradlet.tensor.leaves import has_history
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.values import realize_all


def settle(tensors: Sequence[Core]) -> None:
    """Computes what is lazy, and gives each tensor a leaf of its own to be known by.

    Raises:
        JitError: gradients would flow through a tensor into a graph from before.
    """
    realize_all(list(tensors))
    seen: set[int] = set()
    for tensor in tensors:
        node = tensor.node
        device = get_device(tensor.device)
        buffer = engine.value_of(node, device)
        if id(buffer) in seen:  # two tensors with one value, which need not be so next time
            buffer = Buffer(device, buffer.dtype, buffer.shape, buffer.memory)
        elif node.op is ops.BUFFER:
            seen.add(id(buffer))
            continue
        seen.add(id(buffer))
        leaf = node_of(buffer)
        if node.op is ops.CONSUMED:
            tensor.node = build.consumed(leaf)
        elif node.op is ops.BUFFER or not node.dtype.is_float:
            tensor.node = leaf
        elif not has_history(node):
            tensor.node = build.detach(leaf)


def stand_in(argument: Core) -> Core:
    """A tensor with the argument's value that is nothing else."""
    device = get_device(argument.device)
    value = engine.value_of(argument.node, device)
    leaf = node_of(Buffer(device, value.dtype, value.shape, value.memory))
    return Tensor.from_node(leaf, device.name, argument.requires_grad)
