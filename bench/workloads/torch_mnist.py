"""What `examples/mnist.py` does with Fashion-MNIST, written for PyTorch.

The same network, begun in the same way, the same size of batches, rates and optimiser, the same
reports of loss and accuracy, the same evaluation, saved weights that are read back and tried, and
the same picture. Batches are cut out of one tensor, which is faster than a DataLoader, and the
optimiser is the fused one.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot
from torch import Tensor, nn

NAMES = ["top", "trousers", "jumper", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
History = list[list[float]]  # loss and accuracy of each step


def read(file: Path, header: int) -> np.ndarray:
    """The bytes of a packed IDX file behind its header."""
    with gzip.open(file) as opened:
        return np.frombuffer(opened.read(), np.uint8, offset=header)


def split(folder: Path, part: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) of bytes and their classes (N,), of "train" or "t10k"."""
    images = read(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    classes = read(folder / f"{part}-labels-idx1-ubyte.gz", 8)
    return torch.tensor(images[:limit]), torch.tensor(classes[:limit]).long()


class ConvNet(nn.Module):
    """Images (N, 1, side, side) of bytes to scores (N, 10)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(inplace=True),
            nn.BatchNorm2d(32), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(inplace=True),
            nn.BatchNorm2d(64), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.float() / 127.5 - 1)


def train(model: ConvNet, x: Tensor, y: Tensor, options: Any, history: History) -> None:
    """Trains for some epochs, and writes `history`."""
    steps = len(x) // options.batch
    total, begin, spoke = options.epochs * steps, time.perf_counter(), 0.0
    opt = torch.optim.Adam(model.parameters(), lr=options.lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        opt, options.lr, total, pct_start=0.1, cycle_momentum=False
    )
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(1, options.epochs + 1):
        order = torch.randperm(len(x))[: steps * options.batch]
        for part in order.split(options.batch):
            scores, labels = model(x[part]), y[part]
            loss = loss_of(scores, labels)
            loss.backward()
            opt.step()
            opt.zero_grad()
            schedule.step()
            right = scores.argmax(1) == labels
            history.append([loss.item(), right.float().mean().item()])
            passed, left = time.perf_counter() - begin, total - len(history)
            if passed > spoke + 10 or not left:
                spoke, speed = passed, len(history) / passed
                mean, share = np.mean(history[-50:], axis=0)
                line = f"epoch {epoch}/{options.epochs}  loss {mean:.3f}  accuracy {share:.1%}  "
                line += f"{speed * options.batch:,.0f} images/s  {left / speed:.0f} s left"
                print(line, flush=True)


@torch.inference_mode()
def predict(model: ConvNet, x: Tensor) -> np.ndarray:
    """The class of each image (N,)."""
    model.eval()
    return torch.cat([model(part).argmax(1) for part in x.split(250)]).numpy()


def draw(history: History, x: np.ndarray, y: np.ndarray, said: np.ndarray) -> Any:
    """A figure of the training curve, and of test images with what the network says."""
    figure = pyplot.figure(figsize=(13, 6.5), layout="constrained")
    curves, grid = figure.subfigures(1, 2, width_ratios=(1, 1.45))
    curves.suptitle(f"{(said == y).mean():.2%} of {len(y):,} test images are right")
    for number, axes in enumerate(curves.subplots(2, 1, sharex=True)):
        values = [pair[number] for pair in history]
        axes.plot(values, alpha=0.25, linewidth=0.8)
        axes.plot([np.mean(values[max(0, i - 49) : i + 1]) for i in range(len(values))], "C0")
        axes.set(xlabel="step", ylabel=f"training {('loss', 'accuracy')[number]}")
    grid.suptitle("test images and what the network says; in red: says (is)")
    for i, axes in zip(range(len(x)), grid.subplots(5, 8).flat, strict=False):
        right = said[i] == y[i]
        title = NAMES[said[i]] if right else f"{NAMES[said[i]]} ({NAMES[y[i]]})"
        axes.imshow(x[i, 0], cmap="gray_r")
        axes.set_title(title, fontsize=8, color="black" if right else "red", pad=3)
        axes.axis("off")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workloads.torch_mnist")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    x, y = split(options.data, "train", options.limit)
    x_test, y_test = split(options.data, "t10k", options.limit)
    options.batch = min(options.batch, len(x))
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "model.pt", options.out / "results.png"
    model, history = ConvNet(x.shape[-1]), History()
    train(model, x, y, options, history)
    torch.save(model.state_dict(), file)
    said = predict(model, x_test)
    print(f"test accuracy {(said == y_test.numpy()).mean():.2%}")
    reloaded = ConvNet(x.shape[-1])
    reloaded.load_state_dict(torch.load(file))
    if (predict(reloaded, x_test) != said).any():
        sys.exit(f"the model read back from {file} gives other answers")
    draw(history, x_test.numpy(), y_test.numpy(), said).savefig(picture, dpi=130)


if __name__ == "__main__":
    main()
