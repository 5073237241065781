"""A small GPT reads the King James Bible, letter by letter, and then writes verses of its own.

    python examples/gpt.py    # seed 0, ten minutes on one core: 1.376 nats a letter of unseen text

It wrote: "And it came out of the son of Israel, and his will be good not and his servants, and
shall be a flery that places which he have reparted, and the good of the king of Abratham".
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from rich.progress import track

from gradlet import Tensor, jit, nn
from gradlet.nn.data import Characters, TextDataset, read_text
from gradlet.nn.optim.lr_scheduler import OneCycleLR

DROPOUT = 0.1
OPTIONS = {
    "steps": (3500, "steps of training"),
    "batch": (16, "windows of the text in a step"),
    "context": (128, "letters in a window"),
    "layers": (4, "layers of attention"),
    "width": (128, "numbers for each letter, a multiple of 32"),
    "temperature": (0.7, "of what is written; 1 is as learned, 0.1 is timid"),
    "seed": (0, "of weights, windows and what is written"),
}


class GPT:
    """Letters (B, T) to scores for the letter after each (B, T, count) (Radford et al. 2018)."""

    def __init__(self, count: int, options: argparse.Namespace) -> None:
        width, heads = options.width, options.width // 32
        self.letters = nn.Embedding(count, width)
        self.places = nn.Embedding(options.context, width)
        for embedding in (self.letters, self.places):
            nn.init.normal_(embedding.weight, std=0.02)
        how: Any = {"activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = [
            nn.TransformerEncoderLayer(width, heads, 4 * width, DROPOUT, **how)
            for _ in range(options.layers)
        ]
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, count)

    def __call__(self, letters: Tensor) -> Tensor:
        x = (self.letters(letters) + self.places.weight[: letters.shape[1]]).dropout(DROPOUT)
        for block in self.blocks:
            x = block(x, is_causal=True)
        return self.scores(self.norm(x))


def find_text(path: Path | None) -> str:
    """The text in a file, or the Bible, or else what Python brings along."""
    if path:
        return read_text(path)
    try:
        verses = subprocess.check_output(["bible", "-f", "gen1:1-rev22:21"], text=True)
        return re.sub(r"^\S+ ", "", verses, flags=re.MULTILINE)  # without Ge1:1
    except (OSError, subprocess.CalledProcessError):
        print("no command `bible` (on Debian: apt-get install bible-kjv), so Python's manual it is")
        return "\n".join(topics.values())


def batch(text: TextDataset, size: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows from anywhere in a text, and the same one letter later; both (size, T)."""
    x, y = text.get_batch(random.integers(len(text), size=size))
    return Tensor(x), Tensor(y)


def train(model: GPT, text: TextDataset, unseen: TextDataset, options: argparse.Namespace) -> None:
    """AdamW, with a rate that rises for a twentieth of the steps and falls along a cosine."""
    opt = nn.optim.AdamW([model], betas=(0.9, 0.99), weight_decay=0.1)
    schedule = OneCycleLR(opt, 0.003, options.steps, pct_start=0.05, cycle_momentum=False)

    def surprise(x: Tensor, y: Tensor) -> Tensor:
        return model(x).flatten(0, 1).cross_entropy(y.flatten())

    @jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        opt.zero_grad()
        loss = surprise(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model, 1.0)
        opt.step()
        return loss

    evaluate = jit(surprise)
    random, every = np.random.default_rng(options.seed), max(1, options.steps // 10)
    losses = []
    for number in track(range(1, options.steps + 1), "training"):
        with Tensor.train():
            losses.append(step(*batch(text, options.batch, random)).item())
        schedule.step()
        if number % every == 0:
            same = np.random.default_rng(0)
            others = [evaluate(*batch(unseen, options.batch, same)).item() for _ in range(20)]
            said = f"loss {np.mean(losses[-every:]):.3f}  on unseen text {np.mean(others):.3f}"
            print(f"step {number:4}  {said}", flush=True)


def write(model: GPT, characters: Characters, options: argparse.Namespace) -> list[str]:
    """Four texts of 400 letters, each drawn as the model expects it, from a new line on."""
    scores = jit(lambda window, last: model(window)[:, last])
    random = np.random.default_rng(options.seed)
    texts = np.full((4, 1), characters.ids.get("\n", 0))
    for _ in range(400):
        seen = texts[:, -options.context :]
        blank = options.context - seen.shape[1]  # letters to come, which those before do not see
        window = Tensor(np.pad(seen, ((0, 0), (0, blank))))
        expected = scores(window, Tensor(seen.shape[1] - 1)).numpy() / options.temperature
        drawn = (expected + random.gumbel(size=expected.shape)).argmax(1)
        texts = np.concatenate([texts, drawn[:, None]], axis=1)
    return [characters.decode(text).strip() for text in texts]


def main() -> None:
    """Trains, and prints what the model then writes; Ctrl-C ends the training early."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--text", type=Path, help="a file to learn from")
    for name, (value, about) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=about)
    options = parser.parse_args()
    Tensor.manual_seed(options.seed)
    text = find_text(options.text)
    characters, cut = Characters(text), len(text) * 9 // 10
    learned = TextDataset(text[:cut], options.context, characters)
    unseen = TextDataset(text[cut:], options.context, characters)
    model = GPT(len(characters), options)
    weights = sum(weight.numel() for weight in nn.state.get_parameters(model))
    print(f"{len(text):,} letters, {len(characters)} different; a model of {weights:,} weights")
    try:
        train(model, learned, unseen, options)
    except KeyboardInterrupt:
        print("stopped; this is what it has learned so far")
    for sample in write(model, characters, options):
        print(f"\n{sample}")


if __name__ == "__main__":
    main()
