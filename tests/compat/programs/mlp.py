"""A small classifier on points that a circle parts, trained by a plain loop."""

import numpy as np
from tinygrad import Context, Tensor, nn
from tinygrad.nn.optim import SGD

random = np.random.default_rng(0)
points = random.uniform(-1, 1, (128, 2)).astype(np.float32)
X, Y = Tensor(points), Tensor(((points**2).sum(1) < 0.5).astype(np.int32))


class Net:
    def __init__(self):
        self.l1 = nn.Linear(2, 16)
        self.l2 = nn.Linear(16, 2, bias=False)

    def __call__(self, x):
        return self.l2(self.l1(x).relu())


net = Net()
for name, part in sorted(nn.state.get_state_dict(net).items()):
    part.assign(Tensor(random.normal(0, 0.7, part.shape).astype(np.float32)))
opt = SGD(nn.state.get_parameters(net), lr=0.2, momentum=0.9)
with Context(TRAINING=1):
    for step in range(40):
        opt.zero_grad()
        loss = net(X).sparse_categorical_crossentropy(Y).backward()
        if step % 10 == 0:
            print("loss", step, loss.item())
        opt.step()
print("right", (net(X).argmax(axis=1) == Y).mean().item())
print("names", *nn.state.get_state_dict(net))
