"""Linear programs as LLVM IR text: a table of op -> instruction, and the frame around it.

Each phase is one function `void name(ptr args, i64 begin, i64 end)`. `args` holds the addresses
of the status words, of the params and of the scratch arrays. A check that fails writes
(1, index, size) into the status words and goes on with index 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.lower import linear
from gradlet.lower.linear import Instruction, LinearProgram, Phase, Value

_LIBM = {ops.ERF: "erf", ops.TANH: "tanh", ops.SIN: "sin", ops.COS: "cos", ops.POW: "pow",
         ops.EXP: "exp", ops.LOG: "log"}  # fmt: skip
_FLOAT_BINARY = {ops.ADD: "fadd contract", ops.SUB: "fsub contract", ops.MUL: "fmul contract",
                 ops.DIV: "fdiv"}  # fmt: skip
_INT_BINARY = {ops.ADD: "add", ops.SUB: "sub", ops.MUL: "mul", ops.AND: "and", ops.OR: "or",
               ops.XOR: "xor"}  # fmt: skip
_BOOL_BINARY = {ops.ADD: "or", ops.MUL: "and", ops.AND: "and", ops.OR: "or", ops.XOR: "xor",
                ops.MAXIMUM: "or", ops.MINIMUM: "and"}  # fmt: skip
_FLOAT_COMPARE = {ops.EQ: "oeq", ops.LT: "olt", ops.LE: "ole"}
_INT_COMPARE = {ops.EQ: "eq", ops.LT: "lt", ops.LE: "le"}
_INTRINSIC = {ops.SQRT: "sqrt", ops.FLOOR: "floor", ops.MAXIMUM: "maximum", ops.MINIMUM: "minimum"}
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
            f'"min-legal-vector-width"="{width}" }}'
        )


def scalar_type(dtype: DType, in_memory: bool = False) -> str:
    """LLVM's name of an element type. bfloat16 is handled as its 16 bits."""
    if dtype is dtypes.bool_:
        return "i8" if in_memory else "i1"
    if dtype.is_float and dtype is not dtypes.bfloat16:
        return {16: "half", 32: "float", 64: "double"}[dtype.bits]
    return f"i{dtype.bits}"


def type_of(dtype: DType, lanes: int, in_memory: bool = False) -> str:
    name = scalar_type(dtype, in_memory)
    return f"<{lanes} x {name}>" if lanes else name


