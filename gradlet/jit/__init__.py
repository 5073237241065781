"""`jit`: a whole step as one native program."""

from gradlet.engine.trace import JitError
from gradlet.jit.jit import jit

__all__ = ["JitError", "jit"]
