"""The comparison of whole programs: its arithmetic, that both do the same, one short real run."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch

from bench import mnist
from bench.mnist import CACHED, GRADLET, PYTORCH, Record
from bench.process import ROOT, ChildError
from bench.workloads import torch_mnist
from examples import mnist as example
from gradlet import Tensor, nn
from gradlet.nn.data import DataLoader, TensorDataset, images


def test_ratios_are_taken_within_rounds() -> None:
    records = {
        GRADLET: Record([1.0, 10.0, 2.0], [80.0, 81.0, 82.0]),
        PYTORCH: Record([3.0, 40.0, 4.0], [90.0, 91.0, 92.0]),
    }
    ours, theirs = mnist.table(records).splitlines()[2:]
    assert [cell.strip() for cell in ours.split("|")[2:5]] == ["2.00", "3.00", "81.00%"]
    assert [cell.strip() for cell in theirs.split("|")[2:5]] == ["4.00", "1.00", "91.00%"]


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(ChildError, match="no such thing"):
        mnist.timed(["-c", "raise SystemExit('no such thing')"], {})
    with pytest.raises(ChildError, match="exit 0"):  # it has reached nothing
        mnist.timed(["-c", "pass"], {})


def same_networks(side: int) -> tuple[example.ConvNet, torch_mnist.ConvNet]:
    """Ours, and PyTorch's with the same numbers in it."""
    ours, theirs = example.ConvNet(side), torch_mnist.ConvNet(side)
    state = {k: torch.tensor(v.numpy()) for k, v in nn.state.get_state_dict(ours).items()}
    theirs.load_state_dict(state)
    return ours, theirs


def eight_images(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and a class for each."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (8, 1, side, side), np.uint8), rng.integers(0, 10, 8)


def test_both_networks_give_the_same_scores() -> None:
    ours, theirs = same_networks(28)
    x, _ = eight_images(28)
    for training in (True, False):  # the second time with the statistics that the first has left
        theirs.train(training)
        with Tensor.train(training), Tensor.no_grad(), torch.no_grad():
            wanted = theirs(torch.tensor(x)).numpy()
            assert np.allclose(ours(Tensor(x)).numpy(), wanted, rtol=0, atol=1e-4)
    assert (example.predict(ours, x) == torch_mnist.predict(theirs, torch.tensor(x))).all()


def test_both_begin_with_numbers_of_the_same_spread() -> None:
    ours = nn.state.get_state_dict(example.ConvNet(28))
    for name, theirs in torch_mnist.ConvNet(28).state_dict().items():
        mine, wanted = ours[name].numpy(), theirs.numpy()
        if mine.size >= 288:  # enough of them to come close to their bound
            assert np.abs(mine).max() == pytest.approx(np.abs(wanted).max(), rel=0.05), name
        elif np.ptp(wanted) == 0:
            assert (mine == wanted).all(), name


def test_both_train_with_the_same_rates_and_reach_the_same_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All images make one batch, in which their order is of no account."""

    def noting(kind: Any, rates: list[float]) -> Any:
        class Noting(kind):
            def step(self, *arguments: Any) -> None:
                super().step(*arguments)
                rates.append(self.get_last_lr()[0])

        return Noting

    rates: tuple[list[float], list[float]] = [], []
    schedulers = nn.optim, torch.optim.lr_scheduler
    for module, noted in zip(schedulers, rates, strict=True):
        monkeypatch.setattr(module, "OneCycleLR", noting(module.OneCycleLR, noted))
    ours, theirs = same_networks(8)
    x, y = eight_images(8)
    options = Namespace(epochs=20, batch=8, lr=0.003)
    histories: tuple[list[Any], list[Any]] = [], []
    loader = DataLoader(TensorDataset(x, y), 8, shuffle=True, drop_last=True, seed=0)
    example.train(ours, loader, options, histories[0])
    torch_mnist.train(theirs, torch.tensor(x), torch.tensor(y), options, histories[1])
    assert len(rates[0]) == 21
    assert np.allclose(*rates, rtol=1e-6, atol=0)
    assert np.allclose(*histories, rtol=0, atol=1e-5)
    assert histories[0][0][0] > 10 * histories[0][-1][0]


@pytest.mark.slow
def test_gradlet_and_pytorch_learn_the_same() -> None:
    try:
        images.fashion_mnist()
    except images.DataUnavailableError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "bench", "mnist", "--rounds", "1", "--limit", "1920"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {cells[1].strip(): cells[2:5] for line in done.stdout.splitlines()
            if len(cells := line.split("|")) == 6}  # fmt: skip
    assert rows.keys() >= {GRADLET, CACHED, PYTORCH}
    for name in (GRADLET, CACHED, PYTORCH):
        assert float(rows[name][0]) > 0
        assert 30 < float(rows[name][2].strip(" %")) < 100
