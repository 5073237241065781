"""The modules that stand in for tinygrad's: what each is made of, and what to use for the rest."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Each module that scripts import, and the modules of gradlet's in whose `__all__` a name is looked
# up, one after the other.
_MODULES = {
    "tinygrad": ("gradlet.compat.top", "gradlet"),
    "tinygrad.tensor": ("gradlet.compat.top",),
    "tinygrad.dtype": ("gradlet.compat.dtype",),
    "tinygrad.device": ("gradlet.compat.device",),
    "tinygrad.helpers": (
        "gradlet.compat.context",
        "gradlet.compat.counters",
        "gradlet.compat.helpers",
    ),
    "tinygrad.engine": ("gradlet.compat.jit",),
    "tinygrad.engine.jit": ("gradlet.compat.jit",),
    "tinygrad.nn": ("gradlet.compat.nn", "gradlet.nn"),
    "tinygrad.nn.optim": ("gradlet.compat.optim", "gradlet.nn.optim"),
    "tinygrad.nn.state": ("gradlet.compat.state", "gradlet.nn.state"),
    "tinygrad.nn.datasets": ("gradlet.compat.datasets",),
}

_GRAPH = "gradlet.explain(tensor) shows the graph, the kernels and the code of a tensor"
_DEVICES = "devices are named: Tensor(..., device='cpu'), and Device.DEFAULT = 'cpu'"
_JIT = "from tinygrad import TinyJit"
_RECORD = "call the function as it is, or record it with gradlet.jit"

# What to use instead of names and modules that gradlet does not have, of today's tinygrad and of
# older ones.
_INSTEAD = {
    "tinygrad.UOp": _GRAPH,
    "tinygrad.codegen": _GRAPH,
    "tinygrad.device": _DEVICES,
    "tinygrad.dtype": "dtypes has all dtypes, and casts are x.cast(...) and x.bitcast(...)",
    "tinygrad.engine.jit": _JIT,
    "tinygrad.engine.realize": "tensors compute themselves, or together: Tensor.realize(x, y)",
    "tinygrad.engine.schedule": _GRAPH,
    "tinygrad.features": _JIT,
    "tinygrad.frontend": "convert the weights to safetensors, and read them with nn.state.load",
    "tinygrad.function": _RECORD,
    "tinygrad.function.function": _RECORD,
    "tinygrad.gradient": "x.gradient(...) of a tensor, and gradlet.grad of a function",
    "tinygrad.helpers": "copy the helper into the script; those that gradlet has are in dir()",
    "tinygrad.helpers.Profiling": "Python's cProfile, and gradlet.profile() for kernels",
    "tinygrad.helpers.diskcache": "compiled kernels are kept on disk without it",
    "tinygrad.jit": _JIT,
    "tinygrad.lazy": _GRAPH,
    "tinygrad.llm": "it is an application; run it with tinygrad",
    "tinygrad.mixin": "all methods are Tensor's own",
    "tinygrad.nn.state.TensorIO": "use Python's open() and io.BytesIO(x.tobytes())",
    "tinygrad.nn.state.gguf_load": "the package gguf, whose arrays Tensor(...) takes",
    "tinygrad.nn.state.safe_load_metadata": "nn.state.safe_load_with_metadata(path)",
    "tinygrad.nn.state.tar_extract": "Python's tarfile, and Tensor(numpy.frombuffer(...))",
    "tinygrad.nn.state.zip_extract": "Python's zipfile, and Tensor(numpy.frombuffer(...))",
    "tinygrad.ops": _GRAPH,
    "tinygrad.renderer": _GRAPH,
    "tinygrad.runtime": _DEVICES,
    "tinygrad.schedule": _GRAPH,
    "tinygrad.shape": _GRAPH,
    "tinygrad.tensor.Function": "gradlet.custom_vjp gives a function a gradient of its own",
    "tinygrad.uop": _GRAPH,
    "tinygrad.viz": "gradlet.profile() shows where the time goes, kernel by kernel",
}


class StandIn(ModuleType):
    """A module under another name, that looks everything up in gradlet's own."""

    def __init__(self, name: str, targets: Sequence[str]) -> None:
        super().__init__(name, f"{targets[-1]}, under the name {name}")
        self.__path__: list[str] = []
        self._targets = targets

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return [n for target in self._modules() for n in target.__all__]
        if name.startswith("__"):
            raise AttributeError(name)
        inner = f"{self.__name__}.{name}"
        if inner in sys.modules:
            return sys.modules[inner]
        for target in self._modules():
            if name in target.__all__:
                return getattr(target, name)
        raise _missing(inner)

    def _modules(self) -> list[ModuleType]:
        return [importlib.import_module(target) for target in self._targets]


class Missing:
    """Finds the modules of tinygrad that nothing stands in for, to say what to use instead."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Raises ImportError for a module inside the stand-in."""
        if name.startswith("tinygrad.") and isinstance(sys.modules.get("tinygrad"), StandIn):
            raise _missing(name)
        return None


def _missing(name: str) -> ImportError:
    """The error that says what to use instead of a name, or of the module that it is in."""
    place = name
    while place and place not in _INSTEAD:
        place = place.rpartition(".")[0]
    instead = _INSTEAD.get(place, "rewrite the line that uses it, or run it with tinygrad")
    return ImportError(f"gradlet has no {name}. Instead: {instead}. See docs/tinygrad.md.")


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
    if found is not None and not isinstance(found, StandIn):
        raise ImportError(
            "install_as_tinygrad() came too late: tinygrad itself is imported already. Call it "
            "before the first `import tinygrad`."
        )
    for name, targets in _MODULES.items():
        sys.modules[name] = StandIn(name, targets)
    if not any(isinstance(finder, Missing) for finder in sys.meta_path):
        sys.meta_path.insert(0, Missing())
    importlib.import_module("gradlet.compat.counters")  # which counts from now on
