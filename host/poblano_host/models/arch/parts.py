"""What the layers of most families are made of."""

__all__ = ["attention", "gated_network"]


def attention(
    b, c, y, *, bias=False, head_norms=False, frequencies=None, rope_scale=1.0, scale=None, window=None
):
    """Attention of the normalised ``y``, before its output projection: ``bias`` of the projections,
    ``head_norms`` of queries and keys; no position without ``frequencies``."""
    q = b.linear("attn_q", y, c.heads * c.head_dim, bias=bias)
    k = b.linear("attn_k", y, c.kv_heads * c.head_dim, bias=bias)
    v = b.linear("attn_v", y, c.kv_heads * c.head_dim, bias=bias)
    sizes = (dict(heads=heads, head_dim=c.head_dim) for heads in (c.heads, c.kv_heads))
    of_q, of_k = sizes
    if head_norms:
        q = b.head_norm("attn_q_norm", q, **of_q, eps=c.norm_eps)
        k = b.head_norm("attn_k_norm", k, **of_k, eps=c.norm_eps)
    if frequencies is not None:
        q = b.rope("attn_q_rope", q, **of_q, frequencies=frequencies, scale=rope_scale)
        k = b.rope("attn_k_rope", k, **of_k, frequencies=frequencies, scale=rope_scale)
    scale = c.head_dim**-0.5 if scale is None else scale
    return b.attention("attn", q, k, v, kv_heads=c.kv_heads, **of_q, scale=scale, window=window)


def gated_network(b, c, y, function="silu"):
    """The gated feed-forward network of the normalised ``y``."""
    gate, up = b.linear("ffn_gate", y, c.ffn_dim), b.linear("ffn_up", y, c.ffn_dim)
    return b.linear("ffn_down", b.gated("ffn_gated", gate, up, function), c.dim)
