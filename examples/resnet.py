"""A residual network learns to tell clothes apart.

    python examples/resnet.py                               # Fashion-MNIST, 6 epochs
    python examples/resnet.py --dataset digits --epochs 15  # 1,797 digits of 8x8 pixels, a minute

Three stages of residual blocks (He et al. 2015), images mirrored at random, and a learning rate
that rises and falls (Smith 2017). One jitted step is all of it in one native program.

Reached with seed 0 after 6 epochs: 93.21 % of the test images (Fashion-MNIST).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gradlet import Tensor, jit, nn
from gradlet.nn import data


class Block:
    """x + f(x) for two convolutions with batch norm; x is projected where its shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.project = None
        if (inputs, stride) != (outputs, 1):
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.project = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def __call__(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y))
        return (y + (self.project(x) if self.project else x)).relu()


class ResNet:
    """Images (N, 1, side, side) of bytes to scores (N, 10)."""

    def __init__(self, width: int, blocks: int) -> None:
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = []
        inputs = width
        for outputs in (width, 2 * width, 4 * width):
            for number in range(blocks):
                stride = 2 if number == 0 and outputs != width else 1
                self.blocks.append(Block(inputs, outputs, stride))
                inputs = outputs
        self.head = nn.Linear(inputs, 10)

    def __call__(self, images: Tensor) -> Tensor:
        x = self.norm(self.stem(images.float() / 127.5 - 1)).relu()
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def mirrored(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image as it is or mirrored, at random."""
    turned = rng.random(len(x)) < 0.5
    return np.where(turned[:, None, None, None], x[..., ::-1], x)


def train(
    model: ResNet, x: np.ndarray, y: np.ndarray, options: argparse.Namespace
) -> Iterator[tuple[int, float]]:
    """(epoch, mean loss) after each epoch. All batches are whole, so one program does."""
    size = min(options.batch, len(x))
    steps = len(x) // size
    opt = nn.optim.SGD([model], lr=options.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = nn.optim.lr_scheduler.OneCycleLR(
        opt, max_lr=options.lr, epochs=options.epochs, steps_per_epoch=steps, pct_start=0.2
    )

    @jit
    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = model(images).cross_entropy(labels, label_smoothing=0.1)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss.detach()

    rng = np.random.default_rng(options.seed)
    for epoch in range(1, options.epochs + 1):
        total, start = 0.0, time.perf_counter()
        seed = options.seed + epoch
        parts = data.batches(x, y, size, shuffle=True, seed=seed, drop_last=True)
        with Tensor.train():
            for number, (images, labels) in enumerate(parts, 1):
                shown = mirrored(images, rng) if options.dataset == "fashion" else images
                total += step(Tensor(shown, requires_grad=False), Tensor(labels)).item()
                schedule.step()
                speed = number * size / (time.perf_counter() - start)
                line = f"\repoch {epoch}/{options.epochs}  step {number}/{steps}  "
                print(
                    f"{line}loss {total / number:.3f}  {speed:,.0f} images/s ", end="", flush=True
                )
        print()
        yield epoch, total / steps


def accuracy(model: ResNet, x: np.ndarray, y: np.ndarray) -> float:
    """The share of images whose highest score is that of their class."""
    answer = jit(lambda images: model(images).argmax(1), varying={"images": {0: 250}})
    with Tensor.no_grad(), Tensor.train(False):
        parts = [answer(Tensor(x[i : i + 250], requires_grad=False)) for i in range(0, len(x), 250)]
    return float((Tensor.cat(parts).numpy() == y).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--dataset", choices=["fashion", "mnist", "digits"], default="fashion")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1, help="the highest learning rate")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--blocks", type=int, default=2, help="residual blocks in a stage")
    parser.add_argument("--limit", type=int, help="use this many images only, for a quick run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/resnet.safetensors"))
    options = parser.parse_args()
    try:
        _, split = data.load(options.dataset)
    except (data.DataUnavailableError, data.DamagedFileError) as error:
        print(error, file=sys.stderr)
        return 1
    x_train, y_train, x_test, y_test = (part[: options.limit] for part in split)
    Tensor.manual_seed(options.seed)
    model = ResNet(options.width, options.blocks)
    print(f"{sum(p.numel() for p in nn.state.get_parameters(model)):,} weights")
    for epoch, _ in train(model, x_train, y_train, options):
        if epoch % 2 == 0 or epoch == options.epochs:
            print(f"test accuracy {accuracy(model, x_test, y_test):.2%}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    nn.state.safe_save(nn.state.get_state_dict(model), options.out)
    print(f"saved to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
