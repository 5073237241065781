"""Transformers against PyTorch's with the same weights."""

from __future__ import annotations

import warnings
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


def alike(layer: Any, reference: Any) -> tuple[Any, Any]:
    """Both with the same weights, none of which is 0; the reference is made to train."""
    for number, parameter in enumerate(reference.parameters()):
        parameter.data = torch.tensor(floats(*parameter.shape, low=-1, high=1, seed=number))
    assert list(nn.state.get_state_dict(layer)) == list(reference.state_dict())
    nn.state.load_state_dict(layer, reference.state_dict())
    return layer, reference


def compare(layer: Any, reference: Any, arrays: list[np.ndarray], **call: Any) -> None:
    """Values and gradients."""
    ours, theirs = [Tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]
    for tensor in theirs:
        tensor.requires_grad_()
    made = {k: Tensor(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    known = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    y, expected = layer(*ours, **made), reference(*theirs, **known)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-3, atol=2e-5)
    direction = floats(*y.shape, seed=7)
    (y * Tensor(direction)).sum().backward()
    (expected * torch.tensor(direction)).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=2e-4)
    state = nn.state.get_state_dict(layer)
    for key, parameter in reference.named_parameters():
        given = state[key].grad.numpy()
        np.testing.assert_allclose(given, parameter.grad.numpy(), rtol=1e-3, atol=2e-4)


FUTURE = np.triu(np.ones((3, 3), bool), 1)
HIDDEN = np.zeros((2, 3), bool)
HIDDEN[1, 2] = True
LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "norm first": {"norm_first": True, "layer_norm_eps": 0.1},
    "with all": {"activation": "gelu", "batch_first": True, "bias": False},
}


@pytest.mark.parametrize("name", LAYERS)
def test_encoder_layers(name: str) -> None:
    options = {"dim_feedforward": 6, "dropout": 0.0, **LAYERS[name]}
    made = alike(
        nn.TransformerEncoderLayer(4, 2, **options),
        torch.nn.TransformerEncoderLayer(4, 2, **options),
    )
    x = floats(2, 3, 4) if options.get("batch_first") else floats(3, 2, 4)
    compare(*made, [x], src_mask=FUTURE, src_key_padding_mask=HIDDEN)


@pytest.mark.parametrize("name", LAYERS)
def test_decoder_layers(name: str) -> None:
    options = {"dim_feedforward": 6, "dropout": 0.0, **LAYERS[name]}
    made = alike(
        nn.TransformerDecoderLayer(4, 2, **options),
        torch.nn.TransformerDecoderLayer(4, 2, **options),
    )
    arrays = [floats(3, 2, 4), floats(5, 2, 4, seed=1)]
    if options.get("batch_first"):
        arrays = [a.swapaxes(0, 1).copy() for a in arrays]
    masks = {"memory_mask": floats(3, 5), "tgt_key_padding_mask": HIDDEN}
    compare(*made, arrays, tgt_mask=FUTURE, **masks)


def test_a_function_as_activation_and_no_batch() -> None:
    made = alike(
        nn.TransformerEncoderLayer(4, 2, 6, 0.0, Tensor.sigmoid),
        torch.nn.TransformerEncoderLayer(4, 2, 6, 0.0, torch.sigmoid),
    )
    compare(*made, [floats(3, 4)])


def test_a_whole_transformer_over_several_steps() -> None:
    how = {"dim_feedforward": 6, "dropout": 0.0, "norm_first": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about nested tensors, which do not matter here
        reference = torch.nn.Transformer(4, 2, 2, 1, **how)
    layer, reference = alike(nn.Transformer(4, 2, 2, 1, **how), reference)
    opt = nn.optim.SGD([layer], lr=0.01)
    reference_opt = torch.optim.SGD(reference.parameters(), lr=0.01)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    known = torch.nn.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask.numpy(), known.numpy())
    for number in range(3):
        src, tgt = floats(5, 2, 4, seed=number), floats(3, 2, 4, seed=number + 9)
        opt.zero_grad()
        loss = layer(Tensor(src), Tensor(tgt), tgt_mask=mask).square().mean()
        loss.backward()
        opt.step()
        reference_opt.zero_grad()
        expected = reference(torch.tensor(src), torch.tensor(tgt), tgt_mask=known).square().mean()
        expected.backward()
        reference_opt.step()
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-4)


def test_copies_of_a_layer_are_trained_apart() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 6)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(4))
    first, second = (one.linear1.weight for one in encoder.layers)
    assert first is not second and first.allclose(second) and first.requires_grad
    names = list(nn.state.get_state_dict(encoder))
    assert names[0] == "layers.0.self_attn.in_proj_weight" and names[-1] == "norm.bias"


def test_causal_decoding_by_the_hint_alone() -> None:
    layer = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6), 1)
    x, memory = Tensor(floats(3, 2, 4)), Tensor(floats(5, 2, 4))
    expected = layer(x, memory, Tensor(FUTURE)).numpy()
    np.testing.assert_allclose(layer(x, memory, tgt_is_causal=True).numpy(), expected, atol=1e-5)


def test_dropout_acts_while_training() -> None:
    layer, x = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.5), Tensor(floats(3, 2, 4))
    calm = layer(x).numpy()
    np.testing.assert_array_equal(layer(x).numpy(), calm)
    with Tensor.train():
        assert abs(layer(x).numpy() - calm).max() > 0.01


def test_matrices_of_a_transformer_start_as_pytorchs() -> None:
    model = nn.Transformer(32, 2, 1, 1, 64)
    bound = np.sqrt(6 / (32 + 64))
    assert 0.9 * bound < abs(model.encoder.layers[0].linear1.weight.numpy()).max() <= bound


def test_an_activation_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="activation is 'relu', 'gelu' or a function, not 'tanh'"):
        nn.TransformerEncoderLayer(4, 2, activation="tanh")
