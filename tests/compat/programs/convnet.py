"""A convolutional network with batch normalisation on made-up images; its steps are recorded."""

import numpy as np
from tinygrad import Context, Tensor, TinyJit, nn
from tinygrad.helpers import trange

random = np.random.default_rng(1)
labels = random.integers(0, 4, 64)
pixels = random.normal(0, 0.3, (64, 1, 12, 12)).astype(np.float32)
for image, label in zip(pixels, labels):
    image[0, 3 * (label // 2) : 3 * (label // 2) + 6, 6 * (label % 2) : 6 * (label % 2) + 6] += 1
X, Y = Tensor(pixels), Tensor(labels.astype(np.int32))


class Net:
    def __init__(self):
        self.layers = [
            nn.Conv2d(1, 4, 3, 1, 1, bias=False),
            nn.BatchNorm(4),
            Tensor.relu,
            Tensor.max_pool2d,
            nn.Conv2d(4, 8, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8, 1e-5, True),
            Tensor.relu,
            lambda x: x.flatten(1),
            nn.Linear(72, 4),
        ]

    def __call__(self, x):
        return x.sequential(self.layers)


net = Net()
for name, part in sorted(nn.state.get_state_dict(net).items()):
    if "running" not in name and "num_batches" not in name:
        part.assign(Tensor(random.normal(0, 0.3, part.shape).astype(np.float32)))
opt = nn.optim.Adam(nn.state.get_parameters(net), 0.01, 0.8, 0.99, 1e-6)


@TinyJit
@Context(TRAINING=1)
def train_step(x, y):
    opt.zero_grad()
    loss = net(x).cross_entropy(y, label_smoothing=0.1).backward()
    return loss.realize(*opt.schedule_step())


@TinyJit
def accuracy(x, y):
    return (net(x).argmax(axis=1) == y).mean()


for step in (t := trange(12)):
    batch = slice(16 * (step % 4), 16 * (step % 4 + 1))
    loss = train_step(
        Tensor(pixels[batch]).realize(), Tensor(labels[batch].astype(np.int32)).realize()
    )
    t.set_description(f"loss {loss.item():.3f}")
    if step % 4 == 3:
        print("step", step, loss.item(), accuracy(X, Y).item())
print("running", net.layers[1].running_mean.tolist())
