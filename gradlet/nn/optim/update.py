"""The graph of an optimiser's step, built once and called in all steps: see `ir/functions.py`.

A step of Adam is some twenty operations a parameter, the same for all parameters of a shape. They
are traced once for a shape, on stand-ins, and put together to one function of all parameters that
move alike. What it gives is put into tensors when all of it is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gradlet.base.dtypes import current_float
from gradlet.engine import trace
from gradlet.engine.program import capture
from gradlet.ir import build, ops
from gradlet.ir.functions import Function, known
from gradlet.ir.node import Node, topological
from gradlet.nn.optim.groups import ParamGroup, State
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.values import realize_all

Numbers = dict[str, Any]  # the options of a group, as a step reads them: `ParamGroup.now`
Used = list[tuple[Tensor, State]]  # parameters that have a gradient, and their states
Names = tuple[str, ...]  # what is remembered of a parameter

_NOTHING = object()  # the memory of stand-ins, which nobody reads

# What an optimiser computes once for many parameters, after a step more: counters and paces.
Counting = Callable[[Numbers, State], tuple[State, tuple[Tensor, ...]]]

# How it moves a parameter, given its paces, and what it remembers of it.
Change = Callable[[Numbers, tuple[Tensor, ...], Tensor, State], None]

# What is traced: it takes tensors in turn, and gives some, with a name for the last ones.
_Traced = Callable[[Iterator[Tensor]], tuple[list[Tensor], list[str]]]


class Changes:
    """What a step changes.

    Attributes:
        calls: CALL nodes.
        cells: what takes their results, in order; None for those that need not be kept.
        news: (state, name, cell) of what is remembered for the first time.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.calls: list[Node] = []
        self.cells: list[Tensor | None] = []
        self.news: list[tuple[State, str, Tensor]] = []

    def new(self, state: State, name: str, result: Node) -> Tensor:
        """A tensor that `state` will have under a name, for a result like this."""
        nothing = Buffer(get_device(self.device), result.dtype, result.shape)
        cell = Tensor.from_node(node_of(nothing), self.device, requires_grad=False)
        self.news.append((state, name, cell))
        return cell

    def carry_out(self) -> None:
        """Computes all of it and puts it in place; if it is interrupted, all or nothing."""
        if trace.current() is not None:  # a step is recorded once, and looked into
            made = [result for call in self.calls for result in call.arg.inlined(call.src)]
            for cell, value in zip(self.cells, made, strict=True):
                if cell is not None:
                    cell._put(value)
            self._remember()
            return
        memories = realize_all((), self.calls, self.device)
        self.calls.clear()  # nobody else knows of what the cells held
        interruption: BaseException | None = None
        done = False
        while not done:
            try:
                for cell, memory in zip(self.cells, memories, strict=True):
                    if cell is not None:
                        cell._fill(memory)
                self._remember()
                done = True
            except KeyboardInterrupt as again:  # all of it, rather than a part
                interruption = again
        if interruption is not None:
            raise interruption

    def _remember(self) -> None:
        for state, name, cell in self.news:
            state[name] = cell


class Whole(NamedTuple):
    """The function of all parameters that move alike.

    Attributes:
        inputs: which of the tensors that a step may read are its arguments.
        paces: how many of its results those are.
        names: for each parameter, of what of its state there are results.
    """

    function: Function
    inputs: list[int]
    paces: int
    names: list[list[str]]


class Update:
    """The graphs of a step with the options of one group.

    Args:
        kind: the class of the optimiser.
        device: where the parameters are.
    """

    def __init__(self, kind: type, device: str, group: ParamGroup) -> None:
        self.kind, self.device, self.now = kind, device, group.now
        self.tensors, numbers = group.facts
        self.key = (kind, device, current_float(), *numbers)

    def call(
        self, counts: State, used: Used, count: Counting, change: Change
    ) -> tuple[Node, Whole]:
        """A step of parameters that have these counters; its results are the counters' next
        values, the paces, and for each parameter its next value and that of its state.
        """
        cells = [*self.tensors, *counts.values()]
        kinds = []
        for param, state in used:
            assert param.grad is not None
            cells += (param, param.grad)
            cells += [cell for name, cell in state.items() if name not in counts]
            kinds.append(tuple(state))
        inputs = [cell.node for cell in cells]
        key = (*self.key, *counts, *kinds, *[n.dtype for n in inputs], *[n.shape for n in inputs])
        whole: Whole = known(key, lambda: self._whole(inputs, tuple(counts), kinds, count, change))
        return whole.function.call([inputs[i] for i in whole.inputs]), whole

    def _whole(
        self,
        inputs: Sequence[Node],
        counts: Names,
        kinds: Sequence[Names],
        count: Counting,
        change: Change,
    ) -> Whole:
        params = [build.param(i, n.dtype, n.shape) for i, n in enumerate(inputs)]
        rest = iter(params)
        options = [next(rest) for _ in self.tensors]
        before = [next(rest) for _ in counts]
        results, _ = self._traced(counts, [*options, *before], self._counting(counts, count))
        after, paces = dict(zip(counts, results, strict=False)), results[len(counts) :]
        changed = []
        for names in kinds:
            own = [next(rest), next(rest)]
            own += [after[name] if name in after else next(rest) for name in names]
            moving = self._moving(len(paces), names, change)
            moved, new = self._traced((len(paces), *names), [*options, *paces, *own], moving)
            results = [*results, *moved]
            changed.append(new)
        read = sorted({n.arg for n in topological(results) if n.op is ops.PARAM})
        place = [params[0]] * len(params)
        for number, i in enumerate(read):
            place[i] = build.param(number, params[i].dtype, params[i].shape)
        return Whole(Function(Function(results).inlined(place)), read, len(paces), changed)

    def _counting(self, counts: Names, count: Counting) -> _Traced:
        """What traces the next values of counters, and the paces of the step."""

        def traced(twins: Iterator[Tensor]) -> tuple[list[Tensor], list[str]]:
            now = self._now(twins)
            following, paces = count(now, dict(zip(counts, twins, strict=True)))
            return [*following.values(), *paces], []

        return traced

    def _moving(self, paces: int, names: Names, change: Change) -> _Traced:
        """What traces the move of a parameter, and what changes of its state."""

        def traced(twins: Iterator[Tensor]) -> tuple[list[Tensor], list[str]]:
            now = self._now(twins)
            own = tuple([next(twins) for _ in range(paces)])
            twin, twin.grad = next(twins), next(twins)
            after = dict(zip(names, twins, strict=True))
            before = {name: cell.node for name, cell in after.items()}
            change(now, own, twin, after)
            changed = [name for name, cell in after.items() if cell.node is not before.get(name)]
            return [twin, *[after[name] for name in changed]], changed

        return traced

    def _traced(
        self, kind: tuple, inputs: Sequence[Node], traced: _Traced
    ) -> tuple[list[Node], list[str]]:
        """The results for these inputs of what is traced once for all inputs of their kinds."""
        key = (*self.key, *kind, *[n.dtype for n in inputs], *[n.shape for n in inputs])
        function, read, names = known(key, lambda: self._function(inputs, traced))
        return function.inlined([inputs[i] for i in read]), names

    def _function(
        self, inputs: Sequence[Node], traced: _Traced
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
