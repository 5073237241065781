"""Packages whose files are loaded when something in them is first asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any


def lazily(package: str, names: Collection[str], files: Sequence[str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package: it loads one file after the other until a name is found.

    Args:
        package: the `__name__` of the package.
        names: what it offers.
        files: its modules, which can be asked for as well, those wanted most often first.
    """

    def find(name: str) -> Any:
        if name in files:
            return importlib.import_module(f"{package}.{name}")
        for file in files if name in names else ():
            module = importlib.import_module(f"{package}.{file}")
            if hasattr(module, name):
                found = getattr(module, name)
                setattr(sys.modules[package], name, found)
                return found
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
