"""Scripts that say `from tinygrad import Tensor`, run on gradlet without a change."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# Each module that such scripts import, and the module of gradlet's that stands for it.
_MODULES = {
    "tinygrad": "gradlet",
    "tinygrad.tensor": "gradlet.tensor.tensor",
    "tinygrad.dtype": "gradlet",
    "tinygrad.dtypes": "gradlet.base.dtypes",
    "tinygrad.helpers": "gradlet.compat",
    "tinygrad.engine": "gradlet",
    "tinygrad.engine.jit": "gradlet",
    "tinygrad.nn": "gradlet.nn",
    "tinygrad.nn.optim": "gradlet.nn.optim",
    "tinygrad.nn.state": "gradlet.nn.state",
}

_RENAMED = {"TinyJit": "jit"}  # what gradlet has under another name

prod: Callable[..., Any] = math.prod  # tinygrad.helpers has it


class _StandIn(ModuleType):
    """A module under another name, that looks everything up in gradlet's own."""

    def __init__(self, name: str, target: str) -> None:
        super().__init__(name, f"{target}, under the name {name}")
        self.__path__: list[str] = []
        self._target = target

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        inner = f"{self.__name__}.{name}"
        if inner in sys.modules:
            return sys.modules[inner]
        try:
            return getattr(importlib.import_module(self._target), _RENAMED.get(name, name))
        except AttributeError:
            raise ImportError(
                f"gradlet has no {inner}: it stands in for tinygrad with the names that "
                f"{self._target} has. Rewrite the line that uses it, or run it with tinygrad."
            ) from None


def install_as_tinygrad() -> None:
    """Makes `import tinygrad` mean gradlet, in this process from now on.

    Raises:
        ImportError: tinygrad itself has been imported already.

    >>> install_as_tinygrad()
    >>> from tinygrad import Tensor
    >>> Tensor([1, 2]).sum().item()
    3
    """
    found = sys.modules.get("tinygrad")
    if found is not None and not isinstance(found, _StandIn):
        raise ImportError(
            "install_as_tinygrad() came too late: tinygrad itself is imported already. Call it "
            "before the first `import tinygrad`."
        )
    for name, target in _MODULES.items():
        sys.modules[name] = _StandIn(name, target)
