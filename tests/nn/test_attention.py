"""Attention of several heads against PyTorch's with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from tests.helpers import floats


@pytest.fixture(autouse=True)
def evaluation() -> Iterator[None]:
    """Tests choose themselves whether they train."""
    with Tensor.train(False):
        yield


def pair(**options: Any) -> tuple[Any, Any]:
    """A layer of two heads and PyTorch's with the same weights, none of which is 0."""
    reference = torch.nn.MultiheadAttention(4, 2, **options).eval()
    for number, parameter in enumerate(reference.parameters()):
        parameter.data = torch.tensor(floats(*parameter.shape, low=-1, high=1, seed=number))
    layer = nn.MultiheadAttention(4, 2, **options)
    nn.state.load_state_dict(layer, reference.state_dict())
    return layer, reference


def compare(layer: Any, reference: Any, arrays: list[np.ndarray], **call: Any) -> None:
    """Values and gradients; one array stands for queries, keys and values."""
    ours, theirs = [Tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]
    for tensor in theirs:
        tensor.requires_grad_()
    made = {k: Tensor(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    known = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    y, shares = layer(*(ours if len(ours) > 1 else ours * 3), **made)
    expected, expected_shares = reference(*(theirs if len(theirs) > 1 else theirs * 3), **known)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert (shares is None) == (expected_shares is None)
    direction = floats(*y.shape, seed=7)
    loss, expected_loss = (y * Tensor(direction)).sum(), (expected * torch.tensor(direction)).sum()
    if shares is not None:
        np.testing.assert_allclose(shares.numpy(), expected_shares.detach().numpy(), atol=1e-5)
        loss = loss + shares.square().sum()
        expected_loss = expected_loss + expected_shares.square().sum()
    loss.backward()
    expected_loss.backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=5e-5)
    state = nn.state.get_state_dict(layer)
    for key, parameter in reference.named_parameters():
        given = state[key].grad.numpy()
        np.testing.assert_allclose(given, parameter.grad.numpy(), rtol=1e-3, atol=5e-5)


L, S, N = 3, 5, 2
OPTIONS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "without bias": {"bias": False},
    "learned key": {"add_bias_kv": True},
    "zero key": {"add_zero_attn": True},
    "both keys": {"add_bias_kv": True, "add_zero_attn": True, "bias": False},
    "other widths": {"kdim": 3, "vdim": 6},
}


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str, need_weights: bool) -> None:
    layer, reference = pair(**OPTIONS[name])
    assert list(nn.state.get_state_dict(layer)) == list(reference.state_dict())
    widths = (4, layer.kdim, layer.vdim)
    lengths = (L, S, S)
    lead = [(N, n) if layer.batch_first else (n, N) for n in lengths]
    arrays = [floats(*at, w, seed=w) for at, w in zip(lead, widths, strict=True)]
    call = {"need_weights": need_weights, "average_attn_weights": name == "plain"}
    compare(layer, reference, arrays, **call)


@pytest.mark.parametrize("need_weights", [False, True])
def test_one_tensor_without_a_batch(need_weights: bool) -> None:
    compare(*pair(), [floats(L, 4)], need_weights=need_weights)


HIDDEN = np.zeros((N, L), bool)
HIDDEN[1, 2] = True
FUTURE = np.triu(np.ones((L, L), bool), 1)
MASKS: dict[str, dict[str, Any]] = {
    "bools": {"attn_mask": FUTURE},
    "floats": {"attn_mask": floats(L, L)},
    "of each head": {"attn_mask": floats(2 * N, L, L)},
    "padding": {"key_padding_mask": HIDDEN},
    "float padding": {"key_padding_mask": floats(N, L)},
    "two of bools": {"attn_mask": FUTURE, "key_padding_mask": HIDDEN},
    "two of floats": {"attn_mask": floats(2 * N, L, L), "key_padding_mask": floats(N, L)},
    "causal": {"attn_mask": FUTURE, "is_causal": True},
}


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_masks(name: str, extra: bool) -> None:
    layer, reference = pair(add_bias_kv=extra, add_zero_attn=extra)
    compare(layer, reference, [floats(L, N, 4)], need_weights=extra, **MASKS[name])


@pytest.mark.parametrize("extra", [False, True])
def test_causal_without_a_mask(extra: bool) -> None:
    """PyTorch wants a mask as well; here it follows from the hint."""
    layer, _ = pair(add_bias_kv=extra)
    x = Tensor(floats(L, N, 4))
    for padding in (None, Tensor(HIDDEN)):
        expected, shares = layer(x, x, x, padding, attn_mask=Tensor(FUTURE))
        for need_weights in (False, True):
            got, seen = layer(x, x, x, padding, need_weights=need_weights, is_causal=True)
            np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(seen.numpy(), shares.numpy(), atol=1e-5)


def test_a_query_that_sees_no_key_gets_the_bias() -> None:
    layer, _ = pair()
    x = Tensor(floats(L, N, 4))
    for need_weights in (False, True):
        y, _ = layer(x, x, x, Tensor(np.array([[True] * L, [False] * L])), need_weights)
        got = y.numpy()[:, 0]
        np.testing.assert_allclose(got, np.tile(layer.out_proj.bias.numpy(), (L, 1)), atol=1e-6)
        y.sum().backward()
        assert x.grad is not None and np.isfinite(x.grad.numpy()).all()


def test_dropout_zeros_shares_while_training() -> None:
    layer, x = nn.MultiheadAttention(4, 2, dropout=0.5), Tensor(floats(8, 1, 4))
    with Tensor.train():
        _, shares = layer(x, x, x, average_attn_weights=False)
        dropped = (shares.numpy() == 0).mean()
    assert 0.3 < dropped < 0.7
    assert (layer(x, x, x)[1].numpy() > 0).all()


def test_initial_values_are_pytorchs() -> None:
    layer = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    reference = torch.nn.MultiheadAttention(64, 4, add_bias_kv=True).state_dict()
    for key, tensor in nn.state.get_state_dict(layer).items():
        known = reference[key].numpy()
        assert tensor.shape == known.shape
        np.testing.assert_allclose(tensor.numpy().std(), known.std(), rtol=0.3)


@pytest.mark.parametrize(
    ("call", "error", "wanted"),
    [
        (lambda: nn.MultiheadAttention(5, 2), ValueError, "num_heads=2 must divide embed_dim=5"),
        (lambda: attend(Tensor.ones(3, 2, 5)), ValueError, r"query \(3, 2, 5\).*\(L, N, 4\)"),
        (lambda: attend(Tensor.ones(3, 2, 4), key=Tensor.ones(3, 1, 4)), ValueError, "do not fit"),
        (
            lambda: attend(Tensor.ones(3, 2, 4), attn_mask=Tensor.ones(2, 3)),
            ValueError,
            r"attn_mask has shape \(2, 3\), and \(3, 3\) or \(4, 3, 3\) is wanted",
        ),
        (
            lambda: attend(Tensor.ones(3, 2, 4), key_padding_mask=Tensor([[1, 0, 0], [0, 0, 0]])),
            TypeError,
            "key_padding_mask holds bools or floats, not int64",
        ),
    ],
)
def test_what_does_not_fit_says_so(call: Any, error: type, wanted: str) -> None:
    with pytest.raises(error, match=wanted):
        call()


def attend(x: Tensor, key: Tensor | None = None, **call: Any) -> Any:
    return nn.MultiheadAttention(4, 2)(x, x if key is None else key, x, **call)
