"""Linear programs as WGSL text, the shading language of WebGPU: one compute shader a phase.

Integers below 32 bits are kept in 32, in registers and in memory, and wrapped after arithmetic;
bools are words in memory; half floats are their 16 bits in a word. Indices have 32 bits. 64-bit
integers are the adapter's own, or pairs where it has none. A check that fails leaves
(1, index, size) in the status words and goes on with index 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.lower import linear
from gradlet.lower.linear import Instruction, LinearProgram, Phase
from gradlet.render import wgsl_pairs
from gradlet.render.wgsl_functions import called
from gradlet.render.wgsl_rules import exact, literal, text_of, type_of

_ROUNDING = (ops.ADD, ops.SUB, ops.MUL, ops.DIV)
_FEW = 64  # invocations of a workgroup, where they share nothing
_MOST_GROUPS = 65535  # of workgroups along one dimension


@dataclass(frozen=True)
class Shader:
    """One phase, ready to be loaded.

    Attributes:
        text: its entry point is `main`; binding n is the n-th piece of `arrays`, and behind them
            come the status words, if it `checks` indices, and two uniform words that are 0.
        arrays: the params and scratch arrays that it touches.
        written: for each of them whether it is written.
        groups: workgroups along each dimension.
    """

    text: str
    arrays: tuple[Node, ...]
    written: tuple[bool, ...]
    checks: bool
    groups: tuple[int, int]


def render(program: LinearProgram, target: Target) -> list[Shader]:
    """The phases of a kernel.

    Raises:
        TypeError: the adapter lacks a dtype.
        ValueError: a phase touches more arrays than a shader may.
    """
    return [_Shader(phase, target).shader() for phase in program.phases]


def lacks(target: Target) -> tuple[DType, ...]:
    """The dtypes in which an adapter cannot compute."""
    wide = {"shader-f64", "shader-int64"} <= set(target.features.split(","))
    return () if wide else (dtypes.float64,)


def stored_bytes(dtype: DType) -> int:
    """Bytes that an element takes in memory."""
    return max(4, dtype.itemsize)


def pieces(array: Node, target: Target) -> int:
    """How many bindings an array takes."""
    return max(1, -(-array.size * stored_bytes(array.dtype) // target.binding_bytes))


class _Shader:
    """Writes one phase."""

    def __init__(self, phase: Phase, target: Target) -> None:
        self.phase = phase
        self.target = target
        self.lines: list[str] = []
        self.indent = 1
        touched: dict[Node, bool] = {}
        for i in phase.instructions:
            if i.op in (linear.READ, linear.WRITE):
                touched[i.arg] = touched.get(i.arg, False) or i.op is linear.WRITE
        self.names = {array: f"a{n}" for n, array in enumerate(touched)}
        outside = (ops.PARAM, ops.SCRATCH)
        self.bound = {a: written for a, written in touched.items() if a.op in outside}
        self.inside = [a for a in touched if a.op not in outside]
        self.checks = any(i.op is linear.CHECK for i in phase.instructions)
        self.pairs = "shader-int64" not in target.features
        sums = [i for i in phase.instructions if i.op is ops.ADD and i.arg == linear.ANY_ORDER]
        terms = {i.args[1] for i in sums}
        products = [i for i in phase.instructions if i.op is ops.MUL and i.result in terms]
        self.loose = {i.result for i in sums + products}  # not `exact`

    def shader(self) -> Shader:
        for i in self.phase.instructions:
            self.instruction(i)
        shared, extent = self.phase.invocation is not None, self.phase.extent
        size = self.phase.invocations if shared else min(_FEW, self.target.workgroup)
        groups = extent if shared else -(-extent // size)
        wide = min(groups, _MOST_GROUPS)
        body = "\n".join([*self.head(size, wide), *self.lines, "}"])
        text = "\n".join([*self.bindings(), *called(body, self.pairs), body, ""])
        shape = (wide, -(-groups // wide))
        return Shader(text, tuple(self.bound), tuple(self.bound.values()), self.checks, shape)

    def bindings(self) -> list[str]:
        """The arrays, and functions that find an element in one of several pieces."""
        made: list[str] = []
        functions: list[str] = []
        for array, written in self.bound.items():
            name, kind = self.names[array], self.stored(array.dtype)
            count, access = pieces(array, self.target), "read_write" if written else "read"
            for piece in range(count):
                piece_name = name if count == 1 else f"{name}_{piece}"
                made.append(
                    f"@group(0) @binding({len(made)}) "
                    f"var<storage, {access}> {piece_name}: array<{kind}>;"
                )
            if count > 1:
                functions += self.functions(name, kind, count, array.dtype, written)
        if self.checks:
            made.append(
                f"@group(0) @binding({len(made)}) "
                "var<storage, read_write> status: array<atomic<u32>>;"
            )
        if len(made) > self.target.max_buffers:
            raise ValueError(
                f"a kernel touches {len(made)} arrays or pieces of "
                f"{self.target.binding_bytes} bytes, and a shader on {self.target.cpu} may touch "
                f"{self.target.max_buffers}; realize some of its operands first"
            )
        made.append(f"@group(0) @binding({len(made)}) var<uniform> nothing: vec2<u32>;")
        for array in self.inside:
            space = "workgroup" if array.op is ops.PRIVATE else "private"
            kind = f"array<{self.stored(array.dtype)}, {array.size}>"
            made.append(f"var<{space}> {self.names[array]}: {kind};")
        return made + functions

    def functions(self, name: str, kind: str, count: int, dtype: DType, written: bool) -> list[str]:
        length = self.target.binding_bytes // stored_bytes(dtype)
        cases = range(count)
        reads = " ".join(f"case {n}: {{ return {name}_{n}[j]; }}" for n in cases[1:])
        made = [
            f"fn {name}_read(i: i32) -> {kind} {{ let j = i % {length}; switch (i / {length}) "
            f"{{ {reads} default: {{ return {name}_0[j]; }} }} }}"
        ]
        if written:
            writes = " ".join(f"case {n}: {{ {name}_{n}[j] = v; }}" for n in cases[1:])
            made.append(
                f"fn {name}_write(i: i32, v: {kind}) {{ let j = i % {length}; "
                f"switch (i / {length}) {{ {writes} default: {{ {name}_0[j] = v; }} }} }}"
            )
        return made

    def head(self, size: int, wide: int) -> list[str]:
        """The entry point, which leaves at once where there is nothing to do."""
        counter, shared = self.phase.counter, self.phase.invocation
        at = f"i32(group.x + group.y * {wide}u)"
        lines = [
            f"@compute @workgroup_size({size})",
            "fn main(@builtin(workgroup_id) group: vec3<u32>, "
            "@builtin(local_invocation_index) local: u32) {",
        ]
        if shared is None:
            at = f"{at} * {size} + i32(local)"
        else:
            lines.append(f"  let v{shared.number} = i32(local);")
        lines.append(f"  let v{counter.number} = {at};")
        lines.append(f"  if (v{counter.number} >= {self.phase.extent}) {{ return; }}")
        return lines

    def put(self, text: str) -> None:
        self.lines.append("  " * self.indent + text)

    def instruction(self, i: Instruction) -> None:
        if i.op in (linear.LOOP, linear.END):
            self.loop(i)
        elif i.op is linear.BARRIER:
            self.put("workgroupBarrier();")
        elif i.op is linear.WRITE:
            self.write(i)
        else:
            assert i.result is not None and i.result.lanes == 0, f"{i.op} of vectors"
            self.put(f"let v{i.result.number}: {self.kind(i.result.dtype)} = {self.value(i)};")

    def kind(self, dtype: DType) -> str:
        """What a value is in registers."""
        if dtype in lacks(self.target):
            raise TypeError(
                f"{self.target.cpu} has no float64, for which WebGPU wants the features shader-f64 "
                "and shader-int64. Use float32 here, or device='cpu'."
            )
        return wgsl_pairs.PAIR if self.pairs and wgsl_pairs.is_pair(dtype) else type_of(dtype)

    def stored(self, dtype: DType) -> str:
        """What an element is in memory."""
        return "u32" if dtype is dtypes.bool_ else self.kind(dtype)

    def constant(self, value: Any, dtype: DType) -> str:
        paired = self.pairs and wgsl_pairs.is_pair(dtype)
        return wgsl_pairs.literal(int(value)) if paired else literal(value, dtype)

    def loop(self, i: Instruction) -> None:
        assert i.result is not None
        if i.arg is None:
            return
        if i.op is linear.END:
            self.indent -= 1
            self.put("}")
        else:
            name = f"v{i.result.number}"
            self.put(f"for (var {name}: i32 = 0; {name} < {i.arg}; {name}++) {{")
            self.indent += 1

    def element(self, array: Node, address: str) -> str:
        name = self.names[array]
        split = array in self.bound and pieces(array, self.target) > 1
        return f"{name}_read({address})" if split else f"{name}[{address}]"

    def read(self, i: Instruction) -> str:
        address, *mask = (f"v{a.number}" for a in i.args)
        dtype = i.arg.dtype
        if mask:  # element 0 always exists; it is read and dropped where the mask is false
            found = self.element(i.arg, f"select(0, {address}, {mask[0]})")
            return f"select({self.constant(0, dtype)}, {_loaded(found, dtype)}, {mask[0]})"
        return _loaded(self.element(i.arg, address), dtype)

    def write(self, i: Instruction) -> None:
        address, value = (f"v{a.number}" for a in i.args)
        value = f"u32({value})" if i.arg.dtype is dtypes.bool_ else value
        if i.arg in self.bound and pieces(i.arg, self.target) > 1:
            self.put(f"{self.names[i.arg]}_write({address}, {value});")
        else:
            self.put(f"{self.names[i.arg]}[{address}] = {value};")

    def value(self, i: Instruction) -> str:
        assert i.result is not None
        if i.op is ops.CONST:
            return self.constant(i.arg, i.result.dtype)
        if i.op is linear.READ:
            return self.read(i)
        names = [f"v{a.number}" for a in i.args]
        if i.op is linear.CHECK:
            return f"check({names[0]}, {i.arg})"
        dtype = i.args[-1].dtype if i.op is not ops.WHERE else i.result.dtype
        if self.pairs and (wgsl_pairs.is_pair(dtype) or wgsl_pairs.is_pair(i.result.dtype)):
            return wgsl_pairs.text_of(i, names, dtype)
        rounds = i.op in _ROUNDING and i.result.dtype in (dtypes.float32, dtypes.float64)
        if rounds and names[0] == names[1]:
            names[0] = exact(names[0], dtype)
        text = text_of(i, names, dtype)
        return exact(text, dtype) if rounds and i.result not in self.loose else text


def _loaded(text: str, dtype: DType) -> str:
    return f"({text} != 0u)" if dtype is dtypes.bool_ else text
