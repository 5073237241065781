"""Recordings for every extent of an axis of some arguments: what `jit(varying=...)` asks for."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np

from gradlet.engine import trace
from gradlet.engine.program import Capture, capture
from gradlet.engine.realize import program_over, value_of
from gradlet.ir.node import Node
from gradlet.jit.call import Call, switches
from gradlet.jit.largest import bounded
from gradlet.jit.parts import ARGUMENT, CONSTANT, FRESH, Target
from gradlet.jit.record import Recorder
from gradlet.jit.recording import Recording
from gradlet.jit.sizes import General, UnfitError
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.core import Core
from gradlet.tensor.nested import Form, flatten
from gradlet.tensor.tensor import Tensor

SIZE = "size"
_FEWEST = 5  # sizes that are worth a general graph
_MOST = 8  # recordings for arguments of one kind

Varying = Mapping[str, Mapping[int, int]]


class Axis(NamedTuple):
    """An axis of an argument that varies: it is `size + offset` long."""

    axis: int
    offset: int


@dataclass
class Sizes:
    """What the arguments of one call say about sizes.

    Attributes:
        size: the extent of the first axis that varies.
        axes: by the place of an argument its axis that varies.
        most: the largest size.
    """

    size: int
    axes: dict[int, Axis]
    most: int

    def key(self) -> tuple:
        return tuple(sorted(self.axes.items()))


def sizes_of(
    signature: inspect.Signature,
    varying: Varying,
    args: tuple,
    kwargs: dict,
    arguments: Sequence[Core],
) -> Sizes | None:
    """The sizes in a call, or None if nothing that varies is given, or nothing of it.

    Raises:
        ValueError: an axis that is not there, or is longer than it may be.
    """
    given = signature.bind(*args, **kwargs).arguments
    place = {id(tensor): number for number, tensor in enumerate(arguments)}
    found = Sizes(0, {}, 0)
    for name, axes in varying.items():
        tensors: list[Core] = []
        flatten(given.get(name), tensors, [])
        ((axis, most),) = axes.items()
        for tensor in tensors:
            if not -tensor.ndim <= axis < tensor.ndim:
                raise ValueError(f"jit: {name} has shape {tensor.shape}, so no axis {axis} varies")
            extent = tensor.shape[axis]
            if extent > most:
                raise ValueError(
                    f"jit: {name} has shape {tensor.shape}, and varying says that axis {axis} has "
                    f"at most {most} elements; raise that"
                )
            if not found.axes:
                found.size = extent
            offset = extent - found.size
            found.axes[place[id(tensor)]] = Axis(axis % tensor.ndim, offset)
            found.most = min(found.most or most, most - offset)
    return found if found.size > 0 else None


class Rehearsal(NamedTuple):
    """What a function does, without doing it.

    Attributes:
        graph: what it computes.
        positions: where each of the program's results stands in the graph.
        recording: the step but for its program.
    """

    graph: Capture
    positions: list[int]
    recording: Recording


def rehearse(
    function: Callable[..., Any],
    form: Form,
    order: Sequence[int],
    arguments: Sequence[Core],
    objects: Sequence[Any],
) -> Rehearsal | None:
    """Runs a function on stand-ins and leaves everything as it was.

    It is None where `record` would be, too.
    """
    recorder = Recorder(function, form, order, arguments, objects)
    if {id(t) for t in arguments} & {id(v.tensor) for v in recorder.variables}:
        return None
    recorder.prepare()
    try:
        with trace.recording(rehearsal=True) as noted:
            value = recorder.call()
        changes = recorder.changes(value, noted)
        nodes = [t.node for t in changes.wanted]
        graph = capture(nodes, changes.device, memos=False).flat(nodes)
        positions = sorted({graph.position[n] for n in nodes})
        result = {
            id(t): positions.index(graph.position[n])
            for t, n in zip(changes.wanted, nodes, strict=True)
        }
        inputs = recorder.sources(graph.buffers, noted)
        made = recorder.finished(changes, None, inputs, result)
        return None if made.entangled(arguments) else Rehearsal(graph, positions, made)
    finally:
        recorder.restore()


def resized(arguments: Sequence[Core], sizes: Sizes, size: int) -> list[Core]:
    """Arguments as they would be at another size. What they hold means nothing."""
    made: list[Core] = []
    for number, argument in enumerate(arguments):
        device = get_device(argument.device)
        value = value_of(argument.node, device)
        shape = list(value.shape)
        if number in sizes.axes:
            axis, offset = sizes.axes[number]
            shape[axis] = size + offset
        leaf = node_of(Buffer(device, value.dtype, tuple(shape), value.memory))
        made.append(Tensor.from_node(leaf, device.name, argument.requires_grad))
    return made


def generalise(rehearse_at: Callable[[int], Rehearsal | None], sizes: Sizes) -> SizedRecording:
    """A recording for all sizes.

    Raises:
        UnfitError: there is none.
    """
    if sizes.most < _FEWEST:
        raise UnfitError(f"there are fewer than {_FEWEST} sizes")
    examples = [sizes.most - 1, sizes.most - 2, sizes.most - 3]
    rehearsals = []
    for size in examples:
        rehearsal = rehearse_at(size)
        if rehearsal is None:
            raise UnfitError("arguments share elements with other tensors")
        rehearsals.append(rehearsal)
    first = rehearsals[0]
    if any(not _alike(first, other) for other in rehearsals[1:]):
        raise UnfitError("it changes other tensors at some sizes than at others")
    general = General([r.graph for r in rehearsals], examples, sizes.most)
    recording = first.recording
    for target in recording.targets:
        if target.result is None or target.kind == FRESH:
            continue
        if general.varies(first.positions[target.result]):
            raise UnfitError("a tensor that the step keeps is of another shape at each size")
    sinks, params = bounded(general, first.positions)
    program = program_over(params, sinks, recording.device) if sinks else None
    facts = {f.name: getattr(recording, f.name) for f in fields(recording) if f.init}
    facts |= {"program": program, "inputs": [*recording.inputs, (SIZE, None)]}
    return SizedRecording(**facts, general=general, rehearsal=first, axes=sizes.axes)


def _alike(first: Rehearsal, second: Rehearsal) -> bool:
    """Whether two rehearsals differ at most in the sizes in their graphs."""
    a, b = first.recording, second.recording
    shapeless = [[replace(t, shape=()) for t in r.targets] for r in (a, b)]
    inputs = [[_comparable(*source) for source in r.inputs] for r in (a, b)]
    return (
        first.positions == second.positions
        and shapeless[0] == shapeless[1]
        and inputs[0] == inputs[1]
        and (a.slots, a.grads, a.output) == (b.slots, b.grads, b.output)
        and (a.keys, a.expected) == (b.keys, b.expected)
    )


def _comparable(kind: str, which: Any) -> tuple:
    return (kind, which.shape, which.numpy().tobytes()) if kind == CONSTANT else (kind, which)


@dataclass(eq=False)
class SizedRecording(Recording):
    """A step for all sizes of an axis.

    Attributes:
        general: what its program was made from.
        rehearsal: one of its examples.
        axes: by the place of an argument its axis that varies.
        checked: by size whether the step is the function's at that size.
        size: that of the call.
    """

    general: General = field(kw_only=True)
    rehearsal: Rehearsal = field(kw_only=True)
    axes: dict[int, Axis] = field(kw_only=True)
    checked: dict[int, bool] = field(default_factory=dict, kw_only=True)
    size: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        results = [(number, target.result) for number, target in enumerate(self.targets)]
        self.arrange({n for n, result in results if result is None or not self.varies(result)})

    def varies(self, result: int) -> bool:
        """Whether a result is of another shape at each size."""
        return self.general.varies(self.rehearsal.positions[result])

    def fits_size(self, size: int, rehearse_now: Callable[[], Rehearsal | None]) -> bool:
        """Whether the step is what the function does at a size, which is looked at once."""
        if size not in self.checked:
            now = rehearse_now()
            self.checked[size] = (
                now is not None
                and _alike(self.rehearsal, now)
                and self.general.describes(now.graph, size)
            )
        return self.checked[size]

    def memories(self, arguments: Sequence[Core]) -> list[Any]:
        return [self.memory(kind, which, arguments) for kind, which in self.inputs]

    def memory(self, kind: str, which: Any, arguments: Sequence[Core]) -> Any:
        if kind == SIZE:
            return self.device.from_numpy(np.array(self.size, np.int64))
        found = super().memory(kind, which, arguments)
        if kind != ARGUMENT or which not in self.axes:
            return found
        node = arguments[which].node
        axis, offset = self.axes[which]
        shape = list(node.shape)
        shape[axis] = self.general.most + offset
        wide = np.zeros(shape, node.dtype.numpy)
        part = tuple(slice(0, extent) for extent in node.shape)
        wide[part] = self.device.to_numpy(found, node.dtype, node.shape)
        return self.device.from_numpy(wide)

    def tensor(
        self,
        target: Target,
        arguments: Sequence[Core],
        results: Sequence[Any],
        vacant: Node | None = None,
    ) -> Core:
        if target.result is None or not self.varies(target.result):
            return super().tensor(target, arguments, results, vacant)
        position = self.rehearsal.positions[target.result]
        shape = self.general.shape_at(position, self.size)
        wide = self.general.largest_shape(position)
        if shape != wide:
            array = self.device.to_numpy(results[target.result], target.dtype, wide)
            part = array[tuple(slice(0, extent) for extent in shape)]
            results = list(results)
            results[target.result] = self.device.from_numpy(np.ascontiguousarray(part))
        return super().tensor(replace(target, shape=shape), arguments, results)


class SizedRecordings:
    """The recordings of one function that hold for every size.

    Args:
        varying: as `jit` takes it.

    Raises:
        ValueError: names no parameter of the function, or not one axis.
    """

    def __init__(self, function: Callable[..., Any], varying: Varying) -> None:
        self.signature = inspect.signature(function)
        names = self.signature.parameters
        for name, axes in varying.items():
            if name not in names:
                raise ValueError(f"jit: varying names {name!r}; the parameters are {list(names)}")
            if len(axes) != 1 or not all(isinstance(n, int) for n in (*axes, *axes.values())):
                raise ValueError(
                    f"jit: varying has {axes!r} for {name!r}; give one axis and the most elements "
                    "that it can have, such as {0: 128}"
                )
        self.function, self.varying = function, varying
        self.known: dict[tuple, list[SizedRecording]] = {}
        self.unfit: set[tuple] = set()

    def find(self, call: Call, args: tuple, kwargs: dict) -> SizedRecording | None:
        """The recording for a call, ready to run, or None if there is none for its size."""
        arguments = call.arguments
        sizes = sizes_of(self.signature, self.varying, args, kwargs, arguments)
        if sizes is None:
            return None
        form = (call.form, tuple(call.order), _facts(arguments, sizes), sizes.key())
        key = (form, *switches())
        if key in self.unfit:
            return None
        recordings = self.known.setdefault(key, [])
        found = next((r for r in recordings if r.difference(arguments) is None), None)

        def rehearse_at(size: int) -> Rehearsal | None:
            changed = resized(arguments, sizes, size)
            return rehearse(self.function, call.form, call.order, changed, call.objects)

        if found is None:
            try:
                found = generalise(rehearse_at, sizes)
            except UnfitError as reason:
                self.unfit.add(key)
                warnings.warn(
                    f"jit: no one program does for every size, so each is compiled: {reason}",
                    stacklevel=5,
                )
                return None
            recordings.insert(0, found)
            del recordings[_MOST:]
        if not found.fits_size(sizes.size, lambda: rehearse_at(sizes.size)):
            return None
        if found.entangled(arguments):
            return None
        found.size = sizes.size
        return found


def _facts(arguments: Sequence[Core], sizes: Sizes) -> tuple:
    """What recordings distinguish of arguments."""
    facts = []
    for number, argument in enumerate(arguments):
        shape = list(argument.shape)
        if number in sizes.axes:
            shape[sizes.axes[number].axis] = -1
        facts.append((tuple(shape), argument.dtype, argument.device, argument.requires_grad))
    return tuple(facts)