def literal(value: float, dtype: DType) -> str:
    """A constant, floats by their exact bits."""
    if dtype is dtypes.bool_:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value) - (1 << dtype.bits) if value > dtype.max else int(value))
    if dtype is dtypes.bfloat16:
        import numpy as np

        return str(int(np.array(value, dtypes.bfloat16.numpy).view(np.int16)))
    if dtype is dtypes.float16:
        return f"0xH{struct.unpack('<H', _pack('<e', value))[0]:04X}"
    if dtype is dtypes.float32:
        value = struct.unpack("<f", _pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _pack(form: str, value: float) -> bytes:
    try:
        return struct.pack(form, value)
    except OverflowError:  # too large for the type: the infinity of its sign
        return struct.pack(form, float("inf") if value > 0 else float("-inf"))


class _Function:
    """The text of one phase."""

    def __init__(
        self, module: _Module, program: LinearProgram, phase: Phase, name: str
    ) -> None:
        self.module = module
        self.program = program
        self.phase = phase
        self.name = name
        self.lines: list[str] = []
        self.names: dict[int, str] = {}
        self.fresh = 0
        self.block = "entry"
        self.open_loops: list[tuple[Value, str, str]] = []
        self.constants: dict[int, bool] = {}

    def text(self) -> str:
        arrays = (*self.program.params, *self.program.scratch)
        self.pointer = {a: f"%a{i}" for i, a in enumerate(arrays)}
        for i, array in enumerate(self.phase.locals):
            size = max(1, array.size)
            element = scalar_type(array.dtype, in_memory=True)
            self.pointer[array] = f"%local{i}"
            self.lines.append(f"  %local{i} = alloca [{size} x {element}], align 64")
        if not any(i.arg is None and i.op is linear.LOOP for i in self.phase.instructions):
            self.names[self.phase.counter.number] = "0"
        for instruction in self.phase.instructions:
            self.instruction(instruction)
        formal = ", ".join(
            ["ptr %status", *(f"ptr noalias align 16 %a{i}" for i in range(len(arrays)))]
        )
        inner = f"define internal void @{self.name}_body({formal}, i64 %begin, i64 %end) #0 {{"
        wrapper = self.wrapper(len(arrays))
        return "\n".join([inner, "entry:", *self.lines, "  ret void", "}", wrapper])

    def wrapper(self, count: int) -> str:
        """The exported function: fetches the addresses and calls the body."""
        lines = [f"define void @{self.name}(ptr %args, i64 %begin, i64 %end) #0 {{"]
        actual = []
        for i in range(count + 1):
            lines.append(f"  %g{i} = getelementptr ptr, ptr %args, i64 {i}")
            lines.append(f"  %p{i} = load ptr, ptr %g{i}")
            actual.append(f"ptr %p{i}")
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

    def call(self, result: str, function: str, *arguments: tuple[str, str]) -> str:
        """A call, declared on first use. Arguments are (type, name)."""
        formal = ", ".join(t for t, _ in arguments)
        self.module.declarations.add(f"declare {result} @{function}({formal})")
        return self.put(f"call {result} @{function}({', '.join(f'{t} {n}' for t, n in arguments)})")

    def begin_block(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def instruction(self, i: Instruction) -> None:
        if i.op is linear.LOOP:
            self.begin_loop(i)
        elif i.op is linear.END:
            self.end_loop()
        elif i.op is linear.WRITE:
            self.write(i)
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
        element = scalar_type(array.dtype, in_memory=True)
        where = f"{type_of(dtypes.index, address.lanes)} {self.names[address.number]}"
        return self.put(f"getelementptr {element}, ptr {self.pointer[array]}, {where}")

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
            element = scalar_type(dtype, in_memory=True)
            pointer = self.put(f"getelementptr {element}, ptr {self.pointer[array]}, i64 {safe}")
            value = self.put(f"load {kind}, ptr {pointer}, align {align}")
            loaded = self.put(f"select i1 {mask}, {kind} {value}, {kind} zeroinitializer")
        if dtype is dtypes.bool_:
            return self.put(f"icmp ne {kind} {loaded}, zeroinitializer")
        return loaded

    def masked_read(self, i: Instruction, result: Value, kind: str) -> str:
        lanes, address = result.lanes, i.args[0]
        element = scalar_type(result.dtype, in_memory=True)
        pointers = self.place(i.arg, address)
        mask = "splat (i1 true)"
        if len(i.args) > 1:
            mask = self.names[i.args[1].number]
        suffix = f"v{lanes}{_mangled(element)}"
        gathers = bool(address.lanes)
        operand = f"<{lanes} x ptr>" if gathers else "ptr"
        name = f"llvm.masked.gather.{suffix}.v{lanes}p0" if gathers else (
            f"llvm.masked.load.{suffix}.p0"
        )
        return self.call(
            kind, name, (operand, pointers), ("i32", str(result.dtype.itemsize)),
            (f"<{lanes} x i1>", mask), (kind, "zeroinitializer"),
        )  # fmt: skip

    def write(self, i: Instruction) -> None:
        address, value = i.args
        dtype, lanes = value.dtype, value.lanes
        kind = type_of(dtype, lanes, in_memory=True)
        name = self.names[value.number]
        if dtype is dtypes.bool_:
            name = self.put(f"zext {type_of(dtype, lanes)} {name} to {kind}")
        if not address.lanes:
            place = self.place(i.arg, address)
            self.lines.append(f"  store {kind} {name}, ptr {place}, align {dtype.itemsize}")
            return
        pointers = self.place(i.arg, address)
        element = scalar_type(dtype, in_memory=True)
        function = f"llvm.masked.scatter.v{lanes}{_mangled(element)}.v{lanes}p0"
        types = f"{kind}, <{lanes} x ptr>, i32, <{lanes} x i1>"
        self.module.declarations.add(f"declare void @{function}({types})")
        self.lines.append(
            f"  call void @{function}({kind} {name}, <{lanes} x ptr> {pointers}, "
            f"i32 {dtype.itemsize}, <{lanes} x i1> splat (i1 true))"
        )

    # Values

    def compute(self, i: Instruction, result: Value) -> str:
        if i.op is ops.CONST:
            return literal(i.arg, result.dtype)
        if i.op is linear.READ:
            return self.read(i, result)
        if i.op is linear.BROADCAST:
            return self.broadcast(i.args[0], result.lanes)
        if i.op is linear.LANE_NUMBERS:
            numbers = ", ".join(f"i64 {lane}" for lane in range(result.lanes))
            return f"<{numbers}>"
        if i.op is linear.REDUCE_LANES:
            return self.across(i, result)
        if i.op is linear.CHECK:
            return self.check(i, result)
        names = [self.names[a.number] for a in i.args]
        dtype = i.args[-1].dtype if i.op is not ops.WHERE else result.dtype
        return RULES[i.op](self, names, dtype, result, i)

    def broadcast(self, value: Value, lanes: int) -> str:
        name = self.names[value.number]
        kind, scalar = type_of(value.dtype, lanes), scalar_type(value.dtype)
        one = self.put(f"insertelement {kind} poison, {scalar} {name}, i64 0")
        return self.put(
            f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer"
        )

    def across(self, i: Instruction, result: Value) -> str:
        (vector,) = i.args
        dtype, lanes = vector.dtype, vector.lanes
        kind, scalar = type_of(dtype, lanes), scalar_type(dtype)
        name = self.names[vector.number]
        suffix = f"v{lanes}{_mangled(scalar)}"
        if dtype.is_float and i.arg in (ops.ADD, ops.MUL):
            start = literal(-0.0 if i.arg is ops.ADD else 1.0, dtype)
            function = f"llvm.vector.reduce.f{_ACROSS[i.arg]}.{suffix}"
            self.module.declarations.add(f"declare {scalar} @{function}({scalar}, {kind})")
            return self.put(f"call reassoc {scalar} @{function}({scalar} {start}, {kind} {name})")
        word = _ACROSS[i.arg]
        if dtype.is_float:
            word = f"f{word}imum"
        elif dtype is dtypes.bool_:
            word = _BOOL_BINARY[i.arg]
        elif i.arg in (ops.MAXIMUM, ops.MINIMUM):
            word = ("u" if dtype.is_unsigned else "s") + word
        return self.call(scalar, f"llvm.vector.reduce.{word}.{suffix}", (kind, name))

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


def _mangled(scalar: str) -> str:
    return {"half": "f16", "float": "f32", "double": "f64"}.get(scalar, scalar)


def _suffix(dtype: DType, lanes: int) -> str:
    return (f"v{lanes}" if lanes else "") + _mangled(scalar_type(dtype))


# The table: op -> function(writer, operand names, operand dtype, result, instruction) -> name

Rule = Callable[[_Function, list[str], DType, Value, Instruction], str]


def _zero(result: Value) -> str:
    return "zeroinitializer" if result.lanes else literal(0, result.dtype)


def _splat(value: float, dtype: DType, lanes: int) -> str:
    text = literal(value, dtype)
    return f"splat ({scalar_type(dtype)} {text})" if lanes else text


def _binary(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    table = _FLOAT_BINARY if dtype.is_float else _INT_BINARY
    if dtype is dtypes.bool_:
        table = _BOOL_BINARY
    return f.put(f"{table[i.op]} {type_of(dtype, result.lanes)} {names[0]}, {names[1]}")


def _compare(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind = type_of(dtype, result.lanes)
    if dtype.is_float:
        return f.put(f"fcmp {_FLOAT_COMPARE[i.op]} {kind} {names[0]}, {names[1]}")
    word = _INT_COMPARE[i.op]
    if word != "eq":
        word = ("s" if dtype.kind == "int" else "u") + word
    return f.put(f"icmp {word} {kind} {names[0]}, {names[1]}")


def _negate(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind = type_of(dtype, result.lanes)
    if dtype.is_float:
        return f.put(f"fneg {kind} {names[0]}")
    return f.put(f"sub {kind} {_zero(result)}, {names[0]}")


def _absolute(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind, suffix = type_of(dtype, result.lanes), _suffix(dtype, result.lanes)
    if dtype.is_float:
        return f.call(kind, f"llvm.fabs.{suffix}", (kind, names[0]))
    if dtype.kind != "int":
        return names[0]
    return f.call(kind, f"llvm.abs.{suffix}", (kind, names[0]), ("i1", "false"))


def _intrinsic(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind, suffix = type_of(dtype, result.lanes), _suffix(dtype, result.lanes)
    if dtype.is_float:
        return f.call(kind, f"llvm.{_INTRINSIC[i.op]}.{suffix}", *((kind, n) for n in names))
    if dtype is dtypes.bool_:
        return _binary(f, names, dtype, result, i)
    word = ("s" if dtype.kind == "int" else "u") + ("max" if i.op is ops.MAXIMUM else "min")
    return f.call(kind, f"llvm.{word}.{suffix}", *((kind, n) for n in names))


def _library(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """A call of the C library, lane by lane."""
    scalar = scalar_type(dtype)
    function = _LIBM[i.op] + ("f" if dtype is dtypes.float32 else "")
    if not result.lanes:
        return f.call(scalar, function, *((scalar, n) for n in names))
    kind = type_of(dtype, result.lanes)
    made = "poison"
    for lane in range(result.lanes):
        parts = [f.put(f"extractelement {kind} {n}, i64 {lane}") for n in names]
        one = f.call(scalar, function, *((scalar, p) for p in parts))
        made = f.put(f"insertelement {kind} {made}, {scalar} {one}, i64 {lane}")
    return made


def _shift(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind = type_of(dtype, result.lanes)
    flags = type_of(dtypes.bool_, result.lanes)
    fits = f.put(f"icmp ult {kind} {names[1]}, {_splat(dtype.bits, dtype, result.lanes)}")
    count = f.put(f"select {flags} {fits}, {kind} {names[1]}, {kind} {_zero(result)}")
    signed = dtype.kind == "int"
    word = "shl" if i.op is ops.SHL else ("ashr" if signed else "lshr")
    moved = f.put(f"{word} {kind} {names[0]}, {count}")
    past = _zero(result)
    if i.op is ops.SHR and signed:
        past = f.put(f"ashr {kind} {names[0]}, {_splat(dtype.bits - 1, dtype, result.lanes)}")
    return f.put(f"select {flags} {fits}, {kind} {moved}, {kind} {past}")


def _divide(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """FLOORDIV and MOD: of floats through fmod, of integers with division by zero giving 0."""
    if dtype.is_float:
        return _float_remainder(f, names, dtype, result)
    kind, flags = type_of(dtype, result.lanes), type_of(dtypes.bool_, result.lanes)
    wants_quotient = i.op is ops.FLOORDIV
    if i.arg:  # an index known not to be negative, by a positive constant
        return f.put(f"{'udiv' if wants_quotient else 'urem'} {kind} {names[0]}, {names[1]}")
    zero, one = _zero(result), _splat(1, dtype, result.lanes)
    by_zero = f.put(f"icmp eq {kind} {names[1]}, {zero}")
    divisor = f.put(f"select {flags} {by_zero}, {kind} {one}, {kind} {names[1]}")
    if dtype.kind != "int":
        word = "udiv" if wants_quotient else "urem"
        value = f.put(f"{word} {kind} {names[0]}, {divisor}")
        return f.put(f"select {flags} {by_zero}, {kind} {zero}, {kind} {value}")
    minus = _splat(-1, dtype, result.lanes)
    by_minus = f.put(f"icmp eq {kind} {divisor}, {minus}")  # MIN / -1 would trap
    safe = f.put(f"select {flags} {by_minus}, {kind} {one}, {kind} {divisor}")
    remainder = f.put(f"srem {kind} {names[0]}, {safe}")
    differs = f.put(f"xor {kind} {remainder}, {safe}")
    opposite = f.put(f"icmp slt {kind} {differs}, {zero}")
    inexact = f.put(f"icmp ne {kind} {remainder}, {zero}")
    adjust = f.put(f"and {flags} {opposite}, {inexact}")
    if wants_quotient:
        quotient = f.put(f"sdiv {kind} {names[0]}, {safe}")
        lowered = f.put(f"sub {kind} {quotient}, {one}")
        value = f.put(f"select {flags} {adjust}, {kind} {lowered}, {kind} {quotient}")
        negated = f.put(f"sub {kind} {zero}, {names[0]}")
        value = f.put(f"select {flags} {by_minus}, {kind} {negated}, {kind} {value}")
    else:
        raised = f.put(f"add {kind} {remainder}, {safe}")
        value = f.put(f"select {flags} {adjust}, {kind} {raised}, {kind} {remainder}")
    return f.put(f"select {flags} {by_zero}, {kind} {zero}, {kind} {value}")


def _float_remainder(f: _Function, names: list[str], dtype: DType, result: Value) -> str:
    kind, flags = type_of(dtype, result.lanes), type_of(dtypes.bool_, result.lanes)
    suffix = _suffix(dtype, result.lanes)
    zero = _zero(result)
    remainder = f.put(f"frem {kind} {names[0]}, {names[1]}")
    low = f.put(f"fcmp olt {kind} {remainder}, {zero}")
    low_divisor = f.put(f"fcmp olt {kind} {names[1]}, {zero}")
    differs = f.put(f"xor {flags} {low}, {low_divisor}")
    nonzero = f.put(f"fcmp one {kind} {remainder}, {zero}")
    adjust = f.put(f"and {flags} {differs}, {nonzero}")
    raised = f.put(f"fadd {kind} {remainder}, {names[1]}")
    value = f.put(f"select {flags} {adjust}, {kind} {raised}, {kind} {remainder}")
    signed_zero = f.call(
        kind, f"llvm.copysign.{suffix}", (kind, zero), (kind, names[1])
    )
    is_zero = f.put(f"fcmp oeq {kind} {value}, {zero}")
    return f.put(f"select {flags} {is_zero}, {kind} {signed_zero}, {kind} {value}")


def _where(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    flags, kind = type_of(dtypes.bool_, result.lanes), type_of(result.dtype, result.lanes)
    return f.put(f"select {flags} {names[0]}, {kind} {names[1]}, {kind} {names[2]}")


def _bitcast(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    before, after = type_of(dtype, result.lanes), type_of(result.dtype, result.lanes)
    return names[0] if before == after else f.put(f"bitcast {before} {names[0]} to {after}")


def _cast(f: _Function, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """Conversions; floats saturate into integers and nan gives 0."""
    wanted, lanes = result.dtype, result.lanes
    if dtype is dtypes.bfloat16:
        widened = Value(0, dtypes.float32, lanes)
        names, dtype = [_widen_bfloat(f, names[0], lanes)], dtypes.float32
        if wanted is dtypes.float32:
            return names[0]
        assert widened.dtype is dtype
    if wanted is dtypes.bfloat16:
        return _narrow_bfloat(f, names[0], lanes)
    before, after = type_of(dtype, lanes), type_of(wanted, lanes)
    if wanted is dtypes.bool_:
        word = "fcmp une" if dtype.is_float else "icmp ne"
        return f.put(f"{word} {before} {names[0]}, zeroinitializer")
    if dtype.is_float and wanted.is_float:
        word = "fpext" if wanted.bits > dtype.bits else "fptrunc"
    elif dtype.is_float:
        sign = "s" if wanted.kind == "int" else "u"
        function = f"llvm.fpto{sign}i.sat.{_suffix(wanted, lanes)}.{_suffix(dtype, lanes)}"
        return f.call(after, function, (before, names[0]))
    elif wanted.is_float:
        word = "sitofp" if dtype.kind == "int" else "uitofp"
    elif before == after:
        return names[0]
    elif wanted.bits < dtype.bits:
        word = "trunc"
    else:
        word = "sext" if dtype.kind == "int" else "zext"
    return f.put(f"{word} {before} {names[0]} to {after}")


def _widen_bfloat(f: _Function, name: str, lanes: int) -> str:
    """bfloat16 is the upper half of a float32."""
    word, half = type_of(dtypes.int32, lanes), type_of(dtypes.int16, lanes)
    bits = f.put(f"zext {half} {name} to {word}")
    high = f.put(f"shl {word} {bits}, {_splat(16, dtypes.int32, lanes)}")
    return f.put(f"bitcast {word} {high} to {type_of(dtypes.float32, lanes)}")


def _narrow_bfloat(f: _Function, name: str, lanes: int) -> str:
    """Rounds to the nearest, ties to even; nan stays nan."""
    word, half = type_of(dtypes.int32, lanes), type_of(dtypes.int16, lanes)
    real, flags = type_of(dtypes.float32, lanes), type_of(dtypes.bool_, lanes)
    bits = f.put(f"bitcast {real} {name} to {word}")
    shift = _splat(16, dtypes.int32, lanes)
    high = f.put(f"lshr {word} {bits}, {shift}")
    odd = f.put(f"and {word} {high}, {_splat(1, dtypes.int32, lanes)}")
    raised = f.put(f"add {word} {bits}, {_splat(0x7FFF, dtypes.int32, lanes)}")
    rounded = f.put(f"add {word} {raised}, {odd}")
    short = f.put(f"lshr {word} {rounded}, {shift}")
    is_nan = f.put(f"fcmp uno {real} {name}, {name}")
    quiet = f.put(f"or {word} {high}, {_splat(0x40, dtypes.int32, lanes)}")
    chosen = f.put(f"select {flags} {is_nan}, {word} {quiet}, {word} {short}")
    return f.put(f"trunc {word} {chosen} to {half}")


RULES: dict[ops.Op, Rule] = {
    **dict.fromkeys(
        (ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.AND, ops.OR, ops.XOR), _binary
    ),
    **dict.fromkeys((ops.EQ, ops.LT, ops.LE), _compare),
    **dict.fromkeys((ops.MAXIMUM, ops.MINIMUM, ops.SQRT, ops.FLOOR), _intrinsic),
    **dict.fromkeys(_LIBM, _library),
    **dict.fromkeys((ops.SHL, ops.SHR), _shift),
    **dict.fromkeys((ops.FLOORDIV, ops.MOD), _divide),
    ops.NEG: _negate,
    ops.ABS: _absolute,
    ops.WHERE: _where,
    ops.CAST: _cast,
    ops.BITCAST: _bitcast,
}
