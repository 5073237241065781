"""The graphs of an optimiser's step, each built once for all parameters and steps alike.

A step of Adam is some twenty operations a parameter, the same for all parameters of a shape and in
all steps. They are traced once, on stand-ins, and called from then on: see `ir/functions.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gradlet.base.dtypes import current_float
from gradlet.engine import trace
from gradlet.engine.program import capture
from gradlet.ir.functions import Function, known
from gradlet.ir.node import Node
from gradlet.nn.optim.groups import State
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.tensor import Tensor

Numbers = dict[str, Any]  # the options of a group, as a step reads them: `ParamGroup.now`

_NOTHING = object()  # the memory of stand-ins, which nobody reads

# What an optimiser computes once for many parameters, after a step more: counters and paces.
Counting = Callable[[Numbers, State], tuple[State, tuple[Tensor, ...]]]

# How it moves a parameter, given its paces, and what it remembers of it.
Change = Callable[[Numbers, tuple[Tensor, ...], Tensor, State], None]


class Update:
    """The graphs of a step with the options of one group.

    Args:
        kind: the class of the optimiser.
        device: where the parameters are.
    """

    def __init__(self, kind: type, device: str, now: Numbers) -> None:
        self.kind, self.device, self.now = kind, device, now
        parts = list(_parts(now))
        self.tensors = [part for part in parts if isinstance(part, Tensor)]
        numbers = ["" if isinstance(part, Tensor) else repr(part) for part in parts]
        self.key = (kind, device, current_float(), *numbers)

    def count(self, count: Counting, counts: State) -> tuple[list[Node], list[Node]]:
        """The next values of counters, and the paces of the step."""

        def traced(twins: Iterator[Tensor]) -> tuple[list[Tensor], list[str]]:
            now = self._now(twins)
            following, paces = count(now, dict(zip(counts, twins, strict=True)))
            return [*following.values(), *paces], []

        made, _ = self._called(tuple(counts), [*self.tensors, *counts.values()], traced)
        return made[: len(counts)], made[len(counts) :]

    def change(self, change: Change, paces: Sequence[Tensor], param: Tensor, state: State) -> None:
        """Moves a parameter, and changes what is remembered of it."""
        gradient = param.grad
        assert gradient is not None

        def traced(twins: Iterator[Tensor]) -> tuple[list[Tensor], list[str]]:
            now = self._now(twins)
            own = tuple([next(twins) for _ in paces])
            twin, twin.grad = next(twins), next(twins)
            after = dict(zip(state, twins, strict=True))
            before = {name: cell.node for name, cell in after.items()}
            change(now, own, twin, after)
            names = [name for name, cell in after.items() if cell.node is not before.get(name)]
            return [twin, *[after[name] for name in names]], names

        cells = [*self.tensors, *paces, param, gradient, *state.values()]
        (moved, *made), names = self._called((len(paces), *state), cells, traced)
        for name, value in zip(names, made, strict=True):
            if name in state:
                state[name]._put(value)
            else:
                state[name] = Tensor._leaf(value, self.device, requires_grad=False)
        param._put(moved)

    def _called(
        self,
        kind: tuple,
        cells: Sequence[Tensor],
        traced: Callable[[Iterator[Tensor]], tuple[list[Tensor], list[str]]],
    ) -> tuple[list[Node], list[str]]:
        """The results, for these tensors, of what was traced with others of the same kinds."""
        inputs = [cell.node for cell in cells]
        key = (*self.key, *kind, *[n.dtype for n in inputs], *[n.shape for n in inputs])
        function, used, names = known(key, lambda: self._function(inputs, traced))
        arguments = [inputs[i] for i in used]
        if trace.current() is None:
            return function(arguments), names
        return function.inlined(arguments), names  # a step is recorded once, and looked into

    def _function(
        self,
        inputs: Sequence[Node],
        traced: Callable[[Iterator[Tensor]], tuple[list[Tensor], list[str]]],
    ) -> tuple[Function, list[int], list[str]]:
        """What is traced with stand-ins, and which of the inputs it reads."""
        home = get_device(self.device)
        buffers = [Buffer(home, n.dtype, n.shape, memory=_NOTHING) for n in inputs]
        twins = [Tensor.from_node(node_of(b), self.device, requires_grad=False) for b in buffers]
        nested = trace.current() is not None
        with contextlib.nullcontext() if nested else trace.recording(rehearsal=True):
            results, names = traced(iter(twins))
        nodes = [cell.node for cell in results]
        graph = capture(nodes, home, memos=False)
        sinks, _ = graph.canonical(nodes)
        places = {id(buffer): place for place, buffer in enumerate(buffers)}
        if not all(id(buffer) in places for buffer in graph.buffers):
            raise ValueError(
                f"{self.kind.__name__}.step: a parameter's move reads a tensor that is not among "
                "its arguments, and would read the same one in all steps; keep it in the state"
            )
        return Function(sinks), [places[id(buffer)] for buffer in graph.buffers], names

    def _now(self, twins: Iterator[Tensor]) -> Numbers:
        """The options with stand-ins for the tensors among them."""

        def twin(part: Any) -> Any:
            return next(twins) if isinstance(part, Tensor) else part

        return {
            name: [twin(part) for part in value] if isinstance(value, list) else twin(value)
            for name, value in self.now.items()
        }


def _parts(now: Numbers) -> Iterable[Any]:
    """The numbers and tensors among options."""
    for value in now.values():
        if isinstance(value, list):
            yield from value
        else:
            yield value
