"""A network with one hidden layer learns XOR.

One linear layer cannot. It answers sigmoid(a * x0 + b * x1 + c), which is on one side of 0.5 on one
side of a straight line and on the other side beyond it. XOR is true at (0, 1) and (1, 0) and false
at (0, 0) and (1, 1), the two diagonals of a square, and no straight line parts the diagonals of a
square. Its best answer is 0.5 everywhere. A hidden layer of tanh units bends the plane first.

    python examples/xor.py
"""

from gradlet import Tensor, nn

STEPS = 300


def main() -> None:
    """Trains for 300 steps and prints what the network then says."""
    Tensor.manual_seed(0)
    x = Tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    y = Tensor([[0], [1], [1], [0]])
    model = nn.Sequential(nn.Linear(2, 8), Tensor.tanh, nn.Linear(8, 1))
    opt = nn.optim.Adam([model], lr=0.1)
    for step in range(STEPS):
        loss = nn.binary_cross_entropy_with_logits(model(x), y.float())
        loss.backward()
        opt.step()
        opt.zero_grad()
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step:3}  loss {loss.item():.4f}")
    print("\nx0 x1  wanted  answer")
    for (x0, x1), (wanted,), (answer,) in zip(
        x.tolist(), y.tolist(), model(x).sigmoid().tolist(), strict=True
    ):
        print(f"{x0:2} {x1:2}  {wanted:6}  {answer:6.3f}")


if __name__ == "__main__":
    main()
