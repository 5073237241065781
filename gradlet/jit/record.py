"""Records one call of a function as a step that can run again.

The function runs on stand-ins for its arguments, and nothing is computed meanwhile. What is
different afterwards (results, parameters, gradients, attributes) becomes one program, whose first
run completes the call.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gradlet.base.settings import device_name
from gradlet.engine import realize as engine
from gradlet.engine import trace
from gradlet.engine.trace import JitError
from gradlet.ir import ops
from gradlet.ir.node import topological
from gradlet.jit.parts import (
    ARGUMENT,
    CONSTANT,
    DRAWN,
    FRESH,
    VARIABLE,
    Slot,
    Target,
    Variable,
    succeeding,
)
from gradlet.jit.recording import Recording
from gradlet.jit.stand_in import settle, stand_in
from gradlet.jit.watch import watches
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import Device, Executable, get_device
from gradlet.tensor.core import Core
from gradlet.tensor.leaves import has_history
from gradlet.tensor.nested import Form, Same, flatten, rebuild

_MISSING = object()


def record(
    function: Callable[..., Any],
    form: Form,
    order: Sequence[int],
    arguments: Sequence[Core],
    objects: Sequence[Any],
    check: Callable[[Recording], None],
) -> tuple[Recording, Any] | None:
    """A recording of the call, and what it returns.

    It is None, and nothing has happened, if an argument is a tensor that the function also reaches
    by itself, or shares elements that are written with another tensor: what is done to one would
    be done to both, which another call need not repeat.

    Args:
        form: of (args, kwargs).
        order: for each tensor in the form its place among `arguments`.
        arguments: the tensors, each once.
        objects: what else is in the form and may hold tensors.
        check: gets the recording before it runs for the first time, and may raise.

    Raises:
        JitError: the function does what cannot be repeated. All is as it was before the call.
    """
    recorder = Recorder(function, form, order, arguments, objects)
    if {id(t) for t in arguments} & {id(v.tensor) for v in recorder.variables}:
        return None
    recorder.prepare()
    return recorder.result(check)


@dataclass
class _Changes:
    """What a call has changed: see `Recording`; `wanted` are the tensors with another value."""

    output: tuple[Form, list[int]]
    slots: list[tuple[int, Any, int, int | None]]
    grads: list[tuple[str, int, int | None]]
    wanted: list[Core]
    device: Device


class Recorder:
    """Runs a function once and finds out what it does."""

    def __init__(
        self,
        function: Callable[..., Any],
        form: Form,
        order: Sequence[int],
        arguments: Sequence[Core],
        objects: Sequence[Any],
    ) -> None:
        self.function, self.form, self.order = function, form, order
        self.arguments = arguments
        self.places = watches([function, *objects])
        self.before = [place.items() for place in self.places]
        self.variables = self.reachable()

    def prepare(self) -> None:
        """Computes what is lazy, makes stand-ins, and notes how everything is now."""
        settle([*self.arguments, *(v.tensor for v in self.variables)])
        self.stand_ins = [stand_in(argument) for argument in self.arguments]
        known = {id(v.tensor) for v in self.variables} | {id(t) for t in self.stand_ins}
        self.others = {
            id(t): (t, t.node, t.grad)
            for t in engine.live()
            if isinstance(t, Core) and id(t) not in known
        }
        self.known = {*known, *self.others}
        self.entry_nodes = {id(v.tensor): v.tensor.node for v in self.variables}
        self.entry_grads = {id(v.tensor): v.tensor.grad for v in self.variables}
        self.entry_nodes |= {id(t): t.node for t in self.stand_ins}
        self.number = {id(v.tensor): (VARIABLE, n) for n, v in enumerate(self.variables)}
        self.number |= {id(t): (ARGUMENT, n) for n, t in enumerate(self.stand_ins)}
        self.kept: list[Core] = []  # the tensors of the targets
        self.index: dict[int, int] = {}  # where each stands in `kept`

    def reachable(self) -> list[Variable]:
        """The tensors in the places, each once, and their gradients behind them."""
        own = {id(v): v for _, values in self.before for v in values if isinstance(v, Core)}
        variables = [Variable(tensor) for tensor in own.values()]
        for variable in list(variables):
            grad = variable.tensor.grad
            if grad is not None and id(grad) not in own:
                own[id(grad)] = grad
                variables.append(Variable(grad, owner=variable))
        return variables

    def result(self, check: Callable[[Recording], None]) -> tuple[Recording, Any] | None:
        try:
            with trace.recording() as noted:
                value = self.call()
            recording, memories = self.recording(value, noted)
            if recording.entangled(self.arguments):
                self.restore()
                return None
            check(recording)
            return recording, recording.run(self.arguments, memories)
        except BaseException:
            self.restore()
            raise

    def call(self) -> Any:
        """Runs the function on the stand-ins."""
        args, kwargs = rebuild(self.form, iter([self.stand_ins[i] for i in self.order]))
        return self.function(*args, **kwargs)

    def restore(self) -> None:
        """Makes everything what it was before the call."""
        for place, (keys, values) in zip(self.places, self.before, strict=True):
            place.restore(keys, values)
        for variable in self.variables:
            variable.tensor.node = self.entry_nodes[id(variable.tensor)]
            variable.tensor.grad = self.entry_grads[id(variable.tensor)]
        for tensor, node, grad in self.others.values():
            tensor.node, tensor.grad = node, grad

    # What the call has done

    def changes(self, value: Any, noted: trace.Trace) -> _Changes:
        """What is different after the call."""
        outputs: list[Core] = []
        output = flatten(value, outputs, [])
        self.changed_others()
        slots = list(self.changed_slots())
        grads = list(self.changed_grads())
        shown = [self.target(tensor) for tensor in outputs]
        for variable in self.variables:
            if variable.tensor.node is not self.entry_nodes[id(variable.tensor)]:
                self.target(variable.tensor)
        for given in self.stand_ins:
            if given.node is not self.entry_nodes[id(given)]:
                self.target(given)
        self.refuse_strays(noted)
        wanted = [t for t in self.kept if t.node is not self.entry_nodes.get(id(t))]
        return _Changes((output, shown), slots, grads, wanted, self.device(wanted))

    def recording(self, value: Any, noted: trace.Trace) -> tuple[Recording, list[Any]]:
        """The step, and the inputs of its program in this call."""
        changes = self.changes(value, noted)
        wanted = changes.wanted
        nodes = [t.node for t in wanted]
        old = {id(v.tensor): self.entry_nodes[id(v.tensor)] for v in self.variables}
        before = [old.get(id(t)) for t in wanted]
        program, graph, places = engine.program_for(nodes, changes.device, before)
        result = {id(t): place for t, place in zip(wanted, places, strict=True)}
        inputs = self.sources(graph.buffers, noted)
        made = self.finished(changes, program if wanted else None, inputs, result)
        return made, [b.memory for b in graph.buffers]

    def finished(
        self,
        changes: _Changes,
        program: Executable | None,
        inputs: list[tuple[str, Any]],
        result: dict[int, int],
    ) -> Recording:
        """The step whose program is known; `result` of a tensor's id is which result it holds."""
        targets = [self.describe(t, result.get(id(t))) for t in self.kept]
        self.drop_idle(inputs, targets)
        expected = [[self.expectation(v) for v in values] for _, values in self.before]
        slots = [self.slot(*found, expected) for found in changes.slots]
        return Recording(
            device=changes.device,
            program=program,
            inputs=inputs,
            targets=succeeding(targets, slots, changes.grads, changes.output[1]),
            slots=slots,
            grads=changes.grads,
            output=changes.output,
            variables=self.variables,
            places=self.places,
            keys=[keys for keys, _ in self.before],
            expected=expected,
        )

    def drop_idle(self, inputs: list[tuple[str, Any]], targets: list[Target]) -> None:
        needed = {which for kind, which in inputs if kind == VARIABLE}
        needed |= {target.number for target in targets if target.kind == VARIABLE}
        for number, variable in enumerate(self.variables):
            if variable.owner is not None and number not in needed:
                variable.let_go()

    def target(self, tensor: Core) -> int:
        """The number of a tensor among the targets."""
        if id(tensor) in self.others:
            self.pin(tensor)
        if id(tensor) not in self.index:
            self.index[id(tensor)] = len(self.kept)
            self.kept.append(tensor)
        return self.index[id(tensor)]

    def pin(self, tensor: Core) -> None:
        """Makes a variable of a tensor that the function got from where nobody has looked."""
        _, node, grad = self.others.pop(id(tensor))
        made = Variable(tensor)
        made.has_grad = grad is not None
        self.entry_nodes[id(tensor)], self.entry_grads[id(tensor)] = node, grad
        self.number[id(tensor)] = (VARIABLE, len(self.variables))
        self.variables.append(made)

    def changed_others(self) -> None:
        """Tensors that the function reached on other ways and has changed become variables.

        Not so those that only share what was written: they follow when the step has run.
        """
        written = {
            id(t.share.family)
            for t in (*(v.tensor for v in self.variables), *self.stand_ins)
            if t.share is not None and t.node is not self.entry_nodes[id(t)]
        }
        for tensor, node, grad in list(self.others.values()):
            now = tensor.node
            used_up = now.op is ops.CONSUMED and now.src[0] is node
            if now is not node and tensor.share and id(tensor.share.family) in written:
                tensor.node = node
            elif now is not node and not used_up:
                self.pin(tensor)
            if tensor.grad is not grad and id(tensor) in self.others:
                self.pin(tensor)

    def refuse_strays(self, noted: trace.Trace) -> None:
        """Raises if a new tensor is held where it would not be replaced when the step runs again.

        In a program of several threads that may be another's, unless it comes from an argument
        or from random numbers.
        """
        new = [
            weakref.ref(t)
            for t in engine.live()
            if id(t) not in self.known and id(t) not in self.index
        ]
        if not new:
            return
        gc.collect()
        ours = {t.node for t in self.stand_ins} | {node_of(b) for b in noted.drawn}
        names = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
        alone = all(name.startswith("gradlet") for name in names)
        for reference in new:
            stray = reference()
            if stray is not None and (alone or ours & set(topological([stray.node]))):
                raise JitError(
                    f"jit: the function keeps a tensor of shape {stray.node.shape} where jit does "
                    "not look, so that it would not be another one when the step runs again. "
                    "Return it, or keep it in an attribute, a list or a dict."
                )

    def changed_slots(self) -> Iterator[tuple[int, Any, int, int | None]]:
        """(place, key, position, target) of what the places hold now and did not before."""
        for number, (place, (keys, values)) in enumerate(
            zip(self.places, self.before, strict=True)
        ):
            before = dict(zip(keys, values, strict=True))
            for position, (key, value) in enumerate(zip(*place.items(), strict=True)):
                old = before.pop(key, _MISSING)
                if value is old:
                    continue
                if isinstance(value, Core):
                    yield number, key, position, self.target(value)
                elif value is None and isinstance(old, Core):
                    yield number, key, position, None
                elif Same(value) != Same(old):
                    raise _unrepeatable(f"gives {key!r} of {place.name} another value")
            if before:
                raise _unrepeatable(f"takes {next(iter(before))!r} away from {place.name}")

    def changed_grads(self) -> Iterator[tuple[str, int, int | None]]:
        """(kind, number, target) of tensors with another gradient than before."""
        for number, variable in enumerate(list(self.variables)):
            grad = variable.tensor.grad
            if grad is not self.entry_grads[id(variable.tensor)]:
                yield VARIABLE, number, None if grad is None else self.target(grad)
        for number, given in enumerate(self.stand_ins):
            if given.grad is not None:
                if has_history(self.arguments[number].node):
                    raise JitError(
                        f"jit: a gradient reaches argument {number}, whose graph was built outside"
                        " and would not get it. Pass argument.detach(), or build it inside."
                    )
                yield ARGUMENT, number, self.target(given.grad)

    def device(self, wanted: Sequence[Core]) -> Device:
        names = sorted({t.device for t in (*wanted, *self.arguments)})
        if len(names) > 1:
            raise JitError(f"jit: a step runs on one device, and this one uses {names}")
        return get_device(names[0] if names else device_name())

    def describe(self, tensor: Core, result: int | None) -> Target:
        kind, number = self.number.get(id(tensor), (FRESH, 0))
        node = tensor.node
        if node.op is ops.BUFFER or not node.dtype.is_float:
            history = "none"
        elif node.op is ops.CONSUMED or has_history(node):
            history = "consumed"
        else:
            history = "detached"
        return Target(kind, number, result, node.dtype, node.shape, history, tensor.requires_grad)

    def sources(self, buffers: Sequence[Buffer], noted: trace.Trace) -> list[tuple[str, Any]]:
        """Where each input of the program comes from."""
        found: dict[int, tuple[str, Any]] = {}
        for tensor, node, _ in list(self.others.values()):
            buffer = engine.filled(node, get_device(tensor.device))
            if buffer is not None:
                found.setdefault(id(buffer), ("other", tensor))
        for kind, tensors in (
            (VARIABLE, [v.tensor for v in self.variables]),
            (ARGUMENT, self.stand_ins),
        ):
            for number, tensor in enumerate(tensors):
                buffer = engine.filled(self.entry_nodes[id(tensor)], get_device(tensor.device))
                if buffer is not None:
                    found[id(buffer)] = (kind, number)
        found |= {id(buffer): (DRAWN, None) for buffer in noted.drawn}
        made = []
        for buffer in buffers:
            kind, which = found.get(id(buffer), (CONSTANT, buffer))
            if kind == "other":
                self.pin(which)
                kind, which = self.number[id(which)]
            made.append((kind, which))
        return made

    def expectation(self, value: Any) -> tuple | Same:
        return self.number[id(value)] if isinstance(value, Core) else Same(value)

    def slot(
        self,
        place: int,
        key: Any,
        position: int,
        target: int | None,
        expected: list[list[tuple | Same]],
    ) -> Slot:
        variable = None
        if position < len(expected[place]) and self.before[place][0][position] == key:
            wanted = expected[place][position]
            alone = sum(e == wanted for part in expected for e in part) == 1
            fresh = target is not None and id(self.kept[target]) not in self.number
            if isinstance(wanted, tuple) and alone and fresh:
                variable = wanted[1]
        return Slot(place, key, position, target, variable)


def _unrepeatable(does: str) -> JitError:
    return JitError(
        f"jit: the function {does}, which happens once, when it is recorded, and not when the "
        "step runs again. Keep what changes in tensors, or do it outside."
    )
