"""What `examples/mnist.py` does with Fashion-MNIST, written for PyTorch.

The same network, batches, rate and optimiser, the same evaluation, saved weights that are read back
and tried, and the same picture. Batches are cut out of one tensor, which is faster than a
DataLoader, and the optimiser is the fused one.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BATCH, EVALUATION_BATCH = 128, 250
PEAK_RATE = 0.003
NAMES = (
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip


def read(file: Path, header: int) -> np.ndarray:
    """The bytes of a packed IDX file behind its header."""
    with gzip.open(file) as opened:
        return np.frombuffer(opened.read(), np.uint8, offset=header)


def split(folder: Path, part: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) of bytes and their classes (N,), of "train" or "t10k"."""
    images = read(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    classes = read(folder / f"{part}-labels-idx1-ubyte.gz", 8)
    return torch.tensor(images[:limit]), torch.tensor(classes[:limit]).long()


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 5), nn.ReLU(inplace=True),
        nn.BatchNorm2d(32), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3), nn.ReLU(inplace=True),
        nn.BatchNorm2d(64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(576, 10),
    )  # fmt: skip


def scores(model: nn.Module, images: Tensor) -> Tensor:
    return model(images.float() / 127.5 - 1)


def learning_rate(done: float) -> float:
    """Up in a line for the first tenth of training, then down along a cosine to 0."""
    if done < 0.1:
        return PEAK_RATE * done / 0.1
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> tuple[list[float], list[float]]:
    """The loss and the accuracy of each step."""
    opt = torch.optim.Adam(model.parameters(), lr=PEAK_RATE, fused=True)
    loss_of = nn.CrossEntropyLoss()
    batch = min(BATCH, len(x))
    steps = len(x) // batch
    losses: list[float] = []
    accuracies: list[float] = []
    model.train()
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(len(x)))
        for part in order[: steps * batch].split(batch):
            opt.param_groups[0]["lr"] = learning_rate((len(losses) + 1) / (epochs * steps))
            said, classes = scores(model, x[part]), y[part]
            loss = loss_of(said, classes)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
            accuracies.append((said.argmax(1) == classes).sum().item() / batch)
    return losses, accuracies


@torch.inference_mode()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    """The class of each image (N,)."""
    model.eval()
    return torch.cat([scores(model, part).argmax(1) for part in x.split(EVALUATION_BATCH)])


def draw(
    path: Path, curves: tuple[list[float], ...], steps: int, x: Tensor, y: Tensor, said: Tensor
) -> None:
    """The training curves, and test images with what the network says, mistakes in red."""
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    figure = pyplot.figure(figsize=(13, 6.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.45))
    plots = left.subplots(2, 1, sharex=True)
    for axes, values, label in zip(plots, curves, ("loss", "accuracy"), strict=True):
        draw_curve(axes, np.asarray(values), steps)
        axes.set_ylabel(f"training {label}")
    left.suptitle(f"{(said == y).float().mean():.2%} of {len(y):,} test images are right")
    right.suptitle("test images and what the network says; in red: says (is)")
    chosen = np.random.default_rng(0).permutation(len(x))[:40]
    for axes in right.subplots(5, 8).flat:
        axes.axis("off")
    for axes, i in zip(right.axes, chosen, strict=False):
        answer, truth = NAMES[said[i]], NAMES[y[i]]
        color = "black" if answer == truth else "red"
        axes.imshow(x[i, 0].numpy(), cmap="gray_r")
        title = answer if answer == truth else f"{answer} ({truth})"
        axes.set_title(title, fontsize=8, color=color, pad=3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def draw_curve(axes: Any, values: np.ndarray, steps: int) -> None:
    window = max(1, min(50, len(values) // 5))
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    epochs = (np.arange(len(values)) + 1) / steps
    axes.plot(epochs, values, alpha=0.25, linewidth=0.8)
    axes.plot(epochs[window - 1 :], smooth, linewidth=2)
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workloads.torch_mnist")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    x, y = split(options.data, "train", options.limit)
    x_test, y_test = split(options.data, "t10k", options.limit)
    options.out.mkdir(parents=True, exist_ok=True)
    model = network()
    curves = train(model, x, y, options.epochs)
    said = predict(model, x_test)
    file = options.out / "model.pt"
    torch.save(model.state_dict(), file)
    reloaded = network()
    reloaded.load_state_dict(torch.load(file))
    if not torch.equal(predict(reloaded, x_test), said):
        raise SystemExit("the model that was read back says something else")
    draw(
        options.out / "results.png", curves, len(curves[0]) // options.epochs, x_test, y_test, said
    )
    print(f"test accuracy {(said == y_test).float().mean():.2%}")


if __name__ == "__main__":
    main()
