"""What a recording is made of: the tensors that a step reaches, and those that it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from gradlet.base.dtypes import DType
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.ir.ops import BUFFER, CONSUMED, DETACH
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import Device
from gradlet.tensor.core import Core, Shape

ARGUMENT, VARIABLE, DRAWN, CONSTANT, FRESH = "argument", "variable", "drawn", "constant", "fresh"
GRADIENT = "gradient"
_SMALL = 4096  # bytes of a result whose nodes are kept
SHOWN = {"none": BUFFER, "detached": DETACH, "consumed": CONSUMED}


def hooks_of(tensor: Core) -> tuple | None:
    """Equal for tensors whose hooks do the same, and None for one that has none."""
    if tensor.hooks is None or not any(tensor.hooks.key):
        return None
    return tensor.hooks.key


@dataclass(eq=False, slots=True)
class Variable:
    """A tensor that a function reaches by itself.

    Attributes:
        tensor: the one in use.
        owner: the variable whose gradient it is, if it is one.
        idle: whether the step neither reads nor changes it, which gradients may be.
        dtype, shape, trained, has_grad, hooks: what it was before the step.
    """

    tensor: Core
    owner: Variable | None = None
    idle: bool = False
    dtype: DType = field(init=False)
    shape: Shape = field(init=False)
    trained: bool | None = field(init=False)
    has_grad: bool = field(init=False)
    hooks: tuple | None = field(init=False)

    def __post_init__(self) -> None:
        tensor = self.tensor
        self.dtype, self.shape, self.trained = tensor.dtype, tensor.shape, tensor.requires_grad
        self.has_grad = tensor.grad is not None
        self.hooks = hooks_of(tensor)

    def let_go(self) -> None:
        """Keeps no gradient alive that the step has no use for."""
        assert self.owner is not None
        self.idle, self.tensor = True, self.owner.tensor


@dataclass(frozen=True)
class Target:
    """A tensor after the step: an argument or a variable, by number, or a fresh one.

    Attributes:
        result: which of the program's results it holds, or None if its value stays as it was.
        history: `none` for a leaf; `detached` for what no gradient flows through; `consumed` for
            what has come from trained leaves, so that a gradient that arrives there is an error.
        trained: the `requires_grad` of a fresh one.
        successor: of a fresh one that nothing else will hold, the variable whose gradient it
            becomes, or whose place it takes: (GRADIENT or VARIABLE, number).
    """

    kind: str
    number: int
    result: int | None
    dtype: DType
    shape: Shape
    history: str
    trained: bool | None
    successor: tuple[str, int] | None = None

    def fits(self, tensor: Core) -> bool:
        """Whether a tensor that nobody else sees would be the same with another value."""
        node = tensor.node
        return (
            node.dtype is self.dtype
            and node.shape == self.shape
            and tensor.requires_grad is self.trained
            and tensor.grad is tensor.hooks is tensor.share is None
        )

    @property
    def is_made(self) -> bool:
        """Whether it is a tensor that was not there before, with a result."""
        return self.kind == FRESH and self.result is not None

    @property
    def is_spared(self) -> bool:
        """Whether nodes that have shown it are kept for another call."""
        small = prod(self.shape) * self.dtype.itemsize <= _SMALL
        return small and self.is_made and self.successor is None and self.history != "none"

    def node(self, memory: Any, device: Device) -> Node:
        """What a tensor shows that holds this result."""
        leaf = node_of(Buffer(device, self.dtype, self.shape, memory))
        if self.history == "none":
            return leaf
        return build.detach(leaf) if self.history == "detached" else build.consumed(leaf)


@dataclass(frozen=True)
class Slot:
    """A key of a watched place that holds another tensor after the step, or None.

    Attributes:
        target: which of the targets.
        variable: the variable that it is when the step begins, if it is one and stands nowhere
            else.
    """

    place: int
    key: Any
    position: int
    target: int | None
    variable: int | None


def succeeding(
    targets: list[Target],
    slots: list[Slot],
    grads: list[tuple[str, int, int | None]],
    shown: list[int],
) -> list[Target]:
    """The targets, of which fresh ones know what they come after if nothing else will hold them.

    Args:
        slots, grads: of the recording.
        shown: the targets in what the function returns.
    """
    after = {which: (GRADIENT, number) for kind, number, which in grads if kind == VARIABLE}
    after |= {s.target: (VARIABLE, s.variable) for s in slots if s.variable is not None}
    held = [*shown, *(s.target for s in slots), *(which for _, _, which in grads)]
    return [
        replace(target, successor=after[number])
        if number in after and held.count(number) == 1 and target.is_made
        else target
        for number, target in enumerate(targets)
    ]
