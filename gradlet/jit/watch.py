"""What a function reaches besides its arguments: its closure, its globals, `self`, what they hold.

A recorded step reads tensors from the places where they were found, so that it sees those that
are there when it runs again, and it is used only if all else is as it was.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain
from operator import attrgetter, is_
from pathlib import Path
from typing import Any

from gradlet.tensor.core import Core
from gradlet.tensor.nested import PLAIN

_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")
_EMPTY = object()  # what a cell holds before it holds anything
_END = object()
_CONTENT = attrgetter("cell_contents")  # of a cell that is not empty
_LIBRARIES = ("site-packages", "dist-packages")
_OWN = str(Path(__file__).resolve().parent.parent)
_WRITTEN_IN_PYTHON = 1 << 9  # CPython's Py_TPFLAGS_HEAPTYPE
_STANDARD = str(Path(types.__file__).parent)


class Watch:
    """A place that holds values under keys, to be looked at again and again.

    Attributes:
        name: how messages call it.
    """

    name: str

    def items(self) -> tuple[list[Any], list[Any]]:
        """(keys, values) as they are now."""
        raise NotImplementedError

    def views(self) -> tuple[Iterable[Any], ...]:
        """What to go through, now or later, to see all keys that can change, and last the values,
        in the order of `items`."""
        raise NotImplementedError

    def put(self, key: Any, value: Any) -> None:
        """Gives a key a value."""
        raise NotImplementedError

    def restore(self, keys: list[Any], values: list[Any]) -> None:
        """Makes the place hold what it held before."""
        for key, value in zip(keys, values, strict=True):
            self.put(key, value)


class Lookup:
    """Values that a function gives for lists of arguments, and is asked for each time."""

    def __init__(self, function: Callable[..., Any], *arguments: Sized) -> None:
        self.function, self.arguments = function, arguments

    def __iter__(self) -> Iterator[Any]:
        return map(self.function, *self.arguments)  # type: ignore[call-overload]


class Glance:
    """Sees whether places still hold the very objects that they held, as fast as Python can."""

    def __init__(self, places: list[Watch]) -> None:
        self._named: list[Any] = []  # whatever has names for keys
        self._names: list[str] = []
        self._views: list[Iterable[Any]] = []
        self._seen: list[Any] = []
        self._start: dict[int, int] = {}  # where the values of each place begin
        lookups: dict[Callable[..., Any], list[tuple[int, Lookup]]] = {}
        for number, place in enumerate(places):
            *keys, values = place.views()
            for view in keys:
                self._watch_keys(view)
            if isinstance(values, Lookup):
                lookups.setdefault(values.function, []).append((number, values))
                continue
            self._start[number] = len(self._seen)
            self._seen += values
            self._views.append(values)
        self._lookups: list[tuple[Any, list[Any]]] = []  # for each function its arguments
        for function, found in lookups.items():
            for number, lookup in found:
                self._start[number] = len(self._seen)
                self._seen += lookup
            lists = zip(*(lookup.arguments for _, lookup in found), strict=True)
            self._lookups.append((function, [list(chain(*parts)) for parts in lists]))
        # Where more or fewer values are than before, this meets another one.
        self._seen.append(_END)
        self._counts = list(map(len, self._named))

    def _watch_keys(self, view: Iterable[Any]) -> None:
        keys = list(view)
        if {*map(type, keys)} <= {str}:
            self._named.append(view)
            self._names += keys
        else:
            self._views.append(view)
            self._seen += keys

    def same(self) -> bool:
        """Whether all is as it was."""
        if list(map(len, self._named)) != self._counts:
            return False
        if list(chain.from_iterable(self._named)) != self._names:
            return False
        maps = [map(function, *arguments) for function, arguments in self._lookups]
        now = chain.from_iterable([*self._views, *maps, (_END,)])
        try:
            return all(map(is_, now, self._seen))
        except ValueError:  # of a cell that is empty now
            return False

    def note(self, place: int, position: int, value: Any) -> None:
        """Says that a place now holds another value at a position."""
        self._seen[self._start[place] + position] = value


class Mapping(Watch):
    """A dict, or the attributes of an object but those in `ignored`."""

    def __init__(self, name: str, held: dict, ignored: tuple[str, ...] = ()) -> None:
        self.name, self.held, self.ignored = name, held, ignored

    def items(self) -> tuple[list[Any], list[Any]]:
        if not self.ignored:
            return list(self.held), list(self.held.values())
        keys = [key for key in self.held if key not in self.ignored]
        return keys, [self.held[key] for key in keys]

    def views(self) -> tuple[Iterable[Any], ...]:
        if not self.ignored:
            return self.held, self.held.values()
        kept = self.items()[0]
        return self.held, Lookup(dict.get, [self.held] * len(kept), kept, [_EMPTY] * len(kept))

    def put(self, key: Any, value: Any) -> None:
        self.held[key] = value

    def restore(self, keys: list[Any], values: list[Any]) -> None:
        for key in [k for k in self.held if k not in keys and k not in self.ignored]:
            del self.held[key]
        super().restore(keys, values)


class Class(Watch):
    """The attributes of a class, which its objects share."""

    def __init__(self, name: str, held: type) -> None:
        self.name, self.held = name, held

    def items(self) -> tuple[list[Any], list[Any]]:
        return list(vars(self.held)), list(vars(self.held).values())

    def views(self) -> tuple[Iterable[Any], ...]:
        return vars(self.held), vars(self.held).values()

    def put(self, key: Any, value: Any) -> None:
        if vars(self.held).get(key) is not value:
            setattr(self.held, key, value)


class Sequence(Watch):
    """A list."""

    def __init__(self, name: str, held: list) -> None:
        self.name, self.held = name, held

    def items(self) -> tuple[list[Any], list[Any]]:
        return list(range(len(self.held))), list(self.held)

    def views(self) -> tuple[Iterable[Any], ...]:
        return (self.held,)

    def put(self, key: Any, value: Any) -> None:
        self.held[key] = value

    def restore(self, keys: list[Any], values: list[Any]) -> None:
        self.held[:] = values


class Globals(Watch):
    """The global variables that a function names."""

    def __init__(self, name: str, held: dict, names: list[str]) -> None:
        self.name, self.held, self.names = name, held, names

    def items(self) -> tuple[list[Any], list[Any]]:
        return self.names, [self.held.get(name, _EMPTY) for name in self.names]

    def views(self) -> tuple[Iterable[Any], ...]:
        count = len(self.names)
        return (Lookup(dict.get, [self.held] * count, self.names, [_EMPTY] * count),)

    def put(self, key: Any, value: Any) -> None:
        self.held[key] = value


class Cells(Watch):
    """The variables of outer functions that a function uses."""

    def __init__(self, name: str, names: tuple[str, ...], cells: tuple) -> None:
        self.name, self.names, self.cells = name, list(names), cells

    def items(self) -> tuple[list[Any], list[Any]]:
        return self.names, [_content(cell) for cell in self.cells]

    def views(self) -> tuple[Iterable[Any], ...]:
        is_empty = any(_content(cell) is _EMPTY for cell in self.cells)
        return (Lookup(_content if is_empty else _CONTENT, self.cells),)

    def put(self, key: Any, value: Any) -> None:
        self.cells[self.names.index(key)].cell_contents = value


class Slots(Watch):
    """The attributes of an object that has no dict for them."""

    def __init__(self, name: str, held: Any, names: list[str]) -> None:
        self.name, self.held, self.names = name, held, names

    def items(self) -> tuple[list[Any], list[Any]]:
        return self.names, [getattr(self.held, name, _EMPTY) for name in self.names]

    def views(self) -> tuple[Iterable[Any], ...]:
        count = len(self.names)
        return (Lookup(getattr, [self.held] * count, self.names, [_EMPTY] * count),)

    def put(self, key: Any, value: Any) -> None:
        setattr(self.held, key, value)


def watches(roots: list[Any]) -> list[Watch]:
    """Every place that can be reached from `roots` and may hold other values at another time."""
    found: list[Watch] = []
    seen: set[int] = set()
    waiting = list(reversed(roots))
    while waiting:
        value = waiting.pop()
        if isinstance(value, Core) and value.hooks is not None:
            waiting += value.hooks.key
        if id(value) in seen or isinstance(value, (Core, *PLAIN)):
            continue
        seen.add(id(value))
        inside: list[Any] = []
        for place in _places(value):
            if isinstance(place, Watch):
                found.append(place)
                inside += place.items()[1]
            else:
                inside.append(place)
        waiting += reversed(inside)
    return found


def _places(value: Any) -> Iterator[Any]:
    """The places in a value, and values that always belong to it."""
    if isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, list):
        yield Sequence(f"a list of {len(value)}", value)
    elif isinstance(value, dict):
        yield Mapping(f"a dict of {len(value)}", value)
    elif isinstance(value, tuple | set | frozenset):
        yield from value
    elif isinstance(value, weakref.ref):
        yield value()
    elif not isinstance(value, types.ModuleType | type | types.BuiltinFunctionType):
        yield from _of_object(value)


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    if _is_library(function):
        return
    name = function.__qualname__
    yield from (function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).values()
    if function.__closure__:
        yield Cells(f"the closure of {name}", function.__code__.co_freevars, function.__closure__)
    held = function.__globals__
    named = dict.fromkeys(_names(function.__code__))
    names = [n for n in named if n in held and _can_change(held[n])]
    if names:
        yield Globals(f"the globals of {name}", held, names)


def _of_object(value: Any) -> Iterator[Any]:
    cls = type(value)
    if _is_standard(cls):  # such as a lock or a file
        return
    name = f"a {cls.__qualname__}"
    ignored = tuple(getattr(cls, "not_state", ()))
    if isinstance(getattr(value, "__dict__", None), dict):
        yield Mapping(name, vars(value), ignored)
    slots = [s for base in cls.__mro__ for s in _slot_names(base) if s not in ignored]
    if slots and not _is_library(cls):
        yield Slots(name, value, slots)
    for base in cls.__mro__:
        if not _is_library(base):
            yield Class(f"the class {base.__qualname__}", base)
            for method in vars(base).values():  # what is in a property, or in a static method
                yield getattr(method, "fget", None) or getattr(method, "__wrapped__", None)


def _slot_names(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [n for n in names if not n.startswith("__")]


def _names(code: types.CodeType) -> Iterator[str]:
    """All global variables that a function and those inside it read or write."""
    yield from (i.argval for i in dis.get_instructions(code) if i.opname in _GLOBAL)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _can_change(value: Any) -> bool:
    """False for modules and for what libraries define, which stay what they are."""
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return False
    return not (isinstance(value, type | types.FunctionType) and _is_library(value))


def _is_library(value: type | types.FunctionType) -> bool:
    """Whether a function or class is gradlet's own, Python's or of an installed package."""
    if isinstance(value, types.FunctionType):
        innermost = inspect.unwrap(value)  # what `contextlib` wrapped, where that is a decorator
        file = getattr(innermost, "__code__", value.__code__).co_filename
    else:
        if _is_standard(value):
            return True
        file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    return file.startswith((_OWN, _STANDARD)) or any(part in file for part in _LIBRARIES)


def _is_standard(cls: type) -> bool:
    """Whether a class comes with Python."""
    if cls.__module__ == "builtins":
        return not cls.__flags__ & _WRITTEN_IN_PYTHON  # else what exec() made
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY
