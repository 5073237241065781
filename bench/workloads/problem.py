"""The workloads: layers, initial parameters and one batch, as NumPy arrays.

| name           | model                                                        | by    | batch |
|----------------|--------------------------------------------------------------|-------|-------|
| `xor`          | one linear layer 2-1 and a sigmoid, on integers              | Adam  | 4     |
| `mlp`          | 784-512-512-10 with relu                                     | Adam  | 128   |
| `convnet`      | two 5x5 conv 32, BN, pool, two 3x3 conv 64, BN, pool, linear | Adam  | 128   |
| `resnet18`     | the CIFAR form: 3x3 stem, eight residual blocks, 64 to 512   | SGD   | 32    |
| `gpt_train`    | 4 pre-norm transformer blocks of width 256, 8 heads, 65 ids  | AdamW | 8x128 |
| `gpt2_prefill` | GPT-2 of 124M parameters, 256 tokens at once                 |       | 1     |
| `gpt2_decode`  | the same, one token after 256 others whose keys are kept     |       | 1     |

The loss is cross-entropy but for `xor`, where it is the squared error. A training step ends when
the loss is known as a Python float and the parameters are updated; one of inference when the
largest of the next token's logits is known.
"""

from __future__ import annotations

from collections.abc import Iterator
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
            ("flatten",), ("sigmoid",); of residual networks ("stem", inputs, outputs),
            ("residual", inputs, outputs, stride), ("mean",) over height and width; of
            transformers ("embed", ids, width, longest), ("block", width, heads),
            ("layernorm", width), ("unembed",) with the weight of "embed", ("tokens",) which makes
            each a row.
        optimizer: "adam" and "adamw" with (0.9, 0.999), 1e-8 and a decay of 0.01, "sgd" with a
            momentum of 0.9; "" for inference.
        learning_rate: of the optimiser.
        inputs: (batch, ...) float32, or int64 ids and in `xor`.
        targets: (batch,) int64 classes, or (batch, 1) int64 values in `xor`.
        weights: for each layer its arrays, float32, in the order of `shapes`.
        steps: how many steps are timed, unless told otherwise.
    """

    name: str
    layers: tuple[Layer, ...]
    optimizer: str
    learning_rate: float
    inputs: np.ndarray
    targets: np.ndarray
    weights: tuple[tuple[np.ndarray, ...], ...]
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
RESNET: tuple[Layer, ...] = (
    ("stem", 3, 64),
    *(("residual", 64, 64, 1), ("residual", 64, 64, 1)),
    *(("residual", 64, 128, 2), ("residual", 128, 128, 1)),
    *(("residual", 128, 256, 2), ("residual", 256, 256, 1)),
    *(("residual", 256, 512, 2), ("residual", 512, 512, 1)),
    ("mean",),
    ("linear", 512, 10),
)
GPT: tuple[Layer, ...] = (
    ("embed", 65, 256, 128),
    *[("block", 256, 8)] * 4,
    ("layernorm", 256),
    ("linear", 256, 65),
    ("tokens",),
)
GPT2: tuple[Layer, ...] = (
    ("embed", 50257, 768, 1024),
    *[("block", 768, 12)] * 12,
    ("layernorm", 768),
    ("unembed",),
)
PROMPT = 256  # tokens before the one that `gpt2_decode` adds, and in `gpt2_prefill`
NAMES = ("xor", "mlp", "convnet", "resnet18", "gpt_train", "gpt2_prefill", "gpt2_decode")
TRAINING = NAMES[:5]


def problem(name: str) -> Problem:
    """The workload called `name`, with the same numbers every time."""
    rng = np.random.default_rng(0)
    match name:
        case "xor":
            inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
            targets = np.array([[0], [1], [1], [0]])
            layers, optimizer, rate, steps = XOR, "adam", 0.1, 200
        case "mlp":
            inputs, targets = images(rng, 128, 784)
            layers, optimizer, rate, steps = MLP, "adam", 1e-3, 30
        case "convnet":
            inputs, targets = images(rng, 128, 1, 28, 28)
            layers, optimizer, rate, steps = CONVNET, "adam", 1e-3, 10
        case "resnet18":
            inputs, targets = images(rng, 32, 3, 32, 32)
            layers, optimizer, rate, steps = RESNET, "sgd", 0.001, 5
        case "gpt_train":
            text = rng.integers(0, 65, (8, 129))
            inputs, targets = text[:, :-1], text[:, 1:].reshape(-1)
            layers, optimizer, rate, steps = GPT, "adamw", 1e-3, 10
        case "gpt2_prefill" | "gpt2_decode":
            inputs, targets = rng.integers(0, 50257, (1, PROMPT)), np.zeros(0)
            layers, optimizer, rate, steps = GPT2, "", 0.0, 20
        case _:
            raise ValueError(f"no workload is called {name!r}; there are {', '.join(NAMES)}")
    weights = tuple(initial(layer, rng) for layer in layers)
    return Problem(name, layers, optimizer, rate, inputs, targets, weights, steps)


def images(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of that shape, and a class of ten for each."""
    return rng.random(shape, dtype=np.float32), rng.integers(0, 10, shape[0])


def initial(layer: Layer, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Arrays for a layer: vectors of ids normal, all others uniform within 1 / sqrt(fan in)."""
    if layer[0] == "embed":
        return tuple(0.02 * rng.standard_normal(s, np.float32) for s in shapes(layer))
    arrays: list[np.ndarray] = []
    for shape in shapes(layer):
        if len(shape) > 1:
            bound = float(np.prod(shape[1:])) ** -0.5
        arrays.append(bound * (2 * rng.random(shape, np.float32) - 1))
    return tuple(arrays)


def shapes(layer: Layer) -> Iterator[tuple[int, ...]]:
    """Of a layer's weights, each (outputs, inputs, ...) and followed by its bias if it has one."""
    kind, *sizes = layer
    match kind, sizes:
        case "linear", [inputs, outputs]:
            yield from ((outputs, inputs), (outputs,))
        case "conv", [inputs, outputs, width]:
            yield from ((outputs, inputs, width, width), (outputs,))
        case "stem", [inputs, outputs]:
            yield (outputs, inputs, 3, 3)
        case "residual", [inputs, outputs, stride]:
            yield from ((outputs, inputs, 3, 3), (outputs, outputs, 3, 3))
            if stride > 1:  # the way around
                yield (outputs, inputs, 1, 1)
        case "embed", [ids, width, longest]:
            yield from ((ids, width), (longest, width))
        case "block", [width, _]:
            for outputs, inputs in ((3, 1), (1, 1), (4, 1), (1, 4)):  # qkv, out, up, down
                yield from ((outputs * width, inputs * width), (outputs * width,))


def kept_before(
    blocks: int, heads: int, longest: int, width: int, begin: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each block keys and values (1, heads, longest, width): `begin` of them, then zeros."""
    rng = np.random.default_rng(1)

    def kept() -> np.ndarray:
        array = np.zeros((1, heads, longest, width), np.float32)
        array[:, :, :begin] = rng.standard_normal((1, heads, begin, width), np.float32)
        return array

    return [kept() for _ in range(blocks)], [kept() for _ in range(blocks)]
