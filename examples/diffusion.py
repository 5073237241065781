"""A diffusion model learns to draw clothes from noise.

    python examples/diffusion.py                                # Fashion-MNIST, 6 epochs
    python examples/diffusion.py --dataset digits --epochs 200  # 8x8 digits, minutes

A small U-Net says which noise was added to an image (Ho et al. 2020) of the class that it is told,
or of none, so that both answers can be weighed against each other (Ho & Salimans 2022).
Drawing starts with noise and takes it away in fewer steps (Song et al. 2020).

Reached with seed 0 after 6 epochs: a squared error of 0.082 in the noise; clothes one can name.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot

from gradlet import Tensor, jit, nn
from gradlet.nn import data

STEPS = 400  # of adding noise
NOBODY = 10  # the class that says nothing
TURN = ((np.arange(STEPS) + 1) / STEPS + 0.008) / 1.008
# How much of the image is left after each step: a cosine (Nichol & Dhariwal 2021).
LEFT = np.clip(np.cos(TURN * math.pi / 2) ** 2, 1e-4, 0.9999).astype(np.float32)


class Block:
    """Two convolutions around which a residual goes, told about time and class by a bias."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.told = nn.Linear(told, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def __call__(self, x: Tensor, told: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x).silu()) + self.told(told)[:, :, None, None]
        return self.skip(x) + self.conv2(self.norm2(y).silu())


class UNet:
    """Noisy images (N, 1, S, S), steps (N,) and classes (N,) to the noise in them."""

    def __init__(self, width: int) -> None:
        told = 4 * width
        self.frequencies = Tensor(np.exp(-np.linspace(0, 7, width)), requires_grad=False).float()
        self.time, self.classes = nn.Linear(2 * width, told), nn.Embedding(NOBODY + 1, told)
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.down = [Block(width, width, told), Block(width, 2 * width, told)]
        self.middle = Block(2 * width, 2 * width, told)
        self.up = [Block(4 * width, width, told), Block(2 * width, width, told)]
        self.norm, self.last = nn.GroupNorm(8, width), nn.Conv2d(width, 1, 3, padding=1)

    def __call__(self, x: Tensor, steps: Tensor, classes: Tensor) -> Tensor:
        angle = steps.float().unsqueeze(1) * self.frequencies
        told = (self.time(angle.sin().cat(angle.cos(), dim=1)) + self.classes(classes)).silu()
        wide = self.down[0](self.first(x), told)
        half = self.down[1](wide.avg_pool2d(2), told)
        y = self.middle(half.avg_pool2d(2), told)
        y = self.up[0](y.interpolate(scale_factor=2, mode="nearest").cat(half, dim=1), told)
        y = self.up[1](y.interpolate(scale_factor=2, mode="nearest").cat(wide, dim=1), told)
        return self.last(self.norm(y).silu())


def train(model: UNet, images: np.ndarray, labels: np.ndarray, options: Any) -> nn.optim.EMA:
    """The model's weights, averaged over the steps of training."""
    left = Tensor(LEFT, requires_grad=False)
    opt, ema = nn.optim.AdamW([model], lr=options.lr), nn.optim.EMA(model, decay=0.995)
    size = min(options.batch, len(images))
    pairs = data.TensorDataset(images, labels)
    loader = data.DataLoader(pairs, size, shuffle=True, drop_last=True, seed=options.seed)

    @jit
    def step(batch: Tensor, classes: Tensor) -> Tensor:
        clean = batch.float() / 127.5 - 1
        steps = Tensor.randint(size, low=0, high=STEPS)
        noise = clean.randn_like(requires_grad=False)
        kept = left[steps][:, None, None, None]
        noisy = clean * kept.sqrt() + noise * (1 - kept).sqrt()
        classes = (Tensor.rand(size) < 0.1).where(NOBODY, classes)
        loss = (model(noisy, steps, classes) - noise).square().mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        ema.update()
        return loss.detach()

    start, losses = time.perf_counter(), []
    for epoch in range(1, options.epochs + 1):
        for batch, classes in loader:
            losses.append(step(batch, classes).item())
            line = f"\repoch {epoch}/{options.epochs}  error {np.mean(losses[-200:]):.4f}  "
            speed = len(losses) * size / (time.perf_counter() - start)
            print(f"{line}{speed:,.0f} images/s ", end="", flush=True)
        print()
    return ema


def drawn(model: UNet, classes: Tensor, side: int, steps: int, weight: float) -> Tensor:
    """An image for each class, from noise. `weight` is how much the class counts."""
    nobody = Tensor.full(classes.shape, NOBODY, dtype="int64")

    @jit
    def step(x: Tensor, at: Tensor, now: Tensor, then: Tensor) -> Tensor:
        with_class, without = model(x.cat(x), at, classes.cat(nobody)).chunk(2)
        noise = without + (with_class - without) * weight
        clean = ((x - noise * (1 - now).sqrt()) / now.sqrt()).clamp(-1, 1)
        noise = (x - clean * now.sqrt()) / (1 - now).sqrt()
        return clean * then.sqrt() + noise * (1 - then).sqrt()

    x = Tensor.randn(classes.shape[0], 1, side, side)
    places = np.linspace(STEPS - 1, 0, steps).round().astype(int)
    with Tensor.no_grad():
        for place, following in zip(places, [*places[1:], -1], strict=True):
            then = np.float32(LEFT[following] if following >= 0 else 1.0)
            at = Tensor.full((2 * classes.shape[0],), int(place), dtype="int64")
            x = step(x, at, Tensor(LEFT[place]), Tensor(then))
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--dataset", choices=["fashion", "mnist", "digits"], default="fashion")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/drawn.png"))
    options = parser.parse_args()
    _, (images, labels, _, _) = data.load(options.dataset)
    Tensor.manual_seed(options.seed)
    model = UNet(width=16)
    with train(model, images, labels, options).swapped():
        made = drawn(model, Tensor(np.arange(60) % 10), images.shape[-1], 50, 2.0).numpy()
    grid = np.block([[image[0] for image in row] for row in made.reshape(6, 10, *made.shape[1:])])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pyplot.imsave(options.out, grid.repeat(3, 0).repeat(3, 1), cmap="gray", vmin=-1, vmax=1)
    print(f"picture in {options.out}")


if __name__ == "__main__":
    main()
