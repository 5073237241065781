"""What lowering promises: trees whose counters and arrays exist, programs whose values do."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op
from gradlet.ir.places import misplaced
from gradlet.ir.verify import VerifyError
from gradlet.lower import linear
from gradlet.lower.linear import Instruction, LinearProgram, Phase, Value
from gradlet.lower.loops import Assign, Body, Loop, show, split_phases

_WRITES = (linear.WRITE, linear.STREAM)
_KINDS = ("serial", "parallel", "unroll", "vector", "invocation")
_WITHIN = (
    ops.RANGE, ops.CONST, ops.CHECKED, ops.ACROSS, ops.PREFIX, ops.SHUFFLE, ops.LDEXP,
)  # fmt: skip
_ARRAYS = (ops.PARAM, ops.LOCAL, ops.PRIVATE, ops.SCRATCH)


def verify_loops(body: Body) -> None:
    """Checks counters, the places of parallel and vector loops, and that arrays are begun.

    Raises:
        VerifyError: says what is wrong and prints the statement.
    """
    scratch: set[Node] = set()
    for phase in split_phases(body):
        begun = set(scratch)  # other arrays do not outlive a phase
        for statement in phase:
            _verify_tree(statement, (), begun)
        scratch.update(array for array in begun if array.op is ops.SCRATCH)


def _verify_tree(statement: Loop | Assign, outer: tuple[Loop, ...], begun: set[Node]) -> None:
    if isinstance(statement, Assign):
        _verify_assign(statement, {found.counter for found in outer}, begun)
        return
    counter = statement.counter
    _need(counter.op is ops.RANGE and statement.size > 0, "not a loop", statement)
    _need(statement.kind in _KINDS, f"loops are not {statement.kind}", statement)
    ahead = statement.ahead == 0 or statement.kind in ("serial", "parallel")
    _need(ahead, f"{statement.kind} loops fetch nothing ahead", statement)
    twice = any(found.counter is counter for found in outer)
    _need(not twice, f"{counter.arg[0]} is counted twice", statement)
    outermost = statement.kind != "parallel" or not outer
    _need(outermost, f"{counter.arg[0]} is parallel inside another loop", statement)
    if statement.kind == "vector":
        innermost = all(isinstance(s, Assign) for s in statement.body)
        _need(innermost, f"{counter.arg[0]} is a vector and not innermost", statement)
    for inner in statement.body:
        _verify_tree(inner, (*outer, statement), begun)


def _verify_assign(a: Assign, counters: set[Node], begun: set[Node]) -> None:
    wrong = misplaced(a.target, a.at)
    _need(wrong is None, f"leaves its array: {wrong}", a)
    typed = a.value.dtype is a.target.dtype and a.value.shape == ()
    _need(typed, f"{a.value} is assigned to {a.target.dtype.name}", a)
    for x in topological([a.value, *a.at]):
        if x.op is ops.RANGE:
            _need(x in counters, f"no loop counts {x.arg[0]}", a)
        elif x.op is ops.LOAD:
            array, valid, *at = x.src
            _need(valid.dtype is dtypes.bool_, f"a mask is {valid.dtype.name}", a)
            wrong = misplaced(array, tuple(at), valid)
            _need(wrong is None, f"a load leaves its array: {wrong}", a)
            ready = array.op is ops.PARAM or array in begun
            _need(ready, f"{array.arg} is read before it is written", a)
        else:
            array_or_leaf = x.op in (*_WITHIN, *_ARRAYS)
            _need(array_or_leaf or x.op.elementwise, f"{x.op} cannot stand in a tree", a)
    ready = a.accumulate is None or a.target.op is ops.PARAM or a.target in begun
    _need(ready, f"{a.target.arg} is added to before it is written", a)
    begun.add(a.target)


def _need(condition: bool, otherwise: str, statement: Loop | Assign) -> None:
    if not condition:
        raise VerifyError(f"{otherwise}\n{show((statement,))}")


def verify_linear(program: LinearProgram) -> None:
    """Checks that each value is made once, before its uses and in a loop around them.

    Raises:
        VerifyError: says what is wrong and names the instruction.
    """
    for phase in program.phases:
        _PhaseCheck(program, phase).run()


class _PhaseCheck:
    """Walks one phase with the values of each open loop at hand."""

    def __init__(self, program: LinearProgram, phase: Phase) -> None:
        self.phase = phase
        self.arrays = {*program.params, *program.scratch, *phase.locals}
        given = set() if phase.invocation is None else {phase.invocation}
        self.open: list[tuple[Value, set[Value]]] = [(phase.counter, given)]
        self.made: set[int] = set()

    def run(self) -> None:
        for number, i in enumerate(self.phase.instructions):
            wrong = self.step(i)
            if wrong is not None:
                raise VerifyError(f"instruction {number}: {wrong}\n{show_instruction(i)}")
        if len(self.open) != 1:
            raise VerifyError(f"{len(self.open) - 1} loops are not ended")

    def step(self, i: Instruction) -> str | None:
        """What is wrong with the next instruction, or None."""
        if i.op is linear.END:
            if len(self.open) == 1 or self.open[-1][0] != i.result:
                return "does not end the innermost loop"
            self.open.pop()
            return None
        for value in i.args:
            if not any(value in known for _, known in self.open):
                return f"%{value.number} is not known here"
        if i.op is linear.LOOP:
            assert i.result is not None
            if i.arg is None and (len(self.open) != 1 or i.result != self.phase.counter):
                return "only the outermost loop runs over the phase's range"
            self.open.append((i.result, set()))
        wrong = _mistyped(i, self.arrays)
        if wrong is None and i.result is not None:
            if i.result.number in self.made:
                return f"%{i.result.number} is made twice"
            self.made.add(i.result.number)
            self.open[-1][1].add(i.result)
        return wrong


def _mistyped(i: Instruction, arrays: set[Node]) -> str | None:
    """What is wrong with the arguments' dtypes and lanes."""
    if i.op is linear.BARRIER:
        return None
    if i.op in (linear.READ, linear.READ_NEAR, linear.PREFETCH, *_WRITES):
        return _misused(i, arrays)
    result = i.result
    assert result is not None
    lanes = {a.lanes for a in i.args}
    if i.op is linear.BROADCAST:
        right = lanes == {0} and result.lanes > 0
    elif i.op is linear.REDUCE_LANES:
        right = 0 not in lanes and result.lanes == 0
    elif i.op in (linear.PREFIX_LANES, linear.SHUFFLE_LANES):
        right = lanes == {result.lanes} and result.lanes > 0
    elif i.op is linear.CHECK or isinstance(i.op, Op):
        right = lanes <= {result.lanes}
    else:
        right = not i.args
    if not right:
        return f"lanes {sorted(lanes)} give {result.lanes}"
    if isinstance(i.op, Op) and i.op.kind in ("binary", "ternary"):
        operands = i.args[-2:]
        if operands[0].dtype is not operands[1].dtype:
            return "the operands' dtypes differ"
    return None


