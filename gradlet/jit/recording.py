"""A step that has been recorded: what it reads, what it computes, and where that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from sys import getrefcount
from typing import Any

from gradlet.base.dtypes import DType
from gradlet.base.ownership import SOLE
from gradlet.engine.realize import value_of
from gradlet.engine.trace import JitError
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.ir.ops import BUFFER, CONSUMED, DETACH
from gradlet.jit.watch import Glance, Watch
from gradlet.runtime.buffer import Buffer, node_of, refill, taken
from gradlet.runtime.device import Device, Executable
from gradlet.runtime.errors import InterruptedLate
from gradlet.tensor import sharing
from gradlet.tensor.autograd import note_overwritten
from gradlet.tensor.core import Core, Shape
from gradlet.tensor.nested import Form, Same, rebuild
from gradlet.tensor.random import next_block
from gradlet.tensor.tensor import Tensor

ARGUMENT, VARIABLE, DRAWN, CONSTANT, FRESH = "argument", "variable", "drawn", "constant", "fresh"
GRADIENT = "gradient"
_SHOWN = {"none": BUFFER, "detached": DETACH, "consumed": CONSUMED}
_UNKNOWN = object()  # is not what a place holds


def _hooks(tensor: Core) -> tuple | None:
    """Equal for tensors whose hooks do the same, and None for one that has none."""
    if tensor.hooks is None or not any(tensor.hooks.key):
        return None
    return tensor.hooks.key


@dataclass(eq=False)
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
        self.hooks = _hooks(tensor)

    def let_go(self) -> None:
        """Keeps no gradient alive that the step has no use for."""
        assert self.owner is not None
        self.idle, self.tensor = True, self.owner.tensor

    def fits(self) -> bool:
        """Whether the tensor in use is of the same kind."""
        if self.idle:
            return True
        if self.owner is not None:
            grad = self.owner.tensor.grad
            if grad is None:
                return False
            self.tensor = grad
        tensor, node = self.tensor, self.tensor.node
        return (
            (tensor.grad is not None) is self.has_grad
            and tensor.requires_grad is self.trained
            and (tensor.hooks is self.hooks is None or _hooks(tensor) == self.hooks)
            and node.dtype is self.dtype
            and node.shape == self.shape
        )


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
            node.op is _SHOWN[self.history]
            and node.dtype is self.dtype
            and node.shape == self.shape
            and tensor.requires_grad is self.trained
            and tensor.grad is tensor.hooks is tensor.share is None
        )

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
        if number in after and held.count(number) == 1 and target.kind == FRESH
        else target
        for number, target in enumerate(targets)
    ]


@dataclass(eq=False)
class Recording:
    """A step that can run again.

    Attributes:
        inputs: for each param of the program its kind, and its number or what it holds.
        targets: the tensors that the step leaves behind.
        grads: (kind, number, target) of tensors whose `grad` is another one afterwards, or None.
        output: the form of what the function returns, and which targets are in it.
        keys, expected: what each place must hold for the step to be the same: a variable, by
            number, or the same value.
        given_grads: the arguments that get a gradient.
        glance: sees whether that is so, unless a place holds other objects than when it was last
            looked at.
        unsure: whether its constants are to be compared with those of another call.
    """

    device: Device
    program: Executable | None
    inputs: list[tuple[str, Any]]
    targets: list[Target]
    slots: list[Slot]
    grads: list[tuple[str, int, int | None]]
    output: tuple[Form, list[int]]
    variables: list[Variable]
    places: list[Watch]
    keys: list[list[Any]]
    expected: list[list[tuple | Same]]
    unsure: bool = False
    glance: Glance | None = None
    given_grads: list[int] = field(init=False)

    def __post_init__(self) -> None:
        given = [n for kind, n, which in self.grads if kind == ARGUMENT and which is not None]
        self.given_grads = given

    # Whether it can be used

    def difference(self, arguments: Sequence[Core]) -> str | None:
        """What is not as it was when the step was recorded, or None if it can run."""
        if self.glance is None or not self.glance.same():
            changed = self.look_again()
            if changed is not None:
                return changed
        for variable in self.variables:
            if not variable.fits():
                return f"a tensor of shape {variable.shape}, its dtype, gradient or hooks"
        if not {id(v.tensor) for v in self.variables}.isdisjoint(map(id, arguments)):
            return "whether an argument is what the function reaches by itself"
        return None

    def look_again(self) -> str | None:
        """Takes the tensors that are in the places now; says what else is different, or None."""
        found: dict[int, Core] = {}
        glance = Glance(self.places)
        for place, keys, expected in zip(self.places, self.keys, self.expected, strict=True):
            now_keys, now = place.items()
            if now_keys != keys or len(now) != len(expected):
                return f"how much {place.name} holds"
            for key, value, wanted in zip(keys, now, expected, strict=True):
                if isinstance(wanted, tuple):
                    alike = isinstance(value, Core) and value.device == self.device.name
                    if not alike or found.setdefault(wanted[1], value) is not value:
                        return f"{key!r} of {place.name}"
                elif Same(value) != wanted:
                    return f"{key!r} of {place.name}"
        if len({id(tensor) for tensor in found.values()}) != len(found):
            return "which tensors are the same"
        for number, tensor in found.items():
            self.variables[number].tensor = tensor
        self.glance = glance
        return None

    def entangled(self, arguments: Sequence[Core]) -> bool:
        """Whether the step writes what an argument shares with another tensor that it is given.

        Its stand-in does not share it.
        """
        families = {id(a.share.family) for a in arguments if a.share is not None}
        if not families:
            return False
        given = {id(t): t for t in (*arguments, *(v.tensor for v in self.variables))}
        members = [id(t.share.family) for t in given.values() if t.share is not None]
        shared = {family for family in families if members.count(family) > 1}
        written = [t for t in self.targets if t.kind != FRESH and t.result is not None]
        shares = [self.place(target, arguments).share for target in written] if shared else []
        return any(share is not None and id(share.family) in shared for share in shares)

    # Running it

    def run(self, arguments: Sequence[Core], memories: Sequence[Any] | None = None) -> Any:
        """Computes the step, and returns what the function would.

        Args:
            memories: the program's inputs, where they are known already.
        """
        for number in self.given_grads:
            if _hooks(arguments[number]):
                raise JitError(
                    f"jit: argument {number} has hooks, and the step gives it a gradient without "
                    "calling them. Register them inside, or pass another tensor."
                )
        results: list[Any] = []
        interruption: BaseException | None = None
        if self.program is not None:
            try:
                results = self.results(self.program, arguments, memories)
            except InterruptedLate as late:
                results, interruption = late.results, late.__cause__
        before = [arguments[number].grad for number in self.given_grads]
        try:
            made = self.settle(arguments, results, before)
        except KeyboardInterrupt as again:  # all of it, rather than a part
            made, interruption = self.settle(arguments, results, before), again
        if interruption is not None:
            raise interruption
        form, tensors = self.output
        return rebuild(form, iter([made[t] for t in tensors]))

    def results(
        self, program: Any, arguments: Sequence[Core], memories: Sequence[Any] | None
    ) -> list[Any]:
        """What the program computes, in the place of variables if nobody else sees those."""
        params = [param for _, param in getattr(program, "updates", ())]
        if not params:
            return program(memories or self.memories(arguments))
        with taken(self.variables[self.inputs[p][1]].tensor for p in params) as mine:
            owned = [p for p, is_mine in zip(params, mine, strict=True) if is_mine]
            return program(memories or self.memories(arguments), owned)

    def settle(
        self, arguments: Sequence[Core], results: Sequence[Any], before: Sequence[Core | None]
    ) -> list[Core]:
        """Puts everything where the function would; the same again changes nothing more.

        Args:
            before: the gradients of the arguments that get one.

        Returns:
            the tensors of the targets.
        """
        made = [self.tensor(target, arguments, results) for target in self.targets]
        shared = [tensor for tensor in made if tensor.share is not None]
        if shared:
            settled = {id(tensor) for tensor in made}
            for tensor in shared:
                sharing.spread(tensor, settled)
        for slot in self.slots:
            self.put(slot, None if slot.target is None else made[slot.target])
        known = iter(before)
        for kind, number, which in self.grads:
            grad = None if which is None else made[which]
            if kind == VARIABLE:
                self.variables[number].tensor.grad = grad
            elif grad is not None:
                old = next(known)
                arguments[number].grad = grad if old is None else old + grad  # type: ignore
        return made

    def memories(self, arguments: Sequence[Core]) -> list[Any]:
        """What the params of the program are now."""
        return [self.memory(kind, which, arguments) for kind, which in self.inputs]

    def memory(self, kind: str, which: Any, arguments: Sequence[Core]) -> Any:
        """What a param of the program is now."""
        if kind == DRAWN:
            return self.device.from_numpy(next_block())
        if kind == CONSTANT:
            return which.memory
        node = (arguments[which] if kind == ARGUMENT else self.variables[which].tensor).node
        known = node.arg.memory if node.op is BUFFER else None
        return known if known is not None else value_of(node, self.device).memory

    def tensor(self, target: Target, arguments: Sequence[Core], results: Sequence[Any]) -> Core:
        """The tensor that a target stands for, with its new value."""
        memory = None if target.result is None else results[target.result]
        if target.kind == FRESH:
            known = self.renewed(target, memory) if target.successor is not None else None
            if known is not None:
                return known
            made = target.node(memory, self.device)
            return Tensor.from_node(made, self.device.name, target.trained)
        tensor = self.place(target, arguments)
        if target.result is None:
            return tensor
        if tensor.node.op is _SHOWN[target.history] and refill(tensor.node, memory):
            return tensor
        note_overwritten(tensor)
        tensor.node = target.node(memory, self.device)
        return tensor

    def renewed(self, target: Target, memory: Any) -> Core | None:
        """The tensor that a fresh target comes after, with its value, if nobody could tell."""
        assert target.successor is not None
        kind, number = target.successor
        tensor = self.variables[number].tensor
        # Besides its place, the variable itself and the glance refer to it.
        before, others = (tensor.grad, 0) if kind == GRADIENT else (tensor, 2)
        del tensor
        if before is None or getrefcount(before) != SOLE + others or not target.fits(before):
            return None
        return before if refill(before.node, memory) else None

    def put(self, slot: Slot, value: Core | None) -> None:
        """Gives a slot its tensor after the step."""
        self.places[slot.place].put(slot.key, value)
        if self.glance is None:
            return
        if slot.variable is not None and value is not None:
            self.variables[slot.variable].tensor = value
            self.glance.note(slot.place, slot.position, value)
        elif slot.position < len(self.keys[slot.place]):
            self.glance.note(slot.place, slot.position, _UNKNOWN)

    def place(self, target: Target, arguments: Sequence[Core]) -> Core:
        """The tensor that a target is, unless it is a fresh one."""
        if target.kind == ARGUMENT:
            return arguments[target.number]
        return self.variables[target.number].tensor
