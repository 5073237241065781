"""Loop trees become linear programs.

Every expression is computed once, in the outermost loop that defines what it reads; unrolled
loops are written out, and the counter of a vector loop becomes lanes.
"""

from __future__ import annotations

from typing import Any

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.target import LINE_BYTES
from gradlet.ir import index, ops
from gradlet.ir.kernel import load
from gradlet.ir.node import Node, topological
from gradlet.lower.linear import (
    ANY_ORDER,
    BARRIER,
    BROADCAST,
    CHECK,
    END,
    LANE_NUMBERS,
    LOOP,
    PREFETCH,
    PREFIX_LANES,
    READ,
    READ_NEAR,
    REDUCE_LANES,
    SHUFFLE_LANES,
    STREAM,
    WRITE,
    Instruction,
    LinearProgram,
    Phase,
    Value,
    near_lanes,
)
from gradlet.lower.loops import Assign, Body, Loop, assigns, rename, split_phases
from gradlet.lower.scope import Scope

_STREAMED = 1 << 26  # bytes of an array that no cache holds until somebody reads it
_NEAR = 1 << 14  # bytes of an array that the nearest cache holds anyway


def linearize(body: Body, params: tuple[Node, ...]) -> LinearProgram:
    """The tree's phases as instructions."""
    phases = tuple(_Linearizer(phase).phase() for phase in split_phases(body))
    arrays = [x for a in assigns(body) for x in (a.target, *_arrays(a.value))]
    scratch = tuple(dict.fromkeys(x for x in arrays if x.op in (ops.SCRATCH, ops.PRIVATE)))
    return LinearProgram(phases, params, scratch)


def _arrays(value: Node) -> list[Node]:
    return [x.src[0] for x in topological([value]) if x.op is ops.LOAD]


