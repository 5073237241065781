"""A step that has been recorded: what it reads, what it computes, and where that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradlet.engine.realize import value_of
from gradlet.engine.trace import JitError
from gradlet.ir.node import Node
from gradlet.ir.ops import BUFFER, DETACH
from gradlet.jit.lasting import Lasting, Spares
from gradlet.jit.parts import (
    ARGUMENT,
    CONSTANT,
    DRAWN,
    FRESH,
    SHOWN,
    VARIABLE,
    Slot,
    Target,
    Variable,
    hooks_of,
)
from gradlet.jit.watch import Glance, Watch
from gradlet.runtime.buffer import refill, taken
from gradlet.runtime.device import Device, Executable
from gradlet.runtime.errors import InterruptedLate
from gradlet.tensor import sharing
from gradlet.tensor.core import Core
from gradlet.tensor.leaves import note_overwritten
from gradlet.tensor.nested import Form, Same, rebuild
from gradlet.tensor.random import next_block
from gradlet.tensor.tensor import Tensor

_TENSOR = ("tensor",)  # the form of one
_UNKNOWN = object()  # is not what a place holds


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
        glance: sees whether that is so, unless a place holds other objects than when it was last
            looked at.
        unsure: whether its constants are to be compared with those of another call.
        known: the ids of the variables' tensors, or None where those have changed.
        given_grads: the arguments that get a gradient.
        updates: the params whose memory may become that of a result.
        sources: the inputs, with those that are variables.
        in_use: the variables that are not idle.
        gradients: those of them that are gradients, and whose they are.
        lasting: the targets that may be what they were before, with other values.
        moving: if all of those are, the numbers of the other targets, and the slots and grads
            that are not what they were.
        spares: for some of those nodes to be used again.
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
    known: set[int] | None = field(default=None, init=False)
    given_grads: list[int] = field(init=False)
    updates: list[int] = field(init=False)
    sources: list[tuple[Variable | None, str, Any]] = field(init=False)
    in_use: list[Variable] = field(init=False)
    gradients: list[tuple[Variable, Variable]] = field(init=False)
    lasting: Lasting = field(init=False)
    moving: tuple[list[int], list[Slot], list[tuple[str, int, int | None]]] = field(init=False)
    spares: dict[int, Spares] = field(init=False)

    def __post_init__(self) -> None:
        self.given_grads = [n for kind, n, t in self.grads if kind == ARGUMENT and t is not None]
        self.updates = [param for _, param in getattr(self.program, "updates", ())]
        self.sources = [
            (self.variables[which] if kind == VARIABLE else None, kind, which)
            for kind, which in self.inputs
        ]
        self.in_use = [v for v in self.variables if not v.idle]
        self.gradients = [(v, v.owner) for v in self.in_use if v.owner is not None]
        self.arrange({*range(len(self.targets))})

    def arrange(self, numbers: set[int]) -> None:
        """Finds out which of the targets with some numbers can be what they were before."""
        targets = [(n, t) for n, t in enumerate(self.targets) if n in numbers]
        self.lasting = Lasting(targets, self.variables)
        lasting = {n for n, target in targets if target.successor is not None}
        self.moving = (
            [n for n in range(len(self.targets)) if n not in self.lasting.numbers],
            [slot for slot in self.slots if slot.target not in lasting],
            [grad for grad in self.grads if grad[2] not in lasting],
        )
        self.spares = {n: Spares() for n, target in targets if target.is_spared}

    # Whether it can be used

    def difference(self, arguments: Sequence[Core]) -> str | None:
        """What is not as it was when the step was recorded, or None if it can run."""
        if self.glance is None or not self.glance.same():
            changed = self.look_again()
            if changed is not None:
                return changed
        for variable, owner in self.gradients:
            grad = owner.tensor.grad
            if grad is not None and grad is not variable.tensor:
                variable.tensor, self.known = grad, None
        for variable in self.in_use:
            tensor = variable.tensor
            node = tensor.node
            if (
                (tensor.grad is None) is variable.has_grad
                or tensor.requires_grad is not variable.trained
                or node.dtype is not variable.dtype
                or node.shape != variable.shape
                or (tensor.hooks is not variable.hooks and hooks_of(tensor) != variable.hooks)
            ):
                return f"a tensor of shape {variable.shape}, its dtype, gradient or hooks"
        if self.known is None:
            self.known = {id(variable.tensor) for variable in self.variables}
        if not self.known.isdisjoint(map(id, arguments)):
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
        self.glance, self.known = glance, None
        return None

    def entangled(self, arguments: Sequence[Core]) -> bool:
        """Whether the step writes what an argument shares with another tensor that it is given.

        Its stand-in does not share it.
        """
        families = [id(a.share.family) for a in arguments if a.share is not None]
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
            if hooks_of(arguments[number]):
                raise JitError(
                    f"jit: argument {number} has hooks, and the step gives it a gradient without "
                    "calling them. Register them inside, or pass another tensor."
                )
        vacant: dict[int, Node | None] | None = {
            number: spares.vacant() for number, spares in self.spares.items()
        }
        results: list[Any] = []
        interruption: BaseException | None = None
        if self.program is not None:
            try:
                results = self.results(self.program, arguments, memories)
            except InterruptedLate as late:
                results, interruption = late.results, late.__cause__
        before = [arguments[number].grad for number in self.given_grads]
        made: dict[int, Core] | None = None
        while made is None:
            try:
                made = self.settle(arguments, results, before, vacant)
            except KeyboardInterrupt as again:  # all of it, rather than a part
                vacant, interruption = None, again
        if interruption is not None:
            raise interruption
        form, tensors = self.output
        if form == _TENSOR:
            return made[tensors[0]]
        return rebuild(form, iter([made[t] for t in tensors]))

    def results(
        self, program: Any, arguments: Sequence[Core], memories: Sequence[Any] | None
    ) -> list[Any]:
        """What the program computes, in the place of variables if nobody else sees those."""
        if not self.updates:
            return program(memories or self.memories(arguments))
        with taken(self.variables[self.inputs[p][1]].tensor for p in self.updates) as mine:
            owned = [p for p, is_mine in zip(self.updates, mine, strict=True) if is_mine]
            return program(memories or self.memories(arguments), owned)

    def settle(
        self,
        arguments: Sequence[Core],
        results: Sequence[Any],
        before: Sequence[Core | None],
        vacant: dict[int, Node | None] | None = None,
    ) -> dict[int, Core]:
        """Puts everything where the function would; the same again changes nothing more.

        Args:
            before: the gradients of the arguments that get one.
            vacant: nodes to show fresh targets. None if some of this has been done already, so
                that counts of references say nothing: all fresh targets then are new tensors.

        Returns:
            the tensors of the targets.
        """
        made: dict[int, Core] = {}
        if vacant is not None and self.lasting.numbers:
            made = self.lasting.renewed(results)
        others, slots, grads = self.moving
        if len(made) < len(self.lasting.numbers):
            others = [number for number in range(len(self.targets)) if number not in made]
            slots, grads = self.slots, self.grads
        for number in others:
            spare = vacant.get(number) if vacant is not None else None
            made[number] = self.tensor(self.targets[number], arguments, results, spare)
            if spare is None and number in self.spares:
                self.spares[number].keep(made[number].node)
        shared = [
            tensor
            for tensor in made.values()
            if tensor.share is not None and tensor.share.family.has_other(tensor)
        ]
        if shared:
            settled = set(map(id, made.values()))
            for tensor in shared:
                sharing.spread(tensor, settled)
        for slot in slots:
            self.put(slot, None if slot.target is None else made[slot.target])
        known = iter(before)
        for kind, number, which in grads:
            grad = None if which is None else made[which]
            if kind == VARIABLE:
                self.variables[number].tensor.grad = grad
            elif grad is not None:
                old = next(known)
                arguments[number].grad = grad if old is None else old + grad  # type: ignore
        return made

    def memories(self, arguments: Sequence[Core]) -> list[Any]:
        """What the params of the program are now."""
        found = []
        for variable, kind, which in self.sources:
            if variable is not None:
                leaf = variable.tensor.node
            elif kind == ARGUMENT:
                leaf = arguments[which].node
            else:
                found.append(self.memory(kind, which, arguments))
                continue
            if leaf.op is DETACH:
                leaf = leaf.src[0]
            memory = leaf.arg.memory if leaf.op is BUFFER else None
            found.append(memory if memory is not None else self.memory(kind, which, arguments))
        return found

    def memory(self, kind: str, which: Any, arguments: Sequence[Core]) -> Any:
        """What a param of the program is now."""
        if kind == DRAWN:
            return self.device.from_numpy(next_block())
        if kind == CONSTANT:
            return which.memory
        node = (arguments[which] if kind == ARGUMENT else self.variables[which].tensor).node
        return value_of(node, self.device).memory

    def tensor(
        self,
        target: Target,
        arguments: Sequence[Core],
        results: Sequence[Any],
        vacant: Node | None = None,
    ) -> Core:
        """The tensor that a target stands for, with its new value.

        Args:
            vacant: a node to show it, if it is a fresh one.
        """
        memory = None if target.result is None else results[target.result]
        if target.kind == FRESH:
            made = vacant or target.node(None, self.device)
            leaf = made if made.op is BUFFER else made.src[0]
            leaf.arg.fill(memory)
            return Tensor.from_node(made, self.device.name, target.trained)
        tensor = self.place(target, arguments)
        if target.result is None:
            return tensor
        if tensor.node.op is SHOWN[target.history] and not refill([tensor.node], [memory]):
            return tensor
        note_overwritten(tensor)
        tensor.node = target.node(memory, self.device)
        return tensor

    def put(self, slot: Slot, value: Core | None) -> None:
        """Gives a slot its tensor after the step."""
        self.places[slot.place].put(slot.key, value)
        if self.glance is None:
            return
        if slot.variable is not None and value is not None:
            self.variables[slot.variable].tensor, self.known = value, None
            self.glance.note(slot.place, slot.position, value)
        elif slot.position < len(self.keys[slot.place]):
            self.glance.note(slot.place, slot.position, _UNKNOWN)

    def place(self, target: Target, arguments: Sequence[Core]) -> Core:
        """The tensor that a target is, unless it is a fresh one."""
        if target.kind == ARGUMENT:
            return arguments[target.number]
        return self.variables[target.number].tensor
