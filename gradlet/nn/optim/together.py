"""Several optimisers as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradlet.nn.optim.optimizer import Optimizer
from gradlet.tensor.tensor import Tensor


class OptimizerGroup:
    """Several optimisers that step together, such as Muon for matrices and AdamW for the rest.

    >>> from gradlet import Tensor, nn
    >>> a, b = Tensor([1.0]), Tensor([2.0])
    >>> opt = OptimizerGroup(nn.optim.SGD([a], lr=0.5), nn.optim.Lion([b], lr=1.0))
    >>> _ = (a * b).sum().backward(); opt.step(); a.tolist(), b.tolist()
    ([0.0], [1.0])
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    def __getitem__(self, i: int) -> Optimizer:
        return self.optimizers[i]

    @property
    def params(self) -> list[Tensor]:
        """The tensors that are trained."""
        return [param for optimizer in self.optimizers for param in optimizer.params]

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Each optimiser's step."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Those of the optimisers, in their order: {"optimizers": [...]}."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state that `state_dict` gave.

        Raises:
            ValueError: it does not fit. Nothing has changed then.
        """
        given, own = state_dict.get("optimizers"), self.state_dict()["optimizers"]
        if not isinstance(given, list) or len(given) != len(own):
            raise ValueError(
                f"OptimizerGroup.load_state_dict: needs the states of {len(own)} optimisers under "
                '"optimizers", as state_dict() gives them'
            )
        try:
            self._load(given)
        except ValueError:
            self._load(own)
            raise

    def _load(self, states: list[Any]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
