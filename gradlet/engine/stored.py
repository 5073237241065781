"""Programs on disk: what schedule, lower and render made of a graph, found without them.

A stored program is a table of numbers and the names of object files in the same folder. Its key
covers all that has shaped it: the graph, the target, and the text of the stages themselves.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from gradlet.base.dtypes import DType
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op
from gradlet.runtime import observe
from gradlet.runtime.cpu.cache import ObjectCache, cache_key
from gradlet.runtime.cpu.compiler import LoadedObject
from gradlet.runtime.cpu.device import CpuDevice, CpuProgram, Launch
from gradlet.runtime.errors import Indexed

LATEST = "latest-search"  # the key of when tiles were last remembered
_STAGES = ("base", "ir", "grad", "schedule", "lower", "render", "runtime", "engine")
_PLAIN = (bool, int, float, str, type(None))


def name(
    device: CpuDevice,
    sinks: Sequence[Node],
    params: Sequence[Node],
    updates: Sequence[tuple[int, int]] = (),
) -> str | None:
    """The key of a graph's program, or None for a graph that no text describes in full."""
    order = topological([*params, *sinks])
    place = {current: i for i, current in enumerate(order)}
    lines = [f"program for {device.target}", _own_text(), _tiles_text(device.cache)]
    try:
        for current in order:
            src = [place[s] for s in current.src]
            facts = (current.op.name, _text(current.arg), current.dtype.name, current.shape, src)
            lines.append(repr(facts))
    except TypeError:
        return None
    lines.append(f"{[place[p] for p in params]} -> {[place[s] for s in sinks]}, {[*updates]}")
    return cache_key("\n".join(lines), device.target)


def recall(
    device: CpuDevice,
    key: str,
    indexed: Indexed,
    definitions: Callable[[], Sequence[Kernel]],
) -> CpuProgram | None:
    """The program stored under `key`, if it and all of its code are there.

    Args:
        indexed, definitions: what the program says of itself when asked.
    """
    content = device.cache.get(key)
    if content is None:
        return None
    with observe.span("load"):
        facts = json.loads(content)
        code = device.load_stored([(object_key, phases) for object_key, phases in facts["code"]])
        if code is None:
            return None
        launches = [
            Launch(code[which].address[f"phase{phase}"], tuple(arrays), extent, kernel)
            for which, phase, arrays, extent, kernel in facts["launches"]
        ]
        observe.count("programs from disk")
        return CpuProgram(
            device, launches, facts["params"], facts["outputs"], facts["arena"],
            facts["arena_bytes"], facts["sinks"], code, indexed, definitions,
            updates=facts["updates"], changes_from=facts["changes_from"],
        )  # fmt: skip


def keep(
    device: CpuDevice,
    key: str,
    program: CpuProgram,
    kernels: Sequence[tuple[str, LoadedObject]],
) -> None:
    """Stores a program, unless it calls libraries.

    Args:
        kernels: for each one its source and its code.
    """
    if program.calls:
        return
    objects = {id(code): (cache_key(source, device.target), code) for source, code in kernels}
    place = {}
    for which, (_, code) in enumerate(objects.values()):
        for phase in range(len(code.address)):
            place[code.address[f"phase{phase}"]] = (which, phase)
    facts = {
        "code": [(object_key, len(code.address)) for object_key, code in objects.values()],
        "launches": [(*place[x.address], x.arrays, x.extent, x.kernel) for x in program.launches],
        "params": program.params,
        "outputs": program.outputs,
        "arena": program.arena_offsets.tolist(),
        "arena_bytes": program.arena_bytes,
        "sinks": program.sinks,
        "updates": program.updates,
        "changes_from": program.changes_from,
    }
    device.cache.put(key, json.dumps(facts).encode())


def _text(argument: Any) -> str:
    """What tells a node's argument from all others; TypeError if nothing does."""
    if isinstance(argument, tuple):
        return f"({', '.join(_text(part) for part in argument)})"
    if isinstance(argument, (Op, DType)):
        return argument.name
    if not isinstance(argument, _PLAIN):
        raise TypeError
    return repr(argument)


def _tiles_text(cache: ObjectCache) -> str:
    """Another text after each search for tiles, which shape programs as well."""
    return (cache.get(LATEST) or b"").decode()


@functools.cache
def _own_text() -> str:
    """A checksum of the text of all stages, since any of them may shape a program."""
    digest = hashlib.sha256()
    package = os.path.dirname(os.path.dirname(__file__))
    for stage in _STAGES:
        for folder, inner, files in os.walk(os.path.join(package, stage)):
            inner.sort()
            for name in sorted(files):
                if name.endswith(".py"):
                    with open(os.path.join(folder, name), "rb") as file:
                        digest.update(file.read())
    return digest.hexdigest()
