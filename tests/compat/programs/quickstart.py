"""Tensors: made, computed with, moved about, differentiated."""

import numpy as np
from tinygrad import Tensor, dtypes

data = np.arange(12, dtype=np.float32).reshape(3, 4)
a = Tensor(data)
b = Tensor([[1, 2, 3, 4]], dtype=dtypes.float)
print("shapes", *a.shape, *a.T.shape, *a.reshape(2, -1).shape, *a.unsqueeze(1).shape)
print("sum", (a * b + 1).sum().item(), (a @ b.T).flatten().tolist())
print("axes", a.sum(axis=0).tolist(), a.max(axis=1).tolist(), a.mean().item(), a.std().item())
print("where", (a > 5).where(a, -1).tolist())
print(
    "elementwise",
    (a / 12).sin().sum().item(),
    a.sqrt().exp().log().sum().item(),
    a.relu().sum().item(),
)
print("softmax", (a / 4).softmax().tolist(), (a / 4).log_softmax(axis=0).sum().item())
print("movement", a.pad(((1, 0), (0, 2))).sum(0).tolist(), a.shrink(((0, 2), (1, 3))).tolist())
print("more", a.permute(1, 0)[2].tolist(), a.flip(0)[0].tolist(), b.expand(3, 4).sum().item())
print("cat", Tensor.cat(a, b, dim=0).shape, Tensor.stack(b, b).shape, a[1:, ::2].tolist())
print(
    "make",
    Tensor.zeros(2, 2).tolist(),
    Tensor.full((2,), 3.0).tolist(),
    Tensor.arange(1, 7, 2).tolist(),
    Tensor.eye(2).tolist(),
)
print(
    "cast",
    Tensor([1.9, -1.9]).cast(dtypes.int32).tolist(),
    a.half().dtype == dtypes.float16,
    dtypes.is_float(a.dtype),
)
print(
    "argmax",
    a.argmax(axis=1).tolist(),
    a.one_hot(12).shape if a.dtype == dtypes.int32 else "floats",
)
w = Tensor([[2.0], [1.0], [0.5], [-1.0]])
loss = ((a / 10) @ w).tanh().square().mean()
loss.backward()
print("grad", loss.item(), w.grad.flatten().tolist())
x, y = Tensor([3.0]), Tensor([2.0])
print("gradient", *[g.item() for g in (x * x * y).sum().gradient(x, y)])
