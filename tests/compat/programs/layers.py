"""Layers with the arguments in tinygrad's order."""

import numpy as np
from tinygrad import Context, Tensor, nn

random = np.random.default_rng(6)


def filled(layer):
    for name, part in sorted(nn.state.get_state_dict(layer).items()):
        if "running" not in name and "num_batches" not in name:
            part.assign(Tensor(random.normal(0, 0.5, part.shape).astype(np.float32)))
    return layer


def show(name, result):
    print(name, *result.shape, result.sum().item(), result.square().mean().item())


image = Tensor(random.normal(size=(2, 4, 5, 6)).astype(np.float32))
row = Tensor(random.normal(size=(2, 4, 7)).astype(np.float32))
show("conv", filled(nn.Conv2d(4, 6, (3, 2), 2, 1, 1, 2, False))(image))
show("conv1d", filled(nn.Conv1d(4, 3, 3, padding=2, dilation=2))(row))
show("same", filled(nn.Conv2d(4, 4, 3, padding="same"))(image))
show("transposed", filled(nn.ConvTranspose2d(4, 2, 3, 2, 1, 1, 2, 2, True))(image))
show("transposed1d", filled(nn.ConvTranspose1d(4, 2, 3, 2, 0, 1, 1, 2, False))(row))
show("linear", filled(nn.Linear(6, 3))(image))
show("group", filled(nn.GroupNorm(2, 4, 1e-3))(image))
show("instance", filled(nn.InstanceNorm(4))(image))
show("layer", filled(nn.LayerNorm((5, 6), 1e-4, False))(image))
show("layer2d", filled(nn.LayerNorm2d(4))(image))
show("rms", filled(nn.RMSNorm(6))(image * 1e-3))
batch = filled(nn.BatchNorm(4, 1e-3, True, True, 0.3))
with Context(TRAINING=1):
    show("batch", batch(image))
show("batch later", batch(image))
show("plain", nn.BatchNorm2d(4, 1e-5, False)(image))
embedding = filled(nn.Embedding(10, 3))
show("embedding", embedding(Tensor([[1, 2], [9, 0]])))
cell = filled(nn.LSTMCell(3, 4))
h, c = cell(embedding(Tensor([1, 2])))
h, c = cell(embedding(Tensor([3, 4])), (h, c))
show("lstm", h + c)
show("pools", image.avg_pool2d((2, 2)) + image.max_pool2d((2, 2), stride=2))
show("upsampled", image.interpolate((10, 12), mode="nearest"))
