"""A network learns to balance a pole on a cart, by trial and error alone.

A push to the left or right moves the cart fifty times a second. An episode ends when the pole leans
more than 12 degrees, when the cart leaves its track, or after 500 steps. The network says how
probable a push to the right is. What was done in episodes that then went on for longer than others
becomes more probable: the policy gradient with a baseline (Williams 1992).

    python examples/cartpole.py      # mean return 500.0 of 500 (seeds 0 to 4); 475 is solved
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradlet import Tensor, jit, nn

STEPS, SOLVED = 500, 475
EPISODES = 32  # for each update
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
TRACK, LEAN = 2.4, np.deg2rad(12)


def move(state: np.ndarray, right: np.ndarray) -> np.ndarray:
    """States (N, 4) one step later: place, speed, angle and its speed (Barto et al. 1983)."""
    _, speed, angle, turning = state.T
    sin, cos, mass = np.sin(angle), np.cos(angle), CART + POLE
    thrust = np.where(right, FORCE, -FORCE) + POLE * HALF_LENGTH * turning**2 * sin
    turn = GRAVITY * sin - cos * thrust / mass
    turn /= HALF_LENGTH * (4 / 3 - POLE * cos**2 / mass)
    acceleration = (thrust - POLE * HALF_LENGTH * turn * cos) / mass
    return state + SECONDS * np.stack([speed, acceleration, turning, turn], axis=1)


@dataclass
class Episodes:
    """What happened in N episodes, played at once; the time after their end is padding.

    Attributes:
        states: (STEPS, N, 4).
        pushes: (STEPS, N), 1 where the cart was pushed right.
        alive: (STEPS, N), whether the episode went on then; each such step is a reward of 1.
    """

    states: np.ndarray
    pushes: np.ndarray
    alive: np.ndarray

    def advantages(self) -> np.ndarray:
        """Rewards still to come, against the mean of the episodes that go on; 0 in padding."""
        to_come = self.alive[::-1].cumsum(0)[::-1]
        others = to_come.sum(1, keepdims=True) / self.alive.sum(1, keepdims=True).clip(1)
        better = np.where(self.alive, to_come - others, 0)
        return better / (better[self.alive].std() + 1e-6)


class Agent:
    """A policy with one hidden layer, and what trains it."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(4, 32), Tensor.tanh, nn.Linear(32, 1))
        self.opt = nn.optim.Adam([self.model], lr=0.02)

    @jit
    def probabilities(self, states: Tensor) -> Tensor:
        """States (N, 4) to the probability of a push to the right (N,)."""
        return self.model(states).squeeze(1).sigmoid()

    @jit
    def update(self, states: Tensor, pushes: Tensor, weights: Tensor) -> None:
        """Makes pushes more probable by their weights, all (STEPS, N)."""
        logits = self.model(states).squeeze(2)
        surprise = nn.binary_cross_entropy_with_logits(logits, pushes, reduction="none")
        self.opt.zero_grad()
        (surprise * weights).sum().backward()
        self.opt.step()

    def learn(self, episodes: Episodes) -> None:
        weights = episodes.advantages() / episodes.alive.sum()
        arrays = (episodes.states, episodes.pushes, weights)
        self.update(*(Tensor(a.astype(np.float32), requires_grad=False) for a in arrays))


def play(agent: Agent, count: int, random: np.random.Generator, explore: bool) -> Episodes:
    """Plays some episodes at once, with pushes at random, or the likelier one each time."""
    state = random.uniform(-0.05, 0.05, (count, 4))
    states = np.zeros((STEPS, count, 4))
    pushes, alive = np.zeros((STEPS, count), bool), np.zeros((STEPS, count), bool)
    going = np.ones(count, bool)
    for step in range(STEPS):
        limit = random.random(count) if explore else 0.5
        right = agent.probabilities(Tensor(state.astype(np.float32))).numpy() > limit
        states[step], pushes[step], alive[step] = state, right, going
        state = np.where(going[:, None], move(state, right), state)
        going = going & (abs(state[:, 0]) <= TRACK) & (abs(state[:, 2]) <= LEAN)
        if not going.any():
            break
    return Episodes(states, pushes, alive)


def draw(path: Path, history: np.ndarray) -> None:
    """The learning curve: mean return before each update, and where eight in ten of them lie."""
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    updates = np.arange(1, len(history) + 1)
    spread = np.percentile(history, (10, 90), axis=1)
    axes.fill_between(updates, *spread, color="#2060a0", alpha=0.2, label="eight in ten")
    axes.plot(updates, history.mean(1), color="#2060a0", linewidth=2, label="mean")
    axes.axhline(SOLVED, color="#c05020", linestyle="--", label=f"solved: {SOLVED}")
    axes.set(xlabel="update", ylabel="steps that the pole stayed up", ylim=(0, STEPS + 15))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Trains, evaluates on 100 new episodes and draws the learning curve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--updates", type=int, default=80, help="of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    options = parser.parse_args()
    if options.updates < 1:
        parser.error(f"--updates must be at least 1, not {options.updates}")
    Tensor.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    agent, history = Agent(), []
    for update in range(1, options.updates + 1):
        episodes = play(agent, EPISODES, random, explore=True)
        agent.learn(episodes)
        history.append(episodes.alive.sum(0))
        if update % 10 == 0 or update == 1:
            print(f"update {update:3}  mean return {history[-1].mean():5.1f}", flush=True)
    reached = play(agent, 100, random, explore=False).alive.sum(0).mean()
    print(f"mean return {reached:.1f} of {STEPS} over 100 new episodes; {SOLVED} is solved")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(options.out / "cartpole.png", np.array(history))
        print(f"learning curve in {options.out / 'cartpole.png'}")
    except ImportError:
        print("no picture: pip install matplotlib")


if __name__ == "__main__":
    main()
