"""The op table: every operation the graph language knows, with the facts that belong to it.

Tensor programs use the ops from `BUFFER` to `CONSUMED`; that is what users' code builds, gradients
are written in, and devices that interpret the graph implement. Calls stand for such graphs until
a program is made. Kernels use the elementwise ops on scalars and, for storage and loops, the ops
from `RANGE` on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    Attributes:
        name: how it prints.
        kind: `source`, `unary`, `binary`, `ternary`, `movement`, `reduce`, `indexed`, `host`,
            `identity`, `call` (of a tensor program) or `kernel` (of a kernel).
        doc: what `arg` holds and what the result is.
        commutative: swapping the two sources changes nothing.
        compares: the result is bool whatever the sources are.
        identity: the value that a reduction with this op starts from, as a key of `IDENTITY`.
    """

    name: str
    kind: str
    doc: str
    commutative: bool = False
    compares: bool = False
    identity: str | None = None

    def __repr__(self) -> str:
        return self.name

    @property
    def elementwise(self) -> bool:
        return self.kind in ("unary", "binary", "ternary")


# Sources
BUFFER = Op("BUFFER", "source", "arg: an opaque handle that the runtime owns")
PARAM = Op("PARAM", "source", "arg: position; a buffer bound when the program runs")
CONST = Op("CONST", "source", "arg: the value, floats as float.hex() text; every element is it")
IOTA = Op("IOTA", "source", "shape (n,): 0, 1, ..., n - 1")

# Elementwise, one source
NEG = Op("NEG", "unary", "-x")
ABS = Op("ABS", "unary", "|x|")
EXP = Op("EXP", "unary", "e to the x")
EXP2 = Op("EXP2", "unary", "2 to the x")
LOG = Op("LOG", "unary", "natural logarithm")
LOG2 = Op("LOG2", "unary", "logarithm to base 2")
SIN = Op("SIN", "unary", "sine of radians")
COS = Op("COS", "unary", "cosine of radians")
TANH = Op("TANH", "unary", "hyperbolic tangent")
ERF = Op("ERF", "unary", "error function")
SQRT = Op("SQRT", "unary", "square root; nan below zero")
FLOOR = Op("FLOOR", "unary", "largest whole number not above x")
CAST = Op("CAST", "unary", "to the node's dtype; floats saturate into integers and nan gives 0")
BITCAST = Op("BITCAST", "unary", "the same bits read as the node's dtype of equal width")

# Elementwise, two sources of one shape and dtype
ADD = Op("ADD", "binary", "a + b", commutative=True, identity="zero")
SUB = Op("SUB", "binary", "a - b")
MUL = Op("MUL", "binary", "a * b", commutative=True, identity="one")
DIV = Op(
    "DIV",
    "binary",
    "a / b of floats; with the arg `reciprocal` it may be a * (1 / b), for a b that many a share",
)
FLOORDIV = Op("FLOORDIV", "binary", "a // b of integers, rounding down; 0 where b is 0")
MOD = Op("MOD", "binary", "a % b with the sign of b; of integers 0 where b is 0")
POW = Op("POW", "binary", "a to the b, of floats")
MAXIMUM = Op("MAXIMUM", "binary", "the larger; nan if either is", True, identity="min")
MINIMUM = Op("MINIMUM", "binary", "the smaller; nan if either is", True, identity="max")
EQ = Op("EQ", "binary", "a == b", commutative=True, compares=True)
LT = Op("LT", "binary", "a < b", compares=True)
LE = Op("LE", "binary", "a <= b", compares=True)
AND = Op("AND", "binary", "a & b of integers or bools", commutative=True)
OR = Op("OR", "binary", "a | b of integers or bools", commutative=True)
XOR = Op("XOR", "binary", "a ^ b of integers or bools", commutative=True)
SHL = Op("SHL", "binary", "a << b of integers; 0 where b is not in [0, bits)")
SHR = Op("SHR", "binary", "a >> b of integers; sign fill, or 0, where b is not in [0, bits)")

# Elementwise, three sources
WHERE = Op(
    "WHERE",
    "ternary",
    "sources (condition: bool, a, b): a where condition, else b; in kernels the arg may be "
    "`seldom`, which lets a renderer skip the computation of a while no lane asks for it",
)

