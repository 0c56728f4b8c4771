"""What the layers of most families are made of."""

__all__ = ["added", "attention", "gated_network"]


def attention(
    b,
    c,
    y,
    *,
    bias=False,
    head_norms=False,
    whole_norms=False,
    frequencies=None,
    rope_scale=1.0,
    scale=None,
    window=None,
    sinks=False,
):
    """Attention of the normalised ``y``, before its output projection: ``bias`` of the projections,
    ``head_norms`` of queries and keys or ``whole_norms`` of all heads together; no position without
    ``frequencies``."""
    q = b.linear("attn_q", y, c.heads * c.head_dim, bias=bias)
    k = b.linear("attn_k", y, c.kv_heads * c.head_dim, bias=bias)
    v = b.linear("attn_v", y, c.kv_heads * c.head_dim, bias=bias)
    sizes = [dict(heads=heads, head_dim=c.head_dim) for heads in (c.heads, c.kv_heads)]
    of_q, of_k = sizes
    if head_norms:
        q = b.head_norm("attn_q_norm", q, **of_q, eps=c.norm_eps)
        k = b.head_norm("attn_k_norm", k, **of_k, eps=c.norm_eps)
    if whole_norms:
        whole_q, whole_k = (dict(heads=1, head_dim=of["heads"] * c.head_dim) for of in sizes)
        q = b.head_norm("attn_q_norm", q, **whole_q, eps=c.norm_eps)
        k = b.head_norm("attn_k_norm", k, **whole_k, eps=c.norm_eps)
    if frequencies is not None:
        q = b.rope("attn_q_rope", q, **of_q, frequencies=frequencies, scale=rope_scale)
        k = b.rope("attn_k_rope", k, **of_k, frequencies=frequencies, scale=rope_scale)
    scale = c.head_dim**-0.5 if scale is None else scale
    return b.attention("attn", q, k, v, kv_heads=c.kv_heads, **of_q, scale=scale, window=window, sinks=sinks)


def added(b, x, values):
    """The residual ``x`` with what the feed-forward networks of a layer give: a value, or several, which are
    added one after the other."""
    values = (values,) if isinstance(values, str) else values
    for name, value in zip(("ffn_residual", "shared_residual"), values, strict=False):
        x = b.residual(name, x, value)
    return x


def gated_network(b, c, y, function="silu", *, ending="", hidden=None):
    """The gated feed-forward network of the normalised ``y``, of ``hidden`` elements, the model's if None;
    ``ending`` is that of its operators' names."""
    hidden = c.ffn_dim if hidden is None else hidden
    gate, up = (b.linear(f"ffn_{part}{ending}", y, hidden) for part in ("gate", "up"))
    return b.linear(f"ffn_down{ending}", b.gated(f"ffn_gated{ending}", gate, up, function), c.dim)
