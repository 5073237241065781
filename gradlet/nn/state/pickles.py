"""A reader of pickles that can only build plain data and what its caller knows how to make.

A pickle is a program for a machine with a stack. Python's own machine calls whatever function a
pickle names; this one knows the instructions that plain data needs, and a name is good for nothing
but to be looked up in the table of its caller. The standard library takes the program apart.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# What the library, the makers and the machine raise for a pickle that makes no sense.
_DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RecursionError)
_COPIED = (str, bytes, tuple, list, dict, set, frozenset)

Makers = Mapping[str, Callable[..., Any]]


class RefusedPickleError(ValueError):
    """A pickle is damaged, or asks for more than data."""


@dataclass(frozen=True)
class _Callable:
    """A class or function that a pickle names; to call it is to look its maker up."""

    name: str


def read_pickle(
    file: Any,
    makers: Makers,
    values: Mapping[str, Any] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """What the pickle at the place of `file` describes; `file` then stands behind it.

    Args:
        file: with `read`, `readline` and `tell`.
        makers: for the full name of each callable that may be "called", what is called instead.
        values: for further names that may occur, what they stand for.
        persistent: gives the object that a persistent id stands for.

    Raises:
        RefusedPickleError: it names something else, or is damaged.
    """
    machine = _Machine(makers, values or {}, persistent)
    start = file.tell()
    try:
        for opcode, argument, at in pickletools.genops(file):
            machine.read = (at or 0) - start
            if opcode.name == "STOP":
                return machine.pop()
            machine.do(opcode.name, argument)
    except RefusedPickleError:
        raise
    except _DAMAGE as error:
        raise RefusedPickleError(f"the pickle in it is damaged ({error})") from error
    raise RefusedPickleError("the pickle in it has no end")


class _Machine:
    """A stack, the heights at which marks were set, and what was put aside for later.

    Attributes:
        read: bytes of the pickle so far.
        copied: elements that makers were given so far. A pickle that hands them the same long
            list again and again could fill any memory; in data every element was read once.
    """

    def __init__(
        self, makers: Makers, values: Mapping[str, Any], persistent: Callable[[Any], Any] | None
    ) -> None:
        self.makers, self.values, self.persistent = makers, values, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.read = self.copied = 0

    def do(self, instruction: str, argument: Any) -> None:
        if instruction in _CONSTANTS:
            self.stack.append(_CONSTANTS[instruction])
        elif instruction in _LITERALS:
            self.stack.append(argument)
        elif instruction in _INSTRUCTIONS:
            _INSTRUCTIONS[instruction](self, argument)
        else:
            raise RefusedPickleError(f"the pickle in it uses {instruction}, which no data needs")

    def pop(self) -> Any:
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The object on top of the stack, which must be of a kind."""
        found = self.stack[-1]
        if not isinstance(found, kind):
            raise TypeError(f"a {kind.__name__} was expected, not a {type(found).__name__}")
        return found

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def store(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def name(self, full: str) -> None:
        if full in self.makers:
            self.stack.append(_Callable(full))
        elif full in self.values:
            self.stack.append(self.values[full])
        else:
            raise RefusedPickleError(
                f"the pickle in it names {full}, which is none of what plain data and tensors "
                "are made of, and is not called"
            )

    def call(self) -> None:
        arguments = self.pop()
        called = self.pop()
        if not isinstance(called, _Callable):
            raise RefusedPickleError("the pickle in it calls something that is no maker of data")
        if not isinstance(arguments, tuple):
            raise TypeError("arguments are no tuple")
        self.copied += sum(len(a) for a in arguments if isinstance(a, _COPIED))
        if self.copied > self.read:
            raise RefusedPickleError("the pickle in it would grow without bounds")
        self.stack.append(self.makers[called.name](*arguments))

    def resolve(self) -> None:
        if self.persistent is None:
            raise RefusedPickleError("the pickle in it refers to objects outside of it")
        self.stack.append(self.persistent(self.pop()))

    def update(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        target.update(_pairs(pairs))

    def set_attributes(self) -> None:
        """PyTorch keeps the versions of modules in an attribute of a state dict."""
        attributes = self.pop()
        target = self.top(OrderedDict)
        if not isinstance(attributes, dict) or set(attributes) - {"_metadata"}:
            raise RefusedPickleError("the pickle in it sets attributes, which data does not have")
        vars(target).update(attributes)


# What most pickles of data ask for


def ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    """Stands for `collections.OrderedDict`."""
    items = list(pairs.items()) if isinstance(pairs, dict) else list(pairs)
    return OrderedDict((_hashable(key), value) for key, value in items)


def collection(kind: type) -> Callable[..., Any]:
    """Stands for a class such as `set`."""
    return lambda items=(): kind(_hashable(item) for item in items)


def encoded(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, of which old protocols make bytes."""
    if encoding != "latin1":
        raise ValueError("it encodes text in another way than Python does")
    return text.encode("latin1")


PLAIN: Makers = {
    "collections.OrderedDict": ordered_dict,
    "collections.Counter": lambda counts=(): dict(ordered_dict(counts)),
    "__builtin__.set": collection(set),
    "builtins.set": collection(set),
    "__builtin__.frozenset": collection(frozenset),
    "builtins.frozenset": collection(frozenset),
    "_codecs.encode": encoded,
    "__builtin__.bytes": lambda: b"",
}


# Its instructions


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys, values = [_hashable(key) for key in items[::2]], items[1::2]
    return dict(zip(keys, values, strict=True))


def _hashable(key: Any) -> Any:
    """`key`, unless it is nested so deeply that to hash it would overrun the C stack."""
    parts = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, str | bytes | int | float | None) for part in parts):
        raise TypeError(f"a {type(key).__name__} was not expected as a key")
    return key


def _pop_items(machine: _Machine, count: int) -> tuple[Any, ...]:
    items = [machine.pop() for _ in range(count)]
    return tuple(reversed(items))


def _stack_name(machine: _Machine) -> None:
    module, name = _pop_items(machine, 2)
    machine.name(f"{module}.{name}")


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda m, arg: None,
    "FRAME": lambda m, arg: None,
    "MARK": lambda m, arg: m.marks.append(len(m.stack)),
    "POP": lambda m, arg: m.pop(),
    "POP_MARK": lambda m, arg: m.pop_to_mark(),
    "DUP": lambda m, arg: m.stack.append(m.stack[-1]),
    "PUT": lambda m, arg: m.store(arg),
    "BINPUT": lambda m, arg: m.store(arg),
    "LONG_BINPUT": lambda m, arg: m.store(arg),
    "MEMOIZE": lambda m, arg: m.store(len(m.memo)),
    "GET": lambda m, arg: m.stack.append(m.memo[arg]),
    "BINGET": lambda m, arg: m.stack.append(m.memo[arg]),
    "LONG_BINGET": lambda m, arg: m.stack.append(m.memo[arg]),
    "EMPTY_LIST": lambda m, arg: m.stack.append([]),
    "EMPTY_DICT": lambda m, arg: m.stack.append({}),
    "EMPTY_SET": lambda m, arg: m.stack.append(set()),
    "LIST": lambda m, arg: m.stack.append(m.pop_to_mark()),
    "TUPLE": lambda m, arg: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, arg: m.stack.append(_pop_items(m, 1)),
    "TUPLE2": lambda m, arg: m.stack.append(_pop_items(m, 2)),
    "TUPLE3": lambda m, arg: m.stack.append(_pop_items(m, 3)),
    "FROZENSET": lambda m, arg: m.stack.append(frozenset(map(_hashable, m.pop_to_mark()))),
    "DICT": lambda m, arg: m.stack.append(_pairs(m.pop_to_mark())),
    "SETITEM": lambda m, arg: m.update(list(_pop_items(m, 2))),
    "SETITEMS": lambda m, arg: m.update(m.pop_to_mark()),
    "APPEND": lambda m, arg: _append(m, [m.pop()]),
    "APPENDS": lambda m, arg: _append(m, m.pop_to_mark()),
    "ADDITEMS": lambda m, arg: _add(m, m.pop_to_mark()),
    "GLOBAL": lambda m, arg: m.name(arg.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda m, arg: _stack_name(m),
    "REDUCE": lambda m, arg: m.call(),
    "BUILD": lambda m, arg: m.set_attributes(),
    "BINPERSID": lambda m, arg: m.resolve(),
}


def _append(machine: _Machine, items: list[Any]) -> None:
    machine.top(list).extend(items)


def _add(machine: _Machine, items: list[Any]) -> None:
    machine.top(set).update(_hashable(item) for item in items)
