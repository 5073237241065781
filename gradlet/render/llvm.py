"""Linear programs as LLVM IR text: a table of op -> instruction, and the frame around it.

Each phase is one function `void name(ptr args, i64 begin, i64 end, i64 thread)`. `args` holds the
addresses of the status words, of the params and of the scratch arrays; of a private array each
thread has its own copy, one behind the other. A check that fails writes
(1, index, size) into the status words and goes on with index 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.base import dtypes
from gradlet.base.target import LINE_BYTES, Target
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.lower import linear
from gradlet.lower.linear import Instruction, LinearProgram, Phase, Value
from gradlet.render.llvm_places import Places
from gradlet.render.llvm_rules import BOOL_BINARY, RULES
from gradlet.render.llvm_types import literal, mangled, scalar_type, type_of

_ACROSS = {ops.ADD: "add", ops.MUL: "mul", ops.MAXIMUM: "max", ops.MINIMUM: "min"}


def render(program: LinearProgram, target: Target) -> str:
    """The whole kernel as one module; its functions are `phase0`, `phase1`, ..."""
    module = _Module(target)
    bodies = [
        _Function(module, program, phase, f"phase{number}").text()
        for number, phase in enumerate(program.phases)
    ]
    return "\n".join([*bodies, *sorted(module.declarations), module.attributes()])


class _Module:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.declarations: set[str] = set()

    def attributes(self) -> str:
        width = self.target.vector_bytes * 8
        return (
            f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" '
            f'"min-legal-vector-width"="{width}" }}\n'
            '!0 = !{!"branch_weights", i32 1, i32 1048575}\n!1 = !{i32 1}'
        )


class _Function:
    """The text of one phase."""

    def __init__(self, module: _Module, program: LinearProgram, phase: Phase, name: str) -> None:
        self.module = module
        self.program = program
        self.phase = phase
        self.name = name
        self.lines: list[str] = []
        self.names: dict[int, str] = {}
        self.fresh = 0
        self.block = "entry"
        self.open_loops: list[tuple[Value, str, str]] = []
        self.places = Places(self.put)

    def text(self) -> str:
        arrays = (*self.program.params, *self.program.scratch)
        self.places.pointer = {a: f"%a{i}" for i, a in enumerate(arrays)}
        for i, array in enumerate(self.phase.locals):
            self.places.declare(array, f"%local{i}")
        if not any(i.arg is None and i.op is linear.LOOP for i in self.phase.instructions):
            self.names[self.phase.counter.number] = "0"
        for instruction in self.phase.instructions:
            self.instruction(instruction)
        if any(i.op is linear.STREAM for i in self.phase.instructions):
            self.lines.append("  fence seq_cst")  # before another thread is told to read
        formal = ", ".join(
            ["ptr %status", *(f"ptr noalias align 16 %a{i}" for i in range(len(arrays)))]
        )
        inner = f"define internal void @{self.name}_body({formal}, i64 %begin, i64 %end) #0 {{"
        wrapper = self.wrapper(arrays)
        lines = (*self.places.begin, *self.lines)
        return "\n".join([inner, "entry:", *lines, "  ret void", "}", wrapper])

    def wrapper(self, arrays: Sequence[Node]) -> str:
        """The exported function: fetches the addresses and calls the body."""
        formal = "ptr %args, i64 %begin, i64 %end, i64 %thread"
        lines = [f"define void @{self.name}({formal}) #0 {{"]
        actual = []
        strides = [linear.private_bytes(a) if a.op is ops.PRIVATE else 0 for a in arrays]
        for i, stride in enumerate((0, *strides)):
            lines.append(f"  %g{i} = getelementptr ptr, ptr %args, i64 {i}")
            lines.append(f"  %p{i} = load ptr, ptr %g{i}")
            if stride:
                lines.append(f"  %o{i} = mul i64 %thread, {stride}")
                lines.append(f"  %q{i} = getelementptr i8, ptr %p{i}, i64 %o{i}")
            actual.append(f"ptr %{'q' if stride else 'p'}{i}")
        lines.append(f"  call void @{self.name}_body({', '.join(actual)}, i64 %begin, i64 %end)")
        return "\n".join([*lines, "  ret void", "}"])

    # Writing

    def new(self, prefix: str = "t") -> str:
        self.fresh += 1
        return f"%{prefix}{self.fresh}"

    def put(self, text: str) -> str:
        """One instruction whose result gets a new name."""
        name = self.new()
        self.lines.append(f"  {name} = {text}")
        return name

    def call(self, result: str, function: str, *arguments: tuple[str, str], flags: str = "") -> str:
        """A call, declared on first use. Arguments are (type, name)."""
        formal = ", ".join(t for t, _ in arguments)
        self.module.declarations.add(f"declare {result} @{function}({formal})")
        actual = ", ".join(f"{t} {n}" for t, n in arguments)
        return self.put(f"call {flags}{result} @{function}({actual})")

    def put_seldom(self, condition: str, text: str, kind: str, otherwise: str) -> str:
        """One instruction in a block of its own, into which LLVM moves what only it needs."""
        before, label = self.block, self.new("seldom")[1:]
        self.lines.append(f"  br i1 {condition}, label %{label}, label %{label}.end, !prof !0")
        self.begin_block(label)
        rare = self.put(text)
        self.lines.append(f"  br label %{label}.end")
        self.begin_block(f"{label}.end")
        return self.put(f"phi {kind} [ {otherwise}, %{before} ], [ {rare}, %{label} ]")

    def begin_block(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name
        self.places.here.clear()

    def instruction(self, i: Instruction) -> None:
        if i.op is linear.LOOP:
            self.begin_loop(i)
        elif i.op is linear.END:
            self.end_loop()
        elif i.op in (linear.WRITE, linear.STREAM):
            self.write(i)
        elif i.op is linear.PREFETCH:
            self.prefetch(i)
        else:
            assert i.result is not None
            self.names[i.result.number] = self.compute(i, i.result)

    def begin_loop(self, i: Instruction) -> None:
        assert i.result is not None
        label = f"loop{i.result.number}"
        first, last = ("%begin", "%end") if i.arg is None else ("0", str(i.arg))
        counter = f"%i{i.result.number}"
        before = self.block
        if i.arg is None:  # the range may be empty
            self.lines.append(f"  %any = icmp slt i64 {first}, {last}")
            self.lines.append(f"  br i1 %any, label %{label}, label %{label}.end")
        else:
            self.lines.append(f"  br label %{label}")
        self.begin_block(label)
        self.lines.append(
            f"  {counter} = phi i64 [ {first}, %{before} ], [ {counter}.next, %{label}.last ]"
        )
        self.names[i.result.number] = counter
        self.open_loops.append((i.result, label, last))

    def end_loop(self) -> None:
        result, label, last = self.open_loops.pop()
        counter = f"%i{result.number}"
        self.lines.append(f"  br label %{label}.last")
        self.begin_block(f"{label}.last")
        self.lines.append(f"  {counter}.next = add nuw nsw i64 {counter}, 1")
        self.lines.append(f"  {counter}.more = icmp slt i64 {counter}.next, {last}")
        self.lines.append(f"  br i1 {counter}.more, label %{label}, label %{label}.end")
        self.begin_block(f"{label}.end")

    # Memory

    def place(self, array: Node, address: Value) -> str:
        return self.places.place(array, address, self.names[address.number])

    def read(self, i: Instruction, result: Value) -> str:
        array, address, dtype = i.arg, i.args[0], result.dtype
        kind = type_of(dtype, result.lanes, in_memory=True)
        align = dtype.itemsize
        if result.lanes and not address.lanes and len(i.args) == 1:
            loaded = self.put(f"load {kind}, ptr {self.place(array, address)}, align {align}")
        elif result.lanes:
            loaded = self.masked_read(i, result, kind)
        elif len(i.args) == 1:
            loaded = self.put(f"load {kind}, ptr {self.place(array, address)}, align {align}")
        else:  # element 0 always exists; it is read and dropped where the mask is false
            mask = self.names[i.args[1].number]
            safe = self.put(f"select i1 {mask}, i64 {self.names[address.number]}, i64 0")
            pointer = self.places.place(array, address, safe)
            value = self.put(f"load {kind}, ptr {pointer}, align {align}")
            loaded = self.put(f"select i1 {mask}, {kind} {value}, {kind} zeroinitializer")
        if dtype is dtypes.bool_:
            return self.put(f"icmp ne {kind} {loaded}, zeroinitializer")
        return loaded

    def near_read(self, i: Instruction, result: Value) -> str:
        """Whole vectors from the first element to the last, from which lanes are picked in pairs.

        The last vector ends with the last element, so that nothing beyond the array is read.
        """
        (array, offsets), (address,) = i.arg, i.args
        dtype, first = result.dtype, min(offsets)
        lanes = min(result.lanes, max(offsets) - first + 1)  # of each vector
        kind = type_of(dtype, lanes, in_memory=True)
        starts = [*range(first, max(offsets) + 1 - lanes, lanes), max(offsets) + 1 - lanes]
        found = "poison"
        for start in starts:
            at = self.put(f"add i64 {self.names[address.number]}, {start}")
            place = self.places.place(array, address, at)
            part = self.put(f"load {kind}, ptr {place}, align {dtype.itemsize}")
            places = [offset - start for offset in offsets]
            order = [lanes + p if 0 <= p < lanes else lane for lane, p in enumerate(places)]
            found = self.shuffle(found, part, kind, order)
        kind = type_of(dtype, result.lanes, in_memory=True)
        if dtype is dtypes.bool_:
            return self.put(f"icmp ne {kind} {found}, zeroinitializer")
        return found

    def masked_read(self, i: Instruction, result: Value, kind: str) -> str:
        lanes, address = result.lanes, i.args[0]
        element = scalar_type(result.dtype, in_memory=True)
        pointers = self.place(i.arg, address)
        mask = "splat (i1 true)"
        if len(i.args) > 1:
            mask = self.names[i.args[1].number]
        suffix = f"v{lanes}{mangled(element)}"
        gathers = bool(address.lanes)
        operand = f"<{lanes} x ptr>" if gathers else "ptr"
        way = f"gather.{suffix}.v{lanes}p0" if gathers else f"load.{suffix}.p0"
        return self.call(
            kind, f"llvm.masked.{way}", (operand, pointers), ("i32", str(result.dtype.itemsize)),
            (f"<{lanes} x i1>", mask), (kind, "zeroinitializer"),
        )  # fmt: skip

    def write(self, i: Instruction) -> None:
        address, value, *mask = i.args
        if mask and not mask[0].lanes:
            self.write_if(i)
            return
        dtype, lanes = value.dtype, value.lanes
        kind = type_of(dtype, lanes, in_memory=True)
        name = self.names[value.number]
        if dtype is dtypes.bool_:
            name = self.put(f"zext {type_of(dtype, lanes)} {name} to {kind}")
        if not address.lanes and not mask:
            place = self.place(i.arg, address)
            how = f"align {dtype.itemsize}"
            if i.op is linear.STREAM:
                how = f"align {LINE_BYTES}, !nontemporal !1"
            self.lines.append(f"  store {kind} {name}, ptr {place}, {how}")
            return
        pointers = self.place(i.arg, address)
        suffix = f"v{lanes}{mangled(scalar_type(dtype, in_memory=True))}"
        if address.lanes:
            function, where = f"llvm.masked.scatter.{suffix}.v{lanes}p0", f"<{lanes} x ptr>"
        else:
            function, where = f"llvm.masked.store.{suffix}.p0", "ptr"
        lit = self.names[mask[0].number] if mask else "splat (i1 true)"
        types = f"{kind}, {where}, i32, <{lanes} x i1>"
        self.module.declarations.add(f"declare void @{function}({types})")
        self.lines.append(
            f"  call void @{function}({kind} {name}, {where} {pointers}, "
            f"i32 {dtype.itemsize}, <{lanes} x i1> {lit})"
        )

    def write_if(self, i: Instruction) -> None:
        """A write of all lanes or of none."""
        address, value, mask = i.args
        label = self.new("write")[1:]
        test = self.names[mask.number]
        self.lines.append(f"  br i1 {test}, label %{label}, label %{label}.end")
        self.begin_block(label)
        self.write(i._replace(args=(address, value)))
        self.lines.append(f"  br label %{label}.end")
        self.begin_block(f"{label}.end")

    def prefetch(self, i: Instruction) -> None:
        self.module.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        place = self.place(i.arg, i.args[0])
        self.lines.append(f"  call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 3, i32 1)")

    # Values

    def compute(self, i: Instruction, result: Value) -> str:
        if i.op is ops.CONST:
            return literal(i.arg, result.dtype)
        if i.op is linear.READ:
            return self.read(i, result)
        if i.op is linear.READ_NEAR:
            return self.near_read(i, result)
        if i.op is linear.BROADCAST:
            return self.broadcast(i.args[0], result.lanes)
        if i.op is linear.LANE_NUMBERS:
            numbers = ", ".join(f"i64 {lane}" for lane in range(result.lanes))
            return f"<{numbers}>"
        if i.op is linear.REDUCE_LANES:
            return self.across(i, result)
        if i.op is linear.SHUFFLE_LANES:
            a, b = (self.names[v.number] for v in i.args)
            return self.shuffle(a, b, type_of(result.dtype, result.lanes), i.arg)
        if i.op is linear.PREFIX_LANES:
            return self.prefix(i, result)
        if i.op is linear.CHECK:
            return self.check(i, result)
        names = [self.names[a.number] for a in i.args]
        dtype = i.args[-1].dtype if i.op is not ops.WHERE else result.dtype
        name = RULES[i.op](self, names, dtype, result, i)
        if i.op is ops.ADD and result.dtype is dtypes.index and not result.lanes:
            self.places.note_sum(name, names)
        return name

    def broadcast(self, value: Value, lanes: int) -> str:
        name = self.names[value.number]
        kind, scalar = type_of(value.dtype, lanes), scalar_type(value.dtype)
        if not name.startswith("%"):
            return f"splat ({scalar} {name})"
        one = self.put(f"insertelement {kind} poison, {scalar} {name}, i64 0")
        return self.put(
            f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer"
        )

    def across(self, i: Instruction, result: Value) -> str:
        (vector,) = i.args
        dtype, lanes = vector.dtype, vector.lanes
        kind, scalar = type_of(dtype, lanes), scalar_type(dtype)
        name = self.names[vector.number]
        suffix = f"v{lanes}{mangled(scalar)}"
        if dtype.is_float and i.arg in (ops.ADD, ops.MUL):
            start = literal(-0.0 if i.arg is ops.ADD else 1.0, dtype)
            function = f"llvm.vector.reduce.f{_ACROSS[i.arg]}.{suffix}"
            self.module.declarations.add(f"declare {scalar} @{function}({scalar}, {kind})")
            return self.put(f"call reassoc {scalar} @{function}({scalar} {start}, {kind} {name})")
        word, flags = _ACROSS[i.arg], ""
        if dtype.is_float:
            word, flags = f"f{word}imum", "nsz "
        elif dtype is dtypes.bool_:
            word = BOOL_BINARY[i.arg]
        elif i.arg in (ops.MAXIMUM, ops.MINIMUM):
            word = ("u" if dtype.is_unsigned else "s") + word
        return self.call(scalar, f"llvm.vector.reduce.{word}.{suffix}", (kind, name), flags=flags)

    def prefix(self, i: Instruction, result: Value) -> str:
        """Each lane reduced with those before it: with 1 lane before it, then 2, 4, ... more."""
        zero = -0.0 if result.dtype.is_float and i.arg is ops.ADD else None
        start = build.identity_value(i.arg, result.dtype) if zero is None else zero
        splat = f"splat ({scalar_type(result.dtype)} {literal(start, result.dtype)})"
        name, step = self.names[i.args[0].number], 1
        combine = i._replace(op=i.arg)
        while step < result.lanes:
            order = [(lane - step) % (2 * result.lanes) for lane in range(result.lanes)]
            moved = self.shuffle(name, splat, type_of(result.dtype, result.lanes), order)
            name = RULES[i.arg](self, [name, moved], result.dtype, result, combine)
            step *= 2
        return name

    def shuffle(self, a: str, b: str, kind: str, order: Sequence[int]) -> str:
        """The lanes `order` of the two vectors `a` and `b`, one behind the other."""
        lanes = ", ".join(f"i32 {lane}" for lane in order)
        return self.put(f"shufflevector {kind} {a}, {kind} {b}, <{len(order)} x i32> <{lanes}>")

    def check(self, i: Instruction, result: Value) -> str:
        """The index if it is in range, else 0 and a report."""
        (value,) = i.args
        kind, name = type_of(dtypes.index, value.lanes), self.names[value.number]
        size = str(i.arg)
        limit = f"splat (i64 {size})" if value.lanes else size
        inside = self.put(f"icmp ult {kind} {name}, {limit}")
        zero = "zeroinitializer" if value.lanes else "0"
        flags = type_of(dtypes.bool_, value.lanes)
        safe = self.put(f"select {flags} {inside}, {kind} {name}, {kind} {zero}")
        ok = inside
        if value.lanes:
            suffix = f"v{value.lanes}i1"
            ok = self.call("i1", f"llvm.vector.reduce.and.{suffix}", (flags, inside))
        label = self.new("check")[1:]
        self.lines.append(f"  br i1 {ok}, label %{label}.ok, label %{label}.bad")
        self.begin_block(f"{label}.bad")
        bad = name
        if value.lanes:  # the first lane outside, found by going through them
            bad = self.put(f"extractelement {kind} {name}, i64 {value.lanes - 1}")
            for lane in reversed(range(value.lanes - 1)):
                fine = self.put(f"extractelement {flags} {inside}, i64 {lane}")
                this = self.put(f"extractelement {kind} {name}, i64 {lane}")
                bad = self.put(f"select i1 {fine}, i64 {bad}, i64 {this}")
        for position, word in enumerate(("1", bad, size)):
            place = self.put(f"getelementptr i64, ptr %status, i64 {position}")
            self.lines.append(f"  store i64 {word}, ptr {place}")
        self.lines.append(f"  br label %{label}.ok")
        self.begin_block(f"{label}.ok")
        return safe
