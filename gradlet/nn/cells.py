"""One step of a recurrent network, as functions of tensors and as layers.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from gradlet.nn.layers import fan_in_uniform
from gradlet.tensor.tensor import Tensor

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]

States = tuple[Tensor, ...]
# (what the input gives, what the last hidden state gives, last states) to the next states.
Step = Callable[[Tensor, Tensor, States], States]


# Steps


def tanh_step(x: Tensor, h: Tensor, states: States) -> States:
    """The next state of a plain network (Elman 1990); x and h are (..., hidden)."""
    return ((x + h).tanh(),)


def relu_step(x: Tensor, h: Tensor, states: States) -> States:
    """The next state of a plain network with relu (Le et al. 2015); x and h are (..., hidden)."""
    return ((x + h).relu(),)


def gru_step(x: Tensor, h: Tensor, states: States) -> States:
    """The next state of gated recurrent units (Cho et al. 2014).

    Args:
        x, h: (..., 3 * hidden): reset gate, update gate, new content.
        states: the last state.
    """
    reset_x, update_x, new_x = x.chunk(3, -1)
    reset_h, update_h, new_h = h.chunk(3, -1)
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    return (new + (update_x + update_h).sigmoid() * (states[0] - new),)


def lstm_step(x: Tensor, h: Tensor, states: States) -> States:
    """The next hidden and cell state of long short-term memory (Hochreiter & Schmidhuber 1997).

    Args:
        x, h: (..., 4 * hidden): input gate, forget gate, new content, output gate.
        states: the last hidden state, which `h` stands for, and cell state.
    """
    enter, forget, new, leave = (x + h).chunk(4, -1)
    cell = forget.sigmoid() * states[1] + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * cell.tanh(), cell


PLAIN_STEPS: dict[str, Step] = {"tanh": tanh_step, "relu": relu_step}


def plain_step(layer: object, nonlinearity: str) -> Step:
    """The step of a plain network; ValueError for any other name than `tanh` and `relu`."""
    if nonlinearity not in PLAIN_STEPS:
        raise ValueError(
            f"{type(layer).__name__}: nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}"
        )
    return PLAIN_STEPS[nonlinearity]


# Cells


class _Cell:
    """What cells have in common.

    Attributes:
        weight_ih: (gates * hidden_size, input_size), even over ±1/sqrt(hidden_size).
        weight_hh: (gates * hidden_size, hidden_size), likewise.
        bias_ih, bias_hh: (gates * hidden_size,), likewise, or None.
    """

    gates: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        self.weight_ih = fan_in_uniform((rows, input_size), hidden_size)
        self.weight_hh = fan_in_uniform((rows, hidden_size), hidden_size)
        self.bias_ih = fan_in_uniform((rows,), hidden_size) if bias else None
        self.bias_hh = fan_in_uniform((rows,), hidden_size) if bias else None

    def _next(self, step: Step, x: Tensor, states: States | None, count: int = 1) -> States:
        """The next states; zeros are the last ones if not given."""
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{self!r}: x has shape {x.shape}, and (N, {self.input_size}) or "
                f"({self.input_size},) is wanted"
            )
        wanted = (*x.shape[:-1], self.hidden_size)
        if states is None:
            zeros = Tensor.zeros(wanted, dtype=x.dtype, device=x.device, requires_grad=False)
            states = (zeros,) * count
        for state in states:
            if state.shape != wanted:
                raise ValueError(
                    f"{self!r}: a state has shape {state.shape}, and for x of shape {x.shape} "
                    f"{wanted} is wanted"
                )
        from_x = x._linear_of_rows(self.weight_ih, self.bias_ih)
        return step(from_x, states[0]._linear_of_rows(self.weight_hh, self.bias_hh), states)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size})"


class RNNCell(_Cell):
    """One step of `RNN`, from (N, input_size) to (N, hidden_size).

    >>> RNNCell(3, 5)(Tensor.ones(2, 3)).shape
    (2, 5)
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        self.step = plain_step(self, nonlinearity)

    def __call__(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after `hx`, which is zeros if not given. Both may lack the axis N."""
        return self._next(self.step, x, None if hx is None else (hx,))[0]


class GRUCell(_Cell):
    """One step of `GRU`, from (N, input_size) to (N, hidden_size).

    >>> GRUCell(3, 5)(Tensor.ones(2, 3)).shape
    (2, 5)
    """

    gates = 3

    def __call__(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after `hx`, which is zeros if not given. Both may lack the axis N."""
        return self._next(gru_step, x, None if hx is None else (hx,))[0]


class LSTMCell(_Cell):
    """One step of `LSTM`, from (N, input_size) to two states (N, hidden_size).

    >>> hidden, cell = LSTMCell(3, 5)(Tensor.ones(2, 3))
    >>> hidden.shape, cell.shape
    ((2, 5), (2, 5))
    """

    gates = 4

    def __call__(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        """(hidden, cell) after those in `hx`, zeros if not given. All may lack the axis N."""
        return self._next(lstm_step, x, hx, 2)
