"""Loop trees become linear programs: lists of instructions, each on scalars or vectors.

Every expression is computed once, in the outermost loop that defines what it reads; unrolled
loops are written out, and the counter of a vector loop becomes lanes. Renderers translate an
instruction at a time and decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.target import LINE_BYTES
from gradlet.ir import index, ops
from gradlet.ir.node import Node, topological
from gradlet.lower.loops import Assign, Body, Loop, assigns, rename

LOOP, END, READ, READ_STRIDED, PREFETCH, WRITE, STREAM, CHECK, BARRIER = (
    "loop", "end", "read", "read_strided", "prefetch", "write", "stream", "check", "barrier",
)  # fmt: skip
BROADCAST, LANE_NUMBERS, REDUCE_LANES, PREFIX_LANES, SHUFFLE_LANES = (
    "broadcast", "lane_numbers", "reduce_lanes", "prefix_lanes", "shuffle_lanes",
)  # fmt: skip
ANY_ORDER = "any_order"

_STREAMED = 1 << 26  # bytes of an array that no cache holds until somebody reads it
STEPS = (-1, 2, 3, 4)  # of strided reads; lanes further apart are gathered one by one


@dataclass(frozen=True)
class Value:
    """A result: `lanes` is 0 for a scalar."""

    number: int
    dtype: DType
    lanes: int = 0


@dataclass(frozen=True)
class Instruction:
    """`result = op(args)`. `op` is an elementwise Op or one of the names above.

    `arg` is the constant of CONST, the extent of a loop, the array of a read or write, the Op of
    a reduction or scan over lanes, the order of a shuffle, the size that a check compares with,
    `seldom` of a WHERE so marked, True of arithmetic on an index that is never negative, and
    `any_order` of what adds to an array, however it is rounded. Reads and writes take (address[,
    mask]) and (address, value[, mask]); an address without lanes is where a vector starts. Lanes
    of a strided read, with `arg` (array, step), lie `step` elements apart. A prefetch may miss the
    array. `stream` writes whole cache lines past the caches. At a `barrier` invocations wait.
    """

    op: Any
    result: Value | None
    args: tuple[Value, ...]
    arg: Any = None


@dataclass(frozen=True)
class Phase:
    """Instructions for iterations [begin, end) of a loop of `extent`, run as one function.

    Where `invocations` of a workgroup share an iteration, `invocation` is the number of each.
    """

    extent: int
    instructions: tuple[Instruction, ...]
    counter: Value
    locals: tuple[Node, ...]
    invocations: int = 1
    invocation: Value | None = None


@dataclass(frozen=True)
class LinearProgram:
    """A kernel ready to be rendered: its phases, and the arrays that they are given.

    `scratch` holds the PRIVATE arrays too.
    """

    phases: tuple[Phase, ...]
    params: tuple[Node, ...]
    scratch: tuple[Node, ...]


@dataclass
class _Scope:
    counter: Node | None
    instructions: list[Instruction] = field(default_factory=list)
    known: dict[Node, Value] = field(default_factory=dict)
    vectors: dict[Node, int] = field(default_factory=dict)  # the loads of whole vectors: lanes


def linearize(body: Body, params: tuple[Node, ...]) -> LinearProgram:
    """The tree's phases as instructions."""
    phases = tuple(_Linearizer(phase).phase() for phase in split_phases(body))
    arrays = [x for a in assigns(body) for x in (a.target, *_arrays(a.value))]
    scratch = tuple(dict.fromkeys(x for x in arrays if x.op in (ops.SCRATCH, ops.PRIVATE)))
    return LinearProgram(phases, params, scratch)


