"""Losses as layers, against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn import losses
from tests.helpers import floats
from tests.nn.comparison import check_layer

X, Y, Z = floats(3, 4), floats(3, 4, seed=1), floats(3, 4, seed=2)
SHARE, LABELS, SIGNS = np.abs(Y) / 4, np.array([0, 3, 1]), np.array([1, -1, 1])
WEIGHT, LOGS = np.abs(floats(4, seed=3)), -np.abs(X)
SEQUENCES = (np.array([[0, 1], [2, 2]]), np.array([5, 4]), np.array([2, 1]))
CASES: list[tuple[str, dict[str, Any], tuple[np.ndarray, ...]]] = [
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.1}, (X, LABELS)),
    ("CrossEntropyLoss", {"ignore_index": 3, "reduction": "sum"}, (X, LABELS)),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 3}, (LOGS, LABELS)),
    ("BCELoss", {"weight": WEIGHT}, (np.abs(X) / 4, SHARE)),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT}, (X, SHARE)),
    ("KLDivLoss", {"reduction": "batchmean"}, (LOGS, SHARE)),
    ("KLDivLoss", {"reduction": "none", "log_target": True}, (LOGS, -SHARE)),
    ("MSELoss", {}, (X, Y)),
    ("MSELoss", {"reduction": "none"}, (X, Y)),
    ("L1Loss", {"reduction": "sum"}, (X, Y)),
    ("SmoothL1Loss", {"beta": 0.5}, (X, Y)),
    ("HuberLoss", {"delta": 0.5}, (X, Y)),
    ("CTCLoss", {"blank": 3, "reduction": "sum"}, (-np.abs(floats(5, 2, 4)), *SEQUENCES)),
    ("CosineEmbeddingLoss", {"margin": 0.2}, (X, Y, SIGNS)),
    ("TripletMarginLoss", {"margin": 0.5, "p": 1.0, "swap": True}, (X, Y, Z)),
    ("CosineSimilarity", {"dim": 0}, (X, Y)),
    ("PairwiseDistance", {"p": 3.0, "keepdim": True}, (X, Y)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_layers(case: Any) -> None:
    name, options, arrays = case

    def made(space: Any, wrap: Any) -> Any:
        given = {k: wrap(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return getattr(space, name)(**given)

    check_layer(made(nn, Tensor), made(torch.nn, torch.from_numpy), *arrays)


def test_every_layer_is_tried() -> None:
    assert {case[0] for case in CASES} == set(losses.__all__)


def test_weights_are_not_trained() -> None:
    weight = Tensor(WEIGHT)
    loss = nn.CrossEntropyLoss(weight)
    assert nn.state.get_parameters(loss) == []
    assert (
        repr(loss) == "CrossEntropyLoss(ignore_index=-100, reduction='mean', label_smoothing=0.0)"
    )
    loss(Tensor(X), Tensor(LABELS)).backward()
    assert weight.grad is None


def test_options_are_named() -> None:
    """PyTorch's first argument would be `size_average`, which is nothing to mistake for another."""
    with pytest.raises(TypeError):
        nn.MSELoss("sum")