# Movement
RESHAPE = Op("RESHAPE", "movement", "the same elements in row-major order under the node's shape")
EXPAND = Op("EXPAND", "movement", "broadcast to the node's shape, right-aligned as in NumPy")
PERMUTE = Op("PERMUTE", "movement", "arg: for each result axis the source axis it is")
SLICE = Op("SLICE", "movement", "arg: for each axis (start, stop, step), step > 0, 0 <= start")
PAD = Op("PAD", "movement", "arg: for each axis (before, after, between) zeros to put in")
FLIP = Op("FLIP", "movement", "arg: the axes that are reversed")
WINDOW = Op(
    "WINDOW",
    "movement",
    "arg: (axis, size, stride, dilation); that axis becomes the count of windows, and a last axis "
    "of `size` is added: result[.., o, .., k] = source[.., o * stride + k * dilation, ..]",
)

# Reductions
REDUCE = Op("REDUCE", "reduce", "arg: (ADD, MUL, MAXIMUM or MINIMUM, axes); the axes disappear")
SCAN = Op(
    "SCAN",
    "reduce",
    "arg: (ADD, MUL, MAXIMUM or MINIMUM, axis); each element reduced with those before it",
)
FOLD = Op(
    "FOLD",
    "reduce",
    "arg: (axis, length, stride, dilation); WINDOW's adjoint: the last axis disappears and "
    "result[.., i, ..] = sum of source[.., o, .., k] over o * stride + k * dilation == i",
)

# Indexed
GATHER = Op(
    "GATHER",
    "indexed",
    "sources (x, i0, i1, ...), integer indices of one shape into x's first axes: x[i0, i1, ...]; "
    "an index outside [0, size) is an IndexError",
)
SCATTER = Op(
    "SCATTER",
    "indexed",
    "sources (x, i0, i1, ..., y): x with y's rows added at [i0, i1, ...]; GATHER's adjoint",
)

# Computed by a library
HOST = Op("HOST", "host", "arg: (name, parameters); a function over NumPy arrays: see `host.py`")

# Identities that matter to gradients alone
DETACH = Op("DETACH", "identity", "x, through which no gradient flows")
SURROGATE = Op("SURROGATE", "identity", "sources (x, y): the value x with the gradient of y")
CUSTOM = Op(
    "CUSTOM",
    "identity",
    "sources (x, y0, y1, ...), arg: a rule; the value x, whose gradient the rule passes on to each "
    "y: rule(g, node) gives a node or None for each",
)
CONSUMED = Op(
    "CONSUMED",
    "identity",
    "x, whose graph backward() has used up; arg: None, or a weak reference to another node of this "
    "value",
)

# Graphs that stand elsewhere
APPLY = Op("APPLY", "call", "arg: a template; its one result over the sources: see `templates.py`")
CALL = Op("CALL", "call", "arg: a function; all results of it for its sources: see `functions.py`")
RESULT = Op("RESULT", "call", "arg: which one of the results of its source, a CALL")

# Kernels
RANGE = Op("RANGE", "kernel", "arg: (name, size); a loop counter from 0 to size - 1")
LOCAL = Op("LOCAL", "kernel", "arg: name; a small array of the kernel's own, in registers or stack")
SCRATCH = Op("SCRATCH", "kernel", "arg: name; memory that lives through all phases of a kernel")
PRIVATE = Op("PRIVATE", "kernel", "arg: name; memory of a thread or workgroup, for one iteration")
LOAD = Op("LOAD", "kernel", "sources (array, valid, i0, i1, ...): element, or 0 where not valid")
CHECKED = Op("CHECKED", "kernel", "arg: size; an index, reported and made 0 if not in [0, size)")
FOLD_RANGES = Op("FOLD_RANGES", "kernel", "arg: op; sources (value, range, ...): value reduced")
SCAN_RANGE = Op("SCAN_RANGE", "kernel", "arg: op; sources (value, range): reduced up to this one")
SHUFFLE = Op("SHUFFLE", "kernel", "arg: for each lane which one of two vectors' lanes it is")
PREFIX = Op(
    "PREFIX",
    "kernel",
    "arg: op; sources (value, range): each lane reduced with the lanes before it",
)
ACROSS = Op("ACROSS", "kernel", "arg: op; the lanes of a vector reduced to one value")
LDEXP = Op("LDEXP", "kernel", "sources (x, n): x * 2**n rounded once, n an integer as wide as x")

_OPS = [o for o in list(globals().values()) if isinstance(o, Op)]
GRAPH_OPS = [o for o in _OPS if o.kind not in ("call", "kernel")]
MOVEMENT = [o for o in GRAPH_OPS if o.kind == "movement"]
IDENTITIES = (DETACH, SURROGATE, CUSTOM, CONSUMED)