def _misused(i: Instruction, arrays: set[Node]) -> str | None:
    """What is wrong with a read or a write."""
    address, *rest = i.args
    array = i.arg[0] if i.op is linear.READ_NEAR else i.arg
    if array not in arrays:
        return f"{array} is not an array of this phase"
    if address.dtype is not dtypes.index:
        return f"the address is {address.dtype.name}"
    if i.op is linear.PREFETCH:
        return None
    moved = rest[0] if i.op in _WRITES else i.result
    if moved is None or moved.dtype is not array.dtype:
        return "the dtype is not the array's"
    if address.lanes not in (0, moved.lanes):
        return f"{address.lanes} addresses for {moved.lanes} lanes"
    masks = rest if i.op is linear.READ else rest[1:]
    lanes = {moved.lanes} if i.op is linear.READ else {0, moved.lanes}
    if any(m.dtype is not dtypes.bool_ or m.lanes not in lanes for m in masks):
        return "the mask does not fit"
    return None


def show_instruction(i: Instruction) -> str:
    """`%3: float32 = ADD %1 %2`, with `x 16` behind the dtype of a vector."""
    parts = [str(i.op), *(f"%{a.number}" for a in i.args)]
    parts += [] if i.arg is None else [str(i.arg)]
    if i.result is None:
        return " ".join(parts)
    lanes = f" x {i.result.lanes}" if i.result.lanes else ""
    return f"%{i.result.number}: {i.result.dtype.name}{lanes} = {' '.join(parts)}"
