"""tinygrad's helpers for scripts: timing, progress bars, colours, downloads, lists and numbers."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import operator
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gradlet.base.settings import cache_folder
from gradlet.compat.context import NO_COLOR
from gradlet.nn.files import replacing

__all__ = [
    "OSX", "WIN", "Timing", "all_int", "all_same", "ansilen", "ansistrip", "argfix", "argsort",
    "ceildiv", "colored", "dedup", "fetch", "flatten", "fully_flatten", "get_child", "get_shape",
    "make_tuple", "merge_dicts", "partition", "prod", "round_down", "round_up", "size_to_str",
    "time_to_str", "tqdm", "trange", "unwrap",
]  # fmt: skip

T = TypeVar("T")
OSX, WIN = sys.platform == "darwin", sys.platform == "win32"
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_ESCAPE = re.compile("\x1b\\[(K|.*?m)")
_SECONDS_OF_SILENCE = 15

# Lists and numbers


def prod(factors: Iterable[Any]) -> Any:
    """The product of all, 1 if there are none."""
    return functools.reduce(operator.mul, factors, 1)


def argfix(*given: Any) -> tuple:
    """What was given as `f(2, 3)`, `f((2, 3))` or `f([2, 3])`, as a tuple."""
    if not given or not isinstance(given[0], (tuple, list)):
        return given
    if len(given) > 1:
        raise ValueError(f"argfix: one list, or numbers, not {given}")
    return tuple(given[0])


def argsort(values: Any) -> Any:
    """Positions in the order of their values, in the type of `values`."""
    return type(values)(sorted(range(len(values)), key=values.__getitem__))


def all_same(items: Sequence[Any]) -> bool:
    """Whether all are equal."""
    return all(item == items[0] for item in items)


def all_int(items: Sequence[Any]) -> bool:
    """Whether all are ints."""
    return all(isinstance(item, int) for item in items)


def dedup(items: Iterable[T]) -> list[T]:
    """Each once, in the order in which they first came."""
    return list(dict.fromkeys(items))


def flatten(lists: Iterable[Iterable[T]]) -> list[T]:
    """The items of all lists."""
    return [item for part in lists for item in part]


def fully_flatten(nested: Any) -> list:
    """What is in lists in lists."""
    if isinstance(nested, (list, tuple)):
        return [item for part in nested for item in fully_flatten(part)]
    return [nested]


def get_shape(nested: Any) -> tuple[int, ...]:
    """Extents of nested lists; ValueError if they are ragged."""
    if not isinstance(nested, (list, tuple)):
        return ()
    inner = [get_shape(part) for part in nested]
    if not all_same(inner):
        raise ValueError(f"get_shape: the lists are ragged: {inner}")
    return (len(nested), *(inner[0] if inner else ()))


def get_child(found: Any, key: str) -> Any:
    """What a dotted name leads to, through attributes, keys and places in lists."""
    for part in key.split("."):
        if part.isnumeric():
            found = found[int(part)]
        else:
            found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found


def make_tuple(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """An int repeated, or a sequence as a tuple."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def merge_dicts(dicts: Iterable[dict]) -> dict:
    """All entries; RuntimeError if two disagree."""
    merged: dict = {}
    for key, value in (item for part in dicts for item in part.items()):
        if merged.setdefault(key, value) != value:
            raise RuntimeError(f"merge_dicts: {key!r} is both {merged[key]!r} and {value!r}")
    return merged


def partition(items: Iterable[T], chosen: Callable[[T], Any]) -> tuple[list[T], list[T]]:
    """Those that are chosen, and the others."""
    parts: tuple[list[T], list[T]] = ([], [])
    for item in items:
        parts[0 if chosen(item) else 1].append(item)
    return parts


def unwrap(value: T | None) -> T:
    """The value, which must not be None."""
    assert value is not None
    return value


