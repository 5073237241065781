"""Attention of several heads, with weights for queries, keys, values and the result.

Initial values, names and shapes of the tensors are PyTorch's, so that saved models go both ways.
"""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.nn import init
from gradlet.nn.layers import Linear, filled
from gradlet.tensor.tensor import Tensor

__all__ = ["MultiheadAttention"]


class MultiheadAttention:
    """Attention of several heads (Vaswani et al. 2017).

    Args:
        dropout: probability with which shares are zeroed while `Tensor.training`.
        bias: adds a bias to queries, keys, values and the result.
        add_bias_kv: one more key and value, which are learned.
        add_zero_attn: one more key and value, which are zeros.
        kdim, vdim: width of keys and values, `embed_dim` if not given.
        batch_first: queries, keys, values and the result are (N, L, E) rather than (L, N, E).

    Attributes:
        in_proj_weight: (3 * embed_dim, embed_dim) for queries, keys and values, if all are that
            wide; else there are q_proj_weight, k_proj_weight and v_proj_weight. As of
            `xavier_uniform_`.
        in_proj_bias: (3 * embed_dim,), zeros, or None.
        bias_k, bias_v: (1, 1, embed_dim), as of `xavier_normal_`, or None.
        out_proj: a `Linear`, whose bias starts with zeros.

    >>> x = Tensor.ones(7, 2, 8)
    >>> y, shares = MultiheadAttention(8, 4)(x, x, x)
    >>> y.shape, shares.shape
    ((7, 2, 8), (2, 7, 7))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: {num_heads=} must divide {embed_dim=}")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first
        self.in_proj_weight = None
        self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = _weight(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = _weight(embed_dim, embed_dim)
            self.k_proj_weight = _weight(embed_dim, self.kdim)
            self.v_proj_weight = _weight(embed_dim, self.vdim)
        self.in_proj_bias = filled(0.0, 3 * embed_dim, trained=True) if bias else None
        self.bias_k = _extra(embed_dim) if add_bias_kv else None
        self.bias_v = _extra(embed_dim) if add_bias_kv else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(result, shares) of queries.

        Args:
            query: (L, N, embed_dim), or all three without N.
            key: (S, N, kdim).
            value: (S, N, vdim).
            key_padding_mask: (N, S). Bools say which keys do not take part, floats are added.
            need_weights: without the shares they are never stored.
            attn_mask: (L, S) or (N * num_heads, L, S), with the same meaning.
            average_attn_weights: the mean of the shares of all heads.
            is_causal: without `attn_mask`, query i takes part with keys up to i; with it, it only
                says that the mask does that.

        Returns:
            (L, N, embed_dim), and (N, L, S), (N, num_heads, L, S) if not averaged, or None. A query
            that may see no key gets 0.
        """
        self._check(query, key, value)
        batched = query.ndim == 3
        same = query is key and key is value
        given: tuple[Tensor, ...] = (query,) if same else (query, key, value)
        if not batched:
            given = tuple(x.unsqueeze(0) for x in given)
        elif not self.batch_first:
            given = tuple(x.transpose(0, 1) for x in given)
        q, k, v = self._projected(*given)  # (N, L, embed_dim) and twice (N, S, embed_dim)
        mask = self._mask(q, k, key_padding_mask, attn_mask, batched)
        extra = (self.bias_k is not None) + self.add_zero_attn
        if is_causal and attn_mask is None and (mask is not None or extra):
            seen = Tensor.ones(q.shape[1], k.shape[1], device=q.device, requires_grad=False)
            causal = seen.tril() == 0
            mask = causal if mask is None else _merged(mask, causal)
        k, v = self._extended(k, v)
        if mask is not None and extra:
            mask = _with_extra_keys(mask, extra)
        if mask is not None and mask.dtype is dtypes.bool_:
            mask = mask.logical_not()
        q, k, v = (self._heads(x) for x in (q, k, v))
        causal_alone = is_causal and mask is None
        shares = None
        if need_weights:
            shares = q._attention_shares(k, mask, causal_alone, None).dropout(self.dropout)
            y = shares.matmul(v.cast(shares.dtype)).cast(q.dtype)
            shares = (shares.mean(1) if average_attn_weights else shares).cast(q.dtype)
        else:
            y = q.scaled_dot_product_attention(k, v, mask, self.dropout, causal_alone)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if not batched:
            return y.squeeze(0), None if shares is None else shares.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1), shares

    def _projected(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values as wide as the result; one product if they are one tensor."""
        biases: tuple[Tensor | None, ...] = (None, None, None)
        if self.in_proj_bias is not None:
            biases = self.in_proj_bias.chunk(3)
        if self.in_proj_weight is not None:
            if len(given) == 1:
                return given[0]._linear_of_rows(self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
            weights = self.in_proj_weight.chunk(3)
        else:
            assert self.q_proj_weight is not None
            assert self.k_proj_weight is not None and self.v_proj_weight is not None
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        return tuple(
            x._linear_of_rows(w, b) for x, w, b in zip(given, weights, biases, strict=True)
        )

    def _extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values with those that are added to them."""
        shape = (k.shape[0], 1, self.embed_dim)
        if self.bias_k is not None and self.bias_v is not None:
            k = Tensor.cat([k, self.bias_k.expand(shape)], dim=1)
            v = Tensor.cat([v, self.bias_v.expand(shape)], dim=1)
        if self.add_zero_attn:
            k, v = (x.pad((0, 0, 0, 1)) for x in (k, v))
        return k, v

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, embed_dim) to (N, num_heads, L, width of a head)."""
        return x.unflatten(-1, (self.num_heads, self.embed_dim // self.num_heads)).transpose(1, 2)

    def _mask(
        self, q: Tensor, k: Tensor, padding: Tensor | None, mask: Tensor | None, batched: bool
    ) -> Tensor | None:
        """Both masks as one that broadcasts to (N, num_heads, L, S), or None."""
        batch, rows, columns = q.shape[0], q.shape[1], k.shape[1]
        if mask is not None:
            wanted = ((rows, columns), (batch * self.num_heads, rows, columns))
            _check_mask(self, "attn_mask", mask, wanted)
            if mask.ndim == 3:
                mask = mask.reshape(batch, self.num_heads, rows, columns)
        if padding is not None:
            _check_mask(
                self, "key_padding_mask", padding, ((batch, columns) if batched else (columns,),)
            )
            padding = padding.reshape(batch, 1, 1, columns)
            mask = padding if mask is None else _merged(mask, padding)
        return mask

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        widths = (self.embed_dim, self.kdim, self.vdim)
        given = (query, key, value)
        fits = all(x.ndim in (2, 3) and x.ndim == query.ndim for x in given)
        fits = fits and tuple(x.shape[-1] for x in given) == widths
        fits = fits and key.shape[:-1] == value.shape[:-1]
        if fits and query.ndim == 3:
            axis = 0 if self.batch_first else 1
            fits = query.shape[axis] == key.shape[axis]
        if not fits:
            lead = "N, {}" if self.batch_first else "{}, N"
            forms = [f"({lead.format(n)}, {w})" for n, w in zip("LSS", widths, strict=True)]
            raise ValueError(
                f"{self!r}: query {query.shape}, key {key.shape} and value {value.shape} do not "
                f"fit: they are {', '.join(forms)}, or all without N"
            )

    def __repr__(self) -> str:
        return f"MultiheadAttention({self.embed_dim}, {self.num_heads})"


# Helpers


def _weight(rows: int, columns: int) -> Tensor:
    return init.xavier_uniform_(filled(0.0, rows, columns, trained=True))


def _extra(width: int) -> Tensor:
    return init.xavier_normal_(filled(0.0, 1, 1, width, trained=True))


def _check_mask(
    layer: object, name: str, mask: Tensor, wanted: tuple[tuple[int, ...], ...]
) -> None:
    if not mask.dtype.is_float and mask.dtype is not dtypes.bool_:
        raise TypeError(
            f"{layer!r}: {name} holds bools or floats, not {mask.dtype.name}; call .bool() on it "
            "if 1 means that a key does not take part"
        )
    if mask.shape not in wanted:
        shapes = " or ".join(str(shape) for shape in wanted)
        raise ValueError(f"{layer!r}: {name} has shape {mask.shape}, and {shapes} is wanted")


def _merged(a: Tensor, b: Tensor) -> Tensor:
    """One mask for two, of bools if both are."""
    if a.dtype is b.dtype is dtypes.bool_:
        return a | b
    return _added(a) + _added(b)


def _added(mask: Tensor) -> Tensor:
    """What a mask adds to scores."""
    return mask.where(float("-inf"), 0.0) if mask.dtype is dtypes.bool_ else mask


def _with_extra_keys(mask: Tensor, count: int) -> Tensor:
    """The mask for keys behind which there are more, which take part."""
    more = Tensor.zeros((*mask.shape[:-1], count), dtype=mask.dtype, device=mask.device)
    return Tensor.cat([mask, more], dim=-1)
