"""The graph's one kind of node, small, immutable and interned.

Two nodes with equal parts are the same object, so `is` compares whole graphs, a node is its own
dictionary key, and common subexpressions are shared from the moment they are written.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gradlet.base.dtypes import DType
from gradlet.base.interrupts import keep_interrupts
from gradlet.ir.ops import CONST, Op


class Node:
    """One operation applied to its sources.

    Attributes:
        op: what it does; see `ops.py`.
        src: the nodes it reads.
        arg: whatever else the op needs, hashable.
        dtype: element type of the result.
        shape: extent of each axis of the result; `()` for scalars, `(lanes,)` for a
            kernel's vectors.
        realized: a BUFFER that already holds this node's value, or None. It is a memo and no
            part of the node's identity; only the engine writes it.
        facts: what is known of it as an index expression, or None; see `bounds.py`.
    """

    __slots__ = ("op", "src", "arg", "dtype", "shape", "realized", "facts", "__weakref__")
    op: Op
    src: tuple[Node, ...]
    arg: Any
    dtype: DType
    shape: tuple[int, ...]
    realized: Node | None
    facts: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements the result has."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def value(self) -> Any:
        """The Python number that a CONST holds."""
        assert self.op is CONST, f"{self.op} has no constant value"
        return float.fromhex(self.arg) if self.dtype.is_float else self.arg

    @property
    def is_const(self) -> bool:
        return self.op is CONST

    def __repr__(self) -> str:
        arg = "" if self.arg is None else f" {self.arg}"
        return f"<{self.op}{arg} {self.dtype.name}{list(self.shape)}>"


class KeyedReference(weakref.ref):
    """A weak reference that remembers its key in a table; `weakref` has one that is slower."""

    __slots__ = ("key",)
    key: Any


_interned: dict[tuple, KeyedReference] = {}


def _forget(reference: Any) -> None:
    key = reference.key
    # The key may already lead to a newer node that was made while this one was dying.
    if _interned.get(key) is reference:
        del _interned[key]


def _forget_dead() -> None:
    """Does what `_forget` has not been able to do."""
    for key, reference in list(_interned.items()):
        if reference() is None and _interned.get(key) is reference:
            del _interned[key]


keep_interrupts(_forget_dead)


def node(op: Op, src: tuple[Node, ...], arg: Any, dtype: DType, shape: tuple[int, ...]) -> Node:
    """The one node with these parts. Shape and dtype rules are `build.py`'s."""
    key = (op, src, arg, dtype, shape)
    known = _interned.get(key)
    if known is not None:
        found = known()
        if found is not None:
            return found
    made = Node.__new__(Node)
    made.op = op
    made.src = src
    made.arg = arg
    made.dtype = dtype
    made.shape = shape
    made.realized = None
    made.facts = None
    entry = KeyedReference(made, _forget)
    entry.key = key
    _interned[key] = entry
    return made


def interned_count() -> int:
    """How many nodes are alive, for tests that look for leaks."""
    return len(_interned)


def topological(
    roots: Iterable[Node], sources: Callable[[Node], Iterable[Node]] | None = None
) -> list[Node]:
    """All nodes under `roots`, each after its sources.

    Args:
        sources: what to follow from a node; its `src` if not given.
    """
    order: list[Node] = []
    done: set[Node] = set()
    for root in roots:
        if root in done:
            continue
        stack: list[tuple[Node, Iterator[Node]]] = []
        done.add(root)
        stack.append((root, iter(root.src if sources is None else sources(root))))
        while stack:
            current, rest = stack[-1]
            for source in rest:
                if source not in done:
                    done.add(source)
                    follow = source.src if sources is None else sources(source)
                    if follow:
                        stack.append((source, iter(follow)))
                        break
                    order.append(source)
            else:
                order.append(current)
                stack.pop()
    return order


def rewrite(roots: list[Node], rule: Callable[[Node, tuple[Node, ...]], Node]) -> list[Node]:
    """Rebuilds graphs from the sources up.

    Args:
        rule: called once for each node with its already rewritten sources; gives what
            stands in its place. `with_sources` keeps a node as it is.
    """
    rewritten = Rewriting(rule)
    return [rewritten(root) for root in roots]


class Rewriting:
    """`rewrite` for many graphs, whose common parts are rebuilt once."""

    def __init__(self, rule: Callable[[Node, tuple[Node, ...]], Node]) -> None:
        self.rule = rule
        self.made: dict[Node, Node] = {}

    def __call__(self, root: Node) -> Node:
        made, rule = self.made, self.rule
        if root not in made:
            for current in topological([root], self._waiting if made else None):
                if current not in made:
                    made[current] = rule(current, tuple([made[s] for s in current.src]))
        return made[root]

    def _waiting(self, x: Node) -> tuple[Node, ...]:
        """What is to be rebuilt before `x`."""
        return () if x in self.made else x.src


def with_sources(current: Node, src: tuple[Node, ...]) -> Node:
    """The same operation on other sources of the same shapes."""
    if src == current.src:
        return current
    return node(current.op, src, current.arg, current.dtype, current.shape)


def substitute(root: Node, replacements: dict[Node, Node]) -> Node:
    """`root` with each key of `replacements` standing as its value."""

    def rule(current: Node, src: tuple[Node, ...]) -> Node:
        found = replacements.get(current)
        return found if found is not None else with_sources(current, src)

    return rewrite([root], rule)[0]