def ceildiv(a: Any, b: Any) -> Any:
    """The quotient, rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """The next multiple of `b`."""
    return ceildiv(a, b) * b


def round_down(a: int, b: int) -> int:
    """The last multiple of `b`."""
    return a // b * b


# Text


def colored(text: Any, color: str | None, background: bool = False) -> str:
    """Text for a terminal in a colour, which is bright if its name is in capitals."""
    if color is None or NO_COLOR:
        return str(text)
    number = 30 + _COLOURS.index(color.lower()) + 10 * background + 60 * color.isupper()
    return f"\x1b[{number}m{text}\x1b[0m"


def ansistrip(text: str) -> str:
    """Text without its colours."""
    return _ESCAPE.sub("", text)


def ansilen(text: str) -> int:
    """How wide coloured text is."""
    return len(ansistrip(text))


def time_to_str(seconds: float, w: int = 8) -> str:
    """Seconds in a unit in which they are easily read."""
    for scale, unit in ((1.0, "s "), (1e3, "ms")):
        if seconds > 10 / scale:
            return f"{seconds * scale:{w}.2f}{unit}"
    return f"{seconds * 1e6:{w}.2f}us"


def size_to_str(count: int) -> str:
    """Bytes in a unit in which they are easily read."""
    for power, unit in ((30, "GB"), (20, "MB"), (10, "KB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.2f} {unit}"
    return f"{count} B"


# Time


class Timing(contextlib.ContextDecorator):
    """Prints how long its body took."""

    def __init__(
        self, prefix: str = "", on_exit: Callable[[int], str] | None = None, enabled: bool = True
    ) -> None:
        self.prefix, self.on_exit, self.enabled = prefix, on_exit, enabled

    def __enter__(self) -> Timing:
        self.st = time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self.et = time.perf_counter_ns() - self.st
        if self.enabled:
            more = self.on_exit(self.et) if self.on_exit else ""
            print(f"{self.prefix}{self.et * 1e-6:6.2f} ms{more}")


class tqdm:  # noqa: N801
    """A line on the terminal that says how far a loop is."""

    def __init__(
        self, iterable: Iterable[Any] | None = None, desc: str = "", disable: bool = False,
        unit: str = "it", unit_scale: bool = False, total: int | None = None, rate: int = 100,
    ) -> None:  # fmt: skip
        sized = total is None and hasattr(iterable, "__len__")
        self.iterable, self.desc, self.unit, self.n = iterable, desc, unit, 0
        self.total = len(iterable) if sized else total  # type: ignore[arg-type]
        self.disable = disable or not sys.stderr.isatty()
        self._begin, self._shown = time.perf_counter(), 0.0

    def __iter__(self) -> Iterator[Any]:
        assert self.iterable is not None
        for item in self.iterable:
            yield item
            self.update(1)
        self.update(0, close=True)

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *_: object) -> None:
        self.update(0, close=True)

    def set_description(self, desc: str) -> None:
        """What stands before the numbers."""
        self.desc = desc

    def update(self, n: int = 0, close: bool = False) -> None:
        """Says that `n` more are done."""
        self.n += n
        now = time.perf_counter()
        if self.disable or not (close or now - self._shown > 0.1):
            return
        self._shown = now
        of = f"/{self.total}" if self.total else ""
        rate = self.n / max(now - self._begin, 1e-9)
        line = f"{self.desc} {self.n}{of} {rate:.2f} {self.unit}/s"
        print(f"\r\x1b[K{line}", end="\n" if close else "", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the line."""
        self.update(0, close=True)

    @staticmethod
    def write(text: str) -> None:
        """Prints a line above."""
        print(f"\r\x1b[K{text}", file=sys.stderr)


class trange(tqdm):  # noqa: N801
    """`tqdm(range(n))`."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(range(n), total=n, **options)


# Downloads


def fetch(
    url: str, name: str | Path | None = None, subdir: str | None = None, gunzip: bool = False,
    allow_caching: bool = True, headers: dict[str, str] | None = None, sha256: str | None = None,
) -> Path:  # fmt: skip
    """The file at an address, downloaded once: into the cache folder, or to `name` if it is a path.

    Raises:
        ValueError: it does not have the checksum.
    """
    if url.startswith(("/", ".")):
        return Path(url)
    if isinstance(name, Path) or (name is not None and "/" in name):
        path = Path(name)
    else:
        asked = url if not headers else f"{url} {sorted(headers.items())}"
        unique = name or hashlib.sha256(f"{asked} {gunzip}".encode()).hexdigest()
        path = cache_folder() / "downloads" / (subdir or "") / unique
    if path.is_file() and allow_caching and sha256 in (None, _checksum(path)):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(url, headers=headers or {})
    with replacing(path) as temporary:
        with urllib.request.urlopen(request, timeout=_SECONDS_OF_SILENCE) as answer:
            source = gzip.GzipFile(fileobj=answer) if gunzip else answer
            with temporary.open("wb") as file:
                shutil.copyfileobj(source, file)
        if sha256 not in (None, _checksum(temporary)):
            raise ValueError(f"fetch: what came from {url} does not have the checksum {sha256}")
    return path


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