def private_bytes(array: Node) -> int:
    """Bytes from one thread's copy of a private array to the next: whole cache lines."""
    return -(-array.size * array.dtype.itemsize // 128) * 128


def split_phases(body: Body) -> list[Body]:
    """Each parallel loop is a phase of its own; what stands between two is one phase as well."""
    phases: list[Body] = []
    for statement in body:
        alone = isinstance(statement, Loop) and statement.kind == "parallel"
        if alone or not phases or _is_parallel(phases[-1]):
            phases.append(())
        phases[-1] += (statement,)
    return phases


def _is_parallel(phase: Body) -> bool:
    return bool(phase) and isinstance(phase[0], Loop) and phase[0].kind == "parallel"


def _arrays(value: Node) -> list[Node]:
    return [x.src[0] for x in topological([value]) if x.op is ops.LOAD]


class _Linearizer:
    """Writes the instructions of one phase."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.count = 0
        self.written = {a.target for a in assigns(body)}
        self.read = {array for a in assigns(body) for array in _arrays(a.value)}
        self.scopes = [_Scope(None)]
        self.lane_counter: Node | None = None
        self.lanes = 0
        self.lane_counters: set[Node] = set()  # of the vector loops so far
        self.invocation: Node | None = None
        self.momentary: dict[Node, Value] = {}  # values that the next assignment may change
        self.volatile: dict[Node, bool] = {}
        self.flat: dict[tuple[tuple[Node, ...], tuple[int, ...], Node | None], Node] = {}
        self.steps: dict[tuple[Node, Node], int | None] = {}

    def phase(self) -> Phase:
        statement = self.body[0]
        counter = self.value(dtypes.index)
        extent = 1
        if isinstance(statement, Loop) and statement.kind == "parallel":
            extent = statement.size
            self.scopes.append(_Scope(statement.counter, known={statement.counter: counter}))
            self.run(statement.body)
            if statement.ahead:
                self.fetch_ahead(statement)
            inner = self.scopes.pop()
            self.emit_loop(counter, None, inner)
        else:
            self.run(self.body)
        local = tuple(x for x in dict.fromkeys(a.target for a in assigns(self.body))
                      if x.op is ops.LOCAL)  # fmt: skip
        made = tuple(self.scopes[0].instructions)
        if self.invocation is None:
            return Phase(extent, made, counter, local)
        shared = self.find(self.invocation)
        return Phase(extent, made, counter, local, self.invocation.arg[1], shared)

    def value(self, dtype: DType, lanes: int = 0) -> Value:
        self.count += 1
        return Value(self.count, dtype, lanes)

    def emit_loop(self, counter: Value, size: int | None, scope: _Scope) -> None:
        """A loop of `size`, or the phase's own over [begin, end) where that is None."""
        out = self.scopes[-1].instructions
        out.append(Instruction(LOOP, counter, (), size))
        out += scope.instructions
        out.append(Instruction(END, counter, (), size))

    def run(self, body: Body) -> None:
        for statement in body:
            if isinstance(statement, Assign):
                self.assign(statement)
            elif statement.kind == "unroll":
                for i in range(statement.size):
                    self.run(rename(statement.body, {statement.counter: index.const(i)}))
            elif statement.kind == "vector":
                self.lane_counter, self.lanes = statement.counter, statement.size
                self.run(statement.body)
                self.lane_counter, self.lanes = None, 0
                self.lane_counters.add(statement.counter)
            elif statement.kind == "invocation":
                self.invocation = statement.counter
                self.scopes[0].known.setdefault(statement.counter, self.value(dtypes.index))
                self.run(statement.body)
                self.now(BARRIER, (), None, 0)
            else:
                self.forget_lanes(statement.counter)
                counter = self.value(dtypes.index)
                self.scopes.append(_Scope(statement.counter, known={statement.counter: counter}))
                self.run(statement.body)
                if statement.ahead:
                    self.fetch_ahead(statement)
                inner = self.scopes.pop()
                self.emit_loop(counter, statement.size, inner)

    def fetch_ahead(self, found: Loop) -> None:
        """Prefetches what the vectors that were read will be some iterations later."""
        places = {c: index.const(0) for c in self.lane_counters}
        places[found.counter] = index.add(found.counter, found.ahead)
        for x, lanes in self.scopes[-1].vectors.items():
            address = index.replace(index.ravel(x.src[2:], x.src[0].shape), places)
            if index.bounds(address)[0] >= x.src[0].size:
                continue
            for lane in range(0, lanes, LINE_BYTES // x.dtype.itemsize):
                place = self.evaluate(index.add(address, lane))
                self.now(PREFETCH, (place,), None, 0, x.src[0])

    def forget_lanes(self, counter: Node) -> None:
        """What is known as a vector over `counter` is not known in a plain loop over it."""
        if counter in self.lane_counters:
            self.lane_counters.remove(counter)
            for scope in self.scopes:
                stale = [x for x in scope.known if counter in index.variables(x)]
                for x in stale:
                    del scope.known[x]

    def assign(self, a: Assign) -> None:
        self.momentary = {}
        changed = self.where_changed(a)
        value = self.evaluate(a.value if changed is None else a.value.src[1])
        address, spread = self.address(a.target, a.at)
        if spread and not value.lanes:
            value = self.spread(value)
        if a.accumulate is not None:
            lanes = self.lanes if spread else 0
            before = self.now(READ, (address,), a.target.dtype, lanes, a.target)
            value = self.now(a.accumulate, (before, value), value.dtype, lanes, ANY_ORDER)
        mask = () if changed is None else (self.evaluate(changed),)
        op = STREAM if self.is_streamed(a, value) else WRITE
        self.now(op, (address, value, *mask), None, 0, a.target)

    def where_changed(self, a: Assign) -> Node | None:
        """The condition c of `t[i] = x if c else t[i]`, which need not be written elsewhere."""
        if a.value.op is not ops.WHERE or a.accumulate is not None:
            return None
        kept = a.value.src[2]
        own = kept.op is ops.LOAD and kept.src == (a.target, index.TRUE, *a.at)
        return a.value.src[0] if own else None

    def is_streamed(self, a: Assign, value: Value) -> bool:
        """True for whole lines of a large array that this phase only writes."""
        array, itemsize = a.target, a.target.dtype.itemsize
        if array.op is not ops.PARAM or array.size * itemsize < _STREAMED:
            return False
        if a.accumulate is not None or array in self.read or value.lanes * itemsize % LINE_BYTES:
            return False
        return value.lanes > 0 and index.mod(
            self.flat_address(array, a.at), value.lanes
        ) is index.const(0)

    # Expressions

    def evaluate(self, x: Node) -> Value:
        """The value of an expression, computed where it belongs."""
        if self.find(x) is None:
            for current in topological([x], self.missing):
                if self.find(current) is None:
                    self.compute(current)
        return self.evaluate_known(x)

    def missing(self, x: Node) -> tuple[Node, ...]:
        """What has to be computed before `x`, which may be known itself."""
        return self.operands(x) if self.find(x) is None else ()

    def operands(self, x: Node) -> tuple[Node, ...]:
        """What must be known before `x`: for a load the address instead of the indices."""
        if x.op is ops.PREFIX:
            return x.src[:1]
        if x.op is not ops.LOAD:
            return x.src
        flat, valid = self.flat_address(x.src[0], x.src[2:]), x.src[1]
        if self.step_of(x) is not None:
            assert self.lane_counter is not None
            flat = index.replace(flat, {self.lane_counter: index.const(0)})
        return (flat,) if valid is index.TRUE else (flat, valid)

    def flat_address(self, array: Node, at: tuple[Node, ...]) -> Node:
        """The address of an element; of a vector that is contiguous, of its first lane."""
        key = (at, array.shape, self.lane_counter)
        flat = self.flat.get(key)
        if flat is None:
            flat = index.ravel(at, array.shape)
            if self.lane_counter is not None and index.coefficient(flat, self.lane_counter) == 1:
                flat = index.replace(flat, {self.lane_counter: index.const(0)})
            self.flat[key] = flat
        return flat

    def step_of(self, x: Node) -> int | None:
        """How far apart the lanes of a load lie, if they are best read by whole vectors."""
        if self.lane_counter is None or x.src[1] is not index.TRUE:
            return None
        key = (x, self.lane_counter)
        if key not in self.steps:
            step = index.coefficient(index.ravel(x.src[2:], x.src[0].shape), self.lane_counter)
            self.steps[key] = step if step in STEPS else None
        return self.steps[key]

    def address(self, array: Node, at: tuple[Node, ...]) -> tuple[Value, bool]:
        """The address, and whether a whole vector of elements is meant."""
        spread = self.lane_counter is not None and any(
            self.lane_counter in index.variables(i) for i in at
        )
        return self.evaluate(self.flat_address(array, at)), spread

    def find(self, x: Node) -> Value | None:
        if x in self.momentary:
            return self.momentary[x]
        for scope in self.scopes:
            if x in scope.known:
                return scope.known[x]
        return None

    def is_volatile(self, x: Node) -> bool:
        found = self.volatile.get(x)
        if found is None:
            changes = x.op is ops.LOAD and x.src[0] in self.written
            found = self.volatile[x] = changes or any(self.is_volatile(s) for s in x.src)
        return found

    def compute(self, x: Node) -> None:
        prefix = x.op is ops.PREFIX  # whose lanes differ though those of its source may be equal
        lanes = self.lanes if prefix or self.lane_counter in index.variables(x) else 0
        args = tuple(self.evaluate_known(s) for s in self.operands(x))
        if prefix or self.is_volatile(x):
            self.momentary[x] = self.put(x, args, lanes, self.scopes[-1])
            return
        needed = index.variables(x)
        depth = max((d for d, s in enumerate(self.scopes) if s.counter in needed), default=0)
        scope = self.scopes[depth]
        scope.known[x] = self.put(x, args, lanes, scope)

    def evaluate_known(self, x: Node) -> Value:
        found = self.find(x)
        assert found is not None
        return found

    def put(self, x: Node, args: tuple[Value, ...], lanes: int, scope: _Scope) -> Value:
        """Writes the instruction for one node into a scope."""
        if x.op is ops.LOAD:
            address, mask = args[0], args[1:]
            step = self.step_of(x)
            if lanes and step is not None:
                arg = (x.src[0], step)
                return self.emit(scope, READ_STRIDED, (address,), x.dtype, lanes, arg)
            if lanes and not any(self.lane_counter in index.variables(i) for i in x.src[2:]):
                address = self.spread(address, scope)  # only the mask differs between lanes
            if lanes and mask and not mask[0].lanes:
                mask = (self.spread(mask[0], scope),)
            if lanes and x.src[0].op is not ops.LOCAL:
                scope.vectors[x] = lanes
            return self.emit(scope, READ, (address, *mask), x.dtype, lanes, x.src[0])
        if x is self.lane_counter:
            return self.emit(scope, LANE_NUMBERS, (), x.dtype, lanes)
        if x.op is ops.CONST:
            return self.emit(scope, ops.CONST, (), x.dtype, 0, x.value)
        if x.op is ops.ACROSS:
            return self.emit(scope, REDUCE_LANES, args, x.dtype, 0, x.arg)
        if x.op is ops.SHUFFLE:
            return self.emit(scope, SHUFFLE_LANES, args, x.dtype, lanes, x.arg)
        if x.op is ops.PREFIX:
            vector = args[0] if args[0].lanes else self.spread(args[0], scope)
            return self.emit(scope, PREFIX_LANES, (vector,), x.dtype, lanes, x.arg)
        if lanes:
            args = tuple(a if a.lanes else self.spread(a, scope) for a in args)
        if x.op is ops.CHECKED:
            return self.emit(scope, CHECK, args, x.dtype, lanes, x.arg)
        assert x.op.elementwise, f"{x.op} cannot stand in a kernel's expression"
        nonnegative = x.dtype is dtypes.index and index.bounds(x.src[0])[0] >= 0
        return self.emit(scope, x.op, args, x.dtype, lanes, x.arg or nonnegative or None)

    def spread(self, value: Value, scope: _Scope | None = None) -> Value:
        scope = scope or self.scopes[-1]
        return self.emit(scope, BROADCAST, (value,), value.dtype, self.lanes)

    def now(
        self, op: Any, args: tuple[Value, ...], dtype: DType | None, lanes: int, arg: Any = None
    ) -> Value:
        return self.emit(self.scopes[-1], op, args, dtype, lanes, arg)

    def emit(
        self,
        scope: _Scope,
        op: Any,
        args: tuple[Value, ...],
        dtype: DType | None,
        lanes: int,
        arg: Any = None,
    ) -> Value:
        result = self.value(dtype or dtypes.bool_, lanes)
        scope.instructions.append(Instruction(op, result if dtype is not None else None, args, arg))
        return result
