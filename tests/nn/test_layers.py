"""Layers against PyTorch's with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import GradientError, Tensor, nn
from tests.helpers import assert_same, check


@pytest.fixture(autouse=True)
def evaluation() -> Iterator[None]:
    """Tests choose themselves whether they train."""
    with Tensor.train(False):
        yield


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def copy_weights(source: torch.nn.Module, layer: Any) -> None:
    nn.state.load_state_dict(layer, {k: v.numpy() for k, v in source.state_dict().items()})


CASES = {
    "linear": (nn.Linear(5, 3), torch.nn.Linear(5, 3), (4, 5)),
    "linear 1-D": (nn.Linear(5, 3), torch.nn.Linear(5, 3), (5,)),
    "linear without bias": (
        nn.Linear(5, 3, bias=False),
        torch.nn.Linear(5, 3, bias=False),
        (2, 4, 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, training: bool) -> None:
    layer, reference, shape = CASES[name]
    copy_weights(reference, layer)
    reference.train(training)
    for p in nn.state.get_parameters(layer):
        p.grad = None
    reference.zero_grad()
    x, tx = Tensor(array(*shape)), torch.tensor(array(*shape), requires_grad=True)
    expected = reference(tx)
    direction = array(*expected.shape)
    (expected * torch.tensor(direction)).sum().backward()
    with Tensor.train(training):
        y = layer(x)
        (y * Tensor(direction)).sum().backward()
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-3, atol=2e-5)
    ours, theirs = nn.state.get_state_dict(layer), reference.state_dict(keep_vars=True)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key].numpy(), value.detach().numpy(), rtol=1e-5, atol=1e-6)
        if value.grad is not None:
            given = ours[key].grad
            assert given is not None
            np.testing.assert_allclose(given.numpy(), value.grad.numpy(), rtol=1e-3, atol=2e-5)


def test_state_names_shapes_and_dtypes_are_pytorchs() -> None:
    for layer, reference, _ in CASES.values():
        ours = nn.state.get_state_dict(layer)
        theirs = reference.state_dict()
        assert [(k, v.shape, v.dtype.name) for k, v in ours.items()] == [
            (k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in theirs.items()
        ]


def test_initial_values_spread_as_pytorchs() -> None:
    """The bound of ±1/sqrt(fan in) is nearly reached and never passed."""
    for layer, fan_in in ((nn.Linear(100, 50), 100), (nn.Conv2d(4, 50, 5), 100)):
        weight = layer.weight.numpy()
        assert 0.098 < abs(weight).max() <= 1 / np.sqrt(fan_in)
        assert abs(weight.mean()) < 0.005
        assert layer.bias is not None and abs(layer.bias.numpy()).max() <= 0.1
    weight = nn.Embedding(100, 50).weight.numpy()
    assert abs(weight.mean()) < 0.06 and abs(weight.std() - 1) < 0.06


def test_embedding() -> None:
    layer, reference = nn.Embedding(7, 3), torch.nn.Embedding(7, 3)
    copy_weights(reference, layer)
    ids = np.array([[0, 6, 2], [2, 2, 1]])
    expected = reference(torch.tensor(ids))
    (expected**2).sum().backward()
    y = layer(Tensor(ids))
    (y**2).sum().backward()
    np.testing.assert_array_equal(y.numpy(), expected.detach().numpy())
    assert layer.weight.grad is not None
    np.testing.assert_allclose(layer.weight.grad.numpy(), reference.weight.grad.numpy(), rtol=1e-6)


def test_embedding_with_padding() -> None:
    layer, reference = nn.Embedding(5, 3, -1), torch.nn.Embedding(5, 3, padding_idx=-1)
    np.testing.assert_array_equal(layer.weight.numpy() == 0, reference.weight.detach() == 0)
    copy_weights(reference, layer)
    opt, reference_opt = nn.optim.SGD([layer]), torch.optim.SGD(reference.parameters(), 0.001)
    for ids in ([[4, 0], [1, 4]], [[4, 4], [2, 2]]):
        opt.zero_grad()
        reference_opt.zero_grad()
        (layer(Tensor(ids)) ** 2).sum().backward()
        (reference(torch.tensor(ids)) ** 2).sum().backward()
        given, known = layer.weight.grad, reference.weight.grad
        np.testing.assert_allclose(given.numpy(), known.numpy(), rtol=1e-5)
        opt.step()
        reference_opt.step()
    np.testing.assert_allclose(layer.weight.numpy(), reference.weight.detach(), rtol=1e-5)


EMBEDDINGS: list[dict[str, Any]] = [
    {"max_norm": 1.0},
    {"max_norm": 0.5, "norm_type": 1.0},
    {"max_norm": 0.7, "norm_type": float("inf"), "padding_idx": 2},
    {"scale_grad_by_freq": True},
    {"max_norm": 100.0, "scale_grad_by_freq": True, "padding_idx": 0},
]


@pytest.mark.parametrize("options", EMBEDDINGS)
def test_embedding_with_every_option_trains_as_pytorchs(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, reference = nn.Embedding(6, 3, **options), torch.nn.Embedding(6, 3, **options)
    copy_weights(reference, layer)
    opt, known = nn.optim.SGD([layer], lr=0.5), torch.optim.SGD(reference.parameters(), lr=0.5)
    for number in range(4):
        ids = np.array([[0, 1, 2], [5, 2, 2]]) + number % 2 * np.array([[0, 1, 2], [0, 0, 2]])
        got, expected = layer(Tensor(ids)), reference(torch.tensor(ids))
        assert_same(got, expected, 1e-6, 1e-6)
        opt.zero_grad(), known.zero_grad()
        got.pow(3).sum().backward(), expected.pow(3).sum().backward()
        opt.step(), known.step()
        assert_same(layer.weight, reference.weight, 1e-5, 1e-5)


def test_an_id_out_of_range_does_not_spoil_a_weight_that_is_made_short() -> None:
    layer = nn.Embedding(6, 3, max_norm=0.1)
    for wrong in (6, -1):
        with pytest.raises(IndexError):
            layer(Tensor([0, wrong])).numpy()
    np.testing.assert_allclose(layer(Tensor([1, 2])).norm(dim=1).numpy(), 0.1, rtol=1e-5)
    with pytest.raises(GradientError, match="written to since"):
        (layer(Tensor([1])) + layer(Tensor([2]))).sum().backward()


def test_pretrained_embedding() -> None:
    vectors = Tensor(array(4, 3))
    frozen = nn.Embedding.from_pretrained(vectors)
    trained = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=0)
    assert not nn.state.get_parameters(frozen) and nn.state.get_parameters(trained)
    np.testing.assert_array_equal(trained(Tensor([0, 3])).numpy(), array(4, 3)[[0, 3]])
    trained(Tensor([0, 3])).sum().backward()
    assert trained.weight.grad is not None and vectors.grad is None
    assert trained.weight.grad.numpy().sum(1).tolist() == [0, 0, 0, 3]


def test_embedding_arguments_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="padding_idx=5 is none of 5 ids"):
        nn.Embedding(5, 3, 5)
    with pytest.raises(ValueError, match=r"embeddings have shape \(3,\)"):
        nn.Embedding.from_pretrained(Tensor.ones(3))


@pytest.mark.parametrize("options", [{}, {"bias": False}])
@pytest.mark.parametrize("lead", [(), (2,), (2, 1)])
def test_bilinear(lead: tuple[int, ...], options: dict[str, bool]) -> None:
    layer, reference = nn.Bilinear(3, 4, 5, **options), torch.nn.Bilinear(3, 4, 5, **options)
    copy_weights(reference, layer)
    weights = [p.detach().numpy() for p in reference.parameters()]

    def ours(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        layer.weight, layer.bias = weight, bias
        return layer(x, y)

    def theirs(x: Any, y: Any, weight: Any, bias: Any = None) -> Any:
        return torch.nn.functional.bilinear(x, y, weight, bias)

    check(ours, theirs, array(*lead, 3), array(*lead, 4), *weights)


def test_bilinear_of_what_does_not_fit() -> None:
    for shape in ((2, 3), (3, 4)):
        with pytest.raises(ValueError, match=r"Bilinear\(3, 4, 5\): the inputs have shapes"):
            nn.Bilinear(3, 4, 5)(Tensor.ones(2, 3), Tensor.ones(shape))


@pytest.mark.parametrize("bad", [-1, 7])
def test_embedding_of_an_id_out_of_range(bad: int) -> None:
    with pytest.raises(IndexError):
        nn.Embedding(7, 3)(Tensor([0, bad])).numpy()


def test_embedding_of_floats() -> None:
    with pytest.raises(TypeError, match=r"Embedding\(7, 3\).*float32"):
        nn.Embedding(7, 3)(Tensor([1.0]))


def test_dropout() -> None:
    x, layer = Tensor.ones(1000), nn.Dropout(0.25)
    assert layer(x).tolist() == [1.0] * 1000
    with Tensor.train():
        y = layer(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 180 < (y == 0).sum() < 320
    with pytest.raises(ValueError, match="probability"):
        nn.Dropout(1.5)


def test_sequential_is_a_list() -> None:
    layers = [nn.Linear(3, 4), Tensor.relu, nn.Linear(4, 2)]
    model, same = nn.Sequential(*layers), nn.Sequential(layers)
    x = Tensor(array(5, 3))
    assert len(model) == 3 and model[0] is layers[0]
    np.testing.assert_array_equal(model(x).numpy(), same(x).numpy())
    names = list(nn.state.get_state_dict(model))
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("layer", "shape", "wanted"),
    [
        (nn.Linear(5, 3), (4, 6), r"Linear\(5, 3\): x has shape \(4, 6\), and \(..., 5\)"),
        (nn.Linear(5, 3), (), r"Linear\(5, 3\): x has shape \(\)"),
        (nn.Conv2d(2, 4, 3), (2, 3, 5, 5), r"Conv2d\(2, 4, \(3, 3\)\).*\(N, 2, H, W\)"),
        (nn.Conv2d(2, 4, 3), (5, 5), r"Conv2d\(2, 4, \(3, 3\)\).*\(N, 2, H, W\)"),
    ],
)
def test_a_wrong_shape_names_the_layer(layer: Any, shape: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        layer(Tensor.zeros(shape))


def test_conv_arguments_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="groups=2 must divide in_channels=3"):
        nn.Conv2d(3, 4, 1, groups=2)
    with pytest.raises(ValueError, match="needs stride 1"):
        nn.Conv2d(2, 4, 3, stride=2, padding="same")
    with pytest.raises(ValueError, match="'valid'"):
        nn.Conv2d(2, 4, 3, padding="full")


PAIRS = [
    (nn.relu, torch.nn.functional.relu),
    (nn.leaky_relu, torch.nn.functional.leaky_relu),
    (nn.elu, torch.nn.functional.elu),
    (nn.gelu, torch.nn.functional.gelu),
    (nn.silu, torch.nn.functional.silu),
    (nn.softplus, torch.nn.functional.softplus),
    (nn.sigmoid, torch.sigmoid),
    (nn.tanh, torch.tanh),
    (lambda x: nn.softmax(x, dim=1), lambda x: torch.softmax(x, dim=1)),
    (lambda x: nn.log_softmax(x, dim=2), lambda x: torch.log_softmax(x, dim=2)),
    (lambda x: nn.max_pool2d(x, 2, padding=1), lambda x: torch.max_pool2d(x, 2, padding=1)),
    (
        lambda x: nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_functions(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    x = array(2, 3, 6, 6)
    expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_functions_of_several_tensors() -> None:
    torch_functions = torch.nn.functional
    x, w, b = array(4, 5), array(3, 5), array(3)
    image, kernel = array(2, 4, 6, 6), array(2, 2, 3, 3)
    labels = np.array([1, 4, 0, 2])
    chance, truth = 1 / (1 + np.exp(-x)), (array(5, 4).T > 0).astype(np.float32)
    t, g = torch.tensor, Tensor
    cases = [
        (nn.linear(g(x), g(w), g(b)), torch_functions.linear(t(x), t(w), t(b))),
        (
            nn.conv2d(g(image), g(kernel), None, 2, 1, groups=2),
            torch_functions.conv2d(t(image), t(kernel), None, 2, 1, groups=2),
        ),
        (
            nn.cross_entropy(g(x), g(labels), label_smoothing=0.1),
            torch_functions.cross_entropy(t(x), t(labels), label_smoothing=0.1),
        ),
        (
            nn.nll_loss(nn.log_softmax(g(x)), g(labels), reduction="sum"),
            torch_functions.cross_entropy(t(x), t(labels), reduction="sum"),
        ),
        (nn.mse_loss(g(x), g(truth)), torch_functions.mse_loss(t(x), t(truth))),
        (
            nn.binary_cross_entropy(g(chance), g(truth)),
            torch_functions.binary_cross_entropy(t(chance), t(truth)),
        ),
        (
            nn.binary_cross_entropy_with_logits(g(x), g(truth)),
            torch_functions.binary_cross_entropy_with_logits(t(x), t(truth)),
        ),
        (nn.one_hot(g(labels), 5), torch_functions.one_hot(t(labels), 5)),
    ]
    for ours, theirs in cases:
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-5, atol=1e-6)
