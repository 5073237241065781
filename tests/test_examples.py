"""The examples run as a user runs them, on little data."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradlet.nn.state import safe_load
from tests.adapters import adapter

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
OTHERS = ["numpy", "torch:cpu", "webgpu"]


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]


def run(
    name: str, *arguments: object, device: str | None = None
) -> subprocess.CompletedProcess[str]:
    chosen = {"GRADLET_DEVICE": device} if device else {}
    if device == "webgpu":
        adapter()  # or this test is skipped
    return subprocess.run(
        command(name, *arguments), capture_output=True, text=True, timeout=600,
        env=ENVIRONMENT | chosen,
    )  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", *OTHERS])
def test_xor_is_learned(device: str) -> None:
    done = run("xor.py", device=device)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ *([01]) +([01]) +([01]) +([\d.]+)$", done.stdout, re.MULTILINE)
    assert len(rows) == 4
    for x0, x1, wanted, answer in rows:
        assert int(wanted) == int(x0) ^ int(x1)
        assert abs(float(answer) - int(wanted)) < 0.05


@pytest.mark.slow
def test_mnist_runs_from_data_to_picture(tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = run("mnist.py", "--dataset", "digits", "--limit", 320, "--epochs", 4, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "digits: 320 images to train on, 320 to test on" in done.stdout
    accuracy = re.search(r"test accuracy ([\d.]+)%", done.stdout)
    assert accuracy is not None and float(accuracy[1]) > 70
    assert "read back, it reaches the same" in done.stdout
    assert safe_load(out / "model.safetensors")["layers.0.weight"].shape == (32, 1, 3, 3)
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")


def short_mnist(device: str, out: Path) -> list[float]:
    """The numbers that a short run on a device reports on its training."""
    done = run(
        "mnist.py", "--dataset", "digits", "--limit", 64, "--epochs", 1, "--out", out,
        device=device,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "read back, it reaches the same" in done.stdout
    *_, last = re.findall(r"^epoch 1/1  loss ([\d.]+)  accuracy ([\d.]+)%", done.stdout, re.M)
    return [float(number) for number in last]


@pytest.fixture(scope="module")
def mnist_on_cpu(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return short_mnist("cpu", tmp_path_factory.mktemp("mnist"))


@pytest.mark.slow
@pytest.mark.parametrize("device", OTHERS)
def test_mnist_learns_the_same_on_other_devices(
    device: str, mnist_on_cpu: list[float], tmp_path: Path
) -> None:
    assert short_mnist(device, tmp_path) == pytest.approx(mnist_on_cpu, rel=0.02)


def listen_to_ctrl_c() -> None:
    """A shell that runs the tests in the background makes its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent in another way there")
def test_ctrl_c_saves_what_was_learned(tmp_path: Path) -> None:
    arguments = ("--dataset", "digits", "--epochs", 1000, "--out", tmp_path)
    process = subprocess.Popen(
        command("mnist.py", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        preexec_fn=listen_to_ctrl_c if sys.platform != "win32" else None,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):  # the first report, after ten seconds
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert re.search(r"stopped after \d+ steps; what was learned is in", said)
    assert errors == ""
    assert safe_load(tmp_path / "model.safetensors")["layers.0.weight"].shape == (32, 1, 3, 3)


def test_mnist_refuses_numbers_that_cannot_be() -> None:
    done = run("mnist.py", "--epochs", 0)
    assert done.returncode == 2
    assert "--epochs must be at least 1, not 0" in done.stderr


@pytest.mark.slow
def test_cartpole_is_solved(tmp_path: Path) -> None:
    done = run("cartpole.py", "--updates", 60, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    first = re.search(r"^update   1  mean return +([\d.]+)$", done.stdout, re.MULTILINE)
    assert first is not None and float(first[1]) < 40
    reached = re.search(r"^mean return ([\d.]+) of 500 over 100 new episodes", done.stdout, re.M)
    assert reached is not None and float(reached[1]) >= 475
    assert (tmp_path / "cartpole.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_gpt_learns_letters_and_writes_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", "")  # no Bible there
    sizes = ("--steps", 200, "--layers", 2, "--width", 64, "--context", 32)
    done = run("gpt.py", *sizes)
    assert done.returncode == 0, done.stderr
    assert "no command `bible`" in done.stdout
    losses = re.findall(r"^step +\d+  loss ([\d.]+)  on unseen text ([\d.]+)$", done.stdout, re.M)
    assert len(losses) == 10
    assert float(losses[-1][0]) < float(losses[0][0]) - 1
    assert float(losses[-1][1]) < 2.6  # 4.6 is to know nothing
    assert len(done.stdout.split("training", 1)[-1]) > 1000  # four texts


@pytest.mark.slow
def test_embeddings_find_what_means_the_same() -> None:
    done = run("embeddings.py", "--query", "a dish of potatoes", "--query", "medical protection")
    assert done.returncode == 0, done.stderr
    assert "cosine 0.6888: A man is eating food. / Someone is having a meal." in done.stdout
    best = re.findall(r"^[a-z ]+\n  [\d.]+  (.*)$", done.stdout, re.MULTILINE)
    assert [sentence.split()[0] for sentence in best] == ["Bake", "A"]  # bread, and a vaccine


# The other examples, on digits


@pytest.mark.slow
def test_a_residual_network_learns(tmp_path: Path) -> None:
    out = tmp_path / "resnet.safetensors"
    done = run("resnet.py", "--dataset", "digits", "--epochs", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    accuracy = re.findall(r"test accuracy ([\d.]+)%", done.stdout)
    assert float(accuracy[-1]) > 90
    assert "blocks.2.project.0.weight" in safe_load(out)


@pytest.mark.slow
def test_noise_is_taken_away(tmp_path: Path) -> None:
    done = run("denoise.py", "--dataset", "digits", "--epochs", 6, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.search(r"test images: ([\d.]+) with noise, ([\d.]+) restored", done.stdout)
    assert found is not None and float(found[2]) < 0.3 * float(found[1])
    assert (tmp_path / "denoised.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_diffusion_model_draws(tmp_path: Path) -> None:
    picture = tmp_path / "drawn.png"
    done = run("diffusion.py", "--dataset", "digits", "--epochs", 4, "--out", picture)
    assert done.returncode == 0, done.stderr
    errors = [float(x) for x in re.findall(r"error ([\d.]+)", done.stdout)]
    assert errors[-1] < 0.5 * errors[0]
    assert picture.read_bytes().startswith(b"\x89PNG")
