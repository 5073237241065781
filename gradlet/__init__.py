"""gradlet: a small deep-learning framework with a compiler of its own.

>>> from gradlet import Tensor
>>> x = Tensor([1.0, 2.0, 3.0])
>>> y = (x * 2).sum().backward()
>>> x.grad.tolist()
[2.0, 2.0, 2.0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradlet.base import dtypes
from gradlet.compat import install_as_tinygrad
from gradlet.engine.trace import VmapError
from gradlet.grad.vjp import GradientError
from gradlet.jit import JitError, jit
from gradlet.tensor.tensor import Tensor
from gradlet.transforms import (
    checkpoint,
    custom_vjp,
    grad,
    hessian,
    jacfwd,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)

if TYPE_CHECKING:
    from gradlet import nn

__all__ = [
    "GradientError", "JitError", "Tensor", "VmapError", "checkpoint", "custom_vjp", "dtypes",
    "explain", "grad", "hessian", "install_as_tinygrad", "jacfwd", "jacobian", "jit", "jvp", "nn",
    "profile", "value_and_grad", "vjp", "vmap",
]  # fmt: skip
__version__ = "0.1.0"

# What is loaded when it is first asked for.
_LAZY = {"explain": "gradlet.engine.explain", "profile": "gradlet.engine.profile"}


def __getattr__(name: str) -> Any:
    if name == "nn":
        return importlib.import_module("gradlet.nn")
    if name not in _LAZY:
        raise AttributeError(f"module 'gradlet' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
