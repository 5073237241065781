"""The functions of gradlet.nn.functional take PyTorch's arguments in PyTorch's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from gradlet import Tensor
from gradlet.nn import functional as ours
from tests.helpers import assert_same, floats

X, Y, Z = floats(3, 4), floats(3, 4, seed=1), floats(3, 4, seed=2)
SHARE, WEIGHT = abs(Y) / 4, abs(floats(4, seed=3))
CALLS: list[tuple[Any, ...]] = [
    ("relu6", X), ("celu", X, 1.3), ("selu", X), ("mish", X), ("logsigmoid", X), ("hardsigmoid", X),
    ("hardswish", X), ("hardtanh", X, -0.5, 0.7), ("hardshrink", X, 0.6), ("softshrink", X, 0.6),
    ("tanhshrink", X), ("softsign", X), ("threshold", X, 0.3, 9.0), ("prelu", X, WEIGHT),
    ("glu", X, 1), ("softplus", X, 2.0, 1.0), ("l1_loss", X, Y), ("smooth_l1_loss", X, Y),
    ("huber_loss", X, Y), ("kl_div", X, SHARE), ("cosine_similarity", X, Y, 0),
    ("pairwise_distance", X, Y, 3.0, 1e-6, True), ("triplet_margin_loss", X, Y, Z, 0.5, 1.0),
    ("binary_cross_entropy", abs(X) / 4, SHARE, WEIGHT),
    ("binary_cross_entropy_with_logits", X, SHARE, WEIGHT),
    ("nll_loss", X, [0, 3, 1], WEIGHT), ("cross_entropy", X, [0, 3, 1], WEIGHT),
    ("cosine_embedding_loss", X, Y, [1, -1, 1], 0.2), ("softmin", X, 0),
    ("normalize", X, 3.0, 0, 0.5),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
def test_against_torch(call: tuple[Any, ...]) -> None:
    name, *arguments = call
    plain = (bool, int, float)
    got = getattr(ours, name)(*(a if isinstance(a, plain) else Tensor(a) for a in arguments))
    known = getattr(theirs, name)(
        *(a if isinstance(a, plain) else torch.as_tensor(a) for a in arguments)
    )
    assert_same(got, known, 1e-5, 1e-5)


def test_attention_and_alignments_in_pytorch_s_order() -> None:
    query, key, value = (floats(2, 5, 4, seed=seed) for seed in range(3))
    mask = np.tril(np.ones((5, 5), bool))
    for options in ((mask,), (None, 0.0, True, 0.3)):
        got = ours.scaled_dot_product_attention(
            *(Tensor(a) if isinstance(a, np.ndarray) else a for a in (query, key, value, *options))
        )
        known = theirs.scaled_dot_product_attention(
            *(torch.tensor(a) if isinstance(a, np.ndarray) else a for a in (query, key, value)),
            *(torch.tensor(a) if isinstance(a, np.ndarray) else a for a in options[:3]),
            scale=options[3] if len(options) > 3 else None,
        )
        assert_same(got, known, 1e-5, 1e-5)
    logs = floats(5, 2, 4)
    labels, lengths = np.array([[1, 2], [0, 0]]), ([5, 4], [2, 1])
    got = ours.ctc_loss(Tensor(logs), Tensor(labels), *lengths, 3, "sum", True)
    known = theirs.ctc_loss(torch.tensor(logs), torch.tensor(labels),
                            *map(torch.tensor, lengths), 3, "sum", True)  # fmt: skip
    assert_same(got, known, 1e-5, 1e-5)
