"""A transformer of one block that learns which letter follows."""

import numpy as np
from tinygrad import Context, Tensor, TinyJit, nn

SIZE, HEADS, LENGTH = 16, 4, 8
random = np.random.default_rng(7)
text = np.array([3, 1, 4, 1, 5, 2, 6, 5, 3, 5] * 12, np.int32)


class Block:
    def __init__(self):
        self.first, self.second = nn.LayerNorm(SIZE), nn.LayerNorm(SIZE)
        self.qkv, self.out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.up, self.down = nn.Linear(SIZE, 4 * SIZE), nn.Linear(4 * SIZE, SIZE)

    def __call__(self, x):
        n, t, _ = x.shape
        q, k, v = [
            part.reshape(n, t, HEADS, SIZE // HEADS).transpose(1, 2)
            for part in self.qkv(self.first(x)).chunk(3, dim=-1)
        ]
        mixed = Tensor.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, SIZE))
        return x + self.down(self.up(self.second(x)).gelu())


class Model:
    def __init__(self):
        self.letters, self.places = nn.Embedding(8, SIZE), nn.Embedding(LENGTH, SIZE)
        self.block, self.norm, self.head = Block(), nn.RMSNorm(SIZE), nn.Linear(SIZE, 8, bias=False)

    def __call__(self, tokens):
        x = self.letters(tokens) + self.places(Tensor.arange(tokens.shape[1]))
        return self.head(self.norm(self.block(x)))


model = Model()
for name, part in sorted(nn.state.get_state_dict(model).items()):
    part.assign(Tensor(random.normal(0, 0.2, part.shape).astype(np.float32)))
print("names", *sorted(nn.state.get_state_dict(model)))
opt = nn.optim.AdamW(nn.state.get_parameters(model), lr=0.02, weight_decay=0.1)


@TinyJit
def step(tokens, following):
    with Context(TRAINING=1):
        opt.zero_grad()
        loss = model(tokens).flatten(0, 1).sparse_categorical_crossentropy(following.flatten())
        loss.backward()
        return loss.realize(*opt.schedule_step())


for i in range(12):
    starts = random.integers(0, len(text) - LENGTH - 1, 8)
    tokens = np.stack([text[s : s + LENGTH] for s in starts])
    following = np.stack([text[s + 1 : s + LENGTH + 1] for s in starts])
    loss = step(Tensor(tokens).realize(), Tensor(following).realize())
    if i % 3 == 2:
        print("loss", i, loss.item())
guess = model(Tensor(text[None, :LENGTH])).softmax()[0, -1]
print("next", guess.argmax().item(), guess.max().item())
