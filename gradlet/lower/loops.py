"""Loop trees: what a kernel is between index expressions and straight code.

    for i in parallel 64:
      acc[] = 0
      for k in 128:
        acc[] += A[i, k]
      out[i] = acc[]

A tree is a tuple of statements; a statement is a `Loop` or an `Assign`. Trees are immutable;
`transforms.py` turns one into another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from gradlet.base import dtypes
from gradlet.ir import index, ops
from gradlet.ir.kernel import load
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op


class Assign(NamedTuple):
    """`target[at] = value`, or `target[at] op= value` with an `accumulate` op.

    `target` is a PARAM, LOCAL, PRIVATE or SCRATCH node; `value` a scalar expression.
    """

    target: Node
    at: tuple[Node, ...]
    value: Node
    accumulate: Op | None = None


class Loop(NamedTuple):
    """`body` for each value of `counter`, a RANGE node.

    `kind` is `serial`, `parallel` (iterations spread over threads; outermost only), `unroll`
    (written out), `vector` (all iterations at once, one a lane; innermost only) or `invocation`
    (all at once, by the invocations of a workgroup; the next statement waits for all of them).
    Each iteration of a serial or parallel loop with `ahead` asks the cache for the vectors that
    the one so many iterations later reads, which changes nothing but the time it takes.
    """

    counter: Node
    body: Body
    kind: str = "serial"
    ahead: int = 0

    @property
    def size(self) -> int:
        return self.counter.arg[1]


Statement = Loop | Assign
Body = tuple[Statement, ...]


class ScheduleError(ValueError):
    """A loop transform was asked for that would change what the kernel computes."""


def loop(counter: Node, body: Body, kind: str = "serial", ahead: int = 0) -> Body:
    """A loop over `counter`, or just the body where one iteration is all there is."""
    if counter.op is not ops.RANGE:
        return body
    return (Loop(counter, body, kind, ahead),)


def size(counter: Node) -> int:
    """How many iterations a loop has; 1 where its counter is a constant."""
    return counter.arg[1] if counter.op is ops.RANGE else 1


def assigns(body: Body) -> Iterator[Assign]:
    """All assignments in a tree, in order."""
    for statement in body:
        if isinstance(statement, Loop):
            yield from assigns(statement.body)
        else:
            yield statement


def loops(body: Body) -> Iterator[Loop]:
    """All loops in a tree, outer before inner."""
    for statement in body:
        if isinstance(statement, Loop):
            yield statement
            yield from loops(statement.body)


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


def map_assigns(body: Body, change: Callable[[Assign], Body]) -> Body:
    """The tree with each assignment replaced by what `change` gives for it."""
    made: list[Statement] = []
    for statement in body:
        if isinstance(statement, Loop):
            counter, body, kind, ahead = statement
            made.append(Loop(counter, map_assigns(body, change), kind, ahead))
        else:
            made.extend(change(statement))
    return tuple(made)


def change_loop(body: Body, counter: Node, change: Callable[[Loop], Body]) -> Body:
    """The tree with the loop over `counter` replaced; it is an error if there is none."""
    found = 0

    def visit(statements: Body) -> Body:
        nonlocal found
        made: list[Statement] = []
        for statement in statements:
            if isinstance(statement, Assign):
                made.append(statement)
            elif statement.counter is counter:
                found += 1
                made.extend(change(statement))
            else:
                loop_counter, inside, kind, ahead = statement
                made.append(Loop(loop_counter, visit(inside), kind, ahead))
        return tuple(made)

    changed = visit(body)
    if not found:
        raise ScheduleError(f"the kernel has no loop over {counter.arg[0]}")
    return changed


def rename(body: Body, replacements: dict[Node, Node]) -> Body:
    """The tree with counters in its expressions replaced; loop headers stay as they are."""

    replaced = index.Replacing(replacements)

    def change(a: Assign) -> Body:
        at = tuple([replaced(i) for i in a.at])
        return (Assign(a.target, at, replaced(a.value), a.accumulate),)

    return map_assigns(body, change)


def read(array: Node, *at: Node) -> Node:
    """The element of a LOCAL, PRIVATE, SCRATCH or PARAM array at `at`."""
    return load(array, at)


def show(body: Body, indent: str = "") -> str:
    """The tree as text, one statement a line."""
    lines = []
    for s in body:
        if isinstance(s, Loop):
            kind = "" if s.kind == "serial" else f"{s.kind} "
            ahead = f", fetching {s.ahead} ahead" if s.ahead else ""
            lines.append(f"{indent}for {s.counter.arg[0]} in {kind}{s.size}{ahead}:")
            lines.append(show(s.body, indent + "  "))
        else:
            names: dict[Node, str] = {}
            for x in _shared(s.value):
                text = expression(x, names)
                names[x] = f"t{len(names)}"
                lines.append(f"{indent}{names[x]} = {text}")
            sign = f"{SYMBOLS.get(s.accumulate, s.accumulate)}=" if s.accumulate else "="
            place = f"{array_name(s.target)}[{', '.join(expression(i) for i in s.at)}]"
            lines.append(f"{indent}{place} {sign} {expression(s.value, names)}")
    return "\n".join(lines)


_LONG = 300  # operations in one line


def _shared(value: Node) -> list[Node]:
    """What a long expression uses more than once, so that its text does not double and double."""
    size: dict[Node, int] = {}
    uses: Counter[Node] = Counter()
    for x in topological([value]):
        size[x] = 1 + sum(size[s] for s in x.src)
        uses.update(x.src)
    if size[value] <= _LONG:
        return []
    return [x for x in size if uses[x] > 1 and x.src and x.dtype is not dtypes.index]


SYMBOLS = {
    ops.ADD: "+", ops.SUB: "-", ops.MUL: "*", ops.DIV: "/", ops.FLOORDIV: "//", ops.MOD: "%",
    ops.EQ: "==", ops.LT: "<", ops.LE: "<=", ops.AND: "&", ops.OR: "|", ops.XOR: "^",
    ops.SHL: "<<", ops.SHR: ">>", ops.POW: "**",
}  # fmt: skip


def array_name(array: Node) -> str:
    """How an array is called in listings: params by position, others by name."""
    return f"p{array.arg}" if array.op is ops.PARAM else str(array.arg)


def expression(x: Node, names: Mapping[Node, str] = MappingProxyType({})) -> str:
    """A scalar expression as text, in which some parts may go by a name."""
    if x in names:
        return names[x]
    if x.op is ops.CONST:
        return repr(x.value)
    if x.op is ops.RANGE:
        return str(x.arg[0])
    if x.op is ops.LOAD:
        array, valid, *at = x.src
        text = f"{array_name(array)}[{', '.join(expression(i, names) for i in at)}]"
        return text if valid is index.TRUE else f"({text} if {expression(valid, names)} else 0)"
    parts = [expression(s, names) for s in x.src]
    if x.op is ops.FOLD_RANGES:
        counters = "".join(f" for {c.arg[0]} in {c.arg[1]}" for c in x.src[1:])
        return f"{x.arg.name.lower()}({parts[0]}{counters})"
    if x.op in SYMBOLS:
        return f"({parts[0]} {SYMBOLS[x.op]} {parts[1]})"
    if x.op is ops.WHERE:
        return f"({parts[1]} if {parts[0]} else {parts[2]})"
    if x.op in (ops.CAST, ops.BITCAST):
        return f"{x.dtype.name}({parts[0]})"
    name = x.op.name.lower() + (f"_{x.arg.name.lower()}" if isinstance(x.arg, Op) else "")
    return f"{name}({', '.join(parts)})"
