"""The workloads: layers, initial parameters and one batch, as NumPy arrays.

| name      | model                                                        | loss          | batch |
|-----------|--------------------------------------------------------------|---------------|-------|
| `xor`     | one linear layer 2-1 and a sigmoid, on integers              | squared error | 4     |
| `mlp`     | 784-512-512-10 with relu                                     | cross-entropy | 128   |
| `convnet` | two 5x5 conv 32, BN, pool, two 3x3 conv 64, BN, pool, linear | cross-entropy | 128   |

The optimiser is Adam throughout, and a step ends when the loss is known as a Python float and the
parameters are updated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Layer = tuple[str, *tuple[int, ...]]


@dataclass(frozen=True)
class Problem:
    """One workload.

    Attributes:
        name: as on the command line.
        layers: each a kind and its sizes: ("linear", inputs, outputs),
            ("conv", inputs, outputs, width), ("norm", channels), ("pool",), ("relu",),
            ("flatten",), ("sigmoid",).
        learning_rate: of Adam, whose other settings are (0.9, 0.999) and 1e-8.
        inputs: (batch, ...) float32, or int64 in `xor`.
        targets: (batch,) int64 classes, or (batch, 1) int64 values in `xor`.
        weights: weight and bias of each linear and conv layer in turn, float32; a weight is
            (outputs, inputs, ...).
        steps: how many steps are timed, unless told otherwise.
    """

    name: str
    layers: tuple[Layer, ...]
    learning_rate: float
    inputs: np.ndarray
    targets: np.ndarray
    weights: tuple[np.ndarray, ...]
    steps: int

    @property
    def classifies(self) -> bool:
        """Whether the loss is cross-entropy and not the mean squared error."""
        return self.targets.ndim == 1


XOR: tuple[Layer, ...] = (("linear", 2, 1), ("sigmoid",))
MLP: tuple[Layer, ...] = (
    ("linear", 784, 512),
    ("relu",),
    ("linear", 512, 512),
    ("relu",),
    ("linear", 512, 10),
)
CONVNET: tuple[Layer, ...] = (
    ("conv", 1, 32, 5),
    ("relu",),
    ("conv", 32, 32, 5),
    ("relu",),
    ("norm", 32),
    ("pool",),
    ("conv", 32, 64, 3),
    ("relu",),
    ("conv", 64, 64, 3),
    ("relu",),
    ("norm", 64),
    ("pool",),
    ("flatten",),
    ("linear", 576, 10),
)
NAMES = ("xor", "mlp", "convnet")


def problem(name: str) -> Problem:
    """The workload called `name`, with the same numbers every time."""
    rng = np.random.default_rng(0)
    if name == "xor":
        inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        targets = np.array([[0], [1], [1], [0]])
        return Problem(name, XOR, 0.1, inputs, targets, initial_weights(XOR, rng), 200)
    layers, shape, steps = {
        "mlp": (MLP, (128, 784), 30),
        "convnet": (CONVNET, (128, 1, 28, 28), 10),
    }[name]
    images = rng.random(shape, dtype=np.float32)
    classes = rng.integers(0, 10, 128)
    return Problem(name, layers, 1e-3, images, classes, initial_weights(layers, rng), steps)


def initial_weights(layers: tuple[Layer, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Weight and bias of each linear and conv layer, uniform within 1 / sqrt(fan in)."""
    arrays: list[np.ndarray] = []
    for kind, *sizes in layers:
        if kind not in ("linear", "conv"):
            continue
        inputs, outputs, *width = sizes
        shape = (outputs, inputs, *width, *width)
        bound = np.prod(shape[1:]) ** -0.5
        arrays += [rng.uniform(-bound, bound, s).astype(np.float32) for s in (shape, shape[:1])]
    return tuple(arrays)
