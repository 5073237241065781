"""Trains a small convolutional network on images of clothes or digits.

    python examples/mnist.py                      # Fashion-MNIST, 3 epochs
    python examples/mnist.py --dataset digits     # 1,797 digits of 8x8 pixels, seconds

It shows loss, accuracy, images a second and the time left, evaluates on the test split, saves the
weights to model.safetensors, loads them into a new model to check that its answers are the same,
and draws the training curve and a grid of test images, mistakes in red, into results.png.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradlet import Tensor, nn
from gradlet.nn import data
from gradlet.nn.state import get_parameters, get_state_dict, load_state_dict, safe_load, safe_save

CLOTHES = [
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
]  # fmt: skip
NAMES = {"fashion": CLOTHES, "mnist": list("0123456789"), "digits": list("0123456789")}
EPOCHS = {"fashion": 3, "mnist": 2, "digits": 10}
BATCH = {"fashion": 128, "mnist": 128, "digits": 32}
EVALUATION_BATCH = 250

Report = Callable[[int, str], None]


class ConvNet:
    """Two blocks of conv, conv, batch norm, pool, and a linear layer on top.

    Images (N, 1, side, side) of bytes to scores (N, 10).
    """

    def __init__(self, side: int) -> None:
        first, second, padding = (5, 3, 0) if side >= 28 else (3, 3, 1)
        lost = 0 if padding else first - 1, 0 if padding else second - 1
        left = ((side - 2 * lost[0]) // 2 - 2 * lost[1]) // 2
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, first, padding=padding), Tensor.relu,
            nn.Conv2d(32, 32, first, padding=padding), Tensor.relu,
            nn.BatchNorm2d(32), Tensor.max_pool2d,
            nn.Conv2d(32, 64, second, padding=padding), Tensor.relu,
            nn.Conv2d(64, 64, second, padding=padding), Tensor.relu,
            nn.BatchNorm2d(64), Tensor.max_pool2d,
            lambda x: x.flatten(1), nn.Linear(64 * left * left, 10),
        )  # fmt: skip

    def __call__(self, images: Tensor) -> Tensor:
        return self.layers(images.float() / 127.5 - 1)


@dataclass
class History:
    """What training has seen so far, one entry a step."""

    epochs: int
    steps: int
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    def recent(self, values: list[float]) -> float:
        return float(np.mean(values[-50:]))


# Training


def learning_rate(peak: float, done: float) -> float:
    """Up in a line for the first tenth of training, then down along a cosine to 0."""
    if done < 0.1:
        return peak * done / 0.1
    return peak * 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


def train_step(model: ConvNet, opt: nn.optim.Optimizer, x: Tensor, y: Tensor) -> tuple[float, int]:
    """One step on a batch; its loss, and how many of its images were classified rightly."""
    scores = model(x)
    loss = scores.cross_entropy(y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    return loss.item(), int((scores.numpy().argmax(1) == y.numpy()).sum())


def train(
    model: ConvNet, x: np.ndarray, y: np.ndarray, options: argparse.Namespace, history: History
) -> None:
    """Trains for some epochs and writes `history`; only whole batches, so one program does."""
    opt = nn.optim.Adam([model], lr=options.lr)
    total = history.epochs * history.steps
    with progress(total * options.batch) as report, Tensor.train():
        for epoch in range(history.epochs):
            parts = data.batches(
                x, y, options.batch, shuffle=True, seed=options.seed + epoch, drop_last=True
            )
            for images, labels in parts:
                opt.lr = learning_rate(options.lr, (len(history.losses) + 1) / total)
                loss, hits = train_step(
                    model, opt, Tensor(images, requires_grad=False), Tensor(labels)
                )
                history.losses.append(loss)
                history.accuracies.append(hits / options.batch)
                facts = f"loss {history.recent(history.losses):.3f}  "
                facts += f"accuracy {history.recent(history.accuracies):.1%}"
                report(options.batch, f"epoch {epoch + 1}/{history.epochs}  {facts}")


def predict(model: ConvNet, x: np.ndarray) -> np.ndarray:
    """The class of each image (N,). All batches have one size: the last begins anew at the top."""
    size = min(EVALUATION_BATCH, len(x))
    classes = []
    with Tensor.train(False):
        for start in range(0, len(x), size):
            images = x[np.arange(start, start + size) % len(x)]
            classes.append(model(Tensor(images)).argmax(1).numpy())
    return np.concatenate(classes)[: len(x)]


# What is shown while it runs


@contextlib.contextmanager
def progress(total: int) -> Iterator[Report]:
    """Gives a function to call with the number of images just done and a line of facts."""
    try:
        from rich import progress as bars
    except ImportError:
        bars = None
    if bars is None or not sys.stdout.isatty():
        yield plain_progress(total)
        return
    speed = bars.TextColumn("{task.fields[speed]:,.0f} images/s")
    left = bars.TimeRemainingColumn()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), speed, left)
    begin = time.perf_counter()
    with bars.Progress(*columns) as bar:
        task = bar.add_task("compiling the first step", total=total, speed=0.0)

        def report(images: int, facts: str) -> None:
            seconds = time.perf_counter() - begin
            speed = (bar.tasks[0].completed + images) / seconds
            bar.update(task, advance=images, description=facts, speed=speed)

        yield report


def plain_progress(total: int) -> Report:
    """A line of text every ten seconds, and at the end, for logs."""
    begin = spoke = time.perf_counter()
    done = 0

    def report(images: int, facts: str) -> None:
        nonlocal done, spoke
        done += images
        now = time.perf_counter()
        if now - spoke >= 10 or done >= total:
            spoke = now
            speed = done / (now - begin)
            left = (total - done) / speed
            print(f"{facts}  {speed:,.0f} images/s  {left:.0f} s left", flush=True)

    return report


def draw(
    path: Path, history: History, x: np.ndarray, y: np.ndarray, said: np.ndarray, names: list[str]
) -> None:
    """The training curve, and test images with what the network says, mistakes in red."""
    from matplotlib import colormaps, pyplot

    pyplot.switch_backend("Agg")
    figure = pyplot.figure(figsize=(13, 6.5), layout="constrained")
    curves, grid = figure.subfigures(1, 2, width_ratios=(1, 1.45))
    upper, lower = curves.subplots(2, 1, sharex=True)
    for axes, values, label, color in (
        (upper, history.losses, "training loss", "#c05020"),
        (lower, history.accuracies, "training accuracy", "#2060a0"),
    ):
        draw_curve(axes, np.asarray(values), history.steps, color)
        axes.set_ylabel(label)
    lower.set_xlabel("epoch")
    accuracy = float((said == y).mean())
    curves.suptitle(f"{accuracy:.2%} of {len(y):,} test images are right")
    grid.suptitle("test images and what the network says; in red: says (is)")
    chosen = np.random.default_rng(0).permutation(len(x))[:40]
    for axes in grid.subplots(5, 8).flat:
        axes.axis("off")
    for axes, i in zip(grid.axes, chosen, strict=False):
        right = said[i] == y[i]
        title = names[said[i]] if right else f"{names[said[i]]} ({names[y[i]]})"
        axes.imshow(x[i, 0], cmap=colormaps["gray_r"])
        axes.set_title(title, fontsize=8, color="black" if right else "red", pad=3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def draw_curve(axes: Any, values: np.ndarray, steps: int, color: str) -> None:
    """Every step in a pale line, and a running mean over it."""
    window = max(1, min(50, len(values) // 5))
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    epochs = (np.arange(len(values)) + 1) / steps
    axes.plot(epochs, values, color=color, alpha=0.25, linewidth=0.8)
    axes.plot(epochs[window - 1 :], smooth, color=color, linewidth=2)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


# The program


def arguments() -> argparse.Namespace:
    """What the user has asked for."""
    about, examples = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=about, epilog=examples, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", choices=["fashion", "mnist", "digits"], default="fashion")
    parser.add_argument("--epochs", type=int, help="times through the training images")
    parser.add_argument("--batch", type=int, help="images in a step")
    parser.add_argument("--lr", type=float, default=0.003, help="the highest learning rate")
    parser.add_argument("--limit", type=int, help="use this many images only, for a quick run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for results")
    options = parser.parse_args()
    for name in ("epochs", "batch", "limit"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, not {value}")
    return options


def main() -> int:
    """Trains, evaluates, saves, checks and draws; 0 if all went well, 130 after Ctrl-C."""
    options = arguments()
    try:
        name, split = data.load(options.dataset)
    except (data.DataUnavailableError, data.DamagedFileError) as error:
        print(error, file=sys.stderr)
        return 1
    x_train, y_train, x_test, y_test = (part[: options.limit] for part in split)
    options.batch = min(options.batch or BATCH[name], len(x_train))
    history = History(options.epochs or EPOCHS[name], len(x_train) // options.batch)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "model.safetensors"

    Tensor.manual_seed(options.seed)
    side = x_train.shape[-1]
    model = ConvNet(side)
    weights = sum(p.numel() for p in get_parameters(model))
    print(f"{name}: {len(x_train):,} images to train on, {len(x_test):,} to test on")
    print(f"a network of {weights:,} weights, {history.epochs} epochs in steps of {options.batch}")
    try:
        train(model, x_train, y_train, options, history)
    except KeyboardInterrupt:
        safe_save(get_state_dict(model), file)
        print(f"\nstopped after {len(history.losses)} steps; what was learned is in {file}")
        return 130

    said = predict(model, x_test)
    accuracy = float((said == y_test).mean())
    print(f"test accuracy {accuracy:.2%}")
    safe_save(get_state_dict(model), file)
    reloaded = ConvNet(side)
    load_state_dict(reloaded, safe_load(file))
    if (again := float((predict(reloaded, x_test) == y_test).mean())) != accuracy:
        print(f"the model read back from {file} reaches {again:.2%} instead", file=sys.stderr)
        return 1
    print(f"saved to {file}; read back, it reaches the same")
    try:
        draw(options.out / "results.png", history, x_test, y_test, said, NAMES[name])
        print(f"picture in {options.out / 'results.png'}")
    except ImportError:
        print("no picture: pip install matplotlib")
    return 0


if __name__ == "__main__":
    sys.exit(main())
