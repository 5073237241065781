"""Graphs as text: one numbered line a node, the same text every time.

%0 = buffer : float32[2, 3]
%1 = mul %0 2.0 : float32[2, 3]
%2 = reduce %1 add over axes (1,) : float32[2]
return %2
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op


def show_graph(sinks: Iterable[Node]) -> str:
    """The tensor program that computes `sinks`, each node after its sources.

    Constants stand by value where they are read; a last line names the sinks.
    """
    results = list(sinks)
    names: dict[Node, str] = {}
    lines: list[str] = []
    for current in topological(results):
        if current.is_const and current not in results:
            names[current] = _words(current)
            continue
        names[current] = f"%{len(lines)}"
        lines.append(_line(current, names))
    lines.append("return " + ", ".join(names[sink] for sink in results))
    return "\n".join(lines)


def show_node(current: Node) -> str:
    """One node below its sources; what those read is left out as `..`."""
    sources = list(dict.fromkeys(current.src))
    names = {source: f"%{position}" for position, source in enumerate(sources)}
    lines = [_line(source, {source: names[source]}) for source in sources]
    lines.append(_line(current, {**names, current: f"%{len(sources)}"}))
    return "\n".join(lines)


def _line(current: Node, names: Mapping[Node, str]) -> str:
    parts = [current.op.name.lower()]
    parts += [names.get(source, "..") for source in current.src]
    parts += [_words(current)]
    text = " ".join(part for part in parts if part)
    return f"{names[current]} = {text} : {current.dtype.name}{list(current.shape)}"


def _words(current: Node) -> str:
    """The node's arg for a reader; also where the arg is not what it should be."""
    try:
        return _WORDS.get(current.op, _plain)(current)
    except (TypeError, ValueError, IndexError, AttributeError):
        return str(current.arg)


def _plain(current: Node) -> str:
    return "" if current.arg is None else str(current.arg)


def _buffer(current: Node) -> str:
    """Its name where the handle is one; what else a handle shows may differ between runs."""
    return current.arg if isinstance(current.arg, str) else ""


def _spans(current: Node) -> str:
    spans = []
    for start, stop, step in current.arg:
        spans.append(f"{start}:{stop}" if step == 1 else f"{start}:{stop}:{step}")
    return "[" + ", ".join(spans) + "]"


def _widths(current: Node) -> str:
    words = []
    for axis, widths in enumerate(current.arg):
        parts = zip(widths, ("before", "after", "between"), strict=True)
        counts = [f"{width} {where}" for width, where in parts if width]
        if counts:
            words.append(f"axis {axis} by " + " ".join(counts))
    return ", ".join(words)


def _labelled(*labels: str) -> Callable[[Node], str]:
    """Each part of the arg behind its label."""
    return lambda n: " ".join(f"{k} {v}" for k, v in zip(labels, n.arg, strict=True))


def _reduction(current: Node) -> str:
    op, axes = current.arg
    return f"{op.name.lower()} over axes {axes}"


def _scan(current: Node) -> str:
    op, axis = current.arg
    return f"{op.name.lower()} along axis {axis}"


def _call(current: Node) -> str:
    name, parameters = current.arg
    return f"{name}{parameters}" if parameters else name


_WORDS: dict[Op, Callable[[Node], Any]] = {
    ops.BUFFER: _buffer,
    ops.CONST: lambda n: str(n.value),
    ops.PERMUTE: lambda n: f"order {n.arg}",
    ops.SLICE: _spans,
    ops.PAD: _widths,
    ops.FLIP: lambda n: f"axes {n.arg}",
    ops.WINDOW: _labelled("axis", "size", "stride", "dilation"),
    ops.FOLD: _labelled("axis", "length", "stride", "dilation"),
    ops.REDUCE: _reduction,
    ops.SCAN: _scan,
    ops.HOST: _call,
}