class _Linearizer:
    """Writes the instructions of one phase."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.count = 0
        self.written = {a.target for a in assigns(body)}
        self.read = {array for a in assigns(body) for array in _arrays(a.value)}
        self.scopes = [Scope()]
        self.depths: dict[Node, int] = {}  # of the scopes, by their counters
        self.known: dict[Node, Value] = {}  # in all scopes together
        self.lane_counter: Node | None = None
        self.lanes = 0
        self.lane_counters: set[Node] = set()  # of the vector loops so far
        self.invocation: Node | None = None
        self.changing: dict[Node, frozenset[Node]] = {}  # the results of `reads_of`
        self.flat: dict[tuple[tuple[Node, ...], tuple[int, ...], Node | None], Node] = {}
        self.offsets: dict[tuple[Node, Node], tuple[int, ...]] = {}
        self.sources: dict[tuple[Node, Node | None], tuple[Node, ...]] = {}  # of loads

    def phase(self) -> Phase:
        statement = self.body[0]
        counter = self.value(dtypes.index)
        extent = 1
        if isinstance(statement, Loop) and statement.kind == "parallel":
            extent = statement.size
            self.emit_loop(counter, None, self.inside(statement, counter))
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

    def inside(self, found: Loop, counter: Value) -> Scope:
        """What stands in a loop, of which nothing is known behind it."""
        scope = Scope()
        self.depths[found.counter] = len(self.scopes)
        self.scopes.append(scope)
        self.know(found.counter, counter, scope)
        self.run(found.body)
        if found.ahead:
            self.fetch_ahead(found)
        self.scopes.pop()
        for x in scope.known:
            self.known.pop(x, None)
        del self.depths[found.counter]
        return scope

    def know(self, x: Node, value: Value, scope: Scope) -> None:
        """Notes a value that holds as long as a scope lasts."""
        self.known[x] = value
        scope.known.append(x)

    def emit_loop(self, counter: Value, size: int | None, scope: Scope) -> None:
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
                self.scopes[-1].forget(statement.counter)
            elif statement.kind == "invocation":
                self.invocation = statement.counter
                self.known.setdefault(statement.counter, self.value(dtypes.index))
                self.run(statement.body)
                self.now(BARRIER, (), None, 0)
                self.scopes[-1].forget()
            else:
                self.forget_lanes(statement.counter)
                self.scopes[-1].forget()
                counter = self.value(dtypes.index)
                self.emit_loop(counter, statement.size, self.inside(statement, counter))

    def fetch_ahead(self, found: Loop) -> None:
        """Prefetches what the vectors that were read will be some iterations later."""
        places = {c: index.const(0) for c in self.lane_counters}
        places[found.counter] = index.add(found.counter, found.ahead)
        for x, lanes in self.scopes[-1].vectors.items():
            if x.src[0].size * x.dtype.itemsize <= _NEAR:
                continue
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
            for x in [x for x in self.known if counter in index.variables(x)]:
                del self.known[x]

    def assign(self, a: Assign) -> None:
        changed = self.where_changed(a)
        value = self.evaluate(a.value if changed is None else a.value.src[1])
        address, spread = self.address(a.target, a.at)
        if spread and not value.lanes:
            value = self.spread(value)
        scope, place = self.scopes[-1], load(a.target, a.at)
        if a.accumulate is not None:
            lanes = self.lanes if spread else 0
            before = scope.momentary.get(place)
            if before is None:
                before = self.now(READ, (address,), a.target.dtype, lanes, a.target)
            value = self.now(a.accumulate, (before, value), value.dtype, lanes, ANY_ORDER)
        mask = () if changed is None else (self.evaluate(changed),)
        op = STREAM if self.is_streamed(a, value) else WRITE
        self.now(op, (address, value, *mask), None, 0, a.target)
        scope.overwrite(a.target, a.at)
        if not mask and not address.lanes:
            scope.remember(place, value, [a.target])

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
        stack = [x]
        while True:
            current = stack[-1]
            value = self.find(current)
            if value is None:
                args: list[Value] = []
                waiting: list[Node] = []
                for source in self.operands(current):
                    arg = self.find(source)
                    if arg is None:
                        waiting.append(source)
                    else:
                        args.append(arg)
                if waiting:
                    stack += reversed(waiting)
                    continue
                value = self.compute(current, tuple(args))
            stack.pop()
            if not stack:
                return value

    def operands(self, x: Node) -> tuple[Node, ...]:
        """What must be known before `x`: for a load the address instead of the indices."""
        if x.op is ops.PREFIX:
            return x.src[:1]
        if x.op is not ops.LOAD:
            return x.src
        found = self.sources.get((x, self.lane_counter))
        if found is None:
            flat, valid = self.flat_address(x.src[0], x.src[2:]), x.src[1]
            if self.offsets_of(x):
                assert self.lane_counter is not None
                flat = index.replace(flat, {self.lane_counter: index.const(0)})
            found = (flat,) if valid is index.TRUE else (flat, valid)
            self.sources[x, self.lane_counter] = found
        return found

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

    def offsets_of(self, x: Node) -> tuple[int, ...]:
        """Where the lanes of a load lie, if they are best read by whole vectors."""
        if self.lane_counter is None or x.src[1] is not index.TRUE:
            return ()
        key = (x, self.lane_counter)
        if key not in self.offsets:
            flat = index.ravel(x.src[2:], x.src[0].shape)
            self.offsets[key] = near_lanes(flat, self.lane_counter)
        return self.offsets[key]

    def address(self, array: Node, at: tuple[Node, ...]) -> tuple[Value, bool]:
        """The address, and whether a whole vector of elements is meant."""
        spread = self.lane_counter is not None and any(
            self.lane_counter in index.variables(i) for i in at
        )
        return self.evaluate(self.flat_address(array, at)), spread

    def find(self, x: Node) -> Value | None:
        """The value of an expression, if it is known here."""
        return self.known.get(x) or self.scopes[-1].momentary.get(x)

    def reads_of(self, x: Node) -> frozenset[Node]:
        """The arrays that a value is read from and that this phase writes."""
        found = self.changing.get(x)
        if found is None:
            found = frozenset()
            for source in x.src:
                reads = self.changing.get(source)
                found |= self.reads_of(source) if reads is None else reads
            if x.op is ops.LOAD and x.src[0] in self.written:
                found |= {x.src[0]}
            self.changing[x] = found
        return found

    def compute(self, x: Node, args: tuple[Value, ...]) -> Value:
        prefix = x.op is ops.PREFIX  # whose lanes differ though those of its source may be equal
        needed = index.variables(x)
        lanes = self.lanes if prefix or self.lane_counter in needed else 0
        until = self.reads_of(x)
        if prefix and self.lane_counter is not None:
            until |= {self.lane_counter}
        if until:
            value = self.put(x, args, lanes, self.scopes[-1])
            self.scopes[-1].remember(x, value, until)
            return value
        depths = self.depths
        scope = self.scopes[max([depths.get(counter, 0) for counter in needed], default=0)]
        value = self.put(x, args, lanes, scope)
        self.know(x, value, scope)
        return value

    def put(self, x: Node, args: tuple[Value, ...], lanes: int, scope: Scope) -> Value:
        """Writes the instruction for one node into a scope."""
        if x.op is ops.LOAD:
            address, mask = args[0], args[1:]
            offsets = self.offsets_of(x)
            if lanes and offsets:
                arg = (x.src[0], offsets)
                return self.emit(scope, READ_NEAR, (address,), x.dtype, lanes, arg)
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
        assert x.op.elementwise or x.op is ops.LDEXP, (
            f"{x.op} cannot stand in a kernel's expression"
        )
        nonnegative = x.dtype is dtypes.index and index.bounds(x.src[0])[0] >= 0
        return self.emit(scope, x.op, args, x.dtype, lanes, x.arg or nonnegative or None)

    def spread(self, value: Value, scope: Scope | None = None) -> Value:
        scope = scope or self.scopes[-1]
        for outer in self.scopes:
            if (value, self.lanes) in outer.broadcasts:
                return outer.broadcasts[value, self.lanes]
            if outer is scope:
                break
        made = self.emit(scope, BROADCAST, (value,), value.dtype, self.lanes)
        scope.broadcasts[value, self.lanes] = made
        return made

    def now(
        self, op: Any, args: tuple[Value, ...], dtype: DType | None, lanes: int, arg: Any = None
    ) -> Value:
        return self.emit(self.scopes[-1], op, args, dtype, lanes, arg)

    def emit(
        self,
        scope: Scope,
        op: Any,
        args: tuple[Value, ...],
        dtype: DType | None,
        lanes: int,
        arg: Any = None,
    ) -> Value:
        result = self.value(dtype or dtypes.bool_, lanes)
        scope.instructions.append(Instruction(op, result if dtype is not None else None, args, arg))
        return result
