"""Recurrent layers: `RNN`, `GRU` and `LSTM` over whole sequences.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

from typing import Any, ClassVar

from gradlet.nn.cells import States, Step, gru_step, lstm_step, plain_step
from gradlet.nn.layers import fan_in_uniform
from gradlet.nn.recurrence import unroll
from gradlet.tensor.tensor import Tensor

__all__ = ["GRU", "LSTM", "RNN"]


class _Recurrent:
    """What recurrent layers have in common: layers upon layers, in one or in both directions."""

    gates: ClassVar[int]
    step: Step

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        name = type(self).__name__
        if hidden_size < 1 or num_layers < 1:
            raise ValueError(f"{name}: hidden_size and num_layers are at least 1")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout is a probability, not {dropout}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size={proj_size} must be below {hidden_size=}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.proj_size = proj_size
        self.output_size = proj_size or hidden_size  # of one direction
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        for layer in range(num_layers):
            width = self.output_size * len(self.suffixes) if layer else input_size
            for suffix in self.suffixes:
                self._make_weights(f"_l{layer}{suffix}", width, bias)

    def _make_weights(self, suffix: str, width: int, bias: bool) -> None:
        """The tensors of one layer in one direction, even over ±1/sqrt(hidden_size)."""
        rows, hidden = self.gates * self.hidden_size, self.hidden_size
        shapes: dict[str, tuple[int, ...] | None] = {
            "weight_ih": (rows, width),
            "weight_hh": (rows, self.output_size),
            "bias_ih": (rows,) if bias else None,
            "bias_hh": (rows,) if bias else None,
            "weight_hr": (self.proj_size, hidden) if self.proj_size else None,
        }
        for name, shape in shapes.items():
            setattr(self, name + suffix, shape and fan_in_uniform(shape, hidden))

    def _run(self, x: Tensor, given: tuple[Tensor, ...] | None) -> tuple[Tensor, States]:
        """The outputs and each last state, in the form that the input has."""
        self._check(x)
        batched = x.ndim == 3
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        elif not batched:
            x = x.unsqueeze(1)
        first = self._first_states(x, given, batched)  # each (layers * directions, N, ...)
        last: list[States] = []
        for layer in range(self.num_layers):
            if layer:
                x = x.dropout(self.dropout)
            passes = []
            for suffix in self.suffixes:
                states = tuple(state[len(last)] for state in first)
                y, states = self._pass(x, states, f"_l{layer}{suffix}")
                passes.append(y)
                last.append(states)
            x = Tensor.cat(passes, dim=-1)
        ends = tuple(Tensor.stack(list(parts)) for parts in zip(*last, strict=True))
        if not batched:
            return x.squeeze(1), tuple(end.squeeze(1) for end in ends)
        return (x.transpose(0, 1) if self.batch_first else x), ends

    def _pass(self, x: Tensor, states: States, suffix: str) -> tuple[Tensor, States]:
        """One layer in one direction over (T, N, width)."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        from_x, from_h, bias_x, bias_h, projection = (getattr(self, n + suffix) for n in names)
        backwards = suffix.endswith("_reverse")
        # Only gated units need the bias of the hidden state apart from that of the input.
        if bias_x is not None and self.gates != 3:
            bias_x, bias_h = bias_x + bias_h, None
        given = (x.flip(0) if backwards else x)._linear_of_rows(from_x, bias_x)
        y, states = unroll(self.step, given, states, (from_h, bias_h, projection))
        return (y.flip(0) if backwards else y), states

    def _first_states(
        self, x: Tensor, given: tuple[Tensor, ...] | None, batched: bool
    ) -> tuple[Tensor, ...]:
        """The states before the first step, zeros if not given, checked and with an axis N."""
        count, batch = self.num_layers * len(self.suffixes), x.shape[1]
        sizes = self._state_sizes()
        if given is None:
            return tuple(
                Tensor.zeros(
                    count, batch, size, dtype=x.dtype, device=x.device, requires_grad=False
                )
                for size in sizes
            )
        for state, size in zip(given, sizes, strict=True):
            wanted = (count, batch, size) if batched else (count, size)
            if state.shape != wanted:
                raise ValueError(
                    f"{self!r}: a state has shape {state.shape}, and for this x {wanted} is wanted"
                )
        return given if batched else tuple(state.unsqueeze(1) for state in given)

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.output_size,)

    def _check(self, x: Tensor) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{self!r}: x is a tensor, not a {type(x).__name__}; there are no packed sequences"
            )
        fits = x.ndim in (2, 3) and x.shape[-1] == self.input_size
        if not fits or not x.shape[1 if x.ndim == 3 and self.batch_first else 0]:
            form = "N, T" if self.batch_first else "T, N"
            raise ValueError(
                f"{self!r}: x has shape {x.shape}, and ({form}, {self.input_size}) or "
                f"(T, {self.input_size}) with T of at least 1 is wanted"
            )

    def __repr__(self) -> str:
        layers = f", num_layers={self.num_layers}" if self.num_layers > 1 else ""
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{layers})"


class RNN(_Recurrent):
    """A plain recurrent network (Elman 1990).

    Args:
        nonlinearity: `tanh` or `relu`.
        batch_first: x and the output are (N, T, ...) rather than (T, N, ...).
        dropout: probability with which elements between layers are zeroed while `Tensor.training`.
        bidirectional: each layer also runs from the last step to the first.

    Attributes:
        weight_ih_l0, weight_hh_l0: (hidden_size, in), (hidden_size, hidden_size), even over
            ±1/sqrt(hidden_size), and so on for each layer, and with `_reverse` for each direction.
        bias_ih_l0, bias_hh_l0: (hidden_size,), likewise, or None.

    >>> y, h = RNN(3, 5)(Tensor.ones(7, 2, 3))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self.step = plain_step(self, nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )

    def __call__(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs of the last layer after every step, and the last state of every layer.

        Args:
            x: (T, N, input_size), or (T, input_size) without N everywhere.
            hx: (num_layers * directions, N, hidden_size), zeros if not given.

        Returns:
            (T, N, directions * hidden_size) and what has the shape of `hx`.
        """
        y, (last,) = self._run(x, None if hx is None else (hx,))
        return y, last


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014), with the arguments of `RNN` but `nonlinearity`.

    Attributes:
        weight_ih_l0, weight_hh_l0: as in `RNN`, but with 3 * hidden_size rows.
        bias_ih_l0, bias_hh_l0: (3 * hidden_size,), or None.

    >>> y, h = GRU(3, 5)(Tensor.ones(7, 2, 3))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    gates = 3
    step = staticmethod(gru_step)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )

    def __call__(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs and last states, as in `RNN`."""
        y, (last,) = self._run(x, None if hx is None else (hx,))
        return y, last


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), with the arguments of `GRU`.

    Args:
        proj_size: new hidden states are multiplied to this width, if it is above 0
            (Sak et al. 2014).

    Attributes:
        weight_ih_l0, weight_hh_l0: as in `RNN`, but with 4 * hidden_size rows.
        bias_ih_l0, bias_hh_l0: (4 * hidden_size,), or None.
        weight_hr_l0: (proj_size, hidden_size), or None.

    >>> y, (h, c) = LSTM(3, 5)(Tensor.ones(7, 2, 3))
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    """

    gates = 4
    step = staticmethod(lstm_step)

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.output_size, self.hidden_size)

    def __call__(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Outputs and last hidden and cell states, as in `RNN`; `hx` holds both states."""
        return self._run(x, hx)
