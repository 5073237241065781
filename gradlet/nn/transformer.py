"""Transformers and their layers (Vaswani et al. 2017).

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from gradlet.nn import functional, init
from gradlet.nn.attention import MultiheadAttention
from gradlet.nn.layers import Dropout, Linear
from gradlet.nn.normalization import LayerNorm
from gradlet.nn.state.names import get_parameters
from gradlet.tensor.tensor import Tensor

__all__ = [
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer",
]  # fmt: skip

Activation = str | Callable[[Tensor], Tensor]
_ACTIVATIONS = {"relu": functional.relu, "gelu": functional.gelu}


class _Layer:
    """What layers of encoders and decoders have in common."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise ValueError(
                f"{type(self).__name__}: activation is 'relu', 'gelu' or a function, not "
                f"{activation!r}"
            )
        self.norm_first = norm_first
        self.activation = _ACTIVATIONS[activation] if isinstance(activation, str) else activation
        for name in self._attentions():
            setattr(
                self,
                name,
                MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first),
            )
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        for number in range(1, len(self._attentions()) + 2):
            setattr(self, f"norm{number}", LayerNorm(d_model, layer_norm_eps, bias=bias))
        self.dropout = Dropout(dropout)

    def _attentions(self) -> tuple[str, ...]:
        return ("self_attn",)

    def _added(self, x: Tensor, norm: LayerNorm, part: Callable[[Tensor], Tensor]) -> Tensor:
        """`x` with what a part makes of it, normalised before the part or at the end."""
        if self.norm_first:
            return x + self.dropout(part(norm(x)))
        return norm(x + self.dropout(part(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def __repr__(self) -> str:
        out_features, in_features = self.linear1.weight.shape
        return f"{type(self).__name__}({in_features}, dim_feedforward={out_features})"


class TransformerEncoderLayer(_Layer):
    """Attention of a sequence to itself, then two linear layers for each element.

    Args:
        dropout: probability for shares, and for what each part gives.
        activation: `relu`, `gelu` or a function, between the linear layers.
        batch_first: sequences are (N, L, d_model) rather than (L, N, d_model).
        norm_first: normalises what each part gets, rather than the sums.

    Attributes:
        self_attn: a `MultiheadAttention`.
        linear1, linear2: to `dim_feedforward` and back.
        norm1, norm2: a `LayerNorm` each.

    >>> TransformerEncoderLayer(8, 2, 16)(Tensor.ones(5, 3, 8)).shape
    (5, 3, 8)
    """

    self_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm

    def __call__(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(L, N, d_model), or without N, to the same; masks are those of `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, True, is_causal)[
                0
            ]

        return self._added(self._added(src, self.norm1, attend), self.norm2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Attention of a sequence to itself and to another, then two linear layers for each element.

    Its arguments are those of `TransformerEncoderLayer`.

    Attributes:
        self_attn, multihead_attn: a `MultiheadAttention` each.
        linear1, linear2: to `dim_feedforward` and back.
        norm1, norm2, norm3: a `LayerNorm` each.

    >>> TransformerDecoderLayer(8, 2, 16)(Tensor.ones(5, 3, 8), Tensor.ones(7, 3, 8)).shape
    (5, 3, 8)
    """

    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm
    norm3: LayerNorm

    def _attentions(self) -> tuple[str, ...]:
        return ("self_attn", "multihead_attn")

    def __call__(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """(L, N, d_model) and (S, N, d_model) to (L, N, d_model); all may lack N."""

        def attend(x: Tensor) -> Tensor:
            how = (tgt_key_padding_mask, False, tgt_mask, True, tgt_is_causal)
            return self.self_attn(x, x, x, *how)[0]

        def attend_to_memory(x: Tensor) -> Tensor:
            how = (memory_key_padding_mask, False, memory_mask, True, memory_is_causal)
            return self.multihead_attn(x, memory, memory, *how)[0]

        x = self._added(tgt, self.norm1, attend)
        x = self._added(x, self.norm2, attend_to_memory)
        return self._added(x, self.norm3, self._feed_forward)


# Stacks of layers


class TransformerEncoder:
    """Several copies of a layer, one after the other.

    Attributes:
        layers: copies of `encoder_layer`, with its initial values.
        norm: called on the result, if not None.

    >>> encoder = TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 2)
    >>> encoder(Tensor.ones(5, 3, 8)).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.layers = [copy.deepcopy(encoder_layer) for _ in range(num_layers)]
        self.norm = norm

    def __call__(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """(L, N, d_model), or without N, to the same; every layer gets the masks."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder:
    """Several copies of a layer, one after the other.

    Attributes:
        layers: copies of `decoder_layer`, with its initial values.
        norm: called on the result, if not None.
    """

    def __init__(
        self,
        decoder_layer: TransformerDecoderLayer,
        num_layers: int,
        norm: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.layers = [copy.deepcopy(decoder_layer) for _ in range(num_layers)]
        self.norm = norm

    def __call__(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """(L, N, d_model) and (S, N, d_model) to (L, N, d_model); every layer gets the masks."""
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer:
    """An encoder and a decoder that attends to what it makes.

    Args:
        custom_encoder, custom_decoder: what stands in the place of the usual ones.

    Attributes:
        encoder, decoder: a `TransformerEncoder` and a `TransformerDecoder`, each with a `LayerNorm`
            at its end. All matrices start as of `xavier_uniform_`.

    >>> model = Transformer(8, 2, 1, 1, 16)
    >>> model(Tensor.ones(5, 3, 8), Tensor.ones(7, 3, 8)).shape
    (7, 3, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        sizes = (d_model, nhead, dim_feedforward, dropout, activation)
        how = (layer_norm_eps, batch_first, norm_first, bias)
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*sizes, *how),
            num_encoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*sizes, *how),
            num_decoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )
        for tensor in get_parameters(self):
            if tensor.ndim > 1:
                init.xavier_uniform_(tensor)

    def __call__(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """(S, N, d_model) and (L, N, d_model) to (L, N, d_model)."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        result: Tensor = self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
        return result

    @staticmethod
    def generate_square_subsequent_mask(sz: int) -> Tensor:
        """What hides later elements: (sz, sz), -inf above the diagonal and 0 elsewhere.

        >>> Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        later = Tensor.ones(sz, sz, requires_grad=False).triu(1) > 0
        return later.where(float("-inf"), 0.0).detach()
